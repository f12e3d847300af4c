package ambient_test

import (
	"errors"
	"slices"
	"testing"

	. "github.com/caplaunch/caplaunch/internal/ambient"
)

// TestVerifyBelievesNothing changes each part of what the kernel reports: every
// difference from the plan is a *VerifyError.
func TestVerifyBelievesNothing(t *testing.T) {
	p, err := NewPlan(Request{Required: wants, User: relay}, root(minimal), linux)
	if err != nil {
		t.Fatal(err)
	}
	if err := Verify(&Sim{Now: p.AfterSteps, On: linux}, p); err != nil {
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
		if err := Verify(&Sim{Now: got, On: linux}, p); !errors.As(err, &e) || e.Got != got || e.Want != p.AfterSteps {
			t.Errorf("another %s: %v", name, err)
		} else if len(Diff(e.Want, e.Got)) != 1 {
			t.Errorf("another %s: %v", name, Diff(e.Want, e.Got))
		}
	}
}

// failing is a Kernel whose call number at fails, and that counts calls.
type failing struct {
	*Sim
	at, calls int
}

var errFailing = errors.New("failing")

func (k *failing) call(do func() error) error {
	k.calls++
	if k.calls == k.at {
		return errFailing
	}
	return do()
}

func (k *failing) Capset(p, i, e Set) error {
	return k.call(func() error { return k.Sim.Capset(p, i, e) })
}
func (k *failing) RaiseAmbient(c Cap) error {
	return k.call(func() error { return k.Sim.RaiseAmbient(c) })
}
func (k *failing) DropBounding(c Cap) error {
	return k.call(func() error { return k.Sim.DropBounding(c) })
}
func (k *failing) SetKeepCaps(on bool) error {
	return k.call(func() error { return k.Sim.SetKeepCaps(on) })
}
func (k *failing) SetGroups(g Groups) error {
	return k.call(func() error { return k.Sim.SetGroups(g) })
}
func (k *failing) SetResGID(to IDs) error {
	return k.call(func() error { return k.Sim.SetResGID(to) })
}
func (k *failing) SetResUID(to IDs) error {
	return k.call(func() error { return k.Sim.SetResUID(to) })
}
func (k *failing) SetNoNewPrivs() error {
	return k.call(func() error { return k.Sim.SetNoNewPrivs() })
}

// TestApplyEndsAtTheFirstFailure lets each step of a plan fail in turn.
func TestApplyEndsAtTheFirstFailure(t *testing.T) {
	p, err := NewPlan(Request{Required: wants, User: relay, DropBounding: true}, root(minimal|SetOf(CapSetPCap)), linux)
	if err != nil {
		t.Fatal(err)
	}
	for at := 1; at <= len(p.Steps); at++ {
		k := &failing{Sim: &Sim{Now: p.Before, On: linux}, at: at}
		var e *StepError
		if err := Apply(k, p.Steps); !errors.As(err, &e) || !errors.Is(err, errFailing) || e.Step != p.Steps[at-1] {
			t.Errorf("step %d: %v", at, err)
		}
		if k.calls != at {
			t.Errorf("step %d failed, and %d calls were made", at, k.calls)
		}
	}
	k := &failing{Sim: &Sim{Now: p.Before, On: linux}}
	if err := Apply(k, p.Steps); err != nil || k.calls != len(p.Steps) || k.Now != p.AfterSteps {
		t.Errorf("%d calls, %v", k.calls, err)
	}
}

// TestKeepCapsIsOffBeforeTheExec: what is verified should be plain. Where it is
// locked, the exec turns it off.
func TestKeepCapsIsOffBeforeTheExec(t *testing.T) {
	for _, bits := range []Securebits{0, KeepCaps, KeepCaps | KeepCapsLocked} {
		for _, u := range []*User{relay, rootID} {
			now := with(root(minimal), func(s *State) { s.Securebits = bits })
			p, err := NewPlan(Request{Required: wants, User: u}, now, linux)
			if err != nil {
				t.Errorf("securebits %v: %v", bits.Names(), err)
				continue
			}
			if want := bits & KeepCapsLocked; p.AfterExec.Securebits != want {
				t.Errorf("securebits %v: after exec %v", bits.Names(), p.AfterExec.Securebits.Names())
			}
			locked := bits&KeepCapsLocked != 0
			if on := p.AfterSteps.Securebits&KeepCaps != 0; on != locked {
				t.Errorf("securebits %v: keepcaps %v before the exec", bits.Names(), on)
			}
		}
	}
}

// TestWhatIsSkippedIsTold: each optional capability is given, or named with a
// reason for which it cannot be.
func TestWhatIsSkippedIsTold(t *testing.T) {
	r := random(t)
	told := 0
	for range 50_000 {
		now, host := aWorld(r)
		req := aRequest(r)
		p, err := NewPlan(req, now, host)
		if err != nil {
			continue
		}
		var skipped Set
		for _, m := range p.Skipped {
			skipped |= SetOf(m.Cap)
			if m.Reason == Grantable {
				t.Fatalf("%v is skipped for no reason", m.Cap)
			}
		}
		told += len(p.Skipped)
		if want := req.Optional.Set &^ req.Required.On(host) &^ p.Given; skipped != want {
			t.Fatalf("%+v\n%+v\nskipped %v, want %v", now, req, skipped, want)
		}
	}
	if told < 1000 {
		t.Errorf("only %d are skipped", told)
	}
}

// TestAllowlistIsHeldAgainstEverySetThatIsAsked, over random states: exactly
// what is outside is named, with exactly the sets that it is in.
func TestAllowlistIsHeldAgainstEverySetThatIsAsked(t *testing.T) {
	r := random(t)
	found := 0
	for range 20_000 {
		now, _ := aWorld(r)
		allow, m := aSet(r, UpTo(40)), SetMask(r.IntN(32))
		err := CheckAllowed(now, allow, m)
		var e *UnexpectedCapabilityError
		if !errors.As(err, &e) {
			e = &UnexpectedCapabilityError{Allow: allow}
		}
		if (err == nil) != (len(e.Stray) == 0) || err != nil && (!errors.Is(err, ErrUnexpectedCapability) || e.ExitStatus() != 78) {
			t.Fatalf("%v", err)
		}
		found += len(e.Stray)
		for c := range UpTo(40).All() {
			var in SetMask
			for mask, s := range map[SetMask]Set{InPermitted: now.Permitted, InEffective: now.Effective, InInheritable: now.Inheritable, InAmbient: now.Ambient, InBounding: now.Bounding} {
				if s.Has(c) && !allow.Has(c) {
					in |= mask & m
				}
			}
			i := slices.IndexFunc(e.Stray, func(s Stray) bool { return s.Cap == c })
			if (in != 0) != (i >= 0) || i >= 0 && e.Stray[i].In != in {
				t.Fatalf("%v in %v of %+v, allowed %v: %+v", c, in, now, allow, e.Stray)
			}
		}
	}
	if found < 1000 {
		t.Errorf("only %d are outside", found)
	}
}

// TestStrictAllowsWhatTheLaunchTakes: the requested ones, setuid and setgid for
// a start as root, setpcap to cut the bounding set; and nothing else.
func TestStrictAllowsWhatTheLaunchTakes(t *testing.T) {
	want := SetOf(netAdmin)
	switching := want | SetOf(CapSetUID, CapSetGID)
	optional := Request{Optional: List{Set: SetOf(netRaw)}}
	for _, c := range []struct {
		name  string
		now   State
		req   Request
		stray Set
	}{
		{"the smallest grant", root(switching), Request{Required: wants, User: relay}, 0},
		{"setpcap to cut the bounding set", root(switching | SetOf(CapSetPCap)), Request{Required: wants, User: relay, DropBounding: true}, 0},
		{"setpcap for nothing", root(switching | SetOf(CapSetPCap)), Request{Required: wants, User: relay}, SetOf(CapSetPCap)},
		{"more", root(switching | SetOf(netRaw, chown)), Request{Required: wants, User: relay}, SetOf(netRaw, chown)},
		{"optional", root(switching | SetOf(netRaw)), Request{Required: wants, Optional: optional.Optional, User: relay}, 0},
		{"no root needs no setuid", user(switching, docker), Request{Required: wants, User: relay}, SetOf(CapSetUID, CapSetGID)},
		{"an allowlist besides", root(switching | SetOf(chown)), Request{Required: wants, User: relay, Allow: &List{Set: SetOf(chown)}}, 0},
	} {
		c.req.Strict, c.req.Sets = true, DefaultSets
		_, err := NewPlan(c.req, c.now, linux)
		var e *UnexpectedCapabilityError
		switch found := errors.As(err, &e); {
		case c.stray == 0 && err != nil:
			t.Errorf("%s: %v", c.name, err)
		case c.stray != 0 && (!found || e.Set() != c.stray):
			t.Errorf("%s: %v, want %v to be too much", c.name, err, c.stray)
		}
	}
	// An allowlist alone allows nothing by itself.
	_, err := NewPlan(Request{Required: wants, User: relay, Allow: &List{Set: want}, Sets: DefaultSets}, root(switching), linux)
	var e *UnexpectedCapabilityError
	if !errors.As(err, &e) || e.Set() != SetOf(CapSetUID, CapSetGID) {
		t.Errorf("allow alone: %v", err)
	}
}
