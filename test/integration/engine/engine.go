// Package engine runs programs under real container engines and service managers: Docker, Podman,
// systemd, and a starter without containers. It starts every daemon itself, in namespaces of its own
// that die with the test process, so that neither the machine nor the next run sees anything of it.
package engine

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/caplaunch/caplaunch/test/unit"
)

// Result is how a program ended. A program killed by signal N has Code 128+N, in every engine.
type Result struct {
	Stdout, Stderr string
	Code           int
}

func (r Result) String() string {
	return fmt.Sprintf("exit %d\nstdout:\n%s\nstderr:\n%s", r.Code, r.Stdout, r.Stderr)
}

// Timeout bounds each command that is run through this package, unless its context says otherwise.
const Timeout = 3 * time.Minute

// Main is the body of TestMain: it runs the tests and stops whatever engines they started.
func Main(m *testing.M) {
	plainSignals()
	syscall.Umask(0o022) // files get the mode that the tests say
	code := m.Run()
	for _, f := range slices.Backward(cleanups) {
		f()
	}
	os.Exit(code)
}

// plainSignals makes no signal ignored: what nohup and the like left ignored for this process would be found by
// every program under test. The Go runtime leaves such signals alone, so this goes past it, rt_sigaction(2).
func plainSignals() {
	const ignored = 1
	for sig := uintptr(1); sig <= 64; sig++ {
		var now, plain [4]uintptr // handler, flags, restorer, mask
		_, _, e := syscall.RawSyscall6(syscall.SYS_RT_SIGACTION, sig, 0, uintptr(unsafe.Pointer(&now)), 8, 0, 0)
		if e == 0 && now[0] == ignored {
			syscall.RawSyscall6(syscall.SYS_RT_SIGACTION, sig, uintptr(unsafe.Pointer(&plain)), 0, 8, 0, 0)
		}
	}
}

var (
	cleanupLock sync.Mutex
	cleanups    []func()
)

// onCleanup registers f to run, last registered first, when the test process is done.
func onCleanup(f func()) {
	cleanupLock.Lock()
	defer cleanupLock.Unlock()
	cleanups = append(cleanups, f)
}

// Unusable ends the test: as skipped with the reason, or as failed where TEST_REQUIRE=1 (CI) demands
// that everything runs.
func Unusable(t testing.TB, format string, args ...any) {
	t.Helper()
	if os.Getenv("TEST_REQUIRE") == "1" {
		t.Fatalf("required by TEST_REQUIRE=1: "+format, args...)
	}
	t.Skipf(format, args...)
}

// What the tests beside the code use as well.
var (
	Must        = unit.Must
	Tool        = unit.Tool
	RequireRoot = unit.Root
)

// Do is Exec of what must succeed.
func Do(t testing.TB, argv ...string) Result {
	t.Helper()
	r := Exec(t, argv...)
	if r.Code != 0 {
		t.Fatalf("%q: %v", argv, r)
	}
	return r
}

// Background starts cmd, and kills it when the test is done or this process dies. It returns its PID.
func Background(t testing.TB, cmd *exec.Cmd) int {
	t.Helper()
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	Must(t, fromKeeper(cmd.Start))
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return cmd.Process.Pid
}

// Runs reports whether the kernel executes the program at path, which it does not when it has no emulation for its
// architecture. What the program does is not looked at.
func Runs(t testing.TB, path string) bool {
	t.Helper()
	cmd := exec.Command(path)
	err := cmd.Start()
	if err == nil {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	} else if errors.Is(err, syscall.ENOEXEC) {
		t.Logf("this kernel does not run %s", path)
	} else {
		t.Fatal(err)
	}
	return err == nil
}

// Require skips the test (see Unusable) unless every command is in PATH.
func Require(t testing.TB, names ...string) {
	t.Helper()
	for _, name := range names {
		Tool(t, name)
	}
}

// Begin begins a test, beside the others: it needs root and these commands.
func Begin(t *testing.T, commands ...string) {
	t.Helper()
	t.Parallel()
	RequireRoot(t, commands...)
}

// started gives an engine, or skips the test where it does not start.
func started[T any](t testing.TB, start func() (T, error)) T {
	t.Helper()
	engine, err := start()
	if err != nil {
		Unusable(t, "an engine is not usable here: %v", err)
	}
	return engine
}

// needs is nil when the process is root and all commands are in PATH.
func needs(commands ...string) error {
	if os.Geteuid() != 0 {
		return errors.New("needs root")
	}
	for _, c := range commands {
		if _, err := exec.LookPath(c); err != nil {
			return err
		}
	}
	return nil
}

// Command runs cmd to its end and gives its result. The test fails when it cannot be started, or does not end
// within Timeout; a Stdout or Stderr that is already set is left as it is.
func Command(t testing.TB, cmd *exec.Cmd) Result {
	t.Helper()
	r, err := Output(cmd, Timeout)
	if err != nil {
		t.Fatalf("%s: %v\n%v", strings.Join(cmd.Args, " "), err, r)
	}
	return r
}

// Exec runs argv on this machine, without an engine.
func Exec(t testing.TB, argv ...string) Result {
	t.Helper()
	return Command(t, exec.Command(argv[0], argv[1:]...))
}

// ErrLate says that a command had to be killed.
var ErrLate = errors.New("killed")

// Output is Command without a test. The error is for what is not the program's own doing.
func Output(cmd *exec.Cmd, limit time.Duration) (Result, error) {
	var stdout, stderr bytes.Buffer
	if cmd.Stdout == nil {
		cmd.Stdout = &stdout
	}
	if cmd.Stderr == nil {
		cmd.Stderr = &stderr
	}
	cmd.WaitDelay = 5 * time.Second
	if err := cmd.Start(); err != nil {
		return Result{Code: -1}, err
	}
	var late atomic.Bool
	timer := time.AfterFunc(limit, func() {
		late.Store(true)
		_ = cmd.Process.Kill()
	})
	err := cmd.Wait()
	timer.Stop()
	r := Result{Stdout: stdout.String(), Stderr: stderr.String(), Code: -1}
	if ps := cmd.ProcessState; ps != nil {
		ws := ps.Sys().(syscall.WaitStatus)
		if r.Code = ws.ExitStatus(); ws.Signaled() {
			r.Code = 128 + int(ws.Signal())
		}
	}
	if exit := (*exec.ExitError)(nil); late.Load() {
		err = fmt.Errorf("%w after %v", ErrLate, limit)
	} else if errors.As(err, &exit) {
		err = nil
	}
	return r, err
}

// must runs cmd and turns an exit status other than 0 into an error that shows the output.
func must(cmd *exec.Cmd) (Result, error) {
	r, err := Output(cmd, 5*Timeout) // on a machine that has cached nothing yet
	if err == nil && r.Code != 0 {
		err = errors.New("it failed")
	}
	if err != nil {
		err = fmt.Errorf("%s: %w: %v", strings.Join(cmd.Args, " "), err, r)
	}
	return r, err
}

// SourceDir is the folder test/integration, Root the repository.
var SourceDir, Root = func() (string, string) {
	_, file, _, _ := runtime.Caller(0)
	dir := filepath.Dir(filepath.Dir(file))
	return dir, filepath.Dir(filepath.Dir(dir))
}()

// CacheDir is where things are kept between runs: $TEST_CACHE, or .cache in the repository.
func CacheDir() string { return cmp.Or(os.Getenv("TEST_CACHE"), filepath.Join(Root, ".cache")) }

// PublicDir is a folder of this test process that every user may enter (mode 0755, as t.TempDir's are not). It is
// removed when the tests are done, or by the next test process if this one is killed.
var PublicDir = sync.OnceValue(func() string {
	const prefix = "caplaunch-test-"
	tmp := os.TempDir()
	for dir := tmp; dir != "/" && dir != "."; dir = filepath.Dir(dir) {
		if fi, err := os.Stat(dir); err != nil || fi.Mode()&1 == 0 {
			tmp = "/tmp" // others may not enter the one that was named
		}
	}
	old, _ := filepath.Glob(filepath.Join(tmp, prefix+"*"))
	for _, dir := range old {
		if held, err := lock(filepath.Join(dir, "lock"), 0, syscall.LOCK_NB); err == nil {
			_ = os.RemoveAll(dir)
			held.Close()
		}
	}
	var dir string
	var held *os.File
	for held == nil { // another process may sweep between the two calls
		var err error
		if dir, err = os.MkdirTemp(tmp, prefix); err != nil {
			panic(err)
		}
		held, _ = lock(filepath.Join(dir, "lock"), os.O_CREATE, syscall.LOCK_NB)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		panic(err)
	}
	onCleanup(func() {
		_ = os.RemoveAll(dir)
		held.Close()
	})
	return dir
})

// TempDir is t.TempDir with mode 0755 all the way: other users may enter it.
func TempDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp(PublicDir(), "t")
	if err == nil {
		err = os.Chmod(dir, 0o755)
	}
	Must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// lock opens path and locks it. Where another process has it locked it waits, and with LOCK_NB it fails.
func lock(path string, flags, how int) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|flags, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|how); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// slot is a cached folder CacheDir/name/N that no other process is using.
func slot(name string) (dir string, err error) {
	for n := range 64 {
		dir = filepath.Join(CacheDir(), name, fmt.Sprint(n))
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return "", err
		}
		if held, err := lock(filepath.Join(dir, "lock"), os.O_CREATE, syscall.LOCK_NB); err == nil {
			onCleanup(func() { held.Close() })
			return dir, nil
		}
	}
	return "", fmt.Errorf("all slots of %s are taken", name)
}

// cached gives CacheDir/name, made once by make, which gets a temporary name to fill. Processes wait for each
// other; a half-made thing never gets the name.
func cached(name string, make func(tmp string) error) (string, error) {
	path := filepath.Join(CacheDir(), name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return "", err
	}
	held, err := lock(path+".lock", os.O_CREATE, 0)
	if err != nil {
		return "", err
	}
	defer held.Close()
	if exists(path) {
		return path, nil
	}
	tmp := path + ".tmp"
	_ = os.RemoveAll(tmp)
	if err := make(tmp); err != nil {
		_ = os.RemoveAll(tmp)
		return "", err
	}
	return path, os.Rename(tmp, path)
}

// hash names content: the first 12 hex digits of the SHA-256 of the parts.
func hash(parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		fmt.Fprintf(h, "%d:%s", len(p), p)
	}
	return hex.EncodeToString(h.Sum(nil))[:12]
}

// CopyFile copies a file with the mode given, replacing what is there. Nothing forks meanwhile: a child that inherits
// the descriptor would make a program "text busy".
func CopyFile(dst, src string, mode os.FileMode) error {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	data, err := os.ReadFile(src)
	if err != nil {
		return err
	}
	_ = os.Remove(dst)
	return errors.Join(os.WriteFile(dst, data, mode), os.Chmod(dst, mode))
}

// Quote is argv as a line for a shell.
func Quote(argv ...string) string {
	q := make([]string, len(argv))
	for i, a := range argv {
		q[i] = "'" + strings.ReplaceAll(a, "'", `'\''`) + "'"
	}
	return strings.Join(q, " ")
}
