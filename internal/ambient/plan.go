package ambient

import "errors"

// A Request is what the command line asks for.
type Request struct {
	Required List // PROGRAM must have these
	Optional List // and these, where they can be had

	Allow  *List   // refuse to start when more than this was granted; nil: no allowlist
	Strict bool    // the same, with the requested ones and what the launch itself needs
	Sets   SetMask // the sets that Allow and Strict look at

	User          *User   // who PROGRAM runs as; nil: nobody was named
	Groups        *Groups // replace those of User
	KeepGroups    bool    // the supplementary groups received stay, less gid 0
	UserErr       error   // why User or Groups could not be found out; reported in its turn
	KeepNonRoot   bool    // a start as another user that cannot switch runs as it is
	DropBounding  bool    // also cut the bounding set to what is given
	AllowNewPrivs bool    // do not set no_new_privs
}

// A User is who the program is to run as.
type User struct {
	UID, GID uint32
	Groups   Groups
}

// A Plan is a decision: which steps lead from the state caplaunch was started
// in to the one the program is promised, and what the kernel will say on the
// way.
type Plan struct {
	Before     State  // what caplaunch was started with
	Steps      []Step // to be done in this order
	AfterSteps State  // what the kernel must report before the exec
	AfterExec  State  // what the program will find

	Given    Set    // permitted = effective = inheritable = ambient of the program
	Skipped  []Miss // optional capabilities that could not be had
	Switched bool   // the ids or groups change

	host Host
}

// A Miss is a capability that cannot be given, and why.
type Miss struct {
	Cap    Cap
	Reason Reason
}

// NewPlan decides the launch, or refuses it, without touching anything. The
// errors, in the order in which they are looked for: *UnexpectedCapabilityError
// (the allowlist), *NotGrantedError (a required capability), and for the
// identity req.UserErr or *RefusedError. The plan it returns holds for a
// program without file capabilities and set-id bits; see Plan.For.
func NewPlan(req Request, now State, host Host) (Plan, error) {
	if err := req.CheckAllowed(now, host); err != nil {
		return Plan{}, err
	}
	user, switched, idErr := target(req, now, host)
	given, skipped, err := choose(req, now, host, switched && leavesRoot(now, user))
	if err != nil {
		return Plan{}, err
	}
	if idErr != nil {
		return Plan{}, idErr
	}

	p := Plan{Before: now, AfterSteps: now, Given: given, Skipped: skipped, Switched: switched, host: host}
	if err := p.build(req, user); err != nil {
		return Plan{}, refusal(err, now, user)
	}
	if p, err = p.For(File{}); err != nil {
		// Only uid 0 gets here: execve fills its sets from the bounding set
		// again, which no_new_privs or an equally small bounding set prevents.
		return Plan{}, &RefusedError{Why: RootRegains, Now: now, User: user}
	}
	return p, nil
}

// build puts the steps together. Each is tried on a Sim and left out when it
// changes nothing: a start that already is what is wanted must not need
// CAP_SETGID for a setgroups of nothing.
func (p *Plan) build(req Request, user User) error {
	sim := &Sim{Now: p.Before, On: p.host}
	var failed error
	add := func(s Step) {
		if failed != nil {
			return
		}
		was := sim.Now
		if err := s.Do(sim); err != nil {
			failed = &StepError{Step: s, Err: err}
			return
		}
		_, setsGroups := s.(SetGroups)
		if sim.Now != was || setsGroups {
			p.Steps = append(p.Steps, s)
		}
	}
	now := p.Before

	// The steps below need their capability in effective, not just permitted.
	add(Capset{Permitted: now.Permitted, Inheritable: now.Inheritable, Effective: now.Permitted})

	// Bounding goes before the ids: it needs CAP_SETPCAP, which the uid change
	// or the final capset takes away.
	if req.DropBounding {
		for c := range (now.Bounding &^ p.Given).All() {
			add(DropBounding{c})
		}
	}

	if p.Switched {
		// Without keepcaps the uid change below would clear permitted.
		if p.Given != 0 && leavesRoot(now, user) && now.Securebits&KeepCaps == 0 {
			add(SetKeepCaps{true})
		}
		// Groups first: after setresuid there is no CAP_SETGID left to set them
		// with. They are set even when they look right: a list that was read
		// may be stale, one that was set is known.
		add(SetGroups{user.Groups})
		// All three ids at once: a saved id of 0 would be a way back.
		add(SetResGID{Same(user.GID)})
		add(SetResUID{Same(user.UID)})
	}

	// Inheritable before ambient, which has to lie within it. This also cuts
	// ambient bits that were there and not asked for.
	add(Capset{Permitted: p.Given, Inheritable: p.Given, Effective: p.Given})
	for c := range (p.Given &^ sim.Now.Ambient).All() {
		add(RaiseAmbient{c})
	}

	// execve would clear keepcaps as well, but what is verified should be plain.
	if sim.Now.Securebits&KeepCaps != 0 && sim.Now.Securebits&KeepCapsLocked == 0 {
		add(SetKeepCaps{false})
	}

	// Last: it makes the exec of a root program, a set-id or a
	// file-capability one unable to gain anything.
	if !req.AllowNewPrivs {
		add(SetNoNewPrivs{})
	}
	p.AfterSteps = sim.Now
	return failed
}

// For is the plan for a program whose credentials come from f: AfterExec is
// what execve makes of AfterSteps. The error is a *FileError when that is not
// the promise.
func (p Plan) For(f File) (Plan, error) {
	after, err := p.AfterSteps.Execve(f)
	want := p.AfterSteps
	want.Securebits &^= KeepCaps
	switch {
	case err != nil:
		return p, &FileError{File: f, Given: p.Given, Err: err}
	case after != want:
		return p, &FileError{File: f, Given: p.Given, After: after, Want: want}
	}
	p.AfterExec = after
	return p, nil
}

// Apply does the steps one after the other. The first that fails ends it, with
// a *StepError.
func Apply(k Kernel, steps []Step) error {
	for _, s := range steps {
		if err := s.Do(k); err != nil {
			return &StepError{Step: s, Err: err}
		}
	}
	return nil
}

// Verify asks the kernel for the state and compares it with the plan's: no
// return value of a step is trusted. The error is a *VerifyError, or that of
// the reading.
func Verify(k Kernel, p Plan) error {
	got, err := k.State()
	if err != nil {
		return err
	}
	if got != p.AfterSteps {
		return &VerifyError{Want: p.AfterSteps, Got: got}
	}
	return nil
}

// CheckAllowed compares what was granted with the allowlist, if there is one. The
// error is an *UnexpectedCapabilityError.
func (req Request) CheckAllowed(now State, host Host) error {
	if req.Allow == nil && !req.Strict {
		return nil
	}
	var allow Set
	if req.Allow != nil {
		allow = req.Allow.On(host)
	}
	if req.Strict {
		allow |= req.Required.On(host) | req.Optional.On(host)
		if now.UID.Effective == 0 {
			allow |= SetOf(CapSetUID, CapSetGID)
		}
		if req.DropBounding {
			allow |= SetOf(CapSetPCap)
		}
	}
	return CheckAllowed(now, allow, req.Sets)
}

// On is the set that the list means on this host.
func (l List) On(h Host) Set {
	if l.All {
		return l.Set | h.Known
	}
	return l.Set
}

// choose settles which capabilities are given. A required one that cannot be
// is a *NotGrantedError; an optional one is skipped.
func choose(req Request, now State, host Host, leavesRoot bool) (given Set, skipped []Miss, err error) {
	refused := &NotGrantedError{Now: now, Host: host}
	required := req.Required.On(host)
	for c := range required.All() {
		if r := whyNot(c, now, host, leavesRoot); r != Grantable {
			refused.Missing = append(refused.Missing, Miss{c, r})
		}
	}
	if refused.Missing != nil {
		return 0, nil, refused
	}
	for c := range (req.Optional.On(host) &^ required).All() {
		r := whyNot(c, now, host, leavesRoot)
		if r == Grantable {
			given |= SetOf(c)
		} else if req.Optional.Set.Has(c) { // "all" means whatever there is, which skips nothing
			skipped = append(skipped, Miss{c, r})
		}
	}
	return given | required, skipped, nil
}

// whyNot is the reason for which c cannot be given, or Grantable.
func whyNot(c Cap, now State, host Host, leavesRoot bool) Reason {
	switch permitted := now.Permitted.Has(c); {
	case !host.Known.Has(c):
		return NotKnown
	case !permitted && !now.Bounding.Has(c):
		return NotGranted
	case !permitted && now.UID.Effective != 0:
		return OnlyBounding
	case !permitted && now.Securebits&NoRoot != 0:
		return RootWithoutRoot
	case !permitted:
		return GivenUp
	case !now.Inheritable.Has(c) && !now.Bounding.Has(c):
		return NotInheritable
	case !host.Ambient:
		return NoAmbient
	case leavesRoot && now.Securebits&(KeepCapsLocked|KeepCaps) == KeepCapsLocked:
		return KeepCapsIsLocked
	case now.Securebits&NoCapAmbientRaise != 0 && (leavesRoot || !now.Ambient.Has(c)):
		return AmbientIsLocked
	}
	return Grantable
}

// leavesRoot reports whether changing the ids to user makes the kernel clear
// ambient, and permitted too unless keepcaps is on.
func leavesRoot(now State, user User) bool {
	return now.UID.anyRoot() && user.UID != 0 && now.Securebits&NoSetuidFixup == 0
}

// target settles who the program runs as, and whether that takes a switch. With
// an error, they are who it was to be and whether it would have taken one.
func target(req Request, now State, host Host) (User, bool, error) {
	stay := User{UID: now.UID.Effective, GID: now.GID.Effective, Groups: now.Groups}
	root := now.UID == Same(0)
	refuse := func(why Refusal, want User, missing Set) (User, bool, error) {
		return want, want != stay, &RefusedError{Why: why, Now: now, User: want, Missing: missing}
	}
	switch {
	case now.Borrowed() != nil:
		return stay, false, now.Borrowed()
	case req.UserErr != nil:
		return stay, false, req.UserErr
	case req.User == nil && root:
		return refuse(RootWithoutUser, stay, 0)
	}
	want := stay
	if req.User != nil {
		want = *req.User
	}
	if req.KeepGroups {
		want.Groups = now.Groups.Without(0)
	}
	if req.Groups != nil {
		want.Groups = *req.Groups
	}
	// As initgroups(3) does: a set-gid program must not shed the primary group.
	// That a start lacks it in its list is no difference.
	want.Groups = want.Groups.With(want.GID)
	// An id that is not mapped is shown as the overflow id, which then only looks
	// like the one asked for.
	unmapped := req.User != nil && (!host.UIDs.Has(want.UID) || !host.GIDs.Has(want.GID))
	if !unmapped && want.UID == stay.UID && want.GID == stay.GID && want.Groups == stay.Groups.With(stay.GID) {
		return stay, false, nil
	}

	need := SetOf(CapSetGID)
	if want.UID != stay.UID {
		need |= SetOf(CapSetUID)
	}
	missing := need &^ now.Permitted
	switch {
	case unmapped && req.KeepNonRoot && !root && host.UIDs.Has(stay.UID) && host.GIDs.Has(stay.GID):
		return stay, false, nil
	case unmapped:
		return refuse(Unmapped, want, 0)
	case missing == 0 && req.KeepGroups && host.Nested && now.Groups.Has(overflowGID):
		// Set again, the ones that only look like it would become it.
		return refuse(UnmappedGroups, want, 0)
	case missing == 0:
		return want, true, nil
	case root:
		return refuse(RootCannotSwitch, want, missing)
	case req.KeepNonRoot:
		return stay, false, nil
	case want.UID == stay.UID:
		return refuse(OtherGroups, want, missing)
	}
	return refuse(OtherUser, want, missing)
}

// Borrowed reports whether the process has privilege from its own file: it was
// started set-uid, set-gid or with file capabilities, and would hand that to
// whoever calls it. The error is a *RefusedError.
func (s State) Borrowed() error {
	switch {
	case s.UID != Same(s.UID.Real) || s.GID != Same(s.GID.Real):
		return &RefusedError{Why: StartedSetID, Now: s}
	case s.UID != Same(0) && !s.Ambient.Contains(s.Permitted):
		return &RefusedError{Why: StartedWithFileCaps, Now: s, Missing: s.Permitted &^ s.Ambient}
	}
	return nil
}

// overflowGID is what a user namespace shows of every gid that it does not map,
// user_namespaces(7).
const overflowGID = 65534

// refusal turns what the Sim refused into the words of a user.
func refusal(err error, now State, user User) error {
	var denied *DeniedError
	if !errors.As(err, &denied) {
		return err
	}
	refused := &RefusedError{Now: now, User: user, Err: err}
	switch denied.Rule {
	case RuleSetGroupsDenied:
		refused.Why = SetGroupsDenied
	case RuleUnmapped:
		refused.Why = Unmapped
	case RuleTooManyGroups:
		refused.Why = TooManyGroups
	case RuleNeedsSetPCap:
		refused.Why, refused.Missing = BoundingNeedsSetPCap, SetOf(CapSetPCap)
	default:
		return err
	}
	return refused
}
