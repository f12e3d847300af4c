package main

import (
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/caplaunch/caplaunch/internal/origin"
)

// told is the error and the hint for a command line that cannot be understood; words are split at "|".
func told(text string, environ ...string) (msg, hint string) {
	l, err := parse(strings.Split(text, "|"), environ, io.Discard)
	if err == nil {
		if l.command == "check" {
			_, _, err = l.Check.lists(l.sources)
		} else {
			_, err = l.flags().ask(l.sources)
		}
	}
	var usage *usageError
	if !errors.As(err, &usage) {
		return "", ""
	}
	return usage.Error(), usage.hint
}

// flags are those of a launch.
func (l *line) flags() *launchFlags {
	if l.command == "explain" {
		return &l.Explain.launchFlags
	}
	return &l.Run.launchFlags
}

// What was written, a part of what is said of it, and the line that works, which never asks for less protection.
func TestASlipGetsOneSentenceAndOneLineThatWorks(t *testing.T) {
	for _, c := range []struct{ line, says, hint string }{
		// The missing "--".
		{"--user=1:1|/relay|listen", "-- is missing", "caplaunch --user=1:1 -- /relay listen"},
		{"ruby|app.rb", "-- is missing", "caplaunch -- ruby app.rb"},
		{"chown|file", "-- is missing", "caplaunch -- chown file"},
		{"-u|1:1|ping|-c=3|host", "-- is missing", "caplaunch -u 1:1 -- ping -c=3 host"},
		{"sh|-c|echo a\necho b", "-- is missing", "caplaunch -- sh -c $'echo a\\012echo b'"},
		{"1000:1000|/relay", "the user is a flag", "caplaunch --user=1000:1000 -- /relay"},
		{"1000|/relay", "the user is a flag", "caplaunch --user=1000 -- /relay"},
		{"run|-c|kill|-u1:1|/relay", "-- is missing", "caplaunch -c kill -u1:1 -- /relay"},
		{"-qc|kill|-u|1:1|/relay|a b|it's|", "-- is missing", "caplaunch -qc kill -u 1:1 -- /relay 'a b' 'it'\\''s' ''"},
		{"explain|id|--nosuch", "-- is missing", "caplaunch explain -- id --nosuch"},
		{"run|--", "no PROGRAM behind --", "caplaunch -- PROGRAM"},
		{"explain|-c|kill", "no PROGRAM to run, and no --", "caplaunch explain -c kill -- PROGRAM"},
		// One element of the exec form where two belong, and the other way round.
		{"--caps net_admin|--|id", "is one word", "--caps net_admin"},
		{"--caps=net_raw -u 1:1|--|id", "is one word", "--caps=net_raw -u 1:1"},
		{"--keep-groups |--|id", "is one word", "--keep-groups"},
		{"-- /relay", "is one word", `"--", "/relay"`},
		{"--caps=chown --strict|--|id", "each flag is an element", "--caps=chown --strict"},
		{"--caps= net_raw\tchown |--groups=adm www-data|--|id", "", ""},
		{"--user= 1|--|id", "is not a name", "--user=UID:GID"},
		{"--caps= net_raw|--ignore-signals=PIPE RTMAX-1|--|id", "", ""}, // a list splits at white space
		{"|--|id", "an empty word", "caplaunch -- id"},
		{"-u|1:1||--|id", "an empty word", "caplaunch -u 1:1 -- id"},
		{"-u|2:2|-c|net_raw|chown|--strict|--|P", "where only flags can be", "only flags stand in front of --"},
		{"a|b|--|id", `"a" stands in front`, "only flags stand in front of --"},
		{"-|--|id", "where only flags can be", "only flags stand in front of --"},
		{"-c|$CAPS|--|id", "$CAPS", "--caps=net_admin,net_raw"},
		// Dashes.
		{"-caps|net_raw|--|id", "one dash", "--caps"},
		{"—user=2:2|--|P", "another dash than -", "caplaunch --user=2:2 -- P"},
		// Commands in the wrong place, or without what they need.
		{"-c|net_admin|-u|1:1|explain|--|true", "in front of its flags", "caplaunch explain -c net_admin -u 1:1 -- true"},
		{"check", "--allow", "caplaunch check --allow=net_admin,net_raw"},
		{"help|--|id", "where only flags can be", "only flags stand in front of --"},
		{"check|--allow=all|--|true", "takes no PROGRAM", "caplaunch check --allow=all"},
		{"install", "DEST", "caplaunch install /shared"},
		{"show|abc", "abc", "caplaunch show 1"},
		{"show|2147483648", "is no process number", "caplaunch show 1"},
		{"show|0", "is no process number", "caplaunch show 1"},
		{"--version|--json|-v", "", ""},
		{"show|1|--json", "", ""},
		{"--version|--|id", "version takes no PROGRAM", "caplaunch version"},
		{"check|--allow=all|--pid=0x1", "0x1", "--pid=1"},
		// Flags and values that nobody knows.
		{"--alow=net_raw|--|id", "unknown flag --alow", "--allow=net_raw"},
		{"--disallow=net_admin|--|id", "unknown flag", "caplaunch --help shows the flags"},
		{"--bounding=dorp|--|id", "--bounding must be one of", "--bounding=drop"},
		{"explain|--for=k8s", "must be one of", "--for=docker"},
		{"-u|--|id", "--user has no value", "--user="},
		{"-c|net_amdin,chown|--|id", "did you mean net_admin?", "--caps=net_admin,chown"},
		{"-c|nothing_near|--|id", "not a capability", "--caps=net_admin,net_raw"},
		{"-c|kill,nothing_near|--|id", "not a capability", "--caps=net_admin,net_raw"},
		{"-o|nothing_near|--|id", "not a capability", "--optional-caps=net_raw"},
		{"-c|none,chown|--|id", "stands alone", "--caps=chown"},
		{"-c|net_bind|--|id", "did you mean net_bind_service?", "--caps=net_bind_service"},
		{"-c|[KILL, CHOWN]|--|id", "not a capability", "--caps=kill,chown"},
		{"-c|CAP_KILL,cap_chown+ep|--|id", "not a capability", "--caps=cap_kill,cap_chown"},
		{"-c=kill|--|id", "not a capability", "--caps=kill"},
		{"--caps=\"none\"|--|id", "not a capability", "--caps=none"},
		{"--allow=None,none|--|id", "stands alone", "--allow=net_admin,setgid,setuid"},
		{"-c|cap_cap_net_raw|--|id", "says cap_ twice", "--caps=net_raw"},
		{"--ignore-signals=pip,$(id)|--|id", "did you mean pipe?", "--ignore-signals='pipe,$(id)'"},
		{"--ignore-signals=INT,SIGHPU|--|id", "did you mean hup?", "--ignore-signals=INT,hup"},
		{"--ignore-signals=SIGHPU|--|id", "did you mean hup?", "--ignore-signals=hup"},
		{"--ignore-signals=hu|--|id", `unknown signal "hu"`, "--ignore-signals=PIPE"},
		{"--ignore-signals=STOP|--|id", "cannot be ignored", "--ignore-signals=PIPE"},
		{"--strict|--sets=foo|--|id", "none of permitted", "--sets=permitted,bounding"},
		{"--strict|--sets=bounding|--|id", "", ""},
		{"--sets=bounding|--|id", "there is none", "--strict, or --allow=net_admin,setgid,setuid, beside it"},
		{"--strict|-o|all|--|id", "all asks for everything", "--caps=net_admin"},
		{"--strict|-c|all|--|id", "all asks for everything", "--caps=net_admin"},
		{"--user=|--|id", "is empty", "--user="},
		{"--user=4294967296|--|id", "highest id", "--user="},
		{"--groups=1,-1|--|id", `"-1" is not a plain decimal number`, "--groups="},
		// Flags of other tools.
		{"--cap-add=NET_RAW|--|id", "docker's", "--caps=net_raw"},
		{"--cap-add|CAP_NET_RAW|--|id", "docker's", "--caps=net_raw"},
		{"--group-add=5|--|id", "docker's", "--keep-groups"},
		{"--no-new-privileges|--|id", "docker's", "leave it out: no_new_privs is set"},
		{"-e|A=b|--|id", "docker's", "write it in front of the image's name"},
		{"--privileged|--|id", "docker's", "--caps=net_admin, with the capabilities that PROGRAM needs"},
		{"--reuid=1|--regid=2|--|id", "setpriv's", "--user=1:2"},
		{"--uid=1|--gid=2|--|id", "capsh's", "--user=1:2"},
		{"--uid=1|--|id", "capsh's", "--user=1:GROUP"},
		{"-u|1|-g|2|--|id", "su's", "--user=1:2"},
		{"--addamb=cap_kill|--|id", "capsh's", "--caps=kill"},
		{"--clear-groups|--|id", "setpriv's", "leave it out"},
		{"--keep=1|--|id", "capsh's", "leave it out"},
		{"--preserve-env|--|id", "sudo's", "leave it out"},
		{"--ambient-caps=-all,+net_admin|--|true", "setpriv's", "--caps=net_admin"},
		{"--cap-drop|ALL|--|id", "docker's", "leave it out: what --caps does not name is dropped"},
	} {
		msg, hint := told(c.line)
		if !strings.Contains(msg, c.says) || !strings.HasPrefix(hint, c.hint) || c.says == "" && msg != "" {
			t.Errorf("%s: %s\nhint %q\nwant %q", c.line, msg, hint, c.hint)
		}
		if !strings.HasPrefix(hint, "caplaunch ") || strings.Contains(hint, " --help shows") {
			continue
		}
		// A whole line is pasted into a shell, and understood.
		words, err := exec.Command("bash", "-c", "caplaunch() { printf '%s|' \"$@\"; }; "+hint).Output()
		if err != nil {
			t.Errorf("%s: hint %q: %v", c.line, hint, err)
		} else if again, _ := told(strings.TrimSuffix(string(words), "|")); again != "" {
			t.Errorf("%s: hint %q: %s", c.line, hint, again)
		}
	}
}

// The help is that of the command, and what nobody knows among the variables matters where a launch would obey it.
func TestHelpIsOfTheCommand(t *testing.T) {
	for line, want := range map[string]string{"help": "--strip-file-caps", "help|check": "--pid", "check|--help": "--pid", "--help": "Capabilities that PROGRAM must have.", "help|nothing": "--strip-file-caps", "help|--caps": "Other commands", "--bogus|--help": "--strip-file-caps", "install|-h": "<dest>"} {
		var out strings.Builder
		if _, err := parse(strings.Split(line, "|"), nil, &out); err != errHelp || !strings.Contains(out.String(), want) {
			t.Errorf("%s: %v, %s", line, err, out.String())
		}
	}
	for n, fails := range map[int]bool{maxWords: false, maxWords + 1: true} {
		if msg, _ := told(strings.Repeat("-q|", n) + "--|id"); (msg != "") != fails {
			t.Errorf("%d words: %s", n, msg)
		}
	}
	if !wantsJSON([]string{"caplaunch"}, []string{"CAPLAUNCH_LOG_FORMAT=json", "A=1"}) {
		t.Error("the format of a usage error")
	}
	if _, err := parse([]string{"help", "check", "x"}, nil, io.Discard); err == errHelp {
		t.Error("the help of two commands")
	}
	for line, fails := range map[string]bool{"--|id": true, "explain|--|id": true, "check|--allow=all": true, "show": false, "version": false, "install|/x": false} {
		if msg, _ := told(line, "CAPLAUNCH_NOSUCH=1"); (msg != "") != fails {
			t.Errorf("%s: %s", line, msg)
		}
	}
}

// The flags for the output close nothing: one of them only takes the place of the other's variable.
func TestTheOutputClosesNoGroup(t *testing.T) {
	for flag, other := range map[string]string{"-v": "CAPLAUNCH_QUIET=true", "-q": "CAPLAUNCH_VERBOSE=true"} {
		l, err := parse([]string{flag, "--", "id"}, []string{"CAPLAUNCH_CAPS=chown", other, "CAPLAUNCH_LOG_FORMAT=json"}, io.Discard)
		if err != nil || l.Run.LogFormat != "json" || !slices.Equal(l.Run.Caps, []string{"chown"}) || l.Run.Verbose != (flag == "-v") || l.Run.Quiet != (flag == "-q") {
			t.Errorf("%s: %+v, %v", flag, l, err)
		}
	}
	if msg, _ := told("--log-format=xml|--|id", "CAPLAUNCH_LOG_FORMAT=json"); !strings.HasPrefix(msg, "--log-format must be") {
		t.Error(msg)
	}
	// Only the flags of a launch have variables.
	if l, err := parse([]string{"show"}, []string{"CAPLAUNCH_JSON=true"}, io.Discard); err != nil || l.Show.JSON {
		t.Errorf("%+v, %v", l, err)
	}
}

// A flag on the line closes its group to variables, so a hint for who uses them has none.
func TestHintsSpellFlagsAsVariables(t *testing.T) {
	for _, c := range []struct{ from, hint, want string }{
		{"caps", "caplaunch --keep-groups", "caplaunch --keep-groups"},
		{"user", "caplaunch --keep-groups", "CAPLAUNCH_KEEP_GROUPS=true"},
		{"user", "caplaunch --user=0:0 --keep-groups to stay root", "CAPLAUNCH_USER=0:0 CAPLAUNCH_KEEP_GROUPS=true to stay root"},
		{"user", "docker run --user=0:0 --cap-drop=ALL; and caplaunch --user=5:5", "docker run --user=0:0 --cap-drop=ALL; and CAPLAUNCH_USER=5:5"},
		{"user", "--user=UID:GID needs no file", "CAPLAUNCH_USER=UID:GID needs no file"},
		{"caps", "caplaunch --user=5:5 --bounding=drop, or without --allow-new-privs", "CAPLAUNCH_BOUNDING=drop caplaunch --user=5:5, or without CAPLAUNCH_ALLOW_NEW_PRIVS"},
		{"caps", "(as in Docker: --optional-caps=kill in place of --caps, if it can)", "(as in Docker: CAPLAUNCH_OPTIONAL_CAPS=kill in place of CAPLAUNCH_CAPS, if it can)"},
		{"caps", "caplaunch --help", "caplaunch --help"},
		{"sets", "--strict, or --allow=kill, beside it", "CAPLAUNCH_STRICT=true, or CAPLAUNCH_ALLOW=kill, beside it"},
	} {
		if got := (sources{c.from: true}).inHint(c.hint); got != c.want {
			t.Errorf("%s from a variable: %q, want %q", c.from, got, c.want)
		}
	}
}

func TestSignalsAreNamesAndNumbers(t *testing.T) {
	of := origin.SignalsOf
	for list, want := range map[string]origin.Signals{
		"PIPE": of(13), "pipe,,pipe,": of(13), "1,64 31": of(1, 64, 31), "32 33": of(32, 33), "int\tquit\nusr1": of(2, 3, 10),
		"sigpipe,SigTerm hup": of(13, 15, 1), "chld,io,abrt,sys,stkflt": of(17, 29, 6, 31, 16),
		"RTMIN,rtmin+1,SIGRTMIN+30": of(34, 35, 64), "rtmax rtmax-1 sigrtmax-30": of(64, 63, 34), "rtmin+0 rtmax-0": of(34, 64),
	} {
		if got, _, err := parseSignals([]string{list}); err != nil || got != want {
			t.Errorf("%q: got %x, %v; want %x", list, uint64(got), err, uint64(want))
		}
	}
	two, _, err := parseSignals([]string{"int", "quit"})
	if none, _, noErr := parseSignals(nil); err != nil || two != of(2, 3) || noErr != nil || none != 0 {
		t.Errorf("two lists: %x, %v; no list: %x, %v", uint64(two), err, uint64(none), noErr)
	}
	for i, name := range signalNames {
		if name == "" || i == 9 || i == 19 {
			continue
		}
		if got, _, err := parseSignals([]string{name}); err != nil || got != of(i) {
			t.Errorf("%s: got %x, %v", name, uint64(got), err)
		}
	}
}

func TestWhatIsNoSignalIsRefused(t *testing.T) {
	for list, near := range map[string]string{
		"piep": "pipe", "SIGTREM": "term", "chdl": "chld", "pipee": "pipe",
		"": "", " , \t\n": "", "0": "", "65": "", "-1": "", "+5": "", "013": "", "18446744073709551617": "", "0x1": "", "SIG": "",
		"sig13": "", "RTMIN+31": "", "rtmin-1": "", "rtmin++1": "", "rtmax+1": "", "rtmax-31": "", "rtmin+-1": "", "rtmin+01": "",
		"piéé": "", "\xff": "", "1.0": "", strings.Repeat("x", 1<<20): "", "KILL": "", "sigstop": "", "9": "", "19": "",
	} {
		for _, lists := range [][]string{{list}, {"int " + list}} {
			got, meant, err := parseSignals(lists)
			if strings.Trim(list, " ,\t\n") == "" && lists[0] != list {
				continue
			}
			if err == nil || got != 0 || near != "" && meant != near || len(err.Error()) > 200 {
				t.Errorf("%.20q: %x, %q, %v", lists, uint64(got), meant, err)
			}
		}
	}
}
