package words

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/caplaunch/caplaunch/test/integration/engine"
)

// A slip is a command line as a stranger writes it at first: in the form of another tool, or as one element of the exec
// form what are two.
type slip struct {
	written string // words split at "|"; PROBE and UID are put in
	code    int
	says    string // a part of the sentence
	hint    string // its beginning
	again   string // the line with the hint followed; "": the hint is a whole line, and pasted
}

// Each slip gets one sentence and one line that works: followed, it ends in the promise, and what was asked for is what
// is given.
func TestAStrangersFirstMistakes(t *testing.T) {
	engine.RequireRoot(t)
	const user = "-u|65532:65532|-c|net_admin|"
	for _, s := range []slip{
		// gosu, su-exec, chpst
		{"65532:65532|PROBE|x", 125, "the user is a flag", "caplaunch --user=65532:65532 -- ", ""},
		{"nobody|PROBE|x", 125, "the user is a flag", "caplaunch --user=nobody -- ", ""},
		{user + "PROBE|x", 125, "-- is missing", "caplaunch -u 65532:65532 -c net_admin -- ", ""},
		{"run|-c|net_admin|-u65532:65532|PROBE", 125, "-- is missing", "caplaunch -c net_admin -u65532:65532 -- ", ""},
		{"-qc|net_admin|-u|65532:65532|PROBE|state|a b|it's|", 125, "-- is missing", "caplaunch -qc net_admin -u 65532:65532 -- ", ""},
		// docker
		{"--cap-add|NET_ADMIN|-u|65532:65532|--|PROBE", 125, "docker's", "--caps=net_admin", "--caps=net_admin|-u|65532:65532|--|PROBE"},
		{"--cap-add=CAP_NET_ADMIN|-u|65532:65532|--|PROBE", 125, "docker's", "--caps=net_admin", "--caps=net_admin|-u|65532:65532|--|PROBE"},
		{user + "--cap-drop=ALL|--|PROBE", 125, "docker's", "leave it out: what --caps does not name is dropped", user + "--|PROBE"},
		{user + "--group-add=5|--|PROBE", 125, "docker's", "--keep-groups", user + "--keep-groups|--|PROBE"},
		{user + "--no-new-privileges|--|PROBE", 125, "docker's", "leave it out: no_new_privs is set", user + "--|PROBE"},
		{user + "-e|A=b|--|PROBE", 125, "docker's", "write it in front of the image's name", user + "--|PROBE"},
		{"--privileged|-u|65532:65532|--|PROBE", 125, "docker's", "--caps=net_admin, with the capabilities that PROGRAM needs", "--caps=net_admin|-u|65532:65532|--|PROBE"},
		// setpriv, capsh, su, sudo
		{"--reuid=65532|--regid=65532|-c|net_admin|--|PROBE", 125, "setpriv's", "--user=65532:65532", user + "--|PROBE"},
		{"--reuid|65532|--regid|65532|-c|net_admin|--|PROBE", 125, "setpriv's", "--user=65532:65532", user + "--|PROBE"},
		{"--uid=65532|--gid=65532|-c|net_admin|--|PROBE", 125, "capsh's", "--user=65532:65532", user + "--|PROBE"},
		{"-u|65532|-g|65532|-c|net_admin|--|PROBE", 125, "su's", "--user=65532:65532", user + "--|PROBE"},
		{"--uid=65532|-c|net_admin|--|PROBE", 125, "capsh's", "--user=65532:GROUP", user + "--|PROBE"},
		{"--ambient-caps=-all,+net_admin|-u|65532:65532|--|PROBE", 125, "setpriv's", "--caps=net_admin", "--caps=net_admin|-u|65532:65532|--|PROBE"},
		{"--addamb=cap_net_admin|-u|65532:65532|--|PROBE", 125, "capsh's", "--caps=net_admin", "--caps=net_admin|-u|65532:65532|--|PROBE"},
		{user + "--clear-groups|--|PROBE", 125, "setpriv's", "leave it out", user + "--|PROBE"},
		{user + "--keep=1|--|PROBE", 125, "capsh's", "leave it out", user + "--|PROBE"},
		{user + "--preserve-env|--|PROBE", 125, "sudo's", "leave it out", user + "--|PROBE"},
		{"-c|cap_net_admin=eip|-u|65532:65532|--|PROBE", 125, "is not a capability", "--caps=cap_net_admin", "--caps=cap_net_admin|-u|65532:65532|--|PROBE"},
		{"-c|CAP_NET_ADMIN,cap_chown+ep|-u|0:0|--keep-groups|--|PROBE", 125, "is not a capability", "--caps=cap_net_admin,cap_chown", "--caps=cap_net_admin|-u|65532:65532|--|PROBE"},
		// the exec form
		{"--caps net_admin|-u|65532:65532|--|PROBE", 125, "is one word", "--caps net_admin", "--caps|net_admin|-u|65532:65532|--|PROBE"},
		{"-c net_admin|-u 65532:65532|--|PROBE", 125, "is one word", "-c net_admin", user + "--|PROBE"},
		{"--caps=net_admin --user=65532:65532|--|PROBE", 125, "each flag is an element", "--caps=net_admin --user=65532:65532", "--caps=net_admin|--user=65532:65532|--|PROBE"},
		{user + "-- PROBE", 125, "-- and PROGRAM are two elements", `"--", "`, user + "--|PROBE"},
		{user + "--|PROBE x", 127, "", "caplaunch -u 65532:65532 -c net_admin -- ", ""},
		{user + "--|cd / && exec PROBE", 127, "", "caplaunch -u 65532:65532 -c net_admin -- sh -c ", ""},
		{user + "--|exec|PROBE", 127, "exec: not found", "caplaunch -u 65532:65532 -c net_admin -- sh -c ", ""},
		{user + "--|export|A=b|&&|PROBE", 127, "export: not found", "caplaunch -u 65532:65532 -c net_admin -- sh -c ", ""},
		{user + "--|'PROBE'", 127, "", "caplaunch -u 65532:65532 -c net_admin -- ", ""},
		{user + "--|PROBE ", 127, "", "caplaunch -u 65532:65532 -c net_admin -- ", ""},
		{user + "--|--|PROBE", 127, "", "caplaunch -u 65532:65532 -c net_admin -- ", ""},
		{user + "--|-v|PROBE", 127, "", "caplaunch's own flags stand in front of --", user + "-v|--|PROBE"},
		{user + "--|~/bin/probe", 127, "", "write the whole path", user + "--|PROBE"},
		{user + "--|A=b|PROBE", 127, "", "caplaunch -u 65532:65532 -c net_admin -- env A=b ", ""},
		{user + "--|cd|/srv", 127, "", "WORKDIR in the Dockerfile", user + "--|PROBE"},
		{user + "--|$PROGRAM", 127, "", "write the program itself (the exec form expands no $", user + "--|PROBE"},
		{"-c|$CAPS|-u|65532:65532|--|PROBE", 125, "$CAPS", "--caps=net_admin,net_raw, as an example: capabilities(7) has the names (the exec form expands no $", user + "--|PROBE"},
		{"-u|$USER|-c|net_admin|--|PROBE", 125, "no user \"$USER\"", "--user=UID:GID (the exec form expands no $", user + "--|PROBE"},
		{user + "|--|PROBE", 125, "an empty word", "caplaunch -u 65532:65532 -c net_admin -- ", ""},
		// lists and names
		{"-c|net_bind|-u|65532:65532|--|PROBE", 125, "did you mean net_bind_service?", "--caps=net_bind_service", user + "--|PROBE"},
		{"-c|[NET_ADMIN, CHOWN]|-u|65532:65532|--|PROBE", 125, "is not a capability", "--caps=net_admin,chown", user + "--|PROBE"},
		{"-c|NET_ADMIN\\|CHOWN|-u|65532:65532|--|PROBE", 125, "is not a capability", "--caps=net_admin,chown", user + "--|PROBE"},
		{"-c=net_admin|-u|65532:65532|--|PROBE", 125, "is not a capability", "--caps=net_admin", user + "--|PROBE"},
		{"-c|\"net_admin\"|-u|65532:65532|--|PROBE", 125, "is not a capability", "--caps=net_admin", user + "--|PROBE"},
		{"-u|nobdy|--|PROBE", 125, `there is no user "nobdy"`, "--user=UID:GID needs no file: id -u nobdy and id -g nobdy", user + "--|PROBE"},
		{"-u|\"nobody\"|--|PROBE", 125, "there is no user", "write nobody without the quotes", "-u|nobody|--|PROBE"},
		{"-u|65532:nogrp|--|PROBE", 125, `there is no group "nogrp"`, "write the number of the group", user + "--|PROBE"},
		{"-u|65532:|--|PROBE", 125, "has an empty group", "--user=UID:GID", user + "--|PROBE"},
		{"-u|65532|--|PROBE", 125, "no entry in /etc/passwd", "caplaunch --user=65532:GID", user + "--|PROBE"},
		{"-c|net_admin|chown|-u|65532:65532|--|PROBE", 125, "stands in front of --", "only flags stand in front of --, a list is one word", user + "--|PROBE"},
		{"-u|65532:65532|--sets=ambient|--|PROBE", 125, "there is none", "--strict, or --allow=", "-u|65532:65532|--allow=all|--sets=ambient|--|PROBE"},
		{"-u|65532:65532|-o|all|--strict|--|PROBE", 125, "all asks for everything", "--caps=net_admin, with the capabilities", user + "--|PROBE"},
		{"-u|65532:65532|--bounding=dorp|--|PROBE", 125, "must be one of", "--bounding=drop", "-u|65532:65532|--bounding=drop|--|PROBE"},
		{user + "--ignore-signals=SIGPIPE,HUPP|--|PROBE", 125, "did you mean hup?", "--ignore-signals=SIGPIPE,hup", user + "--ignore-signals=SIGPIPE,hup|--|PROBE"},
		{user + "--", 125, "no PROGRAM behind --", "caplaunch -u 65532:65532 -c net_admin -- PROGRAM", user + "--|PROBE"},
		{"-user=65532:65532|-c|net_admin|--|PROBE", 125, "has one dash", "--user=65532:65532", user + "--|PROBE"},
		{"–user=65532:65532|-c|net_admin|--|PROBE", 125, "another dash", "caplaunch --user=65532:65532 -c net_admin -- ", ""},
		{user + "explain|--|PROBE", 125, "has to stand in front of its flags", "caplaunch explain -u 65532:65532 -c net_admin -- ", user + "--|PROBE"},
	} {
		t.Run(s.written, func(t *testing.T) {
			put := strings.NewReplacer("PROBE", engine.Probe(t)).Replace
			words := func(line string) []string {
				return strings.Split(strings.ReplaceAll(put(strings.ReplaceAll(line, `\|`, "\x00")), "|", "\x01"), "\x01")
			}
			written := words(s.written)
			for i, w := range written {
				written[i] = strings.ReplaceAll(w, "\x00", "|")
			}
			r := caplaunch(t, written...)
			said := engine.Refused(t, r, s.code)
			if !strings.Contains(said.Msg, s.says) || !strings.HasPrefix(said.Hint, s.hint) || strings.Contains(said.Hint, "\n") {
				t.Errorf("%s: %v", s.written, r)
				return
			}
			if s.again != "" {
				r = caplaunch(t, words(s.again)...)
			} else {
				r = engine.Command(t, exec.Command("sh", "-c", strings.Replace(said.Hint, "caplaunch", engine.Caplaunch(t), 1)))
			}
			id, caps := "65532", uint64(0)
			if strings.Contains(s.again+s.hint, "nobody") {
				id = "65534"
			}
			if strings.Contains(s.again, "net_admin") || s.again == "" && strings.Contains(said.Hint, "net_admin") {
				caps = engine.NetAdmin
			}
			if engine.Promised(id, caps).With("Gid", "*", "Groups", "*", "CapPrm", "*", "CapEff", "*", "CapInh", "*").Want(t, r); t.Failed() {
				t.Logf("hint: %s", said.Hint)
			}
		})
	}
}
