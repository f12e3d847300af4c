//go:build linux

package linux

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/caplaunch/caplaunch/internal/ambient"
	"github.com/caplaunch/caplaunch/test/unit"
)

func TestAnAnswerThatIsNotTheKernelsIsAnError(t *testing.T) {
	unit.Root(t)
	for name, c := range map[string]struct {
		call  uint32
		errno unix.Errno
		args  []uint32
		do    func() error
		want  error
	}{
		"the memory stays open":       {unix.SYS_PRCTL, 0, []uint32{unix.PR_SET_DUMPABLE, 0}, OneThread().Hide, ErrFaked},
		"each change of it is a lie":  {unix.SYS_PRCTL, 0, []uint32{unix.PR_SET_DUMPABLE}, OneThread().Hide, ErrFaked},
		"a file that cannot be read":  {unix.SYS_READ, unix.EIO, nil, func() error { _, err := ReadFile("/proc/self/status"); return err }, unix.EIO},
		"a step that nobody knows":    {unix.SYS_GETPID, 0, nil, func() error { return OneThread().Do(nil) }, unix.ENOSYS},
		"the memory cannot be closed": {unix.SYS_PRCTL, unix.EPERM, []uint32{unix.PR_SET_DUMPABLE, 0}, OneThread().Hide, unix.EPERM},
	} {
		unit.Someone.As(t, func() {
			unit.Must(t, unix.Prctl(unix.PR_SET_DUMPABLE, 1, 0, 0, 0)) // the change of ids has closed it
			unit.Answer(t, c.call, c.errno, c.args...)
			if err := c.do(); !errors.Is(err, c.want) {
				t.Errorf("%s: %v", name, err)
			}
		})
	}
}

func TestWithoutProcThereIsNone(t *testing.T) {
	if !unit.Again(t, unix.CLONE_NEWNS) {
		return
	}
	if !HasProc() {
		t.Error("there is one")
	}
	// What an image has under that name says nothing.
	dir := t.TempDir()
	for path, text := range map[string]string{"self/gid_map": "0 0 4294967295", "sys/kernel/overflowgid": "5"} {
		unit.Must(t, os.MkdirAll(filepath.Join(dir, "proc", filepath.Dir(path)), 0o755))
		unit.Must(t, os.WriteFile(filepath.Join(dir, "proc", path), []byte(text), 0o644))
	}
	unit.Must(t, unix.Chroot(dir))
	if groups := ambient.NewGroups(5, 65534); HasProc() || MapsAll("/proc/self/gid_map") || Doubtful(groups) != ambient.NewGroups(65534) {
		t.Errorf("there is none: %v, %v", HasProc(), Doubtful(groups))
	}
	unit.Must(t, os.RemoveAll("/proc"))
	if HasProc() {
		t.Error("there is not even a folder")
	}
}
