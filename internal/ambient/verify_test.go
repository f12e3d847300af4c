package ambient_test

import (
	"errors"
	"strings"
	"testing"

	. "github.com/caplaunch/caplaunch/internal/ambient"
)

// TestVerifyBelievesNothing changes each part of what the kernel reports: every
// difference from the plan is a *VerifyError, which says nothing else.
func TestVerifyBelievesNothing(t *testing.T) {
	p, err := NewPlan(Request{Required: wants, User: relay}, root(minimal), linux)
	if err != nil {
		t.Fatal(err)
	}
	if err := Verify(&Sim{Now: p.AfterSteps}, p); err != nil {
		t.Error(err)
	}
	if err := Verify(blind{}, p); err != errBlind {
		t.Error(err)
	}
	for name, change := range map[string]func(*State){
		"permitted":    func(s *State) { s.Permitted |= SetOf(netRaw) },
		"inheritable":  func(s *State) { s.Inheritable |= SetOf(netRaw) },
		"effective":    func(s *State) { s.Effective = 0 },
		"bounding":     func(s *State) { s.Bounding = 0 },
		"ambient":      func(s *State) { s.Ambient = 0 },
		"securebits":   func(s *State) { s.Securebits = NoRoot },
		"real uid":     func(s *State) { s.UID.Real = 0 },
		"saved uid":    func(s *State) { s.UID.Saved = 0 },
		"saved gid":    func(s *State) { s.GID.Saved = 0 },
		"groups":       func(s *State) { s.Groups = s.Groups.With(0) },
		"no_new_privs": func(s *State) { s.NoNewPrivs = false },
	} {
		got := with(p.AfterSteps, change)
		var e *VerifyError
		if err := Verify(&Sim{Now: got}, p); !errors.As(err, &e) || e.Got != got || e.Want != p.AfterSteps {
			t.Errorf("another %s: %v", name, err)
		} else if strings.Count(e.Error(), "instead of") != 1 {
			t.Errorf("another %s: %v", name, e)
		}
	}
}

// blind is a kernel that cannot be read.
type blind struct{}

var errBlind = errors.New("blind")

func (blind) State() (State, error) { return State{}, errBlind }
func (blind) Do(Step) error         { return nil }
