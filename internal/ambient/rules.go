package ambient

// This file is the model: each system call that changes credentials is one
// pure method on State, which returns the new state or a *DeniedError with the
// rule that forbids it. The test-only oracle compares every one of them with
// the running kernel.

// A Rule is a sentence of a man page that forbids a call.
type Rule string

// The rules of capabilities(7), prctl(2), setresuid(2) and setgroups(2).
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
	RuleUnmapped          Rule = "the id is not mapped in this user namespace"
	RuleUnknownCap        Rule = "the kernel does not know the capability"
	RuleNoAmbient         Rule = "the kernel has no ambient capabilities"
	RuleTooManyGroups     Rule = "more groups than NGROUPS_MAX"
	RuleFileCapsUncovered Rule = "the file's capabilities are not all to be had, and its effective bit demands them"
)

// Capset models capset(2): permitted can only shrink, effective lies within
// it, and inheritable grows only out of what is permitted (anything, with
// setpcap) and within the bounding set. Ambient follows: it is cut to what is
// both permitted and inheritable.
func (s State) Capset(p, i, e Set) (State, error) {
	switch {
	case !s.Effective.Has(CapSetPCap) && !(s.Inheritable | s.Permitted).Contains(i):
		return s, &DeniedError{"capset", RuleInheritableNew}
	case !(s.Inheritable | s.Bounding).Contains(i):
		return s, &DeniedError{"capset", RuleInheritableBound}
	case !s.Permitted.Contains(p):
		return s, &DeniedError{"capset", RulePermittedGrows}
	case !p.Contains(e):
		return s, &DeniedError{"capset", RuleEffective}
	}
	s.Permitted, s.Inheritable, s.Effective = p, i, e
	s.Ambient &= p & i
	return s, nil
}

// RaiseAmbient models PR_CAP_AMBIENT_RAISE, prctl(2): c must be permitted and
// inheritable, and the securebit no_cap_ambient_raise off.
func (s State) RaiseAmbient(c Cap) (State, error) {
	switch {
	case !(s.Permitted & s.Inheritable).Has(c):
		return s, &DeniedError{"prctl PR_CAP_AMBIENT_RAISE " + c.String(), RuleAmbientWithin}
	case s.Securebits&NoCapAmbientRaise != 0:
		return s, &DeniedError{"prctl PR_CAP_AMBIENT_RAISE " + c.String(), RuleAmbientSecurebit}
	}
	s.Ambient |= SetOf(c)
	return s, nil
}

// DropBounding models PR_CAPBSET_DROP, prctl(2): it needs setpcap.
func (s State) DropBounding(c Cap) (State, error) {
	if !s.Effective.Has(CapSetPCap) {
		return s, &DeniedError{"prctl PR_CAPBSET_DROP " + c.String(), RuleNeedsSetPCap}
	}
	s.Bounding &^= SetOf(c)
	return s, nil
}

// SetKeepCaps models PR_SET_KEEPCAPS, prctl(2): it needs no capability, only
// that the bit is not locked.
func (s State) SetKeepCaps(on bool) (State, error) {
	if s.Securebits&KeepCapsLocked != 0 {
		return s, &DeniedError{"prctl PR_SET_KEEPCAPS", RuleKeepCapsLocked}
	}
	s.Securebits &^= KeepCaps
	if on {
		s.Securebits |= KeepCaps
	}
	return s, nil
}

// SetGroups models setgroups(2): it needs setgid, even for a list that changes
// nothing.
func (s State) SetGroups(g Groups) (State, error) {
	switch {
	case !s.Effective.Has(CapSetGID):
		return s, &DeniedError{"setgroups", RuleNeedsSetGID}
	case g.Len() > MaxGroups:
		return s, &DeniedError{"setgroups", RuleTooManyGroups}
	}
	s.Groups = g
	return s, nil
}

// SetResGID models setresgid(2): without setgid, each id must be one of the
// three there are.
func (s State) SetResGID(to IDs) (State, error) {
	if !s.Effective.Has(CapSetGID) && !(s.GID.has(to.Real) && s.GID.has(to.Effective) && s.GID.has(to.Saved)) {
		return s, &DeniedError{"setresgid", RuleNeedsSetGID}
	}
	s.GID = to
	return s, nil
}

// SetResUID models setresuid(2) and "Effect of user ID changes on
// capabilities" in capabilities(7): without setuid, each id must be one of the
// three there are. When the last id 0 goes, permitted is cleared (keepcaps
// prevents it) and ambient always; when the effective id leaves 0, effective is
// cleared, and when it becomes 0, effective is filled from permitted.
func (s State) SetResUID(to IDs) (State, error) {
	if !s.Effective.Has(CapSetUID) && !(s.UID.has(to.Real) && s.UID.has(to.Effective) && s.UID.has(to.Saved)) {
		return s, &DeniedError{"setresuid", RuleNeedsSetUID}
	}
	was := s.UID
	s.UID = to
	if s.Securebits&NoSetuidFixup != 0 {
		return s, nil
	}
	if was.anyRoot() && !to.anyRoot() {
		if s.Securebits&KeepCaps == 0 {
			s.Permitted, s.Effective = 0, 0
		}
		s.Ambient = 0
	}
	if was.Effective == 0 && to.Effective != 0 {
		s.Effective = 0
	}
	if was.Effective != 0 && to.Effective == 0 {
		s.Effective = s.Permitted
	}
	return s, nil
}

// SetNoNewPrivs models PR_SET_NO_NEW_PRIVS, prctl(2): always allowed, never
// undone.
func (s State) SetNoNewPrivs() (State, error) {
	s.NoNewPrivs = true
	return s, nil
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

// Execve models "Transformation of capabilities during execve()" in
// capabilities(7), with uid 0 and no_new_privs:
//
//	P' = (fP & B) | (fI & I) | A'    A' = 0 for a file with privilege, else A
//	E' = fE ? P' : A'                I' = I    B' = B
//
// For uid 0 without the securebit noroot, fP and fI count as full and, when the
// effective id is 0, fE as set. Under no_new_privs set-id bits do not count and
// P' gains nothing over P.
func (s State) Execve(f File) (State, error) { return s.execve(f, false) }

// execve is Execve; with oldIDs set as it was before Linux 6.16, see Host.
func (s State) execve(f File, oldIDs bool) (State, error) {
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
	if oldIDs {
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
