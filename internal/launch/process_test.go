//go:build linux

package launch

import (
	"encoding/json"
	"fmt"
	"os"
	osexec "os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/caplaunch/caplaunch/internal/ambient"
	"github.com/caplaunch/caplaunch/internal/identity"
)

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
		"byte for byte":                 {root, relay, 0, false, env{"", "HOME", "=x", "A=\xff", "A=1", "homE=/"}, env{"", "HOME", "=x", "A=\xff", "A=1", "homE=/", "HOME=/home/relay", "USER=relay", "LOGNAME=relay"}},
		"an entry without a home":       {root, identity.Entry{Name: "relay", UID: 65532}, 0, false, env{"HOME=/root"}, env{"HOME=/", "USER=relay", "LOGNAME=relay"}},
		"kept":                          {root, relay, 0, true, env{"HOME=/root", "USER=root"}, env{"HOME=/root", "USER=root"}},
		"no switch":                     {relay, relay, 65532, false, env{"HOME=/root", "USER=root"}, env{"HOME=/root", "USER=root"}},
	} {
		given := slices.Clone(c.env)
		l := Launch{KeepEnv: c.keep, Environ: c.env, Now: ambient.State{UID: ambient.Same(c.from)}, Answer: identity.Answer{Start: c.start, New: c.user}}
		l.Plan.AfterSteps.UID = ambient.Same(65532)
		if got := l.environment(); !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, not %q", name, got, c.want)
		}
		if !slices.Equal(given, c.env) {
			t.Errorf("%s: what was received was changed: %q", name, c.env)
		}
	}
}

// The tests of handOver start this binary again, on the stdin, stdout and stderr
// of each case. It hands over, becomes the user, and executes itself once more to
// see what can be opened; descriptor 3 gets the answers.
const helperEnv = "LAUNCH_TEST"

const newUser, newGroup = 65532, 65533

func init() {
	if os.Getenv(helperEnv) != "" {
		runtime.LockOSThread()
	}
}

func TestMain(m *testing.M) {
	switch stage, _, _ := strings.Cut(os.Getenv(helperEnv), ","); stage {
	case "hand over":
		becomeTheUser()
	case "probe":
		probe()
	default:
		os.Exit(m.Run())
	}
}

func becomeTheUser() {
	var said []string
	l := Launch{Say: func(format string, args ...any) { said = append(said, fmt.Sprintf(format, args...)) }}
	l.Plan.AfterSteps.UID, l.Plan.AfterSteps.GID = ambient.Same(newUser), ambient.Same(newGroup)
	l.Plan.AfterSteps.Groups = ambient.NewGroups(newGroup)
	if strings.Contains(os.Getenv(helperEnv), "without chown") {
		hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var data [2]unix.CapUserData
		must(unix.Capget(&hdr, &data[0]))
		data[0].Effective &^= 1 << 0
		must(unix.Capset(&hdr, &data[0]))
	}
	l.handOver()
	must(syscall.Setgroups([]int{newGroup}))
	must(syscall.Setresgid(newGroup, newGroup, newGroup))
	must(syscall.Setresuid(newUser, newUser, newUser))
	must(os.Setenv(helperEnv, "probe"))
	must(os.Setenv("LAUNCH_TEST_SAID", strings.Join(said, "; ")))
	must(syscall.Exec("/proc/self/exe", os.Args, os.Environ()))
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// An answer is what the new user finds of one descriptor.
type answer struct {
	UID, GID, Mode uint32
	Read, Write    bool // it can be opened so
}

type answers struct {
	FDs  [3]answer
	Said string
}

func probe() {
	a := answers{Said: os.Getenv("LAUNCH_TEST_SAID")}
	for fd := range a.FDs {
		var st unix.Stat_t
		must(unix.Fstat(fd, &st))
		a.FDs[fd] = answer{UID: st.Uid, GID: st.Gid, Mode: uint32(st.Mode & 0o7777)}
		for flag, ok := range map[int]*bool{unix.O_RDONLY: &a.FDs[fd].Read, unix.O_WRONLY: &a.FDs[fd].Write} {
			again, err := unix.Open(fmt.Sprintf("/proc/self/fd/%d", fd), flag|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
			if *ok = err == nil; *ok {
				unix.Close(again)
			}
		}
	}
	must(json.NewEncoder(os.NewFile(3, "answers")).Encode(a))
}

// handOver starts the two stages with these descriptors, in front a command that
// starts them.
func handOver(t *testing.T, how string, attr *syscall.SysProcAttr, files [3]*os.File, front ...string) answers {
	t.Helper()
	dir, err := os.MkdirTemp("", "launch")
	check(t, err)
	defer os.RemoveAll(dir)
	check(t, os.Chmod(dir, 0o755)) // the new user executes what is in it
	self := filepath.Join(dir, "self")
	b, err := os.ReadFile("/proc/self/exe")
	check(t, err)
	syscall.ForkLock.RLock() // or a child of another test would hold the file open
	err = os.WriteFile(self, b, 0o755)
	syscall.ForkLock.RUnlock()
	check(t, err)
	r, w, err := os.Pipe()
	check(t, err)
	defer r.Close()
	command := append(front, self)
	cmd := osexec.Command(command[0], command[1:]...)
	cmd.Env = append(os.Environ(), helperEnv+"=hand over,"+how, "GORACE=atexit_sleep_ms=0")
	cmd.Stdin, cmd.Stdout, cmd.Stderr, cmd.ExtraFiles, cmd.SysProcAttr = files[0], files[1], files[2], []*os.File{w}, attr
	check(t, cmd.Start())
	w.Close()
	var a answers
	if err := json.NewDecoder(r).Decode(&a); err != nil {
		t.Errorf("no answer: %v", err)
	}
	check(t, cmd.Wait())
	return a
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() == 0 {
		return
	}
	if os.Getenv("TEST_REQUIRE") == "1" {
		t.Fatal("needs root")
	}
	t.Skip("needs root")
}

func pipe(t *testing.T) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	check(t, err)
	t.Cleanup(func() { r.Close(); w.Close() })
	return r, w
}

func open(t *testing.T, path string, flag int) *os.File {
	t.Helper()
	fd, err := unix.Open(path, flag|unix.O_CLOEXEC|unix.O_NOCTTY, 0)
	check(t, err)
	f := os.NewFile(uintptr(fd), path)
	t.Cleanup(func() { f.Close() })
	return f
}

// terminal opens a new pty, and gives the path of its slave.
func terminal(t *testing.T) string {
	t.Helper()
	master := open(t, "/dev/ptmx", unix.O_RDWR)
	fd := int(master.Fd())
	check(t, unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0))
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	check(t, err)
	return fmt.Sprintf("/dev/pts/%d", n)
}

// leads makes the process lead a session whose controlling terminal is its stdin.
var leads = &syscall.SysProcAttr{Setsid: true, Setctty: true}

func TestPipesAreOpenedInOneDirection(t *testing.T) {
	needRoot(t)
	t.Parallel()
	stdin, _ := pipe(t)
	_, stdout := pipe(t)
	_, stderr := pipe(t)
	var st unix.Stat_t
	check(t, unix.Fstat(int(stderr.Fd()), &st))
	check(t, stderr.Chown(0, newGroup)) // of the new user's group
	a := handOver(t, "", nil, [3]*os.File{stdin, stdout, stderr})
	want := [3]answer{{0, st.Gid, 0o604, true, false}, {0, st.Gid, 0o602, false, true}, {0, newGroup, 0o620, false, true}}
	if a.FDs != want {
		t.Errorf("%+v\nwant %+v", a, want)
	}
	if want := "fchmod stdin to 0604; fchmod stdout to 0602; fchmod stderr to 0620"; a.Said != want {
		t.Errorf("%q, not %q", a.Said, want)
	}
	// Of both directions: one that was opened again through /proc.
	both := open(t, fmt.Sprintf("/proc/self/fd/%d", stdout.Fd()), unix.O_RDWR)
	if a := handOver(t, "", nil, [3]*os.File{both, both, both}); a.FDs[0] != (answer{0, st.Gid, 0o606, true, true}) {
		t.Errorf("%+v", a)
	}
}

func TestWhatBelongsToOthersIsLeftAlone(t *testing.T) {
	needRoot(t)
	t.Parallel()
	dir := t.TempDir()
	file, fifo := filepath.Join(dir, "file"), filepath.Join(dir, "fifo")
	check(t, os.WriteFile(file, nil, 0o600))
	check(t, unix.Mkfifo(fifo, 0o600))
	check(t, os.Chmod(fifo, 0o600))
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	check(t, err)
	socket := os.NewFile(uintptr(pair[0]), "socket")
	defer socket.Close()
	defer unix.Close(pair[1])
	full := open(t, "/dev/full", unix.O_RDWR)
	mine := func(f *os.File) (a answer) {
		var st unix.Stat_t
		check(t, unix.Fstat(int(f.Fd()), &st))
		return answer{UID: st.Uid, GID: st.Gid, Mode: uint32(st.Mode & 0o7777)}
	}
	for name, f := range map[string]*os.File{"a file": open(t, file, unix.O_RDWR), "a FIFO with a name": open(t, fifo, unix.O_RDWR), "a socket": socket, "a device": full} {
		before := mine(f)
		a := handOver(t, "", nil, [3]*os.File{f, f, f})
		a.FDs[0].Read, a.FDs[0].Write = false, false
		if a.FDs[0] != before || strings.Contains(a.Said, "fch") || strings.Count(a.Said, "is not handed over: ") != 3 {
			t.Errorf("%s: %+v, before %+v", name, a, before)
		}
	}
}

func TestATerminalIsGivenByTheLeaderOfItsSession(t *testing.T) {
	needRoot(t)
	t.Parallel()
	files := func(path string) [3]*os.File {
		f := open(t, path, unix.O_RDWR)
		return [3]*os.File{f, f, f}
	}
	untouched := func(name, path string, a answers) {
		t.Helper()
		for fd, x := range a.FDs {
			if x.UID != 0 || x.Read || !strings.Contains(a.Said, "is not handed over: not the terminal of a session that caplaunch leads") {
				t.Errorf("%s: %d: %+v", name, fd, a)
			}
		}
	}
	tty := terminal(t)
	if a := handOver(t, "", leads, files(tty)); a.FDs[0].UID != newUser || !a.FDs[0].Read || !a.FDs[2].Write || a.Said != "fchown stdin to uid 65532" {
		t.Errorf("as the leader: %+v", a)
	}
	tty = terminal(t)
	mode := uint32(0o606)
	if st := new(unix.Stat_t); unix.Stat(tty, st) == nil {
		mode = uint32(st.Mode&0o777) | 0o006
	}
	if a := handOver(t, "without chown", leads, files(tty)); a.FDs[0].UID != 0 || a.FDs[0].Mode != mode || !a.FDs[0].Read || !a.FDs[0].Write {
		t.Errorf("without CHOWN: %+v", a)
	}
	// A shell leads the session, as an init does.
	tty = terminal(t)
	untouched("not the leader", tty, handOver(t, "", leads, files(tty), "/bin/sh", "-c", `"$0"; exit $?`))
	// In no session of a terminal, as under unshare.
	tty = terminal(t)
	untouched("no controlling terminal", tty, handOver(t, "", &syscall.SysProcAttr{Setsid: true}, files(tty)))
	// The session has a terminal, and this is another one.
	tty, other := terminal(t), terminal(t)
	in, out := open(t, tty, unix.O_RDWR), open(t, other, unix.O_RDWR)
	a := handOver(t, "", leads, [3]*os.File{in, out, out})
	if a.FDs[0].UID != newUser || a.FDs[1].UID != 0 || a.FDs[1].Read {
		t.Errorf("another terminal: %+v", a)
	}
}

// /dev/tty stands for the terminal of whoever opens it, and everybody does.
func TestTheDeviceTTYIsLeftAlone(t *testing.T) {
	needRoot(t)
	t.Parallel()
	tty := open(t, terminal(t), unix.O_RDWR)
	var before, after unix.Stat_t
	check(t, unix.Stat("/dev/tty", &before))
	// The shell that leads the session opens it on stdin and becomes the helper.
	a := handOver(t, "", leads, [3]*os.File{tty, tty, tty}, "/bin/sh", "-c", `exec "$0" </dev/tty`)
	check(t, unix.Stat("/dev/tty", &after))
	if a.FDs[1].UID != newUser || a.FDs[0].UID != before.Uid || after.Uid != before.Uid || after.Mode != before.Mode {
		t.Errorf("%+v; /dev/tty was %d %o, is %d %o", a, before.Uid, before.Mode, after.Uid, after.Mode)
	}
}
