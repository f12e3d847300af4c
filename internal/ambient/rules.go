package ambient

import "fmt"

// This file is the model, and the tests compare all of it with the running kernel.

// A Step is one system call that changes credentials. The same value drives the
// model and the kernel.
type Step interface {
	Next(s State, h Host) (State, error) // the new state, or the Rule that forbids the call
	fmt.Stringer
}

// A Kernel carries steps out on one process and reads its state back.
type Kernel interface {
	State() (State, error)
	Do(Step) error
}

// A Sim is a Kernel that follows the model.
type Sim struct {
	Now  State
	Host Host
}

func (m *Sim) State() (State, error) { return m.Now, nil }

func (m *Sim) Do(s Step) (err error) {
	m.Now, err = s.Next(m.Now, m.Host)
	return err
}

// A Rule is a sentence of a man page that forbids a call.
type Rule string

func (r Rule) Error() string { return string(r) }

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

// Capset is capset(2), "Programmatically adjusting capability sets" in
// capabilities(7). Bits that the kernel does not know are ignored.
type Capset struct{ Permitted, Inheritable, Effective Set }

func (c Capset) Next(s State, h Host) (State, error) {
	p, i, e := c.Permitted&h.Known, c.Inheritable&h.Known, c.Effective&h.Known
	switch {
	case !s.Effective.Has(CapSetPCap) && !(s.Inheritable | s.Permitted).Contains(i):
		return s, RuleInheritableNew
	case !(s.Inheritable | s.Bounding).Contains(i):
		return s, RuleInheritableBound
	case !s.Permitted.Contains(p):
		return s, RulePermittedGrows
	case !p.Contains(e):
		return s, RuleEffective
	}
	s.Permitted, s.Inheritable, s.Effective = p, i, e
	s.Ambient &= p & i
	return s, nil
}

// RaiseAmbient is PR_CAP_AMBIENT_RAISE, prctl(2).
type RaiseAmbient struct{ Cap Cap }

func (r RaiseAmbient) Next(s State, h Host) (State, error) {
	switch {
	case !h.Ambient:
		return s, RuleNoAmbient
	case !h.Known.Has(r.Cap):
		return s, RuleUnknownCap
	case !(s.Permitted & s.Inheritable).Has(r.Cap):
		return s, RuleAmbientWithin
	case s.Securebits&NoCapAmbientRaise != 0:
		return s, RuleAmbientSecurebit
	}
	s.Ambient |= SetOf(r.Cap)
	return s, nil
}

// DropBounding is PR_CAPBSET_DROP, prctl(2).
type DropBounding struct{ Cap Cap }

func (d DropBounding) Next(s State, h Host) (State, error) {
	switch {
	case !s.Effective.Has(CapSetPCap):
		return s, RuleNeedsSetPCap
	case !h.Known.Has(d.Cap):
		return s, RuleUnknownCap
	}
	s.Bounding &^= SetOf(d.Cap)
	return s, nil
}

// SetKeepCaps is PR_SET_KEEPCAPS 1, prctl(2). execve clears it.
type SetKeepCaps struct{}

func (SetKeepCaps) Next(s State, _ Host) (State, error) {
	if s.Securebits&KeepCapsLocked != 0 {
		return s, RuleKeepCapsLocked
	}
	s.Securebits |= KeepCaps
	return s, nil
}

// SetGroups is setgroups(2): it needs setgid, even for a list that changes
// nothing.
type SetGroups struct{ Groups Groups }

func (g SetGroups) Next(s State, h Host) (State, error) {
	switch {
	case !h.SetGroups:
		return s, RuleSetGroupsDenied
	case !s.Effective.Has(CapSetGID):
		return s, RuleNeedsSetGID
	case g.Groups.Len() > MaxGroups:
		return s, RuleTooManyGroups
	}
	s.Groups = g.Groups
	return s, nil
}

// SetResGID is setresgid(2).
type SetResGID struct{ To IDs }

func (g SetResGID) Next(s State, _ Host) (State, error) {
	if !s.Effective.Has(CapSetGID) && !s.GID.hasAll(g.To) {
		return s, RuleNeedsSetGID
	}
	s.GID = g.To
	return s, nil
}

// SetResUID is setresuid(2), and "Effect of user ID changes on capabilities" in
// capabilities(7).
type SetResUID struct{ To IDs }

func (u SetResUID) Next(s State, _ Host) (State, error) {
	if !s.Effective.Has(CapSetUID) && !s.UID.hasAll(u.To) {
		return s, RuleNeedsSetUID
	}
	was := s.UID
	s.UID = u.To
	if s.Securebits&NoSetuidFixup != 0 {
		return s, nil
	}
	if was.has(0) && !u.To.has(0) {
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

// SetNoNewPrivs is PR_SET_NO_NEW_PRIVS, prctl(2): always allowed, never undone.
type SetNoNewPrivs struct{}

func (SetNoNewPrivs) Next(s State, _ Host) (State, error) {
	s.NoNewPrivs = true
	return s, nil
}

func (c Capset) String() string {
	if c.Permitted == c.Inheritable && c.Permitted == c.Effective {
		return "capset permitted=inheritable=effective=" + c.Permitted.String()
	}
	return fmt.Sprintf("capset permitted=%v inheritable=%v effective=%v", c.Permitted, c.Inheritable, c.Effective)
}
func (r RaiseAmbient) String() string { return "prctl PR_CAP_AMBIENT_RAISE " + r.Cap.String() }
func (d DropBounding) String() string { return "prctl PR_CAPBSET_DROP " + d.Cap.String() }
func (SetKeepCaps) String() string    { return "prctl PR_SET_KEEPCAPS 1" }
func (g SetGroups) String() string    { return "setgroups " + g.Groups.String() }
func (g SetResGID) String() string    { return "setresgid " + g.To.String() }
func (u SetResUID) String() string    { return "setresuid " + u.To.String() }
func (SetNoNewPrivs) String() string  { return "prctl PR_SET_NO_NEW_PRIVS 1" }

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
	var caps FileCaps
	if f.Caps != nil {
		caps = *f.Caps
	}
	n.Permitted = caps.Permitted&s.Bounding | caps.Inheritable&s.Inheritable
	if caps.Effective && !n.Permitted.Contains(caps.Permitted) {
		return s, RuleFileCapsUncovered
	}
	// A set-uid root program that also has file capabilities gets only these.
	mixed := f.Caps != nil && n.UID.Real != 0
	if s.Securebits&NoRoot == 0 && !mixed {
		if n.UID.Effective == 0 || n.UID.Real == 0 {
			n.Permitted = s.Bounding | s.Inheritable
		}
		caps.Effective = caps.Effective || n.UID.Effective == 0
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
	if caps.Effective {
		n.Effective = n.Permitted
	}
	n.Securebits &^= KeepCaps
	return n, nil
}
