package ambient_test

import (
	"errors"
	"flag"
	"math/rand/v2"
	"testing"
	"time"

	. "github.com/caplaunch/caplaunch/internal/ambient"
)

const (
	chown    Cap = 0
	netAdmin Cap = 12
	netRaw   Cap = 13
	sysAdmin Cap = 21
)

var (
	linux   = Host{Known: UpTo(40), Ambient: true, SetGroups: true}
	docker  = Set(0xa80425fb) // the default 14
	minimal = SetOf(netAdmin, CapSetUID, CapSetGID)
	relay   = &User{UID: 65532, GID: 65532, Groups: NewGroups(65532)}
	rootID  = &User{Groups: NewGroups(0)}
	wants   = List{Set: SetOf(netAdmin)}
)

// root is uid 0 as container runtimes start it: P=E=B, I=A=0.
func root(b Set) State { return State{Permitted: b, Effective: b, Bounding: b} }

// user is uid 65532 with the same set in P, I, E and A.
func user(p, b Set) State {
	return State{Permitted: p, Inheritable: p, Effective: p, Ambient: p, Bounding: b,
		UID: Same(65532), GID: Same(65532)}
}

// with returns s after change.
func with(s State, change func(*State)) State {
	change(&s)
	return s
}

// promise checks what spec section 1 promises of a state after exec.
func promise(t *testing.T, p Plan, given Set, u *User) {
	t.Helper()
	s := p.AfterExec
	if s.Permitted != given || s.Effective != given || s.Inheritable != given || s.Ambient != given {
		t.Errorf("after exec P=%v I=%v E=%v A=%v, want all %v", s.Permitted, s.Inheritable, s.Effective, s.Ambient, given)
	}
	if u != nil && (s.UID != Same(u.UID) || s.GID != Same(u.GID) || s.Groups.With(u.GID) != u.Groups) {
		t.Errorf("after exec uid %v gid %v groups %v, want %+v", s.UID, s.GID, s.Groups, *u)
	}
}

// TestStartingStates has the rows of the table of starting states: which are
// launched, and with which typed error the others are refused.
func TestStartingStates(t *testing.T) {
	gvisor := linux
	gvisor.Ambient = false
	unshared := linux
	unshared.Nested, unshared.SetGroups = true, false
	unshared.UIDs, unshared.GIDs = IDMap{{0, 1}}, IDMap{{0, 1}}

	reason := func(want Reason) func(*testing.T, error) {
		return func(t *testing.T, err error) {
			var e *NotGrantedError
			if !errors.As(err, &e) || e.Missing[0].Reason != want {
				t.Errorf("got %v (%T), want reason %d", err, err, want)
			} else if e.ExitStatus() != 77 {
				t.Errorf("exit status %d, want 77", e.ExitStatus())
			}
		}
	}
	refusal := func(want Refusal) func(*testing.T, error) {
		return func(t *testing.T, err error) {
			var e *RefusedError
			if !errors.As(err, &e) || e.Why != want {
				t.Errorf("got %v (%T), want refusal %d", err, err, want)
			}
		}
	}
	for _, c := range []struct {
		name  string
		now   State
		host  Host
		req   Request
		given Set
		who   *User
		err   func(*testing.T, error)
	}{
		{name: "root with the docker default and the wanted", now: root(docker | SetOf(netAdmin)), req: Request{Required: wants, User: relay}, given: wants.Set, who: relay},
		{name: "root with drop ALL and the smallest grant", now: root(minimal), req: Request{Required: wants, User: relay}, given: wants.Set, who: relay},
		{name: "root under no_new_privs", now: with(root(minimal), func(s *State) { s.NoNewPrivs = true }), req: Request{Required: wants, User: relay}, given: wants.Set, who: relay},
		{name: "old docker: inheritable as well", now: with(root(docker), func(s *State) { s.Inheritable = docker }), req: Request{Required: List{Set: SetOf(netRaw)}, User: relay}, given: SetOf(netRaw), who: relay},
		{name: "CRI-O privileged: ambient as well", now: with(root(UpTo(40)), func(s *State) { s.Inheritable, s.Ambient = UpTo(40), UpTo(40) }), req: Request{Required: wants, User: relay}, given: wants.Set, who: relay},
		{name: "root without SETUID", now: root(SetOf(netAdmin, CapSetGID)), req: Request{Required: wants, User: relay}, err: refusal(RootCannotSwitch)},
		{name: "root without SETGID", now: root(SetOf(netAdmin, CapSetUID)), req: Request{Required: wants, User: relay}, err: refusal(RootCannotSwitch)},
		{name: "root, wanted not granted", now: root(docker), req: Request{Required: wants, User: relay}, err: reason(NotGranted)},
		{name: "root, wanted given up", now: with(root(minimal), func(s *State) {
			s.Permitted, s.Effective, s.NoNewPrivs = 0xc0, 0xc0, true
		}), req: Request{Required: wants, User: relay}, err: reason(GivenUp)},
		{name: "podman non-root", now: user(SetOf(netAdmin), docker), req: Request{Required: wants, User: relay}, given: wants.Set, who: relay},
		{name: "podman non-root, trimmed", now: user(SetOf(netAdmin, netRaw), docker), req: Request{Required: wants, User: relay}, given: wants.Set, who: relay},
		{name: "podman non-root, nobody named", now: user(SetOf(netAdmin), docker), req: Request{Required: wants}, given: wants.Set, who: relay},
		{name: "docker non-root with cap-add", now: with(user(0, minimal), func(s *State) { s.Groups = NewGroups(65532) }), req: Request{Required: wants, User: relay}, err: reason(OnlyBounding)},
		{name: "CRI-O with inheritable: non-root", now: with(user(0, minimal), func(s *State) { s.Inheritable = minimal }), req: Request{Required: wants, User: relay}, err: reason(OnlyBounding)},
		{name: "OpenShift restricted, refused", now: with(user(0, 0), func(s *State) { s.UID, s.GID = Same(1000680000), Same(0) }), req: Request{Optional: wants, User: relay}, err: refusal(OtherUser)},
		{name: "OpenShift restricted, kept", now: with(user(0, 0), func(s *State) { s.UID, s.GID = Same(1000680000), Same(0) }), req: Request{Optional: wants, User: relay, KeepNonRoot: true}, given: 0,
			who: &User{UID: 1000680000, Groups: NewGroups(0)}},
		{name: "runAsUser without runAsGroup", now: with(user(0, 0), func(s *State) { s.GID = Same(0) }), req: Request{User: relay}, err: refusal(OtherGroups)},
		{name: "fsGroup", now: with(user(0, 0), func(s *State) { s.Groups = NewGroups(2000, 65532) }), req: Request{User: relay}, err: refusal(OtherGroups)},
		{name: "fsGroup kept", now: with(user(0, 0), func(s *State) { s.Groups = NewGroups(2000, 65532) }), req: Request{User: relay, KeepGroups: true}, who: &User{65532, 65532, NewGroups(2000, 65532)}},
		{name: "fsGroup kept by root", now: with(root(minimal), func(s *State) { s.Groups = NewGroups(0, 2000) }), req: Request{Required: wants, User: relay, KeepGroups: true}, given: wants.Set, who: &User{65532, 65532, NewGroups(2000, 65532)}},
		{name: "systemd User= and AmbientCapabilities=", now: user(SetOf(netAdmin), UpTo(40)), req: Request{Required: wants, User: relay}, given: wants.Set, who: relay},
		{name: "unshare -r", now: root(UpTo(40)), host: unshared, req: Request{Required: wants, User: rootID}, given: wants.Set, who: rootID},
		{name: "unshare -r, another user", now: root(UpTo(40)), host: unshared, req: Request{Required: wants, User: relay}, err: refusal(Unmapped)},
		{name: "setgroups denied", now: root(UpTo(40)), host: Host{Known: UpTo(40), Ambient: true, Nested: true}, req: Request{Required: wants, User: relay}, err: refusal(SetGroupsDenied)},
		{name: "overflow ids only look like the ones asked for", now: with(user(0, 0), func(s *State) { s.UID, s.GID = Same(65534), Same(65534) }), host: Host{Known: UpTo(40), Ambient: true, Nested: true, UIDs: IDMap{}, GIDs: IDMap{}}, req: Request{User: &User{65534, 65534, NewGroups(65534)}}, err: refusal(Unmapped)},
		{name: "no other id is mapped, kept", now: user(0, 0), host: Host{Known: UpTo(40), Ambient: true, Nested: true, UIDs: IDMap{{65532, 1}}, GIDs: IDMap{{65532, 1}}}, req: Request{User: &User{1, 1, NewGroups(1)}, KeepNonRoot: true}, who: relay},
		{name: "who is kept has to be known", now: with(user(0, 0), func(s *State) { s.UID, s.GID = Same(65534), Same(65534) }), host: Host{Known: UpTo(40), Ambient: true, Nested: true, UIDs: IDMap{}, GIDs: IDMap{}}, req: Request{User: &User{65534, 65534, NewGroups(65534)}, KeepNonRoot: true}, err: refusal(Unmapped)},
		{name: "no other id is mapped, refused", now: user(0, 0), host: Host{Known: UpTo(40), Ambient: true, Nested: true, UIDs: IDMap{{65532, 1}}, GIDs: IDMap{{65532, 1}}}, req: Request{User: &User{1, 1, NewGroups(1)}}, err: refusal(Unmapped)},
		{name: "unmapped groups cannot be kept", now: with(root(minimal), func(s *State) { s.Groups = NewGroups(65534) }), host: Host{Known: UpTo(40), Ambient: true, SetGroups: true, Nested: true}, req: Request{User: relay, KeepGroups: true}, err: refusal(UnmappedGroups)},
		{name: "gid 0 is not kept, even with nobody named", now: with(user(0, 0), func(s *State) { s.Groups = NewGroups(0, 65532) }), req: Request{KeepGroups: true}, err: refusal(OtherGroups)},
		{name: "too many groups", now: root(minimal), req: Request{User: &User{65532, 65532, manyGroups()}}, err: refusal(TooManyGroups)},
		{name: "keep_caps_locked comes before the missing setuid", now: with(root(SetOf(netAdmin, CapSetGID)), func(s *State) { s.Securebits = KeepCapsLocked }), req: Request{Required: wants, User: relay}, err: reason(KeepCapsIsLocked)},
		{name: "rootless, unmapped user", now: root(UpTo(40)), host: Host{Known: UpTo(40), Ambient: true, SetGroups: true, UIDs: IDMap{{0, 100}}, GIDs: IDMap{{0, 100}}}, req: Request{Required: wants, User: relay}, err: refusal(Unmapped)},
		{name: "set-uid caplaunch", now: with(root(UpTo(40)), func(s *State) { s.UID.Real = 1000 }), req: Request{Required: wants, User: relay}, err: refusal(StartedSetID)},
		{name: "set-gid caplaunch", now: with(user(0, UpTo(40)), func(s *State) { s.GID.Effective, s.GID.Saved = 4, 4 }), req: Request{User: relay}, err: refusal(StartedSetID)},
		{name: "caplaunch with file capabilities", now: with(user(minimal, UpTo(40)), func(s *State) { s.Inheritable, s.Ambient = 0, 0 }), req: Request{Required: wants, User: relay}, err: refusal(StartedWithFileCaps)},
		{name: "no ambient set", now: root(minimal), host: gvisor, req: Request{Required: wants, User: relay}, err: reason(NoAmbient)},
		{name: "no ambient set, nothing asked", now: root(minimal), host: gvisor, req: Request{User: relay}, who: relay},
		{name: "root without a user", now: root(minimal), req: Request{Required: wants}, err: refusal(RootWithoutUser)},
		{name: "root stays root", now: root(minimal), req: Request{Required: wants, User: rootID}, given: wants.Set, who: rootID},
		{name: "root stays root without no_new_privs", now: root(minimal), req: Request{Required: wants, User: rootID, AllowNewPrivs: true}, err: refusal(RootRegains)},
		{name: "root stays root, bounding dropped", now: root(minimal | SetOf(CapSetPCap)), req: Request{Required: wants, User: rootID, AllowNewPrivs: true, DropBounding: true}, given: wants.Set, who: rootID},
		{name: "bounding=drop without SETPCAP", now: root(minimal), req: Request{Required: wants, User: relay, DropBounding: true}, err: refusal(BoundingNeedsSetPCap)},
		{name: "unknown to the kernel", now: root(UpTo(36)), host: Host{Known: UpTo(36), Ambient: true, SetGroups: true}, req: Request{Required: List{Set: SetOf(39)}, User: relay}, err: reason(NotKnown)},
		{name: "permitted alone", now: with(root(minimal), func(s *State) { s.Bounding = SetOf(CapSetUID, CapSetGID) }), req: Request{Required: wants, User: relay}, err: reason(NotInheritable)},
		{name: "securebit noroot", now: with(root(0), func(s *State) { s.Bounding, s.Securebits = UpTo(40), NoRoot|NoRootLocked }), req: Request{Required: wants, User: relay}, err: reason(RootWithoutRoot)},
		{name: "securebit keep_caps_locked", now: with(root(minimal), func(s *State) { s.Securebits = KeepCapsLocked }), req: Request{Required: wants, User: relay}, err: reason(KeepCapsIsLocked)},
		{name: "securebit keep_caps_locked, root stays", now: with(root(minimal), func(s *State) { s.Securebits = KeepCapsLocked }), req: Request{Required: wants, User: rootID}, given: wants.Set, who: rootID},
		{name: "securebit no_cap_ambient_raise", now: with(root(minimal), func(s *State) { s.Securebits = NoCapAmbientRaise }), req: Request{Required: wants, User: relay}, err: reason(AmbientIsLocked)},
		{name: "securebit no_cap_ambient_raise, ambient already", now: with(user(SetOf(netAdmin), docker), func(s *State) { s.Securebits = NoCapAmbientRaise }), req: Request{Required: wants, User: relay}, given: wants.Set, who: relay},
		{name: "all in caps, some missing", now: root(docker), req: Request{Required: List{All: true}, User: relay}, err: reason(NotGranted)},
		{name: "all in optional caps", now: root(docker), req: Request{Optional: List{All: true}, User: relay}, given: docker, who: relay},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.host.Known == 0 {
				c.host = linux
			}
			p, err := NewPlan(c.req, c.now, c.host)
			if c.err != nil {
				if err == nil {
					t.Fatalf("launched with %v, want a refusal", p.Steps)
				}
				c.err(t, err)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			promise(t, p, c.given, c.who)
			if p.AfterExec.NoNewPrivs == c.req.AllowNewPrivs && !c.now.NoNewPrivs {
				t.Errorf("no_new_privs %v", p.AfterExec.NoNewPrivs)
			}
		})
	}
}

// manyGroups is one more than the kernel takes.
func manyGroups() Groups {
	var ids []uint32
	for i := range uint32(MaxGroups) + 1 {
		ids = append(ids, 100_000+i)
	}
	return NewGroups(ids...)
}

var seed = flag.Uint64("seed", 0, "seed of the random tests; 0 takes the time")

// random is a source whose seed is logged.
func random(t *testing.T) *rand.Rand {
	s := *seed
	if s == 0 {
		s = uint64(time.Now().UnixNano())
	}
	t.Logf("-seed=%d", s)
	return rand.New(rand.NewPCG(s, 0))
}

// aSet is a random set, often an extreme one.
func aSet(r *rand.Rand, within Set) Set {
	switch r.IntN(5) {
	case 0:
		return 0
	case 1:
		return within
	case 2:
		return within & SetOf(netAdmin, CapSetUID, CapSetGID, CapSetPCap)
	}
	return Set(r.Uint64()) & within
}

// aWorld is a random state that obeys the kernel's invariants.
func aWorld(r *rand.Rand) (State, Host) {
	h := linux
	if r.IntN(20) == 0 {
		h.Ambient = false
	}
	if r.IntN(8) == 0 {
		h.SetGroups, h.Nested = r.IntN(2) == 0, true
		h.UIDs, h.GIDs = IDMap{{0, 1 + uint32(r.IntN(70000))}}, IDMap{{0, 1 + uint32(r.IntN(70000))}}
	}
	id := func() IDs {
		ids := []uint32{0, 0, 1, 65532, 100000}
		a, b := ids[r.IntN(len(ids))], ids[r.IntN(len(ids))]
		if r.IntN(10) > 0 {
			b = a
		}
		return IDs{a, b, b}
	}
	all := UpTo(40)
	s := State{UID: id(), GID: id(), NoNewPrivs: r.IntN(3) == 0, Bounding: aSet(r, all), Inheritable: aSet(r, all)}
	s.Permitted = aSet(r, all)
	s.Effective = aSet(r, s.Permitted)
	if h.Ambient {
		s.Ambient = aSet(r, s.Permitted&s.Inheritable)
	}
	if r.IntN(4) == 0 {
		s.Securebits = Securebits(r.IntN(256)) &^ KeepCaps
	}
	switch r.IntN(3) {
	case 0:
		s.Groups = NewGroups(s.GID.Real)
	case 1:
		s.Groups = NewGroups(0, 2000, 65532)
	}
	return s, h
}

func aRequest(r *rand.Rand) Request {
	list := func() List { return List{Set: aSet(r, UpTo(42)), All: r.IntN(12) == 0} }
	req := Request{Sets: DefaultSets, KeepGroups: r.IntN(4) == 0, KeepNonRoot: r.IntN(3) == 0,
		DropBounding: r.IntN(3) == 0, AllowNewPrivs: r.IntN(3) == 0, Strict: r.IntN(10) == 0}
	if r.IntN(2) == 0 {
		req.Required = list()
	}
	if r.IntN(2) == 0 {
		req.Optional = list()
	}
	switch r.IntN(4) {
	case 0:
	case 1:
		req.User = rootID
	default:
		req.User = relay
	}
	return req
}

// TestAcceptedPlanEndsInThePromise holds NewPlan, over random worlds, to what
// it stands for: the promise or a refusal, nothing gained, nothing superfluous.
func TestAcceptedPlanEndsInThePromise(t *testing.T) {
	r := random(t)
	accepted, switched := 0, 0
	for range 200_000 {
		now, host := aWorld(r)
		req := aRequest(r)
		p, err := NewPlan(req, now, host)
		if err != nil {
			var known interface{ ExitStatus() int }
			if !errors.As(err, &known) {
				t.Fatalf("%+v\n%+v\nrefused without an exit status: %v", now, req, err)
			}
			if _, step := err.(*StepError); step {
				t.Fatalf("%+v\n%+v\nrefused by the Sim in words that no user has: %v", now, req, err)
			}
			continue
		}
		accepted++
		if p.Switched {
			switched++
		}
		s := p.AfterExec
		bad := func(why string) {
			t.Fatalf("%s\nstart %+v\nrequest %+v\nsteps %v\nafter %+v", why, now, req, p.Steps, s)
		}
		switch required := req.Required.On(host); {
		case s.Permitted != p.Given || s.Effective != p.Given || s.Inheritable != p.Given || s.Ambient != p.Given:
			bad("permitted, effective, inheritable and ambient are not what was given")
		case !p.Given.Contains(required):
			bad("a required capability is missing")
		case !(required | req.Optional.On(host)).Contains(p.Given):
			bad("given more than was asked for")
		case !now.Permitted.Contains(p.Given):
			bad("given more than was permitted")
		case s.UID != Same(s.UID.Real) || s.GID != Same(s.GID.Real):
			bad("the ids differ among themselves")
		case !s.NoNewPrivs && !req.AllowNewPrivs:
			bad("no_new_privs is off")
		case req.DropBounding && !p.Given.Contains(s.Bounding):
			bad("the bounding set is larger than what was given")
		case s.Bounding&^now.Bounding != 0:
			bad("the bounding set has grown")
		case req.User != nil && !req.KeepNonRoot && (s.UID.Real != req.User.UID || s.GID.Real != req.User.GID):
			bad("another user than the one asked for")
		case p.Switched && !s.Groups.Has(s.GID.Real):
			bad("the primary group is not among the groups")
		}
		// The program's children keep it, and with a root program's too.
		if child, err := s.Execve(File{}); err != nil || child != s {
			bad("a child of the program has another state")
		}
		sim := &Sim{Now: now, On: host}
		for _, step := range p.Steps {
			was := sim.Now
			if err := step.Do(sim); err != nil {
				bad(err.Error())
			}
			if _, sets := step.(SetGroups); sim.Now == was && !sets {
				bad("a step that changes nothing: " + step.String())
			}
		}
		if err := Verify(sim, p); err != nil {
			bad(err.Error())
		}
	}
	t.Logf("%d accepted, %d of them with a switch", accepted, switched)
	if accepted < 1000 || switched < 500 {
		t.Errorf("the random worlds are too hostile to prove anything")
	}
}
