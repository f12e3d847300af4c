package ambient_test

import (
	"errors"
	"math/rand/v2"
	"testing"

	. "github.com/caplaunch/caplaunch/internal/ambient"
)

// aFile is a random program, mostly one with a single privilege.
func aFile(r *rand.Rand) File {
	var f File
	id := func() *uint32 {
		ids := []uint32{0, 0, 1, 2000, 65532}
		return &ids[r.IntN(len(ids))]
	}
	if r.IntN(2) == 0 {
		f.Caps = &FileCaps{aSet(r, UpTo(40)), aSet(r, UpTo(40)), r.IntN(2) == 0}
	}
	if r.IntN(3) == 0 {
		f.SetUID = id()
	}
	if r.IntN(3) == 0 {
		f.SetGID = id()
	}
	return f
}

// TestForSaysWhatExecveMakesOfThePromise holds Plan.For, over random worlds and
// programs, to the promise; and shows that no verdict depends on Host.OldExecIDs,
// which is why nobody has to know it.
func TestForSaysWhatExecveMakesOfThePromise(t *testing.T) {
	r := random(t)
	kept, broken, refused := 0, 0, 0
	for range 100_000 {
		now, host := aWorld(r)
		p, err := NewPlan(aRequest(r), now, host)
		if err != nil {
			continue
		}
		f := aFile(r)
		want := p.AfterSteps
		want.Securebits &^= KeepCaps
		got, err := p.For(f)
		for _, host.OldExecIDs = range []bool{false, true} {
			after, denied := p.AfterSteps.Execve(f, host)
			var e *FileError
			switch {
			case denied == nil && after == want:
				kept++
				if err != nil || got.AfterExec != want {
					t.Fatalf("%+v keeps the promise of %+v, refused: %v", f, p, err)
				}
			case !errors.As(err, &e):
				t.Fatalf("%+v breaks the promise of %+v: %v, old rule %v", f, p, denied, host.OldExecIDs)
			case (denied != nil) != (e.Err != nil):
				t.Fatalf("%+v ends in %v, For says %v", f, denied, e.Err)
			case denied != nil:
				refused++
			default:
				broken++
			}
		}
	}
	t.Logf("%d keep the promise, %d break it, %d are refused", kept, broken, refused)
	if kept < 1000 || broken < 1000 || refused < 1000 {
		t.Error("the random programs prove nothing")
	}
}

// TestUnequalIDsAtExec: before Linux 6.17 they cleared ambient, and were made
// equal under no_new_privs; since then it takes a change.
func TestUnequalIDsAtExec(t *testing.T) {
	for _, start := range []State{
		with(user(wants.Set, UpTo(40)), func(s *State) { s.UID = IDs{1000, 65532, 65532} }),
		with(user(wants.Set, UpTo(40)), func(s *State) { s.GID = IDs{1000, 65532, 65532} }),
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
