package ambient

// A Sim is a Kernel that follows the rules in rules.go: what it does to Now is
// what the kernel would do to a process, refusals included.
type Sim struct {
	Now State
	On  Host
}

// State is the simulated state; it never fails.
func (s *Sim) State() (State, error) { return s.Now, nil }

// set keeps the outcome of a rule.
func (s *Sim) set(n State, err error) error {
	if err == nil {
		s.Now = n
	}
	return err
}

// Capset is capset(2), which ignores bits that the kernel does not know.
func (s *Sim) Capset(p, i, e Set) error {
	return s.set(s.Now.Capset(p&s.On.Known, i&s.On.Known, e&s.On.Known))
}

// RaiseAmbient is PR_CAP_AMBIENT_RAISE, prctl(2).
func (s *Sim) RaiseAmbient(c Cap) error {
	op := RaiseAmbient{c}.String()
	switch {
	case !s.On.Ambient:
		return &DeniedError{op, RuleNoAmbient}
	case !s.On.Known.Has(c):
		return &DeniedError{op, RuleUnknownCap}
	}
	return s.set(s.Now.RaiseAmbient(c))
}

// DropBounding is PR_CAPBSET_DROP, prctl(2).
func (s *Sim) DropBounding(c Cap) error {
	n, err := s.Now.DropBounding(c)
	if err == nil && !s.On.Known.Has(c) {
		return &DeniedError{DropBounding{c}.String(), RuleUnknownCap}
	}
	return s.set(n, err)
}

// SetKeepCaps is PR_SET_KEEPCAPS, prctl(2).
func (s *Sim) SetKeepCaps(on bool) error { return s.set(s.Now.SetKeepCaps(on)) }

// SetGroups is setgroups(2).
func (s *Sim) SetGroups(g Groups) error {
	if !s.On.SetGroups {
		return &DeniedError{"setgroups", RuleSetGroupsDenied}
	}
	n, err := s.Now.SetGroups(g)
	if err == nil && s.On.GIDs != nil {
		for _, id := range g.IDs() {
			if !s.On.GIDs.Has(id) {
				return &DeniedError{"setgroups", RuleUnmapped}
			}
		}
	}
	return s.set(n, err)
}

// SetResGID is setresgid(2).
func (s *Sim) SetResGID(to IDs) error {
	if m := s.On.GIDs; !m.Has(to.Real) || !m.Has(to.Effective) || !m.Has(to.Saved) {
		return &DeniedError{"setresgid", RuleUnmapped}
	}
	return s.set(s.Now.SetResGID(to))
}

// SetResUID is setresuid(2).
func (s *Sim) SetResUID(to IDs) error {
	if m := s.On.UIDs; !m.Has(to.Real) || !m.Has(to.Effective) || !m.Has(to.Saved) {
		return &DeniedError{"setresuid", RuleUnmapped}
	}
	return s.set(s.Now.SetResUID(to))
}

// SetNoNewPrivs is PR_SET_NO_NEW_PRIVS, prctl(2).
func (s *Sim) SetNoNewPrivs() error { return s.set(s.Now.SetNoNewPrivs()) }

// Execve is execve(2) of a program that takes its credentials from f.
func (s *Sim) Execve(f File) error { return s.set(s.Now.execve(f, s.On.OldExecIDs)) }
