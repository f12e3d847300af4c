package ambient_test

import (
	"testing"

	. "github.com/caplaunch/caplaunch/internal/ambient"
)

// TestWithoutAnAmbientSetNothingIsRaised, as before Linux 4.3.
func TestWithoutAnAmbientSetNothingIsRaised(t *testing.T) {
	if s, err := (RaiseAmbient{netAdmin}).Next(user(wants.Set, 0), Host{Known: upTo(40)}); err != RuleNoAmbient || s != user(wants.Set, 0) {
		t.Errorf("%+v, %v", s, err)
	}
}

// TestUnequalIDsAtExec: before Linux 6.17 they cleared ambient, and were made
// equal under no_new_privs; since then it takes a change.
func TestUnequalIDsAtExec(t *testing.T) {
	for _, start := range []State{
		with(user(wants.Set, upTo(40)), func(s *State) { s.UID = IDs{1000, 65532, 65532} }),
		with(user(wants.Set, upTo(40)), func(s *State) { s.GID = IDs{1000, 65532, 65532} }),
	} {
		for _, start.NoNewPrivs = range []bool{false, true} {
			for _, old := range []bool{false, true} {
				want := start
				if old {
					want.Permitted, want.Effective, want.Ambient = 0, 0, 0
				}
				if old && start.NoNewPrivs {
					want.UID, want.GID = Same(start.UID.Real), Same(start.GID.Real)
				}
				host := linux
				host.OldExecIDs = old
				if got, err := start.Execve(File{}, host); err != nil || got != want {
					t.Errorf("uid %v, gid %v, old rule %v: %v, %v", start.UID, start.GID, old, &VerifyError{want, got}, err)
				}
			}
		}
	}
}
