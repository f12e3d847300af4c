//go:build linux

package launch

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/caplaunch/caplaunch/internal/ambient"
	"github.com/caplaunch/caplaunch/internal/exec"
)

// judged is what judge says of the file, for a user without anything.
func judged(t *testing.T, path string, l *Launch) (err error) {
	t.Helper()
	state := ambient.State{UID: ambient.Same(newUser), GID: ambient.Same(newUser), NoNewPrivs: !l.Request.AllowNewPrivs}
	l.Host = ambient.Host{Known: ambient.NamedCaps, Ambient: true}
	l.Plan.AfterSteps, l.Plan.AfterExec = state, state
	done := make(chan bool)
	go func() { // on a thread that ends with it
		defer close(done)
		runtime.LockOSThread()
		for _, call := range []uintptr{unix.SYS_SETRESGID, unix.SYS_SETRESUID} {
			if _, _, errno := unix.RawSyscall(call, newUser, newUser, newUser); errno != 0 {
				t.Error(errno)
			}
		}
		if l.Program, err = exec.Find(path, ""); err == nil {
			defer l.Program.Close()
			err = l.judge()
		}
	}()
	<-done
	return err
}

// A file that the user may execute and not read may be a script, whose interpreter
// has file capabilities: no_new_privs holds them back, and nothing else does.
func TestWhatCannotBeReadIsNotTrustedWithoutNoNewPrivs(t *testing.T) {
	needRoot(t)
	dir, err := os.MkdirTemp("", "launch")
	check(t, err)
	defer os.RemoveAll(dir)
	check(t, os.Chmod(dir, 0o755))
	b, err := os.ReadFile("/bin/true")
	check(t, err)
	file := func(name string, mode uint32) string {
		path := filepath.Join(dir, name)
		check(t, os.WriteFile(path, b, 0o600))
		check(t, unix.Chmod(path, mode))
		return path
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
		err := judged(t, c.path, &l)
		if c.want == nil && err != nil || c.want != nil && !errors.As(err, c.want) || (memfds(t) > before) != c.copied {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

// memfds counts the open copies in memory.
func memfds(t *testing.T) (n int) {
	t.Helper()
	fds, err := filepath.Glob("/proc/self/fd/*")
	check(t, err)
	for _, fd := range fds {
		if to, err := os.Readlink(fd); err == nil && len(to) > 7 && to[:7] == "/memfd:" {
			n++
		}
	}
	return n
}
