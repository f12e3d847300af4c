package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/caplaunch/caplaunch/internal/ambient"
)

// starts are the states that the fuzzer starts from.
var starts = []ambient.State{
	{Permitted: docker, Effective: docker, Bounding: docker},
	{Permitted: ambient.NamedCaps, Effective: ambient.NamedCaps, Bounding: ambient.NamedCaps},
	{UID: ambient.Same(65532), GID: ambient.Same(65532), Bounding: docker},
	{UID: ambient.Same(65532), GID: ambient.Same(65532), Bounding: docker, Permitted: admin, Inheritable: admin, Effective: admin, Ambient: admin},
}

const docker, admin = ambient.Set(0xa80425fb) | admin, ambient.Set(1 << 12)

// FuzzRun sends whole command lines through explain on the Sim, which is run that stops in front of the execve:
// whatever they say, the launch ends in exactly the promised state, or there is one error with a hint and a status;
// nothing panics, and JSON is JSON.
func FuzzRun(f *testing.F) {
	for _, words := range []string{
		"--caps=net_admin\n--user=65532:65532\n--\n/bin/true\nx", "-c\nnet_raw\n-u\nroot\n--allow-new-privs\n--bounding=drop\n--\ntrue",
		"-o\nall\n-u1:1\n--strict\n--sets=bounding\n--log-format=json\n--\n/bin/sh", "explain\n-c\n12\n--json\n--\ntrue", "-u\n4294967296\n--\ntrue",
		"--groups=1,2\n--non-root=keep\n--keep-env\n-v\n--log-format=json\n--\n/etc", "--ignore-signals=PIPE,HUP\n--stdio=keep\n-u0:0\n--\ntrue", "--help", "check\n--allow=none\n--json", "show\n--json", "version\n--json",
		"-u\n65532:65532\n--strip-file-caps\n--allow-new-privs\n--bounding=try\n--\ntrue",
	} {
		f.Add(words, uint8(0), "CAPLAUNCH_QUIET=1")
		f.Add(words, uint8(3), "CAPLAUNCH_CAPS=\x00")
	}
	f.Fuzz(func(t *testing.T, words string, start uint8, variable string) {
		args := strings.Split(words, "\n")
		environ := []string{"PATH=/bin:/usr/bin", variable}
		l, err := parse(args, environ, io.Discard)
		switch {
		case slices.Contains(args, "install"):
			return // it writes where the fuzzer says
		case err == nil && l.command == "run":
			args = slices.Concat([]string{"explain"}, l.before, []string{"--"}, l.argv)
		}
		now := starts[int(start)%len(starts)]
		a, stdout, stderr := on(now)
		a.environ = environ
		code := a.main(append([]string{"caplaunch"}, args...))
		judgeLines(t, stderr.String(), code)
		got := a.one.(*simulated).Now
		launches := err == nil && (l.command == "run" || l.command == "explain" && l.Explain.For == "")
		switch {
		case code == 0 && launches:
			flags := l.flags()
			given := got.Permitted
			if got.Effective != given || got.Inheritable != given || got.Ambient != given || got.UID != ambient.Same(got.UID.Real) || got.GID != ambient.Same(got.GID.Real) ||
				!now.Permitted.Contains(given) || !got.NoNewPrivs && !flags.AllowNewPrivs {
				t.Fatalf("ends in %+v: %q", got, args)
			}
			if asked, err := flags.ask(l.sources); err != nil || !given.Contains(asked.req.Required.Resolve(thisHost)) || asked.user != nil && asked.user.User.Numeric && !asked.req.KeepNonRoot && got.UID.Real != asked.user.User.ID {
				t.Fatalf("ends in %+v without what was asked: %q, %v", got, args, err)
			}
		case code == exitNotGranted, code == exitUnexpected, !launches:
			if got != now {
				t.Fatalf("refused, and changed: %q\n%s%s", args, stdout, stderr)
			}
		}
	})
}

// judgeLines holds what is on stderr to be caplaunch's own lines, with one error
// at most, which is told where nothing else tells it.
func judgeLines(t *testing.T, text string, code int) {
	t.Helper()
	asJSON, errorsSeen := strings.HasPrefix(text, "{"), 0
	for line := range strings.Lines(text) {
		var r record
		switch {
		case asJSON:
			if err := json.Unmarshal([]byte(line), &r); err != nil {
				t.Fatalf("not JSON: %q: %v", line, err)
			}
			if r.Level == "error" {
				errorsSeen++
				if r.Msg == "" || r.Hint == "" || r.Code != code {
					t.Fatalf("incomplete: %q", line)
				}
			}
		case strings.HasPrefix(line, "caplaunch: error: "):
			errorsSeen++
		case !strings.HasPrefix(line, "caplaunch: "):
			t.Fatalf("a line of nobody's: %q", line)
		}
	}
	if errorsSeen > 1 || errorsSeen == 1 && code == 0 {
		t.Fatalf("status %d with %d errors:\n%s", code, errorsSeen, text)
	}
}

// Whatever is in an error, it is two plain lines, or one object of JSON.
func TestLinesArePlain(t *testing.T) {
	a, _, _ := on(ambient.State{})
	for _, word := range []string{"a\nb", "\x00\xff", "\u2028", "\x1b[2J\r", "</script>", "é"} {
		for _, err := range []error{usagef(word, "%s", word), errors.New(word)} {
			for _, asJSON := range []bool{false, true} {
				var b bytes.Buffer
				(&reporter{w: &b, json: asJSON}).fail(a.inWords(nil, err))
				if lines := bytes.Count(b.Bytes(), []byte("\n")); asJSON != json.Valid(b.Bytes()) || asJSON != (lines == 1) || lines > 2 || bytes.ContainsAny(b.Bytes(), "\x00\x1b\r") {
					t.Errorf("%q: %q", word, b.Bytes())
				}
			}
		}
	}
}
