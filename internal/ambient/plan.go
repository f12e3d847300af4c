// Package ambient decides how a process must change its credentials so that
// the program it becomes has exactly the capabilities asked for. It is pure:
// it makes no system call and reads no file.
//
// plan.go turns a Request and the State that the kernel reported into Steps, or
// refuses what cannot be had. rules.go says what the kernel makes of each Step,
// and of the execve.
package ambient

// A Request is what the command line asks for.
type Request struct {
	Required List // PROGRAM must have these
	Optional List // and these, where they can be had

	Allow      *List   // refuse to start when more than this was granted; nil: no allowlist
	Strict     bool    // the same; what was asked for and what the launch itself needs are allowed too
	Sets       SetMask // the sets that Allow and Strict look at
	RootParent bool    // a root process of the same container started caplaunch: it needs KILL to signal PROGRAM, so that Strict allows it

	User        *User   // who PROGRAM runs as; nil: nobody was named
	UserErr     error   // why User or Groups could not be found out; NewPlan looks for other errors first
	Groups      *Groups // in the place of User's
	KeepGroups  bool    // keep the supplementary groups received, beside those of User or Groups
	Unkept      Groups  // groups received that KeepGroups drops: those that /etc/group gives to the starting user
	Doubtful    Groups  // groups received that may stand for a gid that is not mapped
	KeepNonRoot bool    // where a user that is not root cannot switch, run as that user

	Bounding      Bounding
	AllowNewPrivs bool // do not set no_new_privs
}

// A Bounding says what becomes of the bounding set.
type Bounding uint8

const (
	KeepBounding Bounding = iota
	CutBounding           // cut it to what is given, or refuse
	TryBounding           // cut it where setpcap is permitted, else keep it
)

// A User is who the program is to run as.
type User struct {
	UID, GID uint32
	Groups   Groups
}

// A Plan is the steps from the state that caplaunch was started in to the one that
// the program is promised, and what the kernel will say on the way.
type Plan struct {
	Steps      []Step // to be done in this order
	AfterSteps State  // what the kernel must report before the exec
	AfterExec  State  // what the program will find: the promise

	Given        Set    // permitted = effective = inheritable = ambient of the program
	Skipped      []Miss // optional capabilities that could not be had
	Switched     bool   // the groups are set, and the ids may change
	Lost         Groups // groups received that the program does not get; gid 0 of a root start does not count
	BoundingKept bool   // TryBounding, without setpcap

	host Host
}

// NewPlan decides the launch of a program without file capabilities and set-id bits
// (see CheckFile), or refuses it. The errors, in the order in which they are looked for:
// *RefusedError for a privileged start; *UnexpectedCapabilityError; *NotGrantedError; for
// the identity req.UserErr or *RefusedError; *RefusedError for the bounding set, then for
// a root program.
func NewPlan(req Request, now State, host Host) (Plan, error) {
	if err := now.Borrowed(); err != nil {
		return Plan{}, err
	}
	if err := req.checkGrant(now, host); err != nil {
		return Plan{}, err
	}
	user, switched, idErr := chooseUser(req, now, host)
	given, skipped, err := chooseCaps(req, now, host, leavesRoot(now, Same(user.UID)))
	if err != nil {
		return Plan{}, err
	}
	if idErr != nil {
		return Plan{}, idErr
	}

	p := Plan{Given: given, Skipped: skipped, Switched: switched, host: host}
	p.AfterExec = State{
		Permitted: given, Inheritable: given, Effective: given, Ambient: given,
		Bounding: now.Bounding, Securebits: now.Securebits &^ KeepCaps,
		UID: Same(user.UID), GID: Same(user.GID), Groups: user.Groups,
		NoNewPrivs: now.NoNewPrivs || !req.AllowNewPrivs,
	}
	switch cut := now.Bounding & given; {
	case req.Bounding == KeepBounding || cut == now.Bounding:
	case now.Permitted.Has(CapSetPCap):
		p.AfterExec.Bounding = cut
	case req.Bounding == CutBounding:
		return Plan{}, &RefusedError{Why: BoundingNeedsSetPCap, Now: now, User: user, Missing: SetOf(CapSetPCap)}
	default:
		p.BoundingKept = true
	}
	// execve fills the permitted set of uid 0 from the bounding set. no_new_privs
	// prevents that, and a bounding set that was cut has no more than what is given.
	if user.UID == 0 && req.AllowNewPrivs && (req.Bounding == KeepBounding || p.BoundingKept) {
		return Plan{}, &RefusedError{Why: RootRegains, Now: now, User: user}
	}
	p.Lost = now.Groups.With(now.GID.Effective).Without(user.Groups.With(user.GID))
	if now.UID.Effective == 0 {
		p.Lost = p.Lost.Without(NewGroups(0))
	}
	p.build(now)
	return p, p.CheckFile(File{}) // the model has the last word, and the tests know no case where it objects
}

// Borrowed is a *RefusedError where the process has privilege from its own file, which
// is set-uid, set-gid or has file capabilities: it would hand that to whoever calls it.
func (s State) Borrowed() error {
	switch {
	case s.UID != Same(s.UID.Real) || s.GID != Same(s.GID.Real):
		return &RefusedError{Why: StartedSetID, Now: s}
	case (s.UID != Same(0) || s.Securebits&NoRoot != 0) && !s.Ambient.Contains(s.Permitted):
		return &RefusedError{Why: StartedWithFileCaps, Now: s, Missing: s.Permitted &^ s.Ambient}
	}
	return nil
}

// chooseUser decides who the program runs as, and whether that takes a switch. With
// an error, want is who it was to be or, where that is not known, who it is now.
func chooseUser(req Request, now State, host Host) (want User, switched bool, err error) {
	stay := User{UID: now.UID.Effective, GID: now.GID.Effective, Groups: now.Groups}
	root := stay.UID == 0
	switch {
	case req.UserErr != nil:
		return stay, switched, req.UserErr
	case req.User == nil && root:
		return stay, switched, &RefusedError{Why: RootWithoutUser, Now: now}
	case req.User == nil && req.Groups == nil:
		return stay, false, nil // it runs as it is
	}
	want = stay
	if req.User != nil {
		want = *req.User
	}
	if req.Groups != nil {
		want.Groups = *req.Groups
	}
	if req.KeepGroups {
		kept := now.Groups.Without(req.Unkept.With(0)).Without(req.Doubtful)
		want.Groups = want.Groups.With(kept.IDs()...)
	}
	// The list has the primary group too, as with initgroups(3): else a set-gid program
	// would lose it. A start whose list lacks only its own gid needs no switch for that.
	want.Groups = want.Groups.With(want.GID)
	certain := stay.Groups.Without(req.Doubtful).With(stay.GID) // the groups that it has without a doubt
	sameIDs := want.UID == stay.UID && want.GID == stay.GID
	if sameIDs && want.Groups == certain && req.Doubtful == "" {
		return stay, false, nil
	}

	missing := SetOf(CapSetGID) &^ now.Permitted
	if want.UID != stay.UID {
		missing |= SetOf(CapSetUID) &^ now.Permitted
	}
	refused := &RefusedError{Now: now, User: want, Missing: missing}
	switch {
	case want.Groups.Len() > MaxGroups:
		refused.Why = TooManyGroups
	case missing == 0 && host.SetGroups:
		return want, true, nil
	case sameIDs && req.KeepGroups && (req.Groups == nil || req.Groups.Without(certain) == ""):
		return stay, false, nil // it cannot set groups, and asks for none that it lacks
	case req.KeepNonRoot && !root:
		return stay, false, nil
	case missing == 0:
		refused.Why = SetGroupsDenied
	case sameIDs, want.UID == stay.UID && !root:
		refused.Why = OtherGroups
	case root:
		refused.Why = RootCannotSwitch
	default:
		refused.Why = OtherUser
	}
	return want, switched, refused
}

// leavesRoot reports whether changing the uids makes the kernel clear
// ambient, and permitted too unless keepcaps is on.
func leavesRoot(now State, to IDs) bool {
	return now.UID.has(0) && !to.has(0) && now.Securebits&NoSetuidFixup == 0
}

// chooseCaps decides which capabilities are given, and which optional ones are
// skipped.
func chooseCaps(req Request, now State, host Host, leavesRoot bool) (given Set, skipped []Miss, err error) {
	refused := &NotGrantedError{Now: now}
	required := req.Required.Resolve(host)
	for c := range (required | req.Optional.Resolve(host)).All() {
		switch why := whyNot(c, now, host, leavesRoot); {
		case why == Grantable:
			given |= SetOf(c)
		case required.Has(c):
			refused.Missing = append(refused.Missing, Miss{c, why})
		case req.Optional.Set.Has(c): // "all" means whatever there is, which skips nothing
			skipped = append(skipped, Miss{c, why})
		}
	}
	if refused.Missing != nil {
		return 0, nil, refused
	}
	return given, skipped, nil
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

// build makes the list of the steps. One that changes nothing is left out, but for
// those that set groups and ids.
func (p *Plan) build(now State) {
	sim, want := &Sim{Now: now, Host: p.host}, p.AfterExec
	always := func(s Step) {
		p.Steps = append(p.Steps, s)
		_ = sim.Do(s) // a refusal leaves another state, and NewPlan refuses that
	}
	ifNeeded := func(s Step) {
		if next, _ := s.Next(sim.Now, sim.Host); next != sim.Now {
			always(s)
		}
	}

	// The steps below need their capability in effective, not just permitted.
	ifNeeded(Capset{Permitted: now.Permitted, Inheritable: now.Inheritable, Effective: now.Permitted})

	// Bounding before the ids: after setresuid there is no CAP_SETPCAP left.
	for c := range (now.Bounding &^ want.Bounding).All() {
		ifNeeded(DropBounding{c})
	}

	if p.Switched {
		// Without keepcaps the change of the uid below would clear permitted. That is too
		// early even where nothing is given, see Hide in package linux. A kernel without
		// an ambient set may not tell its securebits, and nothing can be given there.
		if p.host.Ambient && leavesRoot(now, want.UID) {
			ifNeeded(SetKeepCaps{})
		}
		// Groups before the ids: after setresuid there is no CAP_SETGID left to set
		// them with.
		always(SetGroups{want.Groups})
	}
	// Even when they look right: an id that is not mapped in the user namespace reads
	// as the overflow id, which the kernel then refuses to set. All three: a saved id
	// of 0 would be a way back.
	always(SetResGID{want.GID})
	always(SetResUID{want.UID})

	// Inheritable before ambient, which has to lie within it and is cut to it.
	ifNeeded(Capset{Permitted: p.Given, Inheritable: p.Given, Effective: p.Given})
	for c := range p.Given.All() {
		ifNeeded(RaiseAmbient{c})
	}

	// From now on no execve gains anything: of a set-id program, of one with file
	// capabilities, or by root. Last, so that no other step depends on it.
	if want.NoNewPrivs {
		ifNeeded(SetNoNewPrivs{})
	}
	p.AfterSteps = sim.Now
}

// CheckFile tries the execve on the model, for a program whose credentials come from f.
// The error is a *FileError: it would be refused, or not end in the promise.
func (p Plan) CheckFile(f File) error {
	after, err := p.AfterSteps.Execve(f, p.host)
	if err != nil || after != p.AfterExec {
		return &FileError{File: f, After: after, Want: p.AfterExec, Err: err}
	}
	return nil
}

// Verify compares the state that the kernel reports with the planned one. The error
// is a *VerifyError, or that of the reading.
func Verify(k Kernel, p Plan) error {
	got, err := k.State()
	if err == nil && got != p.AfterSteps {
		err = &VerifyError{Want: p.AfterSteps, Got: got}
	}
	return err
}
