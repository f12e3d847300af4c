package engine

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The exit statuses of caplaunch itself.
const (
	NotGranted = 77
	Unexpected = 78
	Failure    = 125
)

// NetAdmin is the capability that most tests ask for.
const NetAdmin uint64 = 1 << 12

// A Promise is what a program must find, by the keys that probe prints.
type Promise map[string]string

// Promised is the promise to the program of a user who is "UID:GID", or "UID" with a group of the same number, and who
// is to have exactly caps. The bounding set may be any.
func Promised(id string, caps uint64) Promise {
	uid, gid, ok := strings.Cut(id, ":")
	if !ok {
		gid = uid
	}
	four := func(id string) string { return strings.TrimSpace(strings.Repeat(id+" ", 4)) }
	mask := Mask(caps)
	return Promise{
		"Uid": four(uid), "Gid": four(gid), "Groups": gid,
		"CapInh": mask, "CapPrm": mask, "CapEff": mask, "CapAmb": mask,
		"NoNewPrivs": "1", "securebits": "0", "AT_SECURE": "0",
	}
}

// Mask is a set of capabilities as /proc/PID/status shows it.
func Mask(caps uint64) string { return fmt.Sprintf("%016x", caps) }

// With is the promise with other values for some keys: key, value, key, value. The value "*" is any.
func (p Promise) With(more ...string) Promise {
	q := maps.Clone(p)
	for i := 0; i < len(more); i += 2 {
		q[more[i]] = more[i+1]
	}
	return q
}

// Broken says how what a program printed differs from the promise, "" for not at all. A program that is not the probe
// may not know securebits and AT_SECURE.
func (p Promise) Broken(stdout string) string {
	got := ParseProbe(stdout)
	var diff []string
	for _, key := range slices.Sorted(maps.Keys(p)) {
		is, ok := got[key]
		if !ok && (key == "securebits" || key == "AT_SECURE") {
			continue
		}
		if (!ok || is != p[key]) && p[key] != "*" {
			diff = append(diff, fmt.Sprintf("%s is %.200q instead of %.200q", key, is, p[key]))
		}
	}
	return strings.Join(diff, ", ")
}

// Want checks that the program ran, ended well and found the promise. It returns all that the program found.
func (p Promise) Want(t testing.TB, r Result) map[string]string {
	t.Helper()
	if diff := p.Broken(r.Stdout); diff != "" || r.Code != 0 {
		t.Errorf("not what was promised: %s\n%v", diff, r)
	}
	return ParseProbe(r.Stdout)
}

// A Line is one that caplaunch writes to stderr. As text it has no more than Level, Msg, Hint and Code.
type Line struct {
	Level, Msg, Hint string
	Code             int
	Capability, Sets []string
}

// A State is one in JSON: see docs/json.md.
type State struct {
	UID, GID                                                         IDs
	Groups                                                           []uint32
	NoNewPrivs                                                       bool `json:"no_new_privs"`
	Securebits, Permitted, Effective, Inheritable, Ambient, Bounding []string
}

// IDs are the three of a user or of a group.
type IDs struct{ Real, Effective, Saved uint32 }

// A Verdict is that of explain --json.
type Verdict struct {
	OK        bool
	Code      int
	Msg, Hint string
}

// The beginnings of an error and of its hint as text.
const (
	ErrorPrefix = "caplaunch: error: "
	HintPrefix  = "caplaunch: hint: "
)

// Lines reads what caplaunch wrote to stderr. As JSON every line has to be strict, and as text every hint has to stand
// behind an error; what stands on no line of caplaunch is left out.
func Lines(t testing.TB, r Result) []Line {
	t.Helper()
	var all []Line
	for text := range strings.Lines(r.Stderr) {
		var l Line
		if strings.HasPrefix(text, "{") {
			Decode(t, text, &l)
		} else if hint, ok := strings.CutPrefix(text, HintPrefix); ok {
			if len(all) == 0 || all[len(all)-1].Level != "error" || all[len(all)-1].Hint != "" {
				t.Errorf("a hint of no error: %v", r)
				continue
			}
			all[len(all)-1].Hint = strings.TrimSpace(hint)
			continue
		} else if msg, ok := strings.CutPrefix(text, ErrorPrefix); ok {
			l = Line{Level: "error", Msg: strings.TrimSpace(msg), Code: r.Code}
		} else if msg, ok := strings.CutPrefix(text, "caplaunch: "); ok {
			l = Line{Level: "info", Msg: strings.TrimSpace(msg)}
		} else {
			continue
		}
		all = append(all, l)
	}
	return all
}

// Failed checks the exit status, and that there is exactly one error, with a hint. It returns the error.
func Failed(t testing.TB, r Result, code int) Line {
	t.Helper()
	errs := slices.DeleteFunc(Lines(t, r), func(l Line) bool { return l.Level != "error" })
	if r.Code != code || len(errs) != 1 || errs[0].Msg == "" || len(errs[0].Hint) < 5 || errs[0].Code != code {
		t.Errorf("want exit status %d and one error with a hint: %v", code, r)
		return Line{}
	}
	return errs[0]
}

// Refused is Failed for a launch: nothing may have run.
func Refused(t testing.TB, r Result, code int) Line {
	t.Helper()
	if r.Stdout != "" {
		t.Errorf("something ran, or spoke on stdout: %v", r)
	}
	return Failed(t, r, code)
}

// Says checks that the message contains a part.
func (l Line) Says(t testing.TB, part string) Line {
	t.Helper()
	if !strings.Contains(l.Msg, part) {
		t.Errorf("want a message that contains %q: %+v", part, l)
	}
	return l
}

// Hints checks how the hint begins, which is to be followed.
func (l Line) Hints(t testing.TB, beginning string) Line {
	t.Helper()
	if !strings.HasPrefix(l.Hint, beginning) {
		t.Fatalf("want a hint that begins with %q: %+v", beginning, l)
	}
	return l
}

// Ran checks that it ended well, and that each part is in its output.
func (r Result) Ran(t testing.TB, parts ...string) Result {
	t.Helper()
	if r.Code != 0 || slices.ContainsFunc(parts, func(p string) bool { return !strings.Contains(r.Stdout, p) }) {
		t.Errorf("want exit status 0 and %q: %v", parts, r)
	}
	return r
}

// Decode reads one line of JSON, without unknown fields.
func Decode(t testing.TB, text string, into any) {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader([]byte(text)))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil || d.More() || !strings.HasSuffix(text, "\n") || strings.Count(text, "\n") != 1 {
		t.Fatalf("not one line of JSON: %v\n%q", err, text)
	}
}

// Await asks until the answer is yes, or for a minute, and returns the last answer.
func Await(ask func() bool) bool {
	for end := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		if ask() {
			return true
		}
		if time.Now().After(end) {
			return false
		}
	}
}

// Content is that of a file, or nothing.
func Content(path string) string {
	data, _ := os.ReadFile(path)
	return string(data)
}

// Read is the content of a file, which must be there.
func Read(t testing.TB, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	Must(t, err)
	return string(data)
}

// Terminal makes a terminal of 33 rows and 77 columns.
func Terminal(t testing.TB) (master, tty *os.File) {
	t.Helper()
	return TerminalOf(t, "/dev/ptmx", "/dev/pts")
}

// TerminalOf makes one by that device, whose terminals are in dir.
func TerminalOf(t testing.TB, ptmx, dir string) (master, tty *os.File) {
	t.Helper()
	m, err := unix.Open(ptmx, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	Must(t, err)
	master = os.NewFile(uintptr(m), "ptmx")
	n, err := unix.IoctlGetInt(m, unix.TIOCGPTN)
	Must(t, err)
	Must(t, unix.IoctlSetPointerInt(m, unix.TIOCSPTLCK, 0))
	Must(t, unix.IoctlSetWinsize(m, unix.TIOCSWINSZ, &unix.Winsize{Row: 33, Col: 77}))
	tty, err = os.OpenFile(dir+"/"+strconv.Itoa(n), os.O_RDWR|unix.O_NOCTTY, 0)
	Must(t, err)
	t.Cleanup(func() {
		master.Close()
		tty.Close()
	})
	return master, tty
}
