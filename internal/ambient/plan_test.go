package ambient_test

import (
	"errors"
	"math/rand/v2"
	"testing"

	. "github.com/caplaunch/caplaunch/internal/ambient"
)

// TestStartingStates has the rows of the table of starting states: which are
// launched, as whom and with what, and why the others are refused.
func TestStartingStates(t *testing.T) {
	gvisor, unshared, old := linux, linux, linux
	gvisor.Ambient, unshared.SetGroups, old.Known = false, false, upTo(36)
	openShift := with(user(0, 0), func(s *State) { s.UID, s.GID = Same(1000680000), Same(0) })
	none := NewGroups()
	for _, c := range []launch{
		{name: "root with the docker default and the wanted", now: root(docker | SetOf(netAdmin)), req: Request{Required: wants, User: relay}, given: wants.Set, who: relay},
		{name: "root with drop ALL and the smallest grant", now: root(minimal), req: Request{Required: wants, User: relay}, given: wants.Set, who: relay},
		{name: "root under no_new_privs", now: with(root(minimal), func(s *State) { s.NoNewPrivs = true }), req: Request{Required: wants, User: relay}, given: wants.Set, who: relay},
		{name: "old docker: inheritable as well", now: with(root(docker), func(s *State) { s.Inheritable = docker }), req: Request{Required: List{Set: SetOf(netRaw)}, User: relay}, given: SetOf(netRaw), who: relay},
		{name: "CRI-O privileged: ambient as well", now: with(root(upTo(40)), func(s *State) { s.Inheritable, s.Ambient = upTo(40), upTo(40) }), req: Request{Required: wants, User: relay}, given: wants.Set, who: relay},
		{name: "root without SETUID", now: root(SetOf(netAdmin, CapSetGID)), req: Request{Required: wants, User: relay}, refused: RootCannotSwitch},
		{name: "root without SETGID", now: root(SetOf(netAdmin, CapSetUID)), req: Request{Required: wants, User: relay}, refused: RootCannotSwitch},
		{name: "root, wanted not granted", now: root(docker), req: Request{Required: wants, User: relay}, refused: NotGranted},
		{name: "root, wanted given up", now: with(root(minimal), func(s *State) {
			s.Permitted, s.Effective, s.NoNewPrivs = 0xc0, 0xc0, true
		}), req: Request{Required: wants, User: relay}, refused: GivenUp},
		{name: "podman non-root", now: user(SetOf(netAdmin), docker), req: Request{Required: wants, User: relay}, given: wants.Set, who: relay},
		{name: "podman non-root, trimmed", now: user(SetOf(netAdmin, netRaw), docker), req: Request{Required: wants, User: relay}, given: wants.Set, who: relay},
		{name: "podman non-root, nobody named", now: user(SetOf(netAdmin), docker), req: Request{Required: wants}, given: wants.Set, who: relay},
		{name: "docker non-root with cap-add", now: with(user(0, minimal), func(s *State) { s.Groups = NewGroups(65532) }), req: Request{Required: wants, User: relay}, refused: OnlyBounding},
		{name: "CRI-O with inheritable: non-root", now: with(user(0, minimal), func(s *State) { s.Inheritable = minimal }), req: Request{Required: wants, User: relay}, refused: OnlyBounding},
		{name: "OpenShift restricted, refused", now: openShift, req: Request{Optional: wants, User: relay}, refused: OtherUser},
		{name: "OpenShift restricted, kept", now: openShift, req: Request{Optional: wants, User: relay, KeepNonRoot: true}, who: &User{UID: 1000680000, Groups: NewGroups(0)}},
		{name: "runAsUser without runAsGroup", now: with(user(0, 0), func(s *State) { s.GID = Same(0) }), req: Request{User: relay}, refused: OtherGroups},
		{name: "systemd User= and AmbientCapabilities=", now: user(SetOf(netAdmin), upTo(40)), req: Request{Required: wants, User: relay}, given: wants.Set, who: relay},
		{name: "unshare -r", now: root(upTo(40)), host: unshared, req: Request{Required: wants, User: rootID}, given: wants.Set, who: rootID},
		{name: "unshare -r, another user", now: root(upTo(40)), host: unshared, req: Request{Required: wants, User: relay}, refused: SetGroupsDenied},
		{name: "hostUsers: false where restricted is enforced", now: root(SetOf(CapNetBindService)), req: Request{Required: List{Set: SetOf(CapNetBindService)}, User: rootID}, given: SetOf(CapNetBindService), who: rootID},
		{name: "the same, and a switch", now: root(SetOf(CapNetBindService)), req: Request{Required: List{Set: SetOf(CapNetBindService)}, User: relay}, refused: RootCannotSwitch},
		{name: "too many groups", now: root(minimal), req: Request{User: &User{65532, 65532, manyGroups()}}, refused: TooManyGroups},
		{name: "set-uid caplaunch", now: with(root(upTo(40)), func(s *State) { s.UID.Real = 1000 }), req: Request{Required: wants, User: relay}, refused: StartedSetID},
		{name: "set-gid caplaunch", now: with(user(0, upTo(40)), func(s *State) { s.GID.Effective, s.GID.Saved = 4, 4 }), req: Request{User: relay}, refused: StartedSetID},
		{name: "caplaunch with file capabilities", now: with(user(minimal, upTo(40)), func(s *State) { s.Inheritable, s.Ambient = 0, 0 }), req: Request{Required: wants, User: relay}, refused: StartedWithFileCaps},
		{name: "no ambient set", now: root(minimal), host: gvisor, req: Request{Required: wants, User: relay}, refused: NoAmbient},
		{name: "no ambient set, nothing asked", now: root(minimal), host: gvisor, req: Request{User: relay}, who: relay},
		{name: "root without a user", now: root(minimal), req: Request{Required: wants}, refused: RootWithoutUser},
		{name: "root with groups and without a user", now: root(minimal), req: Request{Required: wants, Groups: &none}, refused: RootWithoutUser},
		{name: "root stays root", now: root(minimal), req: Request{Required: wants, User: rootID}, given: wants.Set, who: rootID},
		{name: "root stays root without no_new_privs", now: root(minimal), req: Request{Required: wants, User: rootID, AllowNewPrivs: true}, refused: RootRegains},
		{name: "the same, bounding dropped", now: root(minimal | SetOf(CapSetPCap)), req: Request{Required: wants, User: rootID, AllowNewPrivs: true, Bounding: CutBounding}, given: wants.Set, who: rootID},
		{name: "the same, bounding to be dropped if possible", now: root(minimal | SetOf(CapSetPCap)), req: Request{Required: wants, User: rootID, AllowNewPrivs: true, Bounding: TryBounding}, given: wants.Set, who: rootID},
		{name: "the same, and it is not possible", now: root(minimal), req: Request{Required: wants, User: rootID, AllowNewPrivs: true, Bounding: TryBounding}, refused: RootRegains},
		{name: "another becomes root without no_new_privs", now: user(SetOf(CapSetUID, CapSetGID), docker), req: Request{User: rootID, AllowNewPrivs: true}, refused: RootRegains},
		{name: "bounding=drop without SETPCAP", now: root(minimal), req: Request{Required: wants, User: relay, Bounding: CutBounding}, refused: BoundingNeedsSetPCap},
		{name: "bounding=drop without SETPCAP, and nothing to drop", now: user(wants.Set, wants.Set), req: Request{Required: wants, User: relay, Bounding: CutBounding}, given: wants.Set, who: relay},
		{name: "unknown to the kernel", now: root(upTo(36)), host: old, req: Request{Required: List{Set: SetOf(39)}, User: relay}, refused: NotKnown},
		{name: "permitted alone", now: with(root(minimal), func(s *State) { s.Bounding = SetOf(CapSetUID, CapSetGID) }), req: Request{Required: wants, User: relay}, refused: NotInheritable},
		{name: "securebit noroot", now: with(root(0), func(s *State) { s.Bounding, s.Securebits = upTo(40), NoRoot }), req: Request{Required: wants, User: relay}, refused: RootWithoutRoot},
		{name: "securebit keep_caps_locked", now: with(root(minimal), func(s *State) { s.Securebits = KeepCapsLocked }), req: Request{Required: wants, User: relay}, refused: KeepCapsIsLocked},
		{name: "the same, keep_caps on", now: with(root(minimal), func(s *State) { s.Securebits = KeepCapsLocked | KeepCaps }), req: Request{Required: wants, User: relay}, given: wants.Set, who: relay},
		{name: "securebit keep_caps_locked, root stays", now: with(root(minimal), func(s *State) { s.Securebits = KeepCapsLocked }), req: Request{Required: wants, User: rootID}, given: wants.Set, who: rootID},
		{name: "keep_caps_locked comes before the missing setuid", now: with(root(SetOf(netAdmin, CapSetGID)), func(s *State) { s.Securebits = KeepCapsLocked }), req: Request{Required: wants, User: relay}, refused: KeepCapsIsLocked},
		{name: "securebit no_cap_ambient_raise", now: with(root(minimal), func(s *State) { s.Securebits = NoCapAmbientRaise }), req: Request{Required: wants, User: relay}, refused: AmbientIsLocked},
		{name: "securebit no_cap_ambient_raise, ambient already", now: with(user(SetOf(netAdmin), docker), func(s *State) { s.Securebits = NoCapAmbientRaise }), req: Request{Required: wants, User: relay}, given: wants.Set, who: relay},
		{name: "all in caps, some missing", now: root(docker), req: Request{Required: List{All: true}, User: relay}, refused: NotGranted},
		{name: "all in optional caps", now: root(docker), req: Request{Optional: List{All: true}, User: relay}, given: docker, who: relay},
	} {
		c.check(t)
	}
}

// A launch is a row of a table.
type launch struct {
	name    string
	now     State
	host    Host // linux where it is not said
	req     Request
	given   Set
	who     *User
	lost    Groups
	stays   bool // nothing is set but the ids
	refused any  // a Reason or a Refusal
}

func (c launch) check(t *testing.T) {
	t.Run(c.name, func(t *testing.T) {
		if c.host.Known == 0 {
			c.host = linux
		}
		a, wrong := ask(c.req, c.now, c.host)
		if wrong != "" {
			t.Fatal(wrong)
		}
		s := a.AfterExec
		switch got := because(a.err); {
		case c.refused != nil && got != c.refused:
			t.Errorf("%v, want %v", a.err, c.refused)
		case c.refused == nil && a.err != nil:
			t.Error(a.err)
		case c.refused == nil && (a.Given != c.given || a.Lost != c.lost || c.stays && a.Switched):
			t.Errorf("given %v, lost %v, switched %v", a.Given, a.Lost, a.Switched)
		case c.who != nil && (s.UID != Same(c.who.UID) || s.GID != Same(c.who.GID) || s.Groups.With(c.who.GID) != c.who.Groups):
			t.Errorf("it is uid %v, gid %v, groups %v, want %+v", s.UID, s.GID, s.Groups, *c.who)
		}
	})
}

// because is the Reason or Refusal that an error is.
func because(err error) any {
	var missing *NotGrantedError
	var refused *RefusedError
	switch {
	case errors.As(err, &missing):
		return missing.Missing[0].Reason
	case errors.As(err, &refused):
		return refused.Why
	}
	return nil
}

// TestGroupsReceived has what becomes of the supplementary groups that caplaunch
// was started with.
func TestGroupsReceived(t *testing.T) {
	g := NewGroups
	as := func(start State, groups ...uint32) State {
		start.Groups = g(groups...)
		return start
	}
	asked := func(ids ...uint32) *Groups {
		groups := g(ids...)
		return &groups
	}
	denied := linux
	denied.SetGroups = false
	kept := func(groups ...uint32) *User { return &User{65532, 65532, g(append(groups, 65532)...)} }
	boss, plain := root(minimal), user(0, 0)
	for _, c := range []launch{
		{name: "fsGroup", now: as(plain, 2000, 65532), req: Request{User: relay}, refused: OtherGroups},
		{name: "fsGroup kept", now: as(plain, 2000, 65532), req: Request{User: relay, KeepGroups: true}, who: kept(2000), stays: true},
		{name: "fsGroup, another user is no excuse", now: as(plain, 2000, 65532), req: Request{User: relay, KeepNonRoot: true}, who: kept(2000), stays: true},
		{name: "fsGroup lost by root", now: as(boss, 0, 2000), req: Request{User: relay}, who: relay, lost: g(2000)},
		{name: "fsGroup kept by root, gid 0 is not", now: as(boss, 0, 2000), req: Request{User: relay, KeepGroups: true}, who: kept(2000)},
		{name: "beside --groups", now: as(boss, 0, 2000), req: Request{User: relay, Groups: asked(7), KeepGroups: true}, who: kept(7, 2000)},
		{name: "root's groups of the image are not kept", now: as(boss, 0, 4, 10, 2000), req: Request{User: relay, KeepGroups: true, Unkept: g(4, 10)}, who: kept(2000), lost: g(4, 10)},
		{name: "the primary group of the start is lost", now: with(boss, func(s *State) { s.GID = Same(5) }), req: Request{User: relay}, who: relay, lost: g(5)},
		{
			name: "gid 0 is lost by another user", now: as(with(user(SetOf(CapSetUID, CapSetGID), docker), func(s *State) { s.UID, s.GID = Same(1000), Same(0) }), 2000),
			req: Request{User: relay}, who: relay, lost: g(0, 2000),
		},
		{name: "root with other groups cannot set them", now: as(root(wants.Set), 0, 2000), req: Request{User: rootID}, refused: OtherGroups},
		{name: "root with other groups keeps them", now: as(root(wants.Set), 0, 2000), req: Request{Required: wants, User: rootID, KeepGroups: true}, given: wants.Set, who: &User{0, 0, g(0, 2000)}, stays: true},
		{name: "setgroups denied", now: as(root(minimal), 0, 2000), host: denied, req: Request{User: rootID}, refused: SetGroupsDenied},
		{name: "setgroups denied, kept", now: as(root(minimal), 0, 2000), host: denied, req: Request{User: rootID, KeepGroups: true}, who: &User{0, 0, g(0, 2000)}, stays: true},
		{name: "nobody named", now: as(plain, 0, 65532), req: Request{KeepGroups: true}, who: kept(0), stays: true},
		{name: "the groups that are there", now: as(plain, 2000), req: Request{Groups: asked(2000)}, who: kept(2000), stays: true},

		{name: "an entry that is believed", now: as(plain, 65532, 65534), req: Request{User: kept(65534)}, who: kept(65534), stays: true},
		{name: "one that is not", now: as(plain, 65532, 65534), req: Request{User: kept(65534), Doubtful: g(65534)}, refused: OtherGroups},
		{name: "kept as it is where nothing can be set", now: as(plain, 65532, 65534), req: Request{User: relay, KeepGroups: true, Doubtful: g(65534)}, who: kept(65534), stays: true},
		{name: "left out and told at a switch", now: as(boss, 2000, 65534), req: Request{User: relay, KeepGroups: true, Doubtful: g(65534)}, who: kept(2000), lost: g(65534)},
		{name: "set where it can be", now: as(user(SetOf(CapSetGID), docker), 65532, 65534), req: Request{User: kept(65534), Doubtful: g(65534)}, who: kept(65534)},

		{name: "asked for and not there", now: as(plain, 2000), req: Request{User: relay, Groups: asked(7), KeepGroups: true}, refused: OtherGroups},
		{name: "asked for and there", now: as(plain, 2000, 7), req: Request{User: relay, Groups: asked(7), KeepGroups: true}, who: kept(7, 2000), stays: true},
		{name: "asked for and doubtful", now: as(plain, 2000, 65534), req: Request{User: relay, Groups: asked(65534), KeepGroups: true, Doubtful: g(65534)}, refused: OtherGroups},
		{name: "asked for and the primary one", now: as(plain, 2000, 0), req: Request{User: relay, Groups: asked(65532), KeepGroups: true}, who: kept(0, 2000), stays: true},
	} {
		c.check(t)
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

// aWorld is a random state that obeys the kernel's invariants, mostly one that an
// execve leaves.
func aWorld(r *rand.Rand) (State, Host) {
	h := linux
	h.Ambient, h.SetGroups = r.IntN(20) > 0, r.IntN(8) > 0
	id := func() IDs {
		ids := []uint32{0, 0, 1, 65532, 100000}
		a, b := ids[r.IntN(len(ids))], ids[r.IntN(len(ids))]
		if r.IntN(10) > 0 {
			b = a
		}
		return IDs{a, b, b}
	}
	known := upTo(40)
	s := State{UID: id(), GID: id(), NoNewPrivs: r.IntN(3) == 0, Bounding: aSet(r, known), Inheritable: aSet(r, known)}
	s.Permitted = aSet(r, known)
	s.Effective = aSet(r, s.Permitted)
	if h.Ambient {
		s.Ambient = aSet(r, s.Permitted&s.Inheritable)
	}
	if r.IntN(4) == 0 {
		s.Securebits = Securebits(r.IntN(256))
	}
	switch r.IntN(3) {
	case 0:
		s.Groups = NewGroups(s.GID.Real)
	case 1:
		s.Groups = NewGroups(0, 2000, 65532)
	}
	if r.IntN(3) > 0 {
		s, _ = s.Execve(File{}, h)
	}
	return s, h
}

func aRequest(r *rand.Rand) Request {
	list := func() List { return List{Set: aSet(r, upTo(42)), All: r.IntN(12) == 0} }
	req := Request{
		Sets: DefaultSets, KeepGroups: r.IntN(4) == 0, KeepNonRoot: r.IntN(3) == 0,
		Bounding: Bounding(r.IntN(3)), AllowNewPrivs: r.IntN(3) == 0, Strict: r.IntN(10) == 0,
	}
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

// TestAcceptedPlanEndsInThePromise is the proof by exhaustion for worlds of 41
// capabilities, which are too large to exhaust.
func TestAcceptedPlanEndsInThePromise(t *testing.T) {
	r := random(t)
	accepted, switched, skipped := 0, 0, 0
	for range 50_000 {
		now, host := aWorld(r)
		req := aRequest(r)
		a, wrong := ask(req, now, host)
		if wrong != "" {
			t.Fatalf("%s\nanswer  %+v, %v\nstart   %+v\nrequest %s\nhost    %+v", wrong, a.Plan, a.err, now, spell(req), host)
		}
		if a.err == nil {
			accepted++
			skipped += len(a.Skipped)
			if a.Switched {
				switched++
			}
		}
	}
	t.Logf("%d accepted, %d of them with a switch, %d capabilities skipped", accepted, switched, skipped)
	if accepted < 1000 || switched < 500 || skipped < 1000 {
		t.Errorf("the random worlds are too hostile to prove anything")
	}
}
