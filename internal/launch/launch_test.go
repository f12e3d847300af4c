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
	"github.com/caplaunch/caplaunch/internal/exec"
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
	if r.calls = append(r.calls, fmt.Sprintf(format, args...)); len(r.calls) == r.fault && !r.lies {
		return false, errFault
	}
	return len(r.calls) != r.fault, nil
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
	junk := unit.Write(t, filepath.Join(t.TempDir(), "junk"), "neither this nor that", 0o755)
	for _, c := range []struct {
		explain bool
		ignore  int
		want    error
		said    string
	}{
		{true, 9, unix.E2BIG, ""}, {false, 9, unix.EINVAL, "ready\nexecve " + junk}, {false, 10, unix.ENOEXEC, "ready\nexecve " + junk},
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
	passwd := unit.Write(t, filepath.Join(t.TempDir(), "passwd"), "root:x:0:0::/root:\nrelay:x:65532:65532::/home/relay:\n", 0o644)
	for _, c := range []struct{ user, keepEnv, keepGroups, read, fails bool }{
		{user: true, read: true}, {user: true, keepEnv: true}, {user: true, keepEnv: true, keepGroups: true, fails: true}, {fails: true},
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

const newUser = 65532

// judged is what judge says of the file, for a user without anything, who does something before.
func judged(t *testing.T, path string, l *Launch, before func()) (err error) {
	t.Helper()
	state := ambient.State{UID: ambient.Same(newUser), GID: ambient.Same(newUser), NoNewPrivs: !l.Request.AllowNewPrivs}
	l.Host = ambient.Host{Known: ambient.NamedCaps, Ambient: true}
	l.Plan.AfterSteps, l.Plan.AfterExec = state, state
	unit.User{UID: newUser, GID: newUser}.As(t, func() {
		before()
		if l.Program, err = exec.Find(path, ""); err == nil {
			defer l.Program.Close()
			err = l.judge()
		}
	})
	return err
}

// A file that the user may execute and not read may be a script, whose interpreter
// has file capabilities: no_new_privs holds them back, and nothing else does.
func TestWhatCannotBeReadIsNotTrustedWithoutNoNewPrivs(t *testing.T) {
	unit.Root(t)
	dir := unit.Folder(t)
	file := func(name string, mode uint32) string {
		return unit.Copy(t, "/bin/true", filepath.Join(dir, name), mode)
	}
	plain, opaque, setuid := file("plain", 0o755), file("opaque", 0o711), file("setuid", 0o4755)
	for _, c := range []struct {
		path            string
		strip, newPrivs bool
		want            any // nil, or a pointer to the error
		copied          bool
	}{
		{plain, false, false, nil, false},
		{plain, false, true, nil, false},
		{opaque, false, false, nil, false},
		{opaque, false, true, new(*exec.Error), false},
		{opaque, true, true, new(*exec.Error), false},
		{setuid, false, true, new(*ambient.FileError), false},
		// Without no_new_privs every program is copied: its owner may add bits at any time.
		{plain, true, false, nil, false},
		{plain, true, true, nil, true},
		{setuid, true, true, nil, true},
		{setuid, true, false, nil, true},
	} {
		var l Launch
		l.StripFileCaps, l.Request.AllowNewPrivs = c.strip, c.newPrivs
		before := memfds(t)
		err := judged(t, c.path, &l, func() {})
		if e := (*exec.Error)(nil); c.path == opaque && err != nil && !c.strip && (!errors.Is(err, exec.ErrUnreadable) || !errors.As(err, &e) || e.Path != opaque) {
			t.Errorf("%+v: %v", c, err)
		}
		if c.want == nil && err != nil || c.want != nil && !errors.As(err, c.want) || (memfds(t) > before) != c.copied {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

// memfds counts the open copies in memory.
func memfds(t *testing.T) (n int) {
	t.Helper()
	fds, err := filepath.Glob("/proc/self/fd/*")
	unit.Must(t, err)
	for _, fd := range fds {
		if to, err := os.Readlink(fd); err == nil && strings.HasPrefix(to, "/memfd:") {
			n++
		}
	}
	return n
}

// A program whose file capabilities cannot be told may have some: only its copy has none.
func TestWhatIsHiddenIsCopied(t *testing.T) {
	unit.Root(t)
	for _, strip := range []bool{false, true} {
		before := memfds(t)
		err := judged(t, unit.Tool(t, "true"), &Launch{StripFileCaps: strip}, func() { unit.Answer(t, unix.SYS_FGETXATTR, unix.ENODATA) })
		if strip && (err != nil || memfds(t) != before+1) || !strip && !errors.Is(err, exec.ErrHiddenCaps) {
			t.Errorf("strip %v: %v", strip, err)
		}
	}
}

func TestEnvironmentIsThatOfTheNewUser(t *testing.T) {
	root := identity.Entry{Name: "root", Home: "/root"}
	relay := identity.Entry{Name: "relay", Home: "/home/relay", UID: 65532}
	none := identity.Entry{}
	type env = []string
	for name, c := range map[string]struct {
		start, user identity.Entry
		from        uint32 // the starting uid
		keep        bool
		env, want   env
	}{
		"root's own":                    {root, relay, 0, false, env{"HOME=/root", "USER=root", "LOGNAME=root", "A=1"}, env{"HOME=/home/relay", "USER=relay", "LOGNAME=relay", "A=1"}},
		"missing":                       {root, relay, 0, false, env{"A=1"}, env{"A=1", "HOME=/home/relay", "USER=relay", "LOGNAME=relay"}},
		"empty":                         {root, relay, 0, false, env{"HOME=", "USER=", "LOGNAME="}, env{"HOME=/home/relay", "USER=relay", "LOGNAME=relay"}},
		"from the manifest":             {root, relay, 0, false, env{"HOME=/data", "USER=me", "LOGNAME=me"}, env{"HOME=/data", "USER=me", "LOGNAME=me"}},
		"each by itself":                {root, relay, 0, false, env{"USER=me", "HOME=/root"}, env{"USER=me", "HOME=/home/relay", "LOGNAME=relay"}},
		"no entry":                      {root, none, 0, false, env{"HOME=/root", "USER=root", "LOGNAME=root"}, env{"HOME=/"}},
		"no entry and nothing":          {root, none, 0, false, env{}, env{"HOME=/"}},
		"no entry, from the manifest":   {root, none, 0, false, env{"HOME=/data", "USER=me"}, env{"HOME=/data", "USER=me"}},
		"no entry of either":            {none, none, 0, false, env{"HOME=/root", "USER=root", "LOGNAME=root"}, env{"HOME=/"}},
		"no entry of the start, HOME=/": {none, relay, 0, false, env{"HOME=/"}, env{"HOME=/home/relay", "USER=relay", "LOGNAME=relay"}},
		"another home of root":          {identity.Entry{Name: "toor", Home: "/var/root"}, relay, 0, false, env{"HOME=/root", "USER=root", "LOGNAME=toor"}, env{"HOME=/root", "USER=root", "LOGNAME=relay"}},
		"HOME=/ where root has one":     {root, relay, 0, false, env{"HOME=/"}, env{"HOME=/", "USER=relay", "LOGNAME=relay"}},
		"of somebody else":              {identity.Entry{Name: "alice", Home: "/home/alice", UID: 7}, relay, 7, false, env{"HOME=/home/alice", "USER=alice"}, env{"HOME=/home/relay", "USER=relay", "LOGNAME=relay"}},
		"somebody without an entry":     {none, relay, 7, false, env{"HOME=/", "USER=root"}, env{"HOME=/home/relay", "USER=root", "LOGNAME=relay"}},
		"twice":                         {root, relay, 0, false, env{"HOME=/root", "A=1", "HOME=/x", "USER=root", "USER="}, env{"HOME=/home/relay", "A=1", "USER=relay", "LOGNAME=relay"}},
		"twice, the first stays":        {root, relay, 0, false, env{"HOME=/x", "HOME=/root", "USER=me", "LOGNAME=me"}, env{"HOME=/x", "HOME=/root", "USER=me", "LOGNAME=me"}},
		"no entry, twice":               {root, none, 0, false, env{"HOME=/data", "USER=root", "USER=me"}, env{"HOME=/data"}},
		"no entry of the start, /data":  {none, relay, 0, false, env{"HOME=/data"}, env{"HOME=/data", "USER=relay", "LOGNAME=relay"}},
		"byte for byte":                 {root, relay, 0, false, env{"", "HOME", "=x", "A=\xff", "A=1", "homE=/"}, env{"", "HOME", "=x", "A=\xff", "A=1", "homE=/", "HOME=/home/relay", "USER=relay", "LOGNAME=relay"}},
		"an entry without a home":       {root, identity.Entry{Name: "relay", UID: 65532}, 0, false, env{"HOME=/root"}, env{"HOME=/", "USER=relay", "LOGNAME=relay"}},
		"kept":                          {root, relay, 0, true, env{"HOME=/root", "USER=root"}, env{"HOME=/root", "USER=root"}},
		"no switch":                     {relay, relay, 65532, false, env{"HOME=/root", "USER=root"}, env{"HOME=/root", "USER=root"}},
	} {
		given := slices.Clone(c.env)
		l := Launch{KeepEnv: c.keep, Environ: c.env, Now: ambient.State{UID: ambient.Same(c.from)}, Answer: identity.Answer{Start: c.start, New: c.user}}
		l.Plan.AfterSteps.UID = ambient.Same(65532)
		if got := l.environment(); !slices.Equal(got, c.want) || !slices.Equal(given, c.env) {
			t.Errorf("%s: %q, not %q; what was received is now %q", name, got, c.want, c.env)
		}
	}
}
