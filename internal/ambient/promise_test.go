package ambient_test

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	. "github.com/caplaunch/caplaunch/internal/ambient"
)

// An answer is what NewPlan said, beside what it was asked. What judges it is written from what the command promises
// and shares no code with plan.go. What steps and execve do is taken from rules.go, which is compared with the kernel
// in test/integration/oracle.
type answer struct {
	Plan
	err  error
	req  Request
	now  State
	host Host

	who   User     // who the program is to be
	named bool     // somebody or groups were named; else it runs as it is, which root may not
	given Set      // what of the capabilities asked for can be given
	files []string // what programs with privilege of their own make of the plan
}

// ask asks NewPlan, and says what is wrong with its answer, "" where nothing is.
func ask(req Request, now State, host Host) (a answer, wrong string) {
	a = answer{req: req, now: now, host: host}
	a.who, a.named = a.wish()
	a.given = a.grantable()
	a.Plan, a.err = NewPlan(req, now, host)
	if a.err != nil {
		return a, a.wrongError()
	}
	for _, judge := range []func() string{a.tooLate, a.wrongSteps, a.wrongCaps, a.wrongUser, a.wrongRest} {
		if text := judge(); text != "" {
			return a, text
		}
	}
	a.files, wrong = a.wrongFiles()
	return a, wrong
}

// tooLate says what should have been refused before anything else.
func (a answer) tooLate() string {
	switch {
	case a.borrowed() != "":
		return "caplaunch was started with privilege of its own"
	case len(a.stray()) > 0:
		return "more was granted than allowed"
	case a.given&a.required() != a.required():
		return "a required capability cannot be given"
	case a.req.UserErr != nil:
		return "nobody knows who the program is to be"
	}
	return ""
}

// wrongSteps: the steps lead to the states that the plan names, and only those that set ids and groups may change nothing.
func (a answer) wrongSteps() string {
	s := a.now
	var who []Step
	for _, step := range a.Steps {
		next, err := step.Next(s, a.host)
		switch step.(type) {
		case SetGroups, SetResGID, SetResUID:
			who = append(who, step)
		default:
			if err == nil && next == s {
				return fmt.Sprintf("%v changes nothing", step)
			}
		}
		if err != nil {
			return fmt.Sprintf("%v: %v", step, err)
		}
		if _, isCapset := step.(Capset); !isCapset && next.Permitted != s.Permitted && a.host.Ambient && s.Securebits&(KeepCaps|KeepCapsLocked) != KeepCapsLocked {
			return fmt.Sprintf("%v takes capabilities away before the process is hidden", step)
		}
		if next.Securebits != s.Securebits && (!a.host.Ambient || a.now.UID.Real != 0 || a.who.UID == 0) {
			return fmt.Sprintf("%v where root is not left, or where it cannot be read back", step)
		}
		s = next
	}
	want := []Step{SetResGID{Same(s.GID.Real)}, SetResUID{Same(s.UID.Real)}}
	if a.Switched {
		want = slices.Insert(want, 0, Step(SetGroups{s.Groups}))
	}
	after, err := s.Execve(File{}, a.host)
	child, childErr := after.Execve(File{}, a.host)
	switch {
	case !slices.Equal(who, want):
		return fmt.Sprintf("who the program is, is set by %v instead of %v", who, want)
	case s != a.AfterSteps || err != nil || after != a.AfterExec:
		return fmt.Sprintf("steps and execve end in %+v, %+v", s, after)
	case childErr != nil || child != after:
		return fmt.Sprintf("a child of the program ends in %+v", child)
	}
	return ""
}

// wrongCaps: the program has what was asked for, as far as it can be had, in four
// sets alike; and what of the optional cannot be had is told, with a reason.
func (a answer) wrongCaps() string {
	s, told := a.AfterExec, Set(0)
	for _, m := range a.Skipped {
		if !a.holds(m.Reason, m.Cap) {
			return fmt.Sprintf("%v is skipped, and that is false: %v", m.Cap, m.Reason)
		}
		told |= SetOf(m.Cap)
	}
	switch given := a.given; {
	case s.Permitted != given || s.Effective != given || s.Inheritable != given || s.Ambient != given || a.Given != given:
		return fmt.Sprintf("it has P=%v E=%v I=%v A=%v and is said to have %v; want %v", s.Permitted, s.Effective, s.Inheritable, s.Ambient, a.Given, given)
	case told != a.req.Optional.Set&^a.required()&^given:
		return fmt.Sprintf("%v is told to be skipped", told)
	}
	return ""
}

// wrongUser: the program is who was asked for; or who caplaunch is, where it may be. No group is lost without a word.
func (a answer) wrongUser() string {
	s, want, switched := a.AfterExec, User{a.now.UID.Real, a.now.GID.Real, a.now.Groups}, false
	if a.named && !a.mayStay() {
		want, switched = a.who, true
	} else if !a.named && want.UID == 0 {
		return "root stays root unasked"
	}
	if s.UID != Same(want.UID) || s.GID != Same(want.GID) || s.Groups != want.Groups || a.Switched != switched {
		return fmt.Sprintf("it is uid %v, gid %v, groups %v (switched: %v), want %+v", s.UID, s.GID, s.Groups, a.Switched, want)
	}
	for _, g := range append(a.now.Groups.IDs(), a.now.GID.Real) {
		keeps := s.Groups.Has(g) || s.GID.Real == g
		if a.Lost.Has(g) == (keeps || g == 0 && a.now.UID.Real == 0) {
			return fmt.Sprintf("group %d: lost are %v", g, a.Lost)
		}
	}
	return ""
}

// wrongRest: no_new_privs, securebits and the bounding set.
func (a answer) wrongRest() string {
	s, b := a.AfterExec, a.now.Bounding
	cut := a.req.Bounding == CutBounding || a.req.Bounding == TryBounding && a.now.Permitted.Has(CapSetPCap)
	if cut {
		b &= a.given
	}
	kept := a.req.Bounding == TryBounding && b&^a.given != 0
	switch {
	case s.NoNewPrivs != (a.now.NoNewPrivs || !a.req.AllowNewPrivs):
		return "no_new_privs"
	case s.Securebits != a.now.Securebits&^KeepCaps:
		return "securebits"
	case s.Bounding != b || a.BoundingKept != kept:
		return fmt.Sprintf("bounding is %v (kept: %v), want %v (%v)", s.Bounding, a.BoundingKept, b, kept)
	case s.UID.Real == 0 && a.req.AllowNewPrivs && a.req.Bounding == KeepBounding:
		return "--allow-new-privs with a root target needs --bounding=drop"
	}
	return ""
}

// Programs with privilege of their own: one without a bit, and sets and ids that may or may not be those of the launch.
var (
	none, other = uint32(0), uint32(5)
	programs    = []File{
		{Caps: &FileCaps{}},
		{Caps: &FileCaps{Permitted: SetOf(netAdmin)}},
		{Caps: &FileCaps{Permitted: SetOf(netAdmin), Effective: true}},
		{Caps: &FileCaps{Inheritable: upTo(40)}},
		{Caps: &FileCaps{Permitted: upTo(40), Effective: true}},
		{SetUID: &none},
		{SetUID: &other},
		{SetGID: &other},
	}
)

// What became of the promise.
const fileKeeps, fileBreaks, fileRefused = "a file keeps the promise", "a file breaks the promise", "a file is refused"

// wrongFiles: CheckFile says what execve makes of the promise, and no verdict depends
// on Host.OldExecIDs, which is why nobody has to know it.
func (a answer) wrongFiles() (kinds []string, wrong string) {
	host := a.host
	for _, f := range programs {
		said := a.CheckFile(f)
		for _, host.OldExecIDs = range []bool{true, false} {
			after, denied := a.AfterSteps.Execve(f, host)
			keeps, kind := denied == nil && after == a.AfterExec, fileBreaks
			if keeps {
				kind = fileKeeps
			} else if denied != nil {
				kind = fileRefused
			}
			kinds = append(kinds, kind)
			var e *FileError
			if broken := errors.As(said, &e); broken == keeps || broken && (e.File != f || e.Want != a.AfterExec || e.Err != denied || !host.OldExecIDs && e.After != after) {
				return kinds, fmt.Sprintf("%+v ends in %+v, %v, CheckFile says %+v", f, after, denied, said)
			}
		}
	}
	return kinds, ""
}

// wrongError: a refusal comes in its turn, and what it says is true.
func (a answer) wrongError() string {
	var stray *UnexpectedCapabilityError
	var missing *NotGrantedError
	var refused *RefusedError
	switch {
	case errors.As(a.err, &stray):
		want := a.stray()
		for _, s := range stray.Stray {
			if want[s.Cap] != s.Sets || s.Sets == 0 {
				return fmt.Sprintf("%v is in %v, want %v", s.Cap, s.Sets, want[s.Cap])
			}
		}
		if len(stray.Stray) == 0 || len(stray.Stray) != len(want) || a.borrowed() != "" || !a.isAllowlist(stray.Allow) {
			return fmt.Sprintf("beyond the allowlist are %v, want %v", stray.Stray, want)
		}
	case errors.As(a.err, &missing):
		for _, m := range missing.Missing {
			if !a.holds(m.Reason, m.Cap) {
				return fmt.Sprintf("%v cannot be given, and that is false: %v", m.Cap, m.Reason)
			}
		}
		if missing.Set() == 0 || missing.Set() != a.required()&^a.given || missing.Now != a.now || a.borrowed() != "" || len(a.stray()) > 0 {
			return fmt.Sprintf("%v cannot be given, want %v", missing.Set(), a.required()&^a.given)
		}
	case errors.As(a.err, &refused):
		if !a.isTrue(refused) {
			return fmt.Sprintf("false: %v", refused)
		}
	case a.err != a.req.UserErr:
		return fmt.Sprintf("an error that no user has: %v", a.err)
	}
	return ""
}

// isTrue reports whether a refusal is.
func (a answer) isTrue(e *RefusedError) bool {
	uid, gid := a.now.UID.Real, a.now.GID.Real
	switch borrowed := a.borrowed(); {
	case borrowed != "":
		return e.Why == borrowed && e.Now == a.now && (borrowed != StartedWithFileCaps || e.Missing == a.now.Permitted&^a.now.Ambient)
	case a.tooLate() != "" || e.Now != a.now:
		return false
	}
	u, lacks := a.who, a.lacks()
	sameIDs := u.UID == uid && u.GID == gid
	if a.mayStay() {
		u = User{uid, gid, a.now.Groups}
	}
	switch {
	case e.Why == RootWithoutUser:
		return uid == 0 && a.req.User == nil
	case e.User != u:
		return false
	}
	switch e.Why {
	case RootRegains:
		cut := a.req.Bounding == CutBounding || a.req.Bounding == TryBounding && (a.now.Permitted.Has(CapSetPCap) || a.now.Bounding&^a.given == 0)
		return u.UID == 0 && a.canBe() && a.req.AllowNewPrivs && !cut
	case BoundingNeedsSetPCap:
		return a.canBe() && a.req.Bounding == CutBounding && !a.now.Permitted.Has(CapSetPCap) && a.now.Bounding&^a.given != 0 && e.Missing == SetOf(CapSetPCap)
	}
	if !a.named || e.Missing != lacks {
		return false
	}
	switch e.Why {
	case TooManyGroups:
		return u.Groups.Len() > MaxGroups
	case SetGroupsDenied:
		return !a.canBe() && lacks == 0 && !a.host.SetGroups
	case OtherGroups:
		return !a.canBe() && lacks == SetOf(CapSetGID) && u.UID == uid && (uid != 0 || sameIDs)
	case RootCannotSwitch:
		return !a.canBe() && lacks != 0 && uid == 0 && !sameIDs
	case OtherUser:
		return !a.canBe() && lacks != 0 && uid != 0 && u.UID != uid
	}
	return false
}

// borrowed is why the start is privileged, "" when it is not.
func (a answer) borrowed() Refusal {
	uid, gid := a.now.UID, a.now.GID
	switch {
	case uid.Real != uid.Effective || uid.Real != uid.Saved || gid.Real != gid.Effective || gid.Real != gid.Saved:
		return StartedSetID
	case (uid.Real != 0 || a.now.Securebits&1 != 0) && a.now.Permitted&^a.now.Ambient != 0:
		return StartedWithFileCaps
	}
	return ""
}

// stray is what was granted beyond the allowlist, and in which sets.
func (a answer) stray() map[Cap]SetMask {
	all := map[Cap]SetMask{}
	for mask, s := range map[SetMask]Set{InPermitted: a.now.Permitted, InEffective: a.now.Effective, InInheritable: a.now.Inheritable, InAmbient: a.now.Ambient, InBounding: a.now.Bounding} {
		if a.req.Allow == nil && !a.req.Strict || a.req.Sets&mask == 0 {
			continue
		}
		for c := range s.All() {
			if !a.allowed(c) {
				all[c] |= mask
			}
		}
	}
	return all
}

func (a answer) allowed(c Cap) bool {
	r, root := a.req, a.now.UID.Real == 0
	switch {
	case r.Allow != nil && r.Allow.Resolve(a.host).Has(c):
		return true
	case !r.Strict:
		return false
	case (a.required() | r.Optional.Resolve(a.host)).Has(c):
		return true
	case c == CapSetUID, c == CapSetGID:
		return root
	case c == CapSetPCap:
		return r.Bounding != KeepBounding
	}
	return c == CapKill && root && r.RootParent && r.User != nil && r.User.UID != 0
}

func (a answer) isAllowlist(s Set) bool {
	for c := range upTo(MaxCap).All() {
		if s.Has(c) != a.allowed(c) {
			return false
		}
	}
	return true
}

func (a answer) required() Set { return a.req.Required.Resolve(a.host) }

func (a answer) grantable() (s Set) {
caps:
	for c := range (a.required() | a.req.Optional.Resolve(a.host)).All() {
		for _, why := range reasons {
			if a.holds(why, c) {
				continue caps
			}
		}
		s |= SetOf(c)
	}
	return s
}

var reasons = []Reason{NotKnown, NotGranted, OnlyBounding, RootWithoutRoot, GivenUp, NotInheritable, NoAmbient, KeepCapsIsLocked, AmbientIsLocked}

// holds reports whether a capability cannot be given for this reason.
func (a answer) holds(why Reason, c Cap) bool {
	p, i, b, amb := a.now.Permitted.Has(c), a.now.Inheritable.Has(c), a.now.Bounding.Has(c), a.now.Ambient.Has(c)
	bits, root := a.now.Securebits, a.now.UID.Real == 0
	// Ambient goes with the last uid 0, and permitted too but for keepcaps.
	leavesRoot := root && a.named && a.who.UID != 0 && bits&NoSetuidFixup == 0 && a.req.UserErr == nil
	switch why {
	case NotKnown:
		return !a.host.Known.Has(c)
	case NotGranted:
		return !p && !b
	case OnlyBounding:
		return !p && b && !root
	case RootWithoutRoot:
		return !p && b && root && bits&NoRoot != 0
	case GivenUp:
		return !p && b && root && bits&NoRoot == 0
	case NotInheritable:
		return p && !i && !b
	case NoAmbient:
		return !a.host.Ambient
	case KeepCapsIsLocked:
		return leavesRoot && bits&KeepCapsLocked != 0 && bits&KeepCaps == 0
	case AmbientIsLocked:
		return bits&NoCapAmbientRaise != 0 && (leavesRoot || !amb)
	}
	return false
}

func (a answer) wish() (u User, named bool) {
	u = User{a.now.UID.Real, a.now.GID.Real, a.now.Groups}
	if a.req.User == nil && a.req.Groups == nil {
		return u, false
	}
	u = *cmp.Or(a.req.User, &u)
	u.Groups = *cmp.Or(a.req.Groups, &u.Groups)
	ids := append(u.Groups.IDs(), u.GID)
	for _, g := range a.now.Groups.IDs() {
		if a.req.KeepGroups && g != 0 && !a.req.Unkept.Has(g) && !a.req.Doubtful.Has(g) {
			ids = append(ids, g)
		}
	}
	u.Groups = NewGroups(ids...)
	return u, true
}

// lacks is what the switch takes that caplaunch has not.
func (a answer) lacks() (s Set) {
	if !a.now.Permitted.Has(CapSetGID) {
		s |= SetOf(CapSetGID)
	}
	if a.who.UID != a.now.UID.Real && !a.now.Permitted.Has(CapSetUID) {
		s |= SetOf(CapSetUID)
	}
	return s
}

// mayStay reports whether the program runs as caplaunch is although somebody was named: because that is who it is; or
// because nothing can be set, and the groups are to be kept or the user may be another.
func (a answer) mayStay() bool {
	sameIDs := a.who.UID == a.now.UID.Real && a.who.GID == a.now.GID.Real
	if sameIDs && a.req.Doubtful.Len() == 0 && a.now.Groups.With(a.who.GID) == a.who.Groups {
		return true
	}
	if a.lacks() == 0 && a.host.SetGroups {
		return false
	}
	there := true
	if a.req.Groups != nil {
		for _, g := range a.req.Groups.IDs() {
			there = there && (g == a.who.GID || a.now.Groups.Has(g) && !a.req.Doubtful.Has(g))
		}
	}
	return sameIDs && a.req.KeepGroups && there || a.req.KeepNonRoot && a.now.UID.Real != 0
}

// canBe reports whether the program can be who it is to be.
func (a answer) canBe() bool {
	if !a.named {
		return a.who.UID != 0
	}
	return a.mayStay() || a.lacks() == 0 && a.host.SetGroups && a.who.Groups.Len() <= MaxGroups
}

// kinds are what the answer is an example of.
func (a answer) kinds() (all []string) {
	var missing *NotGrantedError
	var refused *RefusedError
	switch {
	case errors.As(a.err, &missing):
		for _, m := range missing.Missing {
			all = append(all, string(m.Reason))
		}
	case errors.As(a.err, &refused):
		return []string{string(refused.Why)}
	case errors.Is(a.err, ErrUnexpectedCapability):
		return []string{ErrUnexpectedCapability.Error()}
	case a.err != nil:
		return []string{a.err.Error()}
	case a.named && !a.Switched:
		all = []string{"accepted", "stays"}
	default:
		all = []string{"accepted"}
	}
	return append(all, a.files...)
}

// spell is a request with what its pointers point to.
func spell(r Request) string {
	return fmt.Sprintf("%+v user %+v groups %v allow %+v", r, r.User, r.Groups, r.Allow)
}
