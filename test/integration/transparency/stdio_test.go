package transparency

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
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
	var st unix.Stat_t
	raw, err := f.SyscallConn()
	if err == nil {
		err = raw.Control(func(fd uintptr) { err = unix.Fstat(int(fd), &st) })
	}
	engine.Must(t, err)
	return fmt.Sprintf("%d:%d %o", st.Uid, st.Gid, st.Mode&0o7777)
}

// from is argv from the state that capstart's options describe.
func from(t testing.TB, options, argv []string) []string {
	return slices.Concat([]string{engine.Capstart(t)}, options, []string{"--"}, argv)
}

// withoutChown is capstart's options for a root that may do all but CHOWN, DAC_OVERRIDE and FOWNER.
var withoutChown = []string{"-b", "10c0", "-p", "10c0", "-i", "0"}

func TestAnonymousPipesAreHandedOver(t *testing.T) {
	t.Parallel()
	engine.RequireRoot(t)
	reopen := []string{engine.Probe(t), "reopen"}
	for _, c := range []struct {
		name    string
		chown   bool
		flags   []string
		want    string
		reopens bool
	}{
		{"by fchown", true, nil, "65532:0 600", true},
		{"by fchmod without CHOWN", false, nil, "0:0 666", true},
		{"not at all with --stdio=keep", true, []string{"--stdio=keep"}, "0:0 600", false},
		{"not at all with --stdio=keep and without CHOWN", false, []string{"--stdio=keep"}, "0:0 600", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			var files []*os.File
			for range 3 {
				r, w, err := os.Pipe()
				engine.Must(t, err)
				defer r.Close()
				defer w.Close()
				files = append(files, r, w)
			}
			argv := slices.Concat(caplaunch(t, c.flags...), reopen)
			if !c.chown {
				argv = from(t, withoutChown, argv)
			}
			cmd := exec.Command(argv[0], argv[1:]...)
			cmd.Stdin, cmd.Stdout, cmd.Stderr = files[0], files[3], files[5]
			if r := engine.Command(t, cmd); (r.Code == 0) != c.reopens {
				t.Errorf("reopening ended with %d", r.Code)
			}
			for fd, f := range []*os.File{files[0], files[3], files[5]} {
				if got := owner(t, f); got != c.want {
					t.Errorf("descriptor %d: %s, want %s", fd, got, c.want)
				}
			}
		})
	}
}

// What has a name, or belongs to others, is never touched: not its owner, not its mode.
func TestNothingButAnonymousPipesIsTouched(t *testing.T) {
	t.Parallel()
	engine.RequireRoot(t)
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
	listener, err := net.Listen("unix", filepath.Join(dir, "socket"))
	engine.Must(t, err)
	defer listener.Close()
	bound, err := listener.(*net.UnixListener).File()
	engine.Must(t, err)
	memfd, err := unix.MemfdCreate("x", unix.MFD_CLOEXEC)
	engine.Must(t, err)
	event, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	engine.Must(t, err)
	_, tty := engine.Terminal(t)
	for name, f := range map[string]*os.File{
		"named FIFO":               open(fifo, os.O_RDWR),
		"regular file":             open(filepath.Join(dir, "file"), os.O_RDWR|os.O_CREATE),
		"socket":                   os.NewFile(uintptr(pair[0]), "pair"),
		"listening socket":         bound,
		"memfd":                    os.NewFile(uintptr(memfd), "memfd"),
		"eventfd":                  os.NewFile(uintptr(event), "eventfd"),
		"/dev/null":                open("/dev/null", os.O_RDWR),
		"/dev/zero":                open("/dev/zero", os.O_RDWR),
		"folder":                   open(dir, os.O_RDONLY),
		"terminal, not as PID 1":   tty,
		"terminal's other end":     open("/dev/ptmx", os.O_RDWR),
		"what is open for O_PATH":  open(filepath.Join(dir, "file"), os.O_RDWR|os.O_CREATE|unix.O_PATH),
		"pipe of the user already": foreignPipe(t, 65532),
	} {
		for _, options := range [][]string{nil, withoutChown} {
			before := owner(t, f)
			argv := slices.Concat(caplaunch(t), []string{engine.Probe(t), "exit", "7"})
			if options != nil {
				argv = from(t, options, argv)
			}
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

// PID 1's terminal is the container's own.
func TestTerminalIsHandedOverByPID1(t *testing.T) {
	t.Parallel()
	engine.RequireRoot(t)
	engine.Require(t, "unshare")
	for _, options := range [][]string{nil, withoutChown} {
		_, tty := engine.Terminal(t)
		argv := caplaunch(t)
		want := "65532:"
		if options != nil {
			argv = from(t, options, argv)
			want = "0:"
		}
		argv = slices.Concat([]string{"unshare", "--pid", "--fork", "--kill-child", "--mount-proc"}, argv, []string{engine.Probe(t), "reopen"})
		cmd := exec.Command(argv[0], argv[1:]...)
		cmd.Stdin, cmd.Stdout, cmd.Stderr = tty, tty, tty
		if r := engine.Command(t, cmd); r.Code != 0 || !strings.HasPrefix(owner(t, tty), want) {
			t.Errorf("%v: exit status %d, %s", options, r.Code, owner(t, tty))
		}
	}
	_, tty := engine.Terminal(t)
	argv := slices.Concat([]string{"unshare", "--pid", "--fork", "--kill-child", "--mount-proc"}, caplaunch(t, "--stdio=keep"), []string{engine.Probe(t), "exit", "7"})
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = tty, tty, tty
	before := owner(t, tty)
	if r := engine.Command(t, cmd); r.Code != 7 || owner(t, tty) != before {
		t.Errorf("--stdio=keep: %v, %s", r, owner(t, tty))
	}
}

// Without a change of the user there is nobody to hand anything to.
func TestNothingIsHandedOverWithoutASwitch(t *testing.T) {
	t.Parallel()
	engine.RequireRoot(t)
	f := foreignPipe(t, 0)
	cmd := onStdout(launcher{engine.Caplaunch(t), "--user=0:0", "--"}, f, engine.Probe(t), "exit", "7")
	before := owner(t, f)
	if r := engine.Command(t, cmd); r.Code != 7 || owner(t, f) != before {
		t.Errorf("%v: %s, was %s", r, owner(t, f), before)
	}
}
