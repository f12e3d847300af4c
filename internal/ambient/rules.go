package ambient

import "fmt"

// This file is the model: each system call that changes credentials is one
// Step, with the rule of its man page. The tests compare every one of them with
// the running kernel.

// A Step is one system call of a plan. The same value drives the model and the
// kernel.
type Step interface {
	// Next is the state that the call leads to from s, or a *DeniedError with
	// the rule that forbids the call.
	Next(s State, h Host) (State, error)
	fmt.Stringer
}

// A Kernel carries steps out on one process and reads its state back.
type Kernel interface {
	State() (State, error)
	Do(Step) error
}

// A Sim is a Kernel that follows the model.
type Sim struct {
	Now State
	On  Host
}

// State is the simulated state. It never fails.
func (m *Sim) State() (State, error) { return m.Now, nil }

// Do is the step on the simulated state, which a refusal leaves unchanged.
func (m *Sim) Do(s Step) error {
	next, err := s.Next(m.Now, m.On)
	if err == nil {
		m.Now = next
	}
	return err
}

// A Rule is a sentence of a man page that forbids a call.
type Rule string

// The rules of capabilities(7), prctl(2), setresuid(2), setresgid(2) and
// setgroups(2).
const (
	RuleInheritableNew    Rule = "without setpcap, inheritable can only take what is permitted"
	RuleInheritableBound  Rule = "inheritable can only take what is in the bounding set"
	RulePermittedGrows    Rule = "permitted never grows"
	RuleEffective         Rule = "effective must be within permitted"
	RuleAmbientSecurebit  Rule = "the securebit no_cap_ambient_raise is set"
	RuleAmbientWithin     Rule = "ambient must be within permitted and inheritable"
	RuleNeedsSetPCap      Rule = "it needs setpcap"
	RuleKeepCapsLocked    Rule = "the securebit keep_caps_locked is set"
	RuleNeedsSetGID       Rule = "it needs setgid"
	RuleNeedsSetUID       Rule = "it needs setuid"
	RuleSetGroupsDenied   Rule = "setgroups is denied in this user namespace"
	RuleUnknownCap        Rule = "the kernel does not know the capability"
	RuleNoAmbient         Rule = "the kernel has no ambient capabilities"
	RuleTooManyGroups     Rule = "more groups than NGROUPS_MAX"
	RuleFileCapsUncovered Rule = "the file's capabilities are not all to be had, and its effective bit demands them"
)

// Capset is capset(2): permitted can only shrink, effective lies within it, and
// inheritable grows only out of what is permitted (out of anything, with
// setpcap) and within the bounding set. Ambient is cut to what stays both
// permitted and inheritable. Bits that the kernel does not know are ignored.
type Capset struct{ Permitted, Inheritable, Effective Set }

// Next is the rule of capset(2).
func (c Capset) Next(s State, h Host) (State, error) {
	p, i, e := c.Permitted&h.Known, c.Inheritable&h.Known, c.Effective&h.Known
	switch {
	case !s.Effective.Has(CapSetPCap) && !(s.Inheritable | s.Permitted).Contains(i):
		return deny(s, c, RuleInheritableNew)
	case !(s.Inheritable | s.Bounding).Contains(i):
		return deny(s, c, RuleInheritableBound)
	case !s.Permitted.Contains(p):
		return deny(s, c, RulePermittedGrows)
	case !p.Contains(e):
		return deny(s, c, RuleEffective)
	}
	s.Permitted, s.Inheritable, s.Effective = p, i, e
	s.Ambient &= p & i
	return s, nil
}

func (c Capset) String() string {
	if c.Permitted == c.Inheritable && c.Permitted == c.Effective {
		return "capset permitted=inheritable=effective=" + c.Permitted.String()
	}
	return fmt.Sprintf("capset permitted=%v inheritable=%v effective=%v", c.Permitted, c.Inheritable, c.Effective)
}

// RaiseAmbient is PR_CAP_AMBIENT_RAISE, prctl(2): the capability must be
// permitted and inheritable, and the securebit no_cap_ambient_raise off.
type RaiseAmbient struct{ Cap Cap }

// Next is the rule of PR_CAP_AMBIENT_RAISE.
func (r RaiseAmbient) Next(s State, h Host) (State, error) {
	switch {
	case !h.Ambient:
		return deny(s, r, RuleNoAmbient)
	case !h.Known.Has(r.Cap):
		return deny(s, r, RuleUnknownCap)
	case !(s.Permitted & s.Inheritable).Has(r.Cap):
		return deny(s, r, RuleAmbientWithin)
	case s.Securebits&NoCapAmbientRaise != 0:
		return deny(s, r, RuleAmbientSecurebit)
	}
	s.Ambient |= SetOf(r.Cap)
	return s, nil
}

func (r RaiseAmbient) String() string { return "prctl PR_CAP_AMBIENT_RAISE " + r.Cap.String() }

// DropBounding is PR_CAPBSET_DROP, prctl(2): it needs setpcap.
type DropBounding struct{ Cap Cap }

// Next is the rule of PR_CAPBSET_DROP.
func (d DropBounding) Next(s State, h Host) (State, error) {
	switch {
	case !s.Effective.Has(CapSetPCap):
		return deny(s, d, RuleNeedsSetPCap)
	case !h.Known.Has(d.Cap):
		return deny(s, d, RuleUnknownCap)
	}
	s.Bounding &^= SetOf(d.Cap)
	return s, nil
}

func (d DropBounding) String() string { return "prctl PR_CAPBSET_DROP " + d.Cap.String() }

// SetKeepCaps is PR_SET_KEEPCAPS 1, prctl(2): it needs no capability, only that
// the bit is not locked. execve clears it.
type SetKeepCaps struct{}

// Next is the rule of PR_SET_KEEPCAPS.
func (k SetKeepCaps) Next(s State, _ Host) (State, error) {
	if s.Securebits&KeepCapsLocked != 0 {
		return deny(s, k, RuleKeepCapsLocked)
	}
	s.Securebits |= KeepCaps
	return s, nil
}

func (SetKeepCaps) String() string { return "prctl PR_SET_KEEPCAPS 1" }

// SetGroups is setgroups(2): it needs setgid, even for a list that changes
// nothing.
type SetGroups struct{ Groups Groups }

// Next is the rule of setgroups(2) and, for the denial, of user_namespaces(7).
func (g SetGroups) Next(s State, h Host) (State, error) {
	switch {
	case !h.SetGroups:
		return deny(s, g, RuleSetGroupsDenied)
	case !s.Effective.Has(CapSetGID):
		return deny(s, g, RuleNeedsSetGID)
	case g.Groups.Len() > MaxGroups:
		return deny(s, g, RuleTooManyGroups)
	}
	s.Groups = g.Groups
	return s, nil
}

func (g SetGroups) String() string { return "setgroups " + g.Groups.String() }

// SetResGID is setresgid(2): without setgid, each id must be one of the three
// that there are.
type SetResGID struct{ To IDs }

// Next is the rule of setresgid(2).
func (g SetResGID) Next(s State, _ Host) (State, error) {
	if !s.Effective.Has(CapSetGID) && !s.GID.haveAll(g.To) {
		return deny(s, g, RuleNeedsSetGID)
	}
	s.GID = g.To
	return s, nil
}

func (g SetResGID) String() string { return "setresgid " + g.To.String() }

// SetResUID is setresuid(2) and "Effect of user ID changes on capabilities" in
// capabilities(7): without setuid, each id must be one of the three that there
// are. When the last id 0 goes, permitted is cleared (keepcaps prevents it) and
// ambient always; when the effective id leaves 0, effective is cleared, and
// when it becomes 0, effective is filled from permitted.
type SetResUID struct{ To IDs }

// Next is the rule of setresuid(2).
func (u SetResUID) Next(s State, _ Host) (State, error) {
	if !s.Effective.Has(CapSetUID) && !s.UID.haveAll(u.To) {
		return deny(s, u, RuleNeedsSetUID)
	}
	was := s.UID
	s.UID = u.To
	if s.Securebits&NoSetuidFixup != 0 {
		return s, nil
	}
	if was.anyRoot() && !u.To.anyRoot() {
		if s.Securebits&KeepCaps == 0 {
			s.Permitted, s.Effective = 0, 0
		}
		s.Ambient = 0
	}
	if was.Effective == 0 && u.To.Effective != 0 {
		s.Effective = 0
	}
	if was.Effective != 0 && u.To.Effective == 0 {
		s.Effective = s.Permitted
	}
	return s, nil
}

func (u SetResUID) String() string { return "setresuid " + u.To.String() }

// SetNoNewPrivs is PR_SET_NO_NEW_PRIVS, prctl(2): always allowed, never undone.
type SetNoNewPrivs struct{}

// Next is the rule of PR_SET_NO_NEW_PRIVS.
func (SetNoNewPrivs) Next(s State, _ Host) (State, error) {
	s.NoNewPrivs = true
	return s, nil
}

func (SetNoNewPrivs) String() string { return "prctl PR_SET_NO_NEW_PRIVS 1" }

func deny(s State, step fmt.Stringer, r Rule) (State, error) {
	return s, &DeniedError{Call: step.String(), Rule: r}
}

// A File is what execve(2) takes from the file that it gets credentials from:
// the program, or the interpreter that its "#!" line names. The zero File has
// no privilege. On a nosuid mount every file is the zero File.
type File struct {
	Caps           *FileCaps // security.capability, nil without one
	SetUID, SetGID *uint32   // owner and group where the set-id bits count, nil without
}

// FileCaps is a security.capability attribute that counts in this user
// namespace, capabilities(7) "File capability extended attribute versioning".
type FileCaps struct {
	Permitted, Inheritable Set
	Effective              bool
}

// Execve is "Transformation of capabilities during execve()" in
// capabilities(7), with uid 0 and no_new_privs:
//
//	P' = (fP & B) | (fI & I) | A'    A' = 0 for a file with privilege, else A
//	E' = fE ? P' : A'                I' = I    B' = B
//
// For uid 0 without the securebit noroot, fP and fI count as full and, when the
// effective id is 0, fE as set. Under no_new_privs set-id bits do not count and
// P' gains nothing over P.
func (s State) Execve(f File, h Host) (State, error) {
	n := s
	if !s.NoNewPrivs {
		if f.SetUID != nil {
			n.UID.Effective = *f.SetUID
		}
		if f.SetGID != nil {
			n.GID.Effective = *f.SetGID
		}
	}
	n.Permitted = 0
	fullEffective := false
	if f.Caps != nil {
		n.Permitted = f.Caps.Permitted&s.Bounding | f.Caps.Inheritable&s.Inheritable
		fullEffective = f.Caps.Effective
		if f.Caps.Effective && !n.Permitted.Contains(f.Caps.Permitted) {
			return s, &DeniedError{"execve", RuleFileCapsUncovered}
		}
	}
	// A set-uid root program that also has file capabilities gets only these.
	mixed := f.Caps != nil && n.UID.Effective == 0 && n.UID.Real != 0
	if s.Securebits&NoRoot == 0 && !mixed {
		if n.UID.Effective == 0 || n.UID.Real == 0 {
			n.Permitted = s.Bounding | s.Inheritable
		}
		if n.UID.Effective == 0 {
			fullEffective = true
		}
	}
	// A gid counts as changed only when the process was not in the group.
	idChanged := n.UID.Effective != s.UID.Effective ||
		n.GID.Effective != s.GID.Effective && !s.Groups.Has(n.GID.Effective)
	if h.OldExecIDs {
		idChanged = n.UID.Effective != s.UID.Real || n.GID.Effective != s.GID.Real
	}
	if gained := !s.Permitted.Contains(n.Permitted); (idChanged || gained) && s.NoNewPrivs {
		n.UID.Effective, n.GID.Effective = n.UID.Real, n.GID.Real
		n.Permitted &= s.Permitted
	}
	n.UID.Saved, n.GID.Saved = n.UID.Effective, n.GID.Effective
	if f.Caps != nil || idChanged {
		n.Ambient = 0
	}
	n.Permitted |= n.Ambient
	n.Effective = n.Ambient
	if fullEffective {
		n.Effective = n.Permitted
	}
	n.Securebits &^= KeepCaps
	return n, nil
}
