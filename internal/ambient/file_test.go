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
		f.Caps = &FileCaps{aSet(r, upTo(40)), aSet(r, upTo(40)), r.IntN(2) == 0}
	}
	if r.IntN(3) == 0 {
		f.SetUID = id()
	}
	if r.IntN(3) == 0 {
		f.SetGID = id()
	}
	return f
}

// TestCheckFileSaysWhatExecveMakesOfThePromise holds Plan.CheckFile, over random worlds and
// programs, to the promise; and shows that no verdict depends on Host.OldExecIDs,
// which is why nobody has to know it.
func TestCheckFileSaysWhatExecveMakesOfThePromise(t *testing.T) {
	r := random(t)
	kept, broke, refused := 0, 0, 0
	for range 100_000 {
		now, host := aWorld(r)
		p, err := NewPlan(aRequest(r), now, host)
		if err != nil {
			continue
		}
		f := aFile(r)
		said := p.CheckFile(f)
		for _, host.OldExecIDs = range []bool{true, false} {
			after, denied := p.AfterSteps.Execve(f, host)
			var e *FileError
			switch broken := errors.As(said, &e); {
			case !broken && denied == nil && after == p.AfterExec:
				kept++
			case !broken:
				t.Fatalf("%+v breaks the promise of %+v: %v, old rule %v", f, p, denied, host.OldExecIDs)
			case denied == nil && after == p.AfterExec, e.File != f, e.Want != p.AfterExec, e.Err != denied, !host.OldExecIDs && e.After != after:
				t.Fatalf("%+v ends in %+v, %v of the promise of %+v, CheckFile says %+v", f, after, denied, p, e)
			case denied != nil:
				refused++
			default:
				broke++
			}
		}
	}
	t.Logf("%d keep the promise, %d break it, %d are refused", kept, broke, refused)
	if kept < 1000 || broke < 1000 || refused < 1000 {
		t.Error("the random programs prove nothing")
	}
}

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
