//go:build linux

package exec

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	osexec "os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/caplaunch/caplaunch/internal/ambient"
	"github.com/caplaunch/caplaunch/test/unit"
)

const (
	helperEnv = "EXEC_TEST" // what this binary is to do instead of testing
	nobody    = 65534
)

var known = ambient.NamedCaps

// A launcher stays on its main thread, where strace counts its calls.
func init() {
	if os.Getenv(helperEnv) == "launch" {
		runtime.LockOSThread()
	}
}

func TestMain(m *testing.M) {
	switch os.Getenv(helperEnv) {
	case "args":
		json.NewEncoder(os.Stdout).Encode(os.Args)
		return
	case "launch":
		os.Exit(launch(os.Args[1:]))
	}
	unix.Umask(0o022) // files get the mode that the tests say
	os.Exit(m.Run())
}

// launch is a launcher that changes nothing: its arguments are options, "--" and the program's.
func launch(args []string) int {
	strip := false
	for ; args[0] != "--"; args = args[1:] {
		switch name, value, _ := strings.Cut(args[0], "="); name {
		case "strip":
			strip = true
		case "fsize":
			n, _ := strconv.ParseUint(value, 10, 64)
			unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: n, Max: n})
		case "chroot":
			if err := errors.Join(unix.Chroot(value), unix.Chdir("/")); err != nil {
				panic(err)
			}
		}
	}
	args = args[1:]
	os.Unsetenv(helperEnv)
	p, err := Find(args[0], SearchPath(os.Environ()))
	if err == nil && strip {
		err = p.Copy()
	}
	if err == nil {
		err = p.Replace(args, os.Environ())
	}
	fmt.Fprintln(os.Stderr, err)
	return status(err)
}

// status is 127 for what does not exist and 126 for what cannot be executed, env(1), and 125 where the copy fails.
func status(err error) int {
	switch e, _ := errors.AsType[*Error](err); {
	case err == nil:
		return 0
	case e.Missing():
		return 127
	case e.Copy && e.Err != ErrUnreadable && e.Err != ErrNotExecutable:
		return 125
	}
	return 126
}

// launcher is a command that launches with the options, as the user.
func launcher(uid uint32, self string, args ...string) *osexec.Cmd {
	cmd := osexec.Command("/bin/sh", append([]string{"-c", `ulimit -Sn 321; exec "$0" "$@"`, self}, args...)...)
	cmd.Env, cmd.SysProcAttr = append(os.Environ(), helperEnv+"=launch", "A=1", "EMPTY="), as(uid)
	return cmd
}

// kernel executes path, as whoever the thread is, and reports what execve(2) said.
func kernel(t testing.TB, path string, argv ...string) unix.Errno {
	t.Helper()
	null, err := os.OpenFile("/dev/null", os.O_RDWR, 0)
	if err != nil {
		t.Error(err)
	}
	defer null.Close()
	pid, err := syscall.ForkExec(path, argv, &syscall.ProcAttr{Files: []uintptr{null.Fd(), null.Fd(), null.Fd()}})
	if err != nil {
		return err.(unix.Errno)
	}
	if _, err = syscall.Wait4(pid, nil, 0, nil); err != nil {
		t.Error(err)
	}
	return 0
}

// as is a user with no groups and no capabilities, and nothing for root, who stays.
func as(uid uint32) *syscall.SysProcAttr {
	if uid == 0 {
		return nil
	}
	return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
}

// run executes the command and gives its output and exit status.
func run(t testing.TB, cmd *osexec.Cmd) (string, int) {
	t.Helper()
	out, err := cmd.CombinedOutput()
	if _, ok := errors.AsType[*osexec.ExitError](err); err != nil && !ok {
		t.Fatal(err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

// found is the program at path, until the test ends.
func found(t testing.TB, path string) *Program {
	t.Helper()
	p, err := Find(path, "")
	unit.Must(t, err)
	t.Cleanup(p.Close)
	return p
}

// reason is what the *Error is about, or nil.
func reason(t testing.TB, err error) error {
	t.Helper()
	if err == nil {
		return nil
	}
	e, ok := errors.AsType[*Error](err)
	if !ok {
		t.Fatalf("%v is no *Error", err)
	}
	if e.Path == "" && e.Err != ErrNoName {
		t.Errorf("%v of no file", e.Err)
	}
	return e.Err
}

// errno is what execve(2) says where Find says err.
func errno(t testing.TB, err error) unix.Errno {
	t.Helper()
	switch e := reason(t, err); e {
	case nil:
		return 0
	case ErrNotExecutable, ErrNotRegular, ErrNoInterpreter:
		return unix.EACCES
	case ErrNotInPath, ErrNoName:
		return unix.ENOENT
	case ErrTooDeep:
		return unix.ELOOP
	default:
		errno, ok := e.(unix.Errno)
		if !ok {
			t.Errorf("no errno: %v", e)
		}
		return errno
	}
}

// setcap gives path a revision 2 attribute.
func setcap(t testing.TB, path string, permitted ambient.Set, effective bool) {
	t.Helper()
	unit.Must(t, unix.Setxattr(path, "security.capability", vfsCaps(2, permitted, 0, effective, 0), 0))
}
