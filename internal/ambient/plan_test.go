package ambient_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	. "github.com/caplaunch/caplaunch/internal/ambient"
	"github.com/caplaunch/caplaunch/test/unit"
)

// TestStartingStates says which states are launched, as whom and with what, and why the others are refused.
func TestStartingStates(t *testing.T) {
	gvisor, unshared, old := linux, linux, linux
	gvisor.Ambient, unshared.SetGroups, old.Known = false, false, upTo(36)
	openShift := with(user(0, 0), func(s *State) { s.UID, s.GID = Same(1000680000), Same(0) })
	grouped := func(start State, groups ...uint32) State {
		start.Groups = NewGroups(groups...)
		return start
	}
	kept := &User{65532, 65532, NewGroups(2000, 65532)}
	most := &User{65532, 65532, groupsFrom(65532, MaxGroups)}
	tooMany := groupsFrom(65532, MaxGroups+1)
	for _, c := range []struct {
		name    string
		now     State
		host    Host // linux where it is not said
		req     Request
		given   Set
		who     *User
		lost    Groups
		stays   bool // nothing is set but the ids
		refused any  // a Reason or a Refusal
	}{
		{name: "root with the docker default and the wanted", now: root(docker | SetOf(netAdmin)), req: Request{Required: wants, User: relay}, given: wants.Set, who: relay},
		{name: "root with drop ALL and the smallest grant", now: root(minimal), req: Request{Required: wants, User: relay}, given: wants.Set, who: relay},
		{name: "root under no_new_privs", now: with(root(minimal), func(s *State) { s.NoNewPrivs = true }), req: Request{Required: wants, User: relay}, given: wants.Set, who: relay},
		{name: "root that has nothing effective", now: with(root(minimal), func(s *State) { s.Effective = 0 }), req: Request{Required: wants, User: relay}, given: wants.Set, who: relay},
		{name: "root with keepcaps", now: with(root(minimal), func(s *State) { s.Securebits = KeepCaps }), req: Request{Required: wants, User: relay}, given: wants.Set, who: relay},
		{name: "old docker: inheritable as well", now: with(root(docker), func(s *State) { s.Inheritable = docker }), req: Request{Required: List{Set: SetOf(netRaw)}, User: relay}, given: SetOf(netRaw), who: relay},
		{name: "CRI-O privileged: ambient as well", now: with(root(upTo(40)), func(s *State) { s.Inheritable, s.Ambient = upTo(40), upTo(40) }), req: Request{Required: wants, User: relay}, given: wants.Set, who: relay},
		{name: "root without SETUID", now: root(SetOf(netAdmin, CapSetGID)), req: Request{Required: wants, User: relay}, refused: RootCannotSwitch},
		{name: "root without SETGID", now: root(SetOf(netAdmin, CapSetUID)), req: Request{Required: wants, User: relay}, refused: RootCannotSwitch},
		{name: "root, wanted not granted", now: root(docker), req: Request{Required: wants, User: relay}, refused: NotGranted},
		{name: "podman non-root", now: user(SetOf(netAdmin), docker), req: Request{Required: wants, User: relay}, given: wants.Set, who: relay},
		{name: "podman non-root, trimmed", now: user(SetOf(netAdmin, netRaw), docker), req: Request{Required: wants, User: relay}, given: wants.Set, who: relay},
		{name: "docker non-root with cap-add", now: with(user(0, minimal), func(s *State) { s.Groups = NewGroups(65532) }), req: Request{Required: wants, User: relay}, refused: OnlyBounding},
		{name: "OpenShift restricted, refused", now: openShift, req: Request{Optional: wants, User: relay}, refused: OtherUser},
		{name: "OpenShift restricted, kept", now: openShift, req: Request{Optional: wants, User: relay, KeepNonRoot: true}, who: &User{UID: 1000680000, Groups: NewGroups(0)}},
		{name: "runAsUser without runAsGroup", now: with(user(0, 0), func(s *State) { s.GID = Same(0) }), req: Request{User: relay}, refused: OtherGroups},
		{name: "systemd User= and AmbientCapabilities=", now: user(SetOf(netAdmin), upTo(40)), req: Request{Required: wants, User: relay}, given: wants.Set, who: relay},
		{name: "unshare -r", now: root(upTo(40)), host: unshared, req: Request{Required: wants, User: rootID}, given: wants.Set, who: rootID},
		{name: "unshare -r, another user", now: root(upTo(40)), host: unshared, req: Request{Required: wants, User: relay}, refused: SetGroupsDenied},
		{name: "hostUsers: false where restricted is enforced", now: root(SetOf(CapNetBindService)), req: Request{Required: List{Set: SetOf(CapNetBindService)}, User: rootID}, given: SetOf(CapNetBindService), who: rootID},
		{name: "as many groups as there can be", now: root(minimal), req: Request{User: most}, who: most},
		{name: "one more", now: root(minimal), req: Request{User: most, Groups: &tooMany}, refused: TooManyGroups},
		{name: "set-uid caplaunch", now: with(root(upTo(40)), func(s *State) { s.UID.Real = 1000 }), req: Request{Required: wants, User: relay}, refused: StartedSetID},
		{name: "set-gid caplaunch", now: with(user(0, upTo(40)), func(s *State) { s.GID.Effective, s.GID.Saved = 4, 4 }), req: Request{User: relay}, refused: StartedSetID},
		{name: "caplaunch with file capabilities", now: with(user(minimal, upTo(40)), func(s *State) { s.Inheritable, s.Ambient = wants.Set, wants.Set }), req: Request{Required: wants, User: relay}, refused: StartedWithFileCaps},
		{name: "no ambient set", now: root(minimal), host: gvisor, req: Request{Required: wants, User: relay}, refused: NoAmbient},
		{name: "no ambient set, nothing asked", now: root(minimal), host: gvisor, req: Request{User: relay}, who: relay},
		{name: "root without a user", now: root(minimal), req: Request{Required: wants}, refused: RootWithoutUser},
		{name: "root stays root", now: root(minimal), req: Request{Required: wants, User: rootID}, given: wants.Set, who: rootID},
		{name: "root stays root without no_new_privs", now: root(minimal), req: Request{Required: wants, User: rootID, AllowNewPrivs: true}, refused: RootRegains},
		{name: "the same, bounding dropped", now: root(minimal | SetOf(CapSetPCap)), req: Request{Required: wants, User: rootID, AllowNewPrivs: true, Bounding: CutBounding}, given: wants.Set, who: rootID},
		{name: "the same, and it is not possible", now: root(minimal), req: Request{Required: wants, User: rootID, AllowNewPrivs: true, Bounding: TryBounding}, refused: RootRegains},
		{name: "bounding=drop without SETPCAP", now: root(minimal), req: Request{Required: wants, User: relay, Bounding: CutBounding}, refused: BoundingNeedsSetPCap},
		{name: "unknown to the kernel", now: root(upTo(36)), host: old, req: Request{Required: List{Set: SetOf(39)}, User: relay}, refused: NotKnown},
		{name: "permitted alone", now: with(root(minimal), func(s *State) { s.Bounding = SetOf(CapSetUID, CapSetGID) }), req: Request{Required: wants, User: relay}, refused: NotInheritable},
		{name: "securebit keep_caps_locked", now: with(root(minimal), func(s *State) { s.Securebits = KeepCapsLocked }), req: Request{Required: wants, User: relay}, refused: KeepCapsIsLocked},
		{name: "keep_caps_locked comes before the missing setuid", now: with(root(SetOf(netAdmin, CapSetGID)), func(s *State) { s.Securebits = KeepCapsLocked }), req: Request{Required: wants, User: relay}, refused: KeepCapsIsLocked},
		{name: "securebit no_cap_ambient_raise", now: with(root(minimal), func(s *State) { s.Securebits = NoCapAmbientRaise }), req: Request{Required: wants, User: relay}, refused: AmbientIsLocked},
		{name: "fsGroup", now: grouped(user(0, 0), 2000, 65532), req: Request{User: relay}, refused: OtherGroups},
		{name: "fsGroup kept", now: grouped(user(0, 0), 2000, 65532), req: Request{User: relay, KeepGroups: true}, who: kept, stays: true},
		{name: "fsGroup lost by root", now: grouped(root(minimal), 0, 2000), req: Request{User: relay}, who: relay, lost: NewGroups(2000)},
		{name: "fsGroup kept by root, and none of the image", now: grouped(root(minimal), 0, 4, 2000), req: Request{User: relay, KeepGroups: true, Unkept: NewGroups(4)}, who: kept, lost: NewGroups(4)},
		{name: "root with other groups keeps them", now: grouped(root(wants.Set), 0, 2000), host: unshared, req: Request{Required: wants, User: rootID, KeepGroups: true}, given: wants.Set, who: &User{0, 0, NewGroups(0, 2000)}, stays: true},
		{name: "a group that is doubtful", now: grouped(root(minimal), 2000, 65534), req: Request{User: relay, KeepGroups: true, Doubtful: NewGroups(65534)}, who: kept, lost: NewGroups(65534)},
		{name: "all in caps, some missing", now: root(docker), req: Request{Required: List{All: true}, User: relay}, refused: NotGranted},
		{name: "all in optional caps", now: root(docker), req: Request{Optional: List{All: true}, User: relay}, given: docker, who: relay},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.host.Known == 0 {
				c.host = linux
			}
			a, wrong := ask(c.req, c.now, c.host)
			if wrong != "" {
				t.Fatal(wrong)
			}
			s := a.AfterExec
			switch {
			case c.refused != nil && a.kinds()[0] != fmt.Sprint(c.refused):
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
}

func TestTheSentinelIsNoOtherError(t *testing.T) {
	err := &UnexpectedCapabilityError{Stray: []Stray{{5, InPermitted}, {21, InBounding}}}
	if !errors.Is(err, ErrUnexpectedCapability) || errors.Is(err, ErrNone) {
		t.Error(err)
	}
	if caps, sets := err.Set(); caps != SetOf(5, 21) || sets != InPermitted|InBounding {
		t.Errorf("%v in %v", caps, sets)
	}
}

// groupsFrom is n groups from first on.
func groupsFrom(first, n uint32) Groups {
	ids := make([]uint32, n)
	for i := range n {
		ids[i] = first + i
	}
	return NewGroups(ids...)
}

// TestVerifyBelievesNothing changes each part of what the kernel reports: every difference is a *VerifyError.
func TestVerifyBelievesNothing(t *testing.T) {
	p, err := NewPlan(Request{Required: wants, User: relay}, root(minimal), linux)
	unit.Must(t, err)
	unit.Must(t, Verify(&Sim{Now: p.AfterSteps}, p))
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
		if err := Verify(&Sim{Now: got}, p); !errors.As(err, &e) || e.Got != got || e.Want != p.AfterSteps || strings.Count(e.Error(), "instead of") != 1 {
			t.Errorf("another %s: %v", name, err)
		}
	}
}

// blind is a kernel that cannot be read.
type blind struct{}

var errBlind = errors.New("blind")

func (blind) State() (State, error) { return State{}, errBlind }
func (blind) Do(Step) error         { return nil }

// TestWithoutAnAmbientSetNothingIsRaised, as before Linux 4.3.
func TestWithoutAnAmbientSetNothingIsRaised(t *testing.T) {
	if s, err := (RaiseAmbient{netAdmin}).Next(user(wants.Set, 0), Host{Known: upTo(40)}); err != RuleNoAmbient || s != user(wants.Set, 0) {
		t.Errorf("%+v, %v", s, err)
	}
}

// Before Linux 6.17 unequal ids cleared ambient, and were made equal under no_new_privs; since then it takes a change.
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

const (
	chown    Cap = 0
	netAdmin Cap = 12
	netRaw   Cap = 13
)

var (
	linux   = Host{Known: upTo(40), Ambient: true, SetGroups: true}
	docker  = Set(0xa80425fb) // the default 14
	minimal = SetOf(netAdmin, CapSetUID, CapSetGID)
	relay   = &User{UID: 65532, GID: 65532, Groups: NewGroups(65532)}
	rootID  = &User{Groups: NewGroups(0)}
	wants   = List{Set: SetOf(netAdmin)}
)

// upTo is the set of all capabilities from 0 to last.
func upTo(last Cap) Set { return Set(1)<<last<<1 - 1 }

// root is uid 0 as container runtimes start it: P=E=B, I=A=0.
func root(b Set) State { return State{Permitted: b, Effective: b, Bounding: b} }

// user is uid 65532 with the same set in P, I, E and A.
func user(p, b Set) State {
	return State{Permitted: p, Inheritable: p, Effective: p, Ambient: p, Bounding: b, UID: Same(65532), GID: Same(65532)}
}

// with returns s after change.
func with(s State, change func(*State)) State {
	change(&s)
	return s
}

func TestListsAreRead(t *testing.T) {
	for list, want := range map[string]Set{
		"net_admin": 1 << 12, "NET_ADMIN": 1 << 12, "cap_net_admin": 1 << 12, "CAP_NET_ADMIN": 1 << 12, "Cap_Net_Raw": 1 << 13,
		"12": 1 << 12, "0": 1, "63": 1 << 63, "chown,net_raw": 1<<0 | 1<<13, "chown net_raw\tkill": 1<<0 | 1<<13 | 1<<5,
		",chown,,kill,": 1<<0 | 1<<5, "chown,CHOWN": 1, "none": 0, "checkpoint_restore": 1 << 40,
	} {
		if got, err := ParseList(list); err != nil || got.Set != want || got.All {
			t.Errorf("ParseList(%q) = %+v, %v, want %v", list, got, err, want)
		}
	}
	if got, err := ParseList("chown", "All"); err != nil || !got.All || got.Set != 1 {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestHostileListsAreRefused(t *testing.T) {
	for _, list := range []string{"", ",", " \t", "none,chown", "chown,none"} {
		if _, err := ParseList(list); !errors.Is(err, ErrEmptyList) && !errors.Is(err, ErrNone) {
			t.Errorf("ParseList(%q): %v", list, err)
		}
	}
	for list, near := range map[string]string{
		"net_amdin": "net_admin", "netadmin": "net_admin", "net-admin": "net_admin", "sys_adm1n": "sys_admin", "set_uid": "setuid", "CAP_CAP_NET_ADMIN": "net_admin",
		"64": "", "-1": "", "+12": "", "012": "", "0xc": "", "4294967308": "", "99999999999999999999": "",
		"cap_": "", "zzz": "", "net_admin;id": "net_admin", "net_admin=ep": "net_admin", "-net_admin": "", "net_bind": "net_bind_service", "\x00": "", "ЧОWN": "", "ﬀ": "", strings.Repeat("a", 1<<16): "", strings.Repeat("9", 1<<16): "", "cap_cap_" + strings.Repeat("a", 1<<16): "", "chown=" + strings.Repeat("a", 1<<16): "chown",
	} {
		var e *UnknownCapError
		if _, err := ParseList(list); !errors.As(err, &e) || len(err.Error()) > 200 {
			t.Errorf("ParseList(%.20q): %v", list, err)
		} else if e.Near() != near {
			t.Errorf("ParseList(%.20q) suggests %q, want %q", list, e.Near(), near)
		}
	}
}

func TestSetsAreRead(t *testing.T) {
	for list, want := range map[string]SetMask{"permitted": InPermitted, "Bounding, ambient": InBounding | InAmbient, "inheritable effective": InInheritable | InEffective} {
		for _, text := range []string{list, want.String()} {
			if got, err := ParseSets(text); err != nil || got != want {
				t.Errorf("ParseSets(%q) = %v, %v, want %v", text, got, err, want)
			}
		}
	}
	var e *UnknownSetError
	if _, err := ParseSets("permitted,net_admin"); !errors.As(err, &e) || e.Name != "net_admin" {
		t.Error(err)
	}
	if _, err := ParseSets(strings.Repeat("a", 1<<16)); err == nil || len(err.Error()) > 200 {
		t.Error(err)
	}
	for _, list := range []string{"", ", ,"} {
		if _, err := ParseSets(list); !errors.Is(err, ErrEmptyList) {
			t.Errorf("ParseSets(%q): %v", list, err)
		}
	}
}

func FuzzParseList(f *testing.F) {
	for _, s := range []string{"net_admin", "cap_cap_chown", "all", "none", "64", "a,b c", "net_amdin"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, list string) {
		got, err := ParseList(list)
		if err != nil {
			_ = err.Error()
			return
		}
		if again, err := ParseList(got.Set.String()); err != nil || again.Set != got.Set {
			t.Fatalf("%v is read back as %v, %v", got.Set, again.Set, err)
		}
	})
}
