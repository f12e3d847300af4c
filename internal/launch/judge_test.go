//go:build linux

package launch

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caplaunch/caplaunch/internal/ambient"
	"github.com/caplaunch/caplaunch/internal/exec"
	"github.com/caplaunch/caplaunch/test/unit"
)

const newUser = 65532

// judged is what judge says of the file, for a user without anything.
func judged(t *testing.T, path string, l *Launch) (err error) {
	t.Helper()
	state := ambient.State{UID: ambient.Same(newUser), GID: ambient.Same(newUser), NoNewPrivs: !l.Request.AllowNewPrivs}
	l.Host = ambient.Host{Known: ambient.NamedCaps, Ambient: true}
	l.Plan.AfterSteps, l.Plan.AfterExec = state, state
	unit.User{UID: newUser, GID: newUser}.As(t, func() {
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
		err := judged(t, c.path, &l)
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
