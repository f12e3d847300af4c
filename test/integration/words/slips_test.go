package words

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/caplaunch/caplaunch/test/integration/engine"
)

// The first mistakes of a stranger that only the launch finds out: each gets one sentence and one line that works.
// Those that the command line alone shows are in cmd/caplaunch.
func TestAStrangersFirstMistakes(t *testing.T) {
	engine.RequireRoot(t)
	const user = "-u|65532:65532|-c|net_admin|"
	for _, s := range []struct {
		written string // words split at "|"; PROBE is put in
		code    int
		says    string // a part of the sentence
		hint    string // its beginning
		again   string // the line with the hint followed; "": the hint is a whole line, and pasted
	}{
		{user + "PROBE|x", 125, "-- is missing", "caplaunch -u 65532:65532 -c net_admin -- ", ""},
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
		{"-u|$USER|-c|net_admin|--|PROBE", 125, "no user \"$USER\"", "--user=UID:GID (the exec form expands no $", user + "--|PROBE"},
		{"-u|nobdy|--|PROBE", 125, `there is no user "nobdy"`, "--user=UID:GID needs no file: id -u nobdy and id -g nobdy", user + "--|PROBE"},
		{"-c|net_admin|-u|\"nobody\"|--|PROBE", 125, "there is no user", "write nobody without the quotes", "-c|net_admin|-u|nobody|--|PROBE"},
		{"-u|65532:nogrp|--|PROBE", 125, `there is no group "nogrp"`, "write the number of the group", user + "--|PROBE"},
		{"-u|65532|--|PROBE", 125, "no entry in /etc/passwd", "caplaunch --user=65532:GID", user + "--|PROBE"},
	} {
		t.Run(s.written, func(t *testing.T) {
			words := func(line string) []string {
				return strings.Split(strings.ReplaceAll(line, "PROBE", engine.Probe(t)), "|")
			}
			r := caplaunch(t, words(s.written)...)
			said := engine.Refused(t, r, s.code)
			if !strings.Contains(said.Msg, s.says) || !strings.HasPrefix(said.Hint, s.hint) || strings.Contains(said.Hint, "\n") {
				t.Fatal(r)
			}
			if s.again != "" {
				r = caplaunch(t, words(s.again)...)
			} else {
				r = engine.Command(t, exec.Command("sh", "-c", strings.Replace(said.Hint, "caplaunch", engine.Caplaunch(t), 1)))
			}
			id := "65532"
			if strings.Contains(s.again, "nobody") {
				id = "65534"
			}
			engine.Promised(id, engine.NetAdmin).With("Gid", "*", "Groups", "*").Want(t, r)
		})
	}
}

// The hints of the other commands work too.
func TestHintsOfOtherCommandsWork(t *testing.T) {
	engine.RequireRoot(t)
	for _, c := range []struct{ words, part, again string }{
		{"check --allow=net_amdin", "--allow=net_admin", "check --allow=net_admin --sets=ambient"},
		{"check --allow=all --sets=any", "--sets=permitted,bounding", "check --allow=all --sets=permitted,bounding"},
		{"check --allow=all -- true", "caplaunch check --allow=all", "check --allow=all"},
		{"version -- true", "caplaunch version", "version"},
		{"show -- true", "caplaunch show", "show"},
		{"explain --for=docker -u 1:1 -c 45,net_admin", "leave 45 out of the list here; run takes it", "explain --for=docker -u 1:1 -c net_admin"},
		{"explain --for=docker -u 1:1 -o 45", "leave 45 out of the list here; run takes it", "explain --for=docker -u 1:1"},
	} {
		if hint := engine.Refused(t, caplaunch(t, strings.Fields(c.words)...), engine.Failure).Hint; hint != c.part && !strings.HasPrefix(hint, c.part+" (") {
			t.Errorf("%s: %q", c.words, hint)
		}
		caplaunch(t, strings.Fields(c.again)...).Ran(t)
	}

	d, img := docker(t)
	engine.Refused(t, d.Run(t, img, nil, "/caplaunch", "install", "/missing/caplaunch"), engine.Failure).Hints(t, "caplaunch install /shared, ")
	d.Run(t, img, nil, "/caplaunch", "install", "/shared").Ran(t)
	check := []string{"/caplaunch", "check", "--allow=chown"}
	r := d.Run(t, img, []string{"--cap-drop=ALL", "--cap-add=CHOWN", "--cap-add=KILL", "--cap-add=SYS_ADMIN"}, check...)
	_, hint, _ := strings.Cut(engine.Refused(t, r, engine.Unexpected).Hint, "docker run ")
	d.Run(t, img, strings.Fields(hint), check...).Ran(t)
}
