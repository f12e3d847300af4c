//go:build linux

package launch

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/caplaunch/caplaunch/internal/ambient"
	"github.com/caplaunch/caplaunch/internal/identity"
	"github.com/caplaunch/caplaunch/internal/origin"
	"github.com/caplaunch/caplaunch/test/unit"
)

// A recorder is the Sim, which notes what is asked of it. One call fails, or reports success and does nothing.
type recorder struct {
	ambient.Sim
	death, now int // parent-death signal at the start, and since
	calls      []string
	fault      int // the number of the call from 1 on; 0 is none
	lies       bool
}

var errFault = errors.New("a fault")

// call reports whether the call is made.
func (r *recorder) call(format string, args ...any) (made bool, err error) {
	if r.calls = append(r.calls, fmt.Sprintf(format, args...)); len(r.calls) != r.fault {
		return true, nil
	}
	if r.lies {
		return false, nil
	}
	return false, errFault
}

func (r *recorder) State() (ambient.State, error) {
	_, err := r.call("state")
	return r.Now, err
}

func (r *recorder) StateAndHost() (ambient.State, ambient.Host, error) {
	_, err := r.call("start")
	return r.Now, r.Host, err
}

func (r *recorder) Do(s ambient.Step) error {
	made, err := r.call("%v", s)
	if made {
		err = r.Sim.Do(s)
		if _, isUID := s.(ambient.SetResUID); isUID {
			r.now = 0
		}
	}
	return err
}

func (r *recorder) Hide() error {
	_, err := r.call("hide")
	return err
}

func (r *recorder) DeathSignal() (int, error) {
	_, err := r.call("read death signal")
	return r.now, err
}

func (r *recorder) SetDeathSignal(signal int) error {
	made, err := r.call("death signal %d", signal)
	if made {
		r.now = signal
	}
	return err
}

// launch is one from root to a user with one capability, on the Sim.
func (r *recorder) launch(program string) (l *Launch, said *[]string) {
	caps := ambient.SetOf(ambient.Cap(12), ambient.CapSetUID, ambient.CapSetGID)
	r.Host = ambient.Host{Known: caps, Ambient: true, SetGroups: true}
	r.Now = ambient.State{Permitted: caps, Effective: caps, Bounding: caps, Groups: ambient.NewGroups(0, 7)}
	r.calls, r.now, said = nil, r.death, new([]string)
	user := identity.Name{Text: "65532", ID: 65532, Numeric: true}
	l = &Launch{
		User: &identity.Spec{User: user, Group: &user}, Argv: []string{program}, Kernel: r, KeepStdio: true, Files: identity.Files{Passwd: "/nonexistent", Group: "/"}, // which nobody has to read
		Say:   func(format string, args ...any) { *said = append(*said, fmt.Sprintf(format, args...)) },
		Ready: func() { *said = append(*said, "ready") },
	}
	l.Request.Required.Set = ambient.SetOf(ambient.Cap(12))
	return l, said
}

func (r *recorder) explain() (said []string, err error) {
	l, out := r.launch("/bin/true")
	l.Explain = true
	err = l.Run()
	return *out, err
}

func TestAFaultOfTheKernelEndsTheLaunchAtOnce(t *testing.T) {
	for death := range 2 {
		r := &recorder{death: 9 * death}
		said, err := r.explain()
		all := slices.Clone(r.calls)
		if err != nil || r.now != r.death || all[len(all)-1] != "state" || slices.Contains(all, "death signal 0") || !strings.Contains(strings.Join(said, "\n"), "PROGRAM does not get: 7") {
			t.Fatalf("%v\n%q\n%q", err, all, said)
		}
		for r.fault = 1; r.fault <= len(all); r.fault++ {
			r.lies = false
			if _, err := r.explain(); !errors.Is(err, errFault) || len(r.calls) != r.fault {
				t.Errorf("%q fails: %v, after %d calls", all[r.fault-1], err, len(r.calls))
			}
			r.lies = true
			_, err := r.explain()
			if isRead := strings.Contains("state start hide read death signal", all[r.fault-1]); (err == nil) != isRead {
				t.Errorf("%q lies: %v", all[r.fault-1], err)
			}
		}
	}
}

// What the kernel says of the exec itself, and of what is put back before it, is not lost.
func TestTheLastCallsAreBelievedNoMore(t *testing.T) {
	junk := filepath.Join(t.TempDir(), "junk")
	unit.Write(t, junk, "neither this nor that", 0o755)
	for _, c := range []struct {
		explain bool
		ignore  int
		want    error
		said    string
	}{
		{true, 9, unix.E2BIG, ""},
		{false, 9, unix.EINVAL, "ready\nexecve " + junk},
		{false, 10, unix.ENOEXEC, "ready\nexecve " + junk},
	} {
		l, said := (&recorder{}).launch(junk)
		l.Explain, l.Ignore = c.explain, origin.SignalsOf(c.ignore)
		if c.explain {
			l.Argv = append(l.Argv, strings.Repeat("x", 200<<10))
		}
		err := l.Run()
		if c.explain && l.Program.Ask(l.Argv, nil) == nil {
			c.want = nil // before Linux 6.14
		}
		if text := strings.Join(*said, "\n"); !errors.Is(err, c.want) || !strings.HasSuffix(text, c.said) || strings.Contains(text, "ready") == c.explain {
			t.Errorf("%+v: %v, %q", c, err, text)
		}
	}
}

// Of passwd only what matters is read, and of group nothing, since a line that is wrong there would be an error.
func TestEntriesAreReadWhereTheyMatter(t *testing.T) {
	passwd := filepath.Join(t.TempDir(), "passwd")
	unit.Must(t, os.WriteFile(passwd, []byte("root:x:0:0::/root:\nrelay:x:65532:65532::/home/relay:\n"), 0o644))
	for _, c := range []struct{ user, keepEnv, keepGroups, read, fails bool }{
		{user: true, read: true},
		{user: true, keepEnv: true},
		{user: true, keepEnv: true, keepGroups: true, fails: true},
		{fails: true},
	} {
		l, _ := (&recorder{}).launch("/bin/true")
		l.Explain, l.KeepEnv, l.Request.KeepGroups, l.Files.Passwd = true, c.keepEnv, c.keepGroups, passwd
		if !c.user {
			l.User = nil
		}
		err := l.Run()
		if (err != nil) != c.fails || (l.Answer.New.Home == "/home/relay") != c.read || (l.Answer.Start.Home == "/root") != (c.read || c.keepGroups) {
			t.Errorf("%+v: %v, %+v", c, err, l.Answer)
		}
	}
}
