// Package unit has what all tests share.
package unit

import (
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// Must fails the test at an error.
func Must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Need skips a test that cannot run here, and fails it where all must run.
func Need(t testing.TB, ok bool, what string) {
	t.Helper()
	if ok {
		return
	}
	if os.Getenv("TEST_REQUIRE") == "1" {
		t.Fatal("needs " + what)
	}
	t.Skip("needs " + what)
}

// Root needs the root of the machine, and these commands.
func Root(t testing.TB, commands ...string) {
	t.Helper()
	Need(t, os.Geteuid() == 0 && os.Getenv(again) == "", "root")
	for _, name := range commands {
		Tool(t, name)
	}
}

// Tool is the path of a command that is needed.
func Tool(t testing.TB, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	Need(t, err == nil, name)
	return path
}

// Folder is an empty folder that every user can enter, with a short name.
func Folder(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "u")
	Must(t, err)
	Must(t, os.Chmod(dir, 0o755))
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// Shell runs commands in a folder, up to the first that fails.
func Shell(t testing.TB, dir, commands string) {
	t.Helper()
	cmd := exec.Command("/bin/sh", "-ec", commands)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v %s", commands, err, out)
	}
}

// Write makes a file of that mode, set-id bits included, and gives its path.
func Write(t testing.TB, path, text string, mode uint32) string {
	t.Helper()
	// Under the fork lock: a child of another test would hold the file open, and its exec would be "text file busy".
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	Must(t, os.WriteFile(path, []byte(text), 0o600))
	Must(t, syscall.Chmod(path, mode))
	return path
}

// Copy is Write with the content of another file.
func Copy(t testing.TB, from, to string, mode uint32) string {
	t.Helper()
	b, err := os.ReadFile(from)
	Must(t, err)
	return Write(t, to, string(b), mode)
}

// Self is a copy of this test binary that every user can execute.
func Self(t testing.TB) string {
	t.Helper()
	return Copy(t, "/proc/self/exe", filepath.Join(Folder(t), "self"), 0o755)
}

// Rand is seeded by TEST_SEED, or by the time. The seed is logged.
func Rand(t testing.TB) *rand.Rand {
	t.Helper()
	seed, err := strconv.ParseUint(os.Getenv("TEST_SEED"), 10, 64)
	if err != nil {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("TEST_SEED=%d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// InParallel calls f with each of the items, as many at a time as there are processors. Whenever so many more are done, it
// logs how far it is.
func InParallel[T any](t testing.TB, items []T, every int64, f func(T)) {
	t.Helper()
	var wg sync.WaitGroup
	var begun, done atomic.Int64
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for i := begun.Add(1); i <= int64(len(items)); i = begun.Add(1) {
				f(items[i-1])
				if n := done.Add(1); n%every == 0 {
					t.Logf("%d of %d", n, len(items))
				}
			}
		})
	}
	wg.Wait()
}

// again is the variable of a test that Again has started: its name.
const again = "UNIT_AGAIN"
