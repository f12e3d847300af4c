package transparency

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/caplaunch/caplaunch/test/integration/engine"
)

// onStdout is a command behind a launcher with that file on descriptor 1 and nothing of ours on the others.
func onStdout(l launcher, f *os.File, argv ...string) *exec.Cmd {
	words := slices.Concat(l, argv)
	cmd := exec.Command(words[0], words[1:]...)
	cmd.Stdout = f
	return cmd
}

// owner is uid, gid and mode of an open file.
func owner(t testing.TB, f *os.File) string {
	t.Helper()
	return statOf(t, fmt.Sprintf("/proc/self/fd/%d", f.Fd()))
}

// from is argv from the state that capstart's options describe, or as it is.
func from(t testing.TB, options, argv []string) []string {
	if options == nil {
		return argv
	}
	return slices.Concat([]string{engine.Capstart(t)}, options, []string{"--"}, argv)
}

// withoutChown is capstart's options for a root that may do all but CHOWN, DAC_OVERRIDE and FOWNER.
var withoutChown = []string{"-b", "10c0", "-p", "10c0", "-i", "0"}

// A pipe gets the permission to be opened in its direction, and keeps its owner.
func TestPipesCanBeOpenedInTheirDirectionAlone(t *testing.T) {
	engine.Begin(t)
	for _, c := range []struct {
		name, flags string
		reader      string // mode of the pipe on stdin, which is read
		writer      string // and of those on stdout and stderr
		opens       bool
	}{
		{"for others", "--user=65532:65532", "0:0 604", "0:0 602", true},
		{"for the group", "--user=65532:0", "0:0 640", "0:0 620", true},
		{"for a supplementary group", "--user=65532:65532 --groups=0", "0:0 640", "0:0 620", true},
		{"not with --stdio=keep", "--user=65532:65532 --stdio=keep", "0:0 600", "0:0 600", false},
	} {
		for _, options := range [][]string{nil, withoutChown} {
			t.Run(c.name, func(t *testing.T) {
				try := func(script string) (code int, modes [3]string) {
					var files []*os.File
					for range 3 {
						r, w, err := os.Pipe()
						engine.Must(t, err)
						defer r.Close()
						defer w.Close()
						files = append(files, r, w)
					}
					argv := from(t, options, slices.Concat([]string{engine.Caplaunch(t)}, strings.Fields(c.flags), []string{"--", "sh", "-c", script}))
					cmd := exec.Command(argv[0], argv[1:]...)
					cmd.Stdin, cmd.Stdout, cmd.Stderr = files[0], files[3], files[5]
					r := engine.Command(t, cmd)
					return r.Code, [3]string{owner(t, files[0]), owner(t, files[3]), owner(t, files[5])}
				}
				code, modes := try(": </dev/stdin && : >/dev/stdout && : >/dev/stderr")
				if (code == 0) != c.opens || modes != [3]string{c.reader, c.writer, c.writer} {
					t.Errorf("opening them ended with %d: %v", code, modes)
				}
				for _, other := range []string{"</dev/stdout", "</dev/stderr", ">/dev/stdin", "<>/dev/stdout"} {
					if code, _ := try(": " + other); code == 0 {
						t.Errorf("%s: PROGRAM got the other direction", other)
					}
				}
			})
		}
	}
}

// One that was opened again through /proc, in both directions.
func TestAPipeOfBothDirectionsCanBeOpenedInBoth(t *testing.T) {
	engine.Begin(t)
	both, err := os.OpenFile(fmt.Sprintf("/proc/self/fd/%d", foreignPipe(t, 0).Fd()), os.O_RDWR, 0)
	engine.Must(t, err)
	defer both.Close()
	r := engine.Command(t, onStdout(caplaunch(t, "-v"), both, "sh", "-c", ": <>/dev/stdout"))
	if r.Code != 0 || owner(t, both) != "0:0 606" || !strings.Contains(r.Stderr, "fchmod stdout to 0606\n") {
		t.Errorf("%v: %s", r, owner(t, both))
	}
}

// What has a name, or belongs to others, is never touched: not its owner, not its mode.
func TestNothingButAnonymousPipesIsTouched(t *testing.T) {
	engine.Begin(t)
	dir := engine.TempDir(t)
	open := func(path string, flags int) *os.File {
		f, err := os.OpenFile(path, flags, 0o640)
		engine.Must(t, err)
		t.Cleanup(func() { f.Close() })
		return f
	}
	fifo := filepath.Join(dir, "fifo")
	engine.Must(t, unix.Mkfifo(fifo, 0o640))
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	engine.Must(t, err)
	defer unix.Close(pair[1])
	_, tty := engine.Terminal(t)
	for name, f := range map[string]*os.File{
		"named FIFO":               open(fifo, os.O_RDWR),
		"regular file":             open(filepath.Join(dir, "file"), os.O_RDWR|os.O_CREATE),
		"socket":                   os.NewFile(uintptr(pair[0]), "pair"),
		"/dev/null":                open("/dev/null", os.O_RDWR),
		"folder":                   open(dir, os.O_RDONLY),
		"terminal of nobody":       tty,
		"terminal's other end":     open("/dev/ptmx", os.O_RDWR),
		"what is open for O_PATH":  open(filepath.Join(dir, "file"), os.O_RDWR|os.O_CREATE|unix.O_PATH),
		"pipe of the user already": foreignPipe(t, 65532),
	} {
		for _, options := range [][]string{nil, withoutChown} {
			before := owner(t, f)
			argv := from(t, options, append(caplaunch(t), engine.Probe(t), "exit", "7"))
			cmd := exec.Command(argv[0], argv[1:]...)
			cmd.Stdin, cmd.Stdout, cmd.Stderr = f, f, f
			if r := engine.Command(t, cmd); r.Code != 7 {
				t.Errorf("%s: exit status %d", name, r.Code)
			}
			if after := owner(t, f); after != before {
				t.Errorf("%s: %s, was %s", name, after, before)
			}
		}
	}
}

// foreignPipe is the end of a pipe that belongs to uid.
func foreignPipe(t testing.TB, uid int) *os.File {
	t.Helper()
	r, w, err := os.Pipe()
	if err == nil {
		err = w.Chown(uid, 0)
	}
	engine.Must(t, err)
	t.Cleanup(func() {
		r.Close()
		w.Close()
	})
	return w
}

// onTerminal runs argv as the leader of a session whose terminal is tty.
func onTerminal(t testing.TB, tty *os.File, argv ...string) engine.Result {
	t.Helper()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = tty, tty, tty
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	return engine.Command(t, cmd)
}

// The leader of a session hands its terminal over, as login(1) does.
func TestTheSessionLeaderHandsItsTerminalOver(t *testing.T) {
	engine.Begin(t)
	for _, c := range []struct {
		name    string
		options []string // of capstart
		flags   []string
		want    string
		reopens bool
	}{
		{"by fchown", nil, nil, "65532:5 600", true},
		{"with another stdin", []string{"-C", "0"}, nil, "65532:5 600", true},
		{"by fchmod without CHOWN", withoutChown, nil, "0:5 606", true},
		{"not with --stdio=keep", nil, []string{"--stdio=keep"}, "0:5 600", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, tty := engine.Terminal(t)
			engine.Must(t, tty.Chown(0, 5))
			engine.Must(t, tty.Chmod(0o600))
			argv := from(t, c.options, append(caplaunch(t, c.flags...), engine.Probe(t), "reopen"))
			if r := onTerminal(t, tty, argv...); (r.Code == 0) != c.reopens || owner(t, tty) != c.want {
				t.Errorf("%v: exit status %d, %s", argv, r.Code, owner(t, tty))
			}
		})
	}
}

// A terminal of somebody else is not caplaunch's to give: not under unshare, which is how the host's own terminal gets
// into a container, not behind an init or a shell, and not the device /dev/tty, which is everybody's.
func TestNobodyElsesTerminalIsHandedOver(t *testing.T) {
	engine.Begin(t, "unshare")
	launch := append(caplaunch(t), engine.Probe(t), "exit", "7")
	quoted := strings.Join(launch, " ")
	_, other := engine.Terminal(t)
	theirs := owner(t, other)
	shared := filepath.Join(engine.TempDir(t), "tty") // the device of /dev/tty
	engine.Must(t, unix.Mknod(shared, unix.S_IFCHR|0o600, int(unix.Mkdev(5, 0))))
	for name, argv := range map[string][]string{
		"PID 1 of a namespace, in the session of another": slices.Concat([]string{"unshare", "--pid", "--fork", "--kill-child", "--mount-proc"}, launch),
		"behind a shell":                      {"sh", "-c", quoted + "; exit $?"},
		"in a session of its own, without it": {"setsid", "--wait", "sh", "-c", quoted},
		"another one than the session's":      {"sh", "-c", fmt.Sprintf("exec %s <%s >%[2]s 2>%[2]s", quoted, other.Name())},
		"the device /dev/tty":                 {"sh", "-c", fmt.Sprintf("exec %s <%s >%[2]s 2>%[2]s", quoted, shared)},
	} {
		_, tty := engine.Terminal(t)
		before, device := owner(t, tty), statOf(t, shared)
		if r := onTerminal(t, tty, argv...); r.Code != 7 || owner(t, tty) != before || owner(t, other) != theirs || statOf(t, shared) != device {
			t.Errorf("%s: exit status %d, %s was %s, /dev/tty %s", name, r.Code, owner(t, tty), before, statOf(t, shared))
		}
	}
}

// The device /dev/ptmx is everybody's, also for who leads the session of one of its terminals.
func TestNobodyGetsTheDeviceOfAllTerminals(t *testing.T) {
	engine.Begin(t)
	dir := engine.TempDir(t)
	engine.Must(t, unix.Mount("devpts", dir, "devpts", 0, "newinstance,ptmxmode=600"))
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	master, tty := engine.TerminalOf(t, dir+"/ptmx", dir)
	launch := append(caplaunch(t), engine.Probe(t), "exit", "7")
	cmd := exec.Command(launch[0], launch[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = master, tty, tty
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true, Ctty: 1}
	if r := engine.Command(t, cmd); r.Code != 7 || statOf(t, dir+"/ptmx") != "0:0 600" {
		t.Errorf("%s: %v", statOf(t, dir+"/ptmx"), r)
	}
}

// statOf is uid, gid and mode of what a path names.
func statOf(t testing.TB, path string) string {
	t.Helper()
	var st unix.Stat_t
	engine.Must(t, unix.Stat(path, &st))
	return fmt.Sprintf("%d:%d %o", st.Uid, st.Gid, st.Mode&0o7777)
}

// What could not be handed over is said.
func TestAPipeThatCannotBeHandedOverIsTold(t *testing.T) {
	engine.Begin(t)
	f := foreignPipe(t, 5)
	before := owner(t, f)
	cmd := onStdout(from(t, withoutChown, caplaunch(t, "-v")), f, engine.Probe(t), "exit", "7")
	if r := engine.Command(t, cmd); r.Code != 7 || owner(t, f) != before || !strings.Contains(r.Stderr, "stdout is not handed over: operation not permitted\n") || strings.Contains(r.Stderr, "fchmod stdout") {
		t.Errorf("%v: %s, was %s", r, owner(t, f), before)
	}
}

// Without a change of the user there is nobody to hand anything to.
func TestNothingIsHandedOverWithoutASwitch(t *testing.T) {
	engine.Begin(t)
	f := foreignPipe(t, 65532)
	cmd := onStdout(launcher{engine.Caplaunch(t), "--user=0:0", "--"}, f, engine.Probe(t), "exit", "7")
	before := owner(t, f)
	if r := engine.Command(t, cmd); r.Code != 7 || owner(t, f) != before {
		t.Errorf("%v: %s, was %s", r, owner(t, f), before)
	}
}
