//go:build linux

package exec

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	osexec "os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/caplaunch/caplaunch/internal/ambient"
)

const (
	helperEnv = "EXEC_TEST" // what this binary is to do instead of testing
	insideEnv = "EXEC_TEST_INSIDE"
	seedEnv   = "TEST_SEED"
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

// launch is a launcher that changes nothing: its arguments are options, "--" and
// the program's.
func launch(args []string) int {
	strip, mem := false, false
	for ; args[0] != "--"; args = args[1:] {
		switch name, value, _ := strings.Cut(args[0], "="); name {
		case "strip":
			strip = true
		case "mem":
			mem = true
		case "fsize":
			n, _ := strconv.ParseUint(value, 10, 64)
			unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: n, Max: n})
		}
	}
	args = args[1:]
	os.Unsetenv(helperEnv)
	p, err := Find(args[0], SearchPath(os.Environ()))
	if err == nil && strip {
		err = p.Copy()
	}
	if mem {
		var stats runtime.MemStats
		runtime.ReadMemStats(&stats)
		fmt.Println(stats.Sys)
	}
	if err == nil {
		err = p.Replace(args, os.Environ())
	}
	fmt.Fprintln(os.Stderr, err)
	return status(err)
}

// status is 127 for what does not exist and 126 for what cannot be executed, as
// env(1) has it; 125 where the copy fails.
func status(err error) int {
	var e *Error
	switch errors.As(err, &e); {
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
	cmd.Env = append(os.Environ(), helperEnv+"=launch", "A=1", "EMPTY=")
	if uid != 0 {
		cmd.SysProcAttr = as(uid)
	}
	return cmd
}

// self is this test binary, where every user can execute it.
func self(t testing.TB) string {
	t.Helper()
	to := filepath.Join(folder(t), "self")
	copyFile(t, "/proc/self/exe", to, 0o755)
	return to
}

func copyFile(t testing.TB, from, to string, mode os.FileMode) {
	t.Helper()
	b, err := os.ReadFile(from)
	check(t, err)
	write(t, to, string(b), mode)
}

func write(t testing.TB, path, text string, mode os.FileMode) string {
	t.Helper()
	// Under the fork lock: a child forked by a parallel test would hold the
	// file open for writing, and its exec would be "text file busy".
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	check(t, os.WriteFile(path, []byte(text), 0o600))
	check(t, unix.Chmod(path, uint32(mode)))
	return path
}

// folder is an empty folder that every user can enter.
func folder(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "exec")
	check(t, err)
	check(t, os.Chmod(dir, 0o755))
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// need skips a test that cannot run here, and fails it where all must run.
func need(t testing.TB, ok bool, what string) {
	t.Helper()
	if ok {
		return
	}
	if os.Getenv("TEST_REQUIRE") == "1" {
		t.Fatal("needs " + what)
	}
	t.Skip("needs " + what)
}

func needRoot(t testing.TB) {
	t.Helper()
	need(t, os.Geteuid() == 0 && os.Getenv(insideEnv) == "", "root")
}

// inside runs the test again in a mount namespace of its own, and in a user
// namespace where it is not root, and reports whether it already is there.
func inside(t *testing.T, flags uintptr) bool {
	t.Helper()
	if os.Getenv(insideEnv) == t.Name() {
		check(t, unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
		return true
	}
	cmd := osexec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), insideEnv+"="+t.Name())
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS | flags}
	if os.Geteuid() != 0 || flags&unix.CLONE_NEWUSER != 0 {
		cmd.SysProcAttr.Cloneflags |= unix.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	out, err := cmd.CombinedOutput()
	if errors.Is(err, unix.EPERM) && cmd.ProcessState == nil {
		need(t, false, "mount namespaces")
	}
	if err != nil || !strings.Contains(string(out), "--- PASS") {
		t.Fatalf("in the namespace: %v\n%s", err, out)
	}
	return false
}

// kernel executes path, as uid unless that is negative, and reports what
// execve(2) said.
func kernel(t testing.TB, path string, argv []string, attr *syscall.SysProcAttr) unix.Errno {
	t.Helper()
	null, err := os.OpenFile("/dev/null", os.O_RDWR, 0)
	if err != nil {
		t.Error(err)
	}
	defer null.Close()
	pid, err := syscall.ForkExec(path, argv, &syscall.ProcAttr{Files: []uintptr{null.Fd(), null.Fd(), null.Fd()}, Sys: attr})
	if err != nil {
		return err.(unix.Errno)
	}
	if _, err = syscall.Wait4(pid, nil, 0, nil); err != nil {
		t.Error(err)
	}
	return 0
}

// as is a user with no groups and no capabilities.
func as(uid uint32) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
}

// A viewer is a user with groups and effective capabilities.
type viewer struct {
	uid, gid uint32
	groups   []uint32
	caps     ambient.Set
}

// as runs do as the user, on a thread that ends with it.
func (v viewer) as(t testing.TB, do func()) {
	t.Helper()
	groups := append(slices.Clone(v.groups), 0)
	setgroups := uintptr(unix.SYS_SETGROUPS)
	if runtime.GOARCH == "386" || runtime.GOARCH == "arm" {
		setgroups = 206 // setgroups32
	}
	done := make(chan bool)
	go func() {
		runtime.LockOSThread()
		caps := [2]unix.CapUserData{{Permitted: uint32(v.caps), Effective: uint32(v.caps)}, {}}
		for _, call := range [][4]uintptr{
			{setgroups, uintptr(len(v.groups)), uintptr(unsafe.Pointer(&groups[0]))},
			{unix.SYS_SETRESGID, uintptr(v.gid), uintptr(v.gid), uintptr(v.gid)},
			{unix.SYS_PRCTL, unix.PR_SET_KEEPCAPS, 1},
			{unix.SYS_SETRESUID, uintptr(v.uid), uintptr(v.uid), uintptr(v.uid)},
		} {
			if _, _, errno := unix.RawSyscall(call[0], call[1], call[2], call[3]); errno != 0 {
				t.Error(errno)
			}
		}
		if err := unix.Capset(&unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, &caps[0]); err != nil {
			t.Error(err)
		}
		do()
		close(done)
	}()
	<-done
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

// asError is the *Error that err must be, or nil.
func asError(t testing.TB, err error) *Error {
	t.Helper()
	if err == nil {
		return nil
	}
	e, ok := errors.AsType[*Error](err)
	if !ok {
		t.Fatalf("%v is no *Error", err)
	}
	return e
}

// reason is what the *Error is about, or nil.
func reason(t testing.TB, err error) error {
	t.Helper()
	if e := asError(t, err); e != nil {
		return e.Err
	}
	return nil
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

func random(t *testing.T) *rand.Rand {
	seed := rand.Uint64()
	if s := os.Getenv(seedEnv); s != "" {
		var err error
		seed, err = strconv.ParseUint(s, 10, 64)
		check(t, err)
	}
	t.Logf("%s=%d", seedEnv, seed)
	return rand.New(rand.NewPCG(seed, seed))
}

// setcap gives path a revision 2 attribute.
func setcap(t testing.TB, path string, permitted ambient.Set, effective bool) {
	t.Helper()
	check(t, unix.Setxattr(path, "security.capability", vfsCaps(2, permitted, 0, effective, 0), 0))
}
