//go:build linux

package launch

import (
	"errors"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/caplaunch/caplaunch/internal/exec"
	"github.com/caplaunch/caplaunch/test/unit"
)

// A program whose file capabilities cannot be told may have some: only its copy has none.
func TestWhatIsHiddenIsCopied(t *testing.T) {
	unit.Root(t)
	program := unit.Tool(t, "true")
	for _, strip := range []bool{false, true} {
		unit.User{UID: newUser, GID: newUser}.As(t, func() {
			unit.Answer(t, unix.SYS_FGETXATTR, unix.ENODATA)
			l := Launch{StripFileCaps: strip}
			p, err := exec.Find(program, "")
			if err != nil {
				t.Error(err)
				return
			}
			defer p.Close()
			l.Program = p
			before := memfds(t)
			if err := l.judge(); strip && (err != nil || memfds(t) != before+1) || !strip && !errors.Is(err, exec.ErrHiddenCaps) {
				t.Errorf("strip %v: %v", strip, err)
			}
		})
	}
}
