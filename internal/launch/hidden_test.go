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
	for _, c := range []struct {
		call  uint32
		strip bool
	}{{unix.SYS_FGETXATTR, false}, {unix.SYS_FGETXATTR, true}, {unix.SYS_GETXATTR, false}} {
		unit.User{UID: newUser, GID: newUser}.As(t, func() {
			unit.Answer(t, c.call, unix.ENODATA)
			l := Launch{StripFileCaps: c.strip}
			p, err := exec.Find(program, "")
			if err != nil {
				t.Error(err)
				return
			}
			defer p.Close()
			l.Program = p
			before := memfds(t)
			if err := l.judge(); c.strip && (err != nil || memfds(t) != before+1) || !c.strip && !errors.Is(err, exec.ErrHiddenCaps) {
				t.Errorf("%+v: %v", c, err)
			}
		})
	}
}
