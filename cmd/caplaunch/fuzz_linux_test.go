package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/caplaunch/caplaunch/internal/ambient"
	"github.com/caplaunch/caplaunch/internal/identity"
)

// A simulated machine: the Sim in the place of the kernel.
type simulated struct {
	*ambient.Sim
	death int
}

func (s *simulated) Host() (ambient.Host, error)                        { return s.On, nil }
func (s *simulated) DeathSignal() (int, error)                          { return s.death, nil }
func (s *simulated) Watch(_ func(string) string, do func() error) error { return do() }
func (s *simulated) SetDeathSignal(sig int) error                       { s.death = sig; return nil }

// starts are the states that the fuzzer starts from.
var starts = func() []ambient.State {
	docker := ambient.Set(0xa80425fb) | ambient.SetOf(12)
	root := ambient.State{Permitted: docker, Effective: docker, Bounding: docker}
	full := ambient.UpTo(40)
	user := ambient.State{UID: ambient.Same(65532), GID: ambient.Same(65532), Bounding: docker}
	podman := user
	admin := ambient.SetOf(12)
	podman.Permitted, podman.Inheritable, podman.Effective, podman.Ambient = admin, admin, admin, admin
	return []ambient.State{root, {Permitted: full, Effective: full, Bounding: full}, user, podman}
}()

var errLeft = errors.New("left")

// FuzzRun sends whole command lines through run on the Sim: whatever they say,
// the program is left to in exactly the promised state or there is one error
// with a hint and a status; nothing panics, and JSON is JSON.
func FuzzRun(f *testing.F) {
	for _, words := range []string{
		"--caps=net_admin\n--user=65532:65532\n--\n/bin/true\nx", "-c\nnet_raw\n-u\nroot\n--allow-new-privs\n--bounding=drop\n--\ntrue",
		"-o\nall\n-u1:1\n--strict\n--sets=bounding\n--log-format=json\n--\n/bin/sh", "explain\n-c\n12\n--json\n--\ntrue", "-u\n4294967296\n--\ntrue",
		"--groups=1,2\n--non-root=keep\n--keep-env\n-v\n--log-format=json\n--\n/etc", "--ignore-signals=PIPE,HUP\n--stdio=keep\n-u0:0\n--\ntrue", "--help", "check\n--allow=none\n--json", "show\n--json", "version\n--json",
	} {
		f.Add(words, uint8(0), "CAPLAUNCH_QUIET=1")
		f.Add(words, uint8(3), "CAPLAUNCH_CAPS=\x00")
	}
	f.Fuzz(func(t *testing.T, words string, start uint8, variable string) {
		args := strings.Split(words, "\n")
		for _, w := range args {
			if w == "install" { // it writes where the fuzzer says
				return
			}
		}
		now := starts[int(start)%len(starts)]
		sim := &ambient.Sim{Now: now, On: ambient.Host{Known: ambient.UpTo(40), Ambient: true, SetGroups: true}}
		var stdout, stderr bytes.Buffer
		var left *launch
		a := &app{kernel: &simulated{Sim: sim}, files: identity.Etc, environ: []string{"PATH=/bin:/usr/bin", variable}, stdout: &stdout, stderr: &stderr,
			handOver: func(ambient.State, *reporter) {},
			leave:    func(l *launch, _ []string) error { left = l; return errLeft }}
		code := a.main(append([]string{"caplaunch"}, args...))

		asJSON := strings.HasPrefix(stderr.String(), "{")
		errorsSeen := 0
		for line := range strings.Lines(stderr.String()) {
			var r record
			switch {
			case asJSON:
				if err := json.Unmarshal([]byte(line), &r); err != nil {
					t.Fatalf("not JSON: %q: %v", line, err)
				}
				if r.Level == "error" {
					errorsSeen++
					if r.Msg == "" || r.Hint == "" || r.Code == 0 {
						t.Fatalf("incomplete: %q", line)
					}
				}
			case strings.HasPrefix(line, "caplaunch: error: "):
				errorsSeen++
			case !strings.HasPrefix(line, "caplaunch: "):
				t.Fatalf("a line of nobody's: %q", line)
			}
		}
		if left == nil {
			if sim.Now != now {
				t.Fatalf("refused, and changed: %q\n%s", args, stderr.String())
			}
			if code != 0 && errorsSeen != 1 && !strings.HasPrefix(args[0], "explain") {
				t.Fatalf("status %d with %d errors: %q\n%s", code, errorsSeen, args, stderr.String())
			}
			return
		}
		got := sim.Now
		given := left.plan.Given
		if got.Permitted != given || got.Effective != given || got.Inheritable != given || got.Ambient != given ||
			got.UID != ambient.Same(got.UID.Real) || got.GID != ambient.Same(got.GID.Real) || !now.Permitted.Contains(given) {
			t.Fatalf("left in %+v with %v: %q", got, given, args)
		}
	})
}

// FuzzJSON holds the JSON output to be JSON, and one line, whatever is in it.
func FuzzJSON(f *testing.F) {
	f.Add("a\nb", "\x00\xff\u2028", "</script>")
	f.Fuzz(func(t *testing.T, msg, hint, name string) {
		var b bytes.Buffer
		r := &reporter{w: &b, json: true}
		r.fail(errors.Join(errors.New(msg), &identity.LookupError{Name: identity.Name{Text: name}}), hint)
		r.json = false
		text := b.Len()
		r.fail(errors.New(msg), hint)
		var rec record
		if err := json.Unmarshal(b.Bytes()[:text], &rec); err != nil || bytes.Count(b.Bytes()[:text], []byte("\n")) != 1 {
			t.Fatalf("%q: %v", b.Bytes()[:text], err)
		}
		if out := b.Bytes()[text:]; bytes.Count(out, []byte("\n")) != 2 || bytes.ContainsAny(out, "\x00\x1b\r") {
			t.Fatalf("not two plain lines: %q", out)
		}
	})
}
