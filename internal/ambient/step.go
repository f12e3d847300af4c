package ambient

import (
	"fmt"
	"strings"
)

// A Kernel carries out credential system calls on one process: every thread of
// it. Each method is one call; State reads everything back.
type Kernel interface {
	State() (State, error)
	Capset(p, i, e Set) error
	RaiseAmbient(Cap) error
	DropBounding(Cap) error
	SetKeepCaps(on bool) error
	SetGroups(Groups) error
	SetResGID(IDs) error
	SetResUID(IDs) error
	SetNoNewPrivs() error
}

// A Step is one system call of a plan. The same value drives the Sim and the
// real kernel, so that what is explained cannot differ from what is done.
type Step interface {
	Do(Kernel) error
	fmt.Stringer
}

// The steps, one for each call of Kernel.
type (
	Capset        struct{ Permitted, Inheritable, Effective Set }
	RaiseAmbient  struct{ Cap Cap }
	DropBounding  struct{ Cap Cap }
	SetKeepCaps   struct{ On bool }
	SetGroups     struct{ Groups Groups }
	SetResGID     struct{ To IDs }
	SetResUID     struct{ To IDs }
	SetNoNewPrivs struct{}
)

func (s Capset) Do(k Kernel) error        { return k.Capset(s.Permitted, s.Inheritable, s.Effective) }
func (s RaiseAmbient) Do(k Kernel) error  { return k.RaiseAmbient(s.Cap) }
func (s DropBounding) Do(k Kernel) error  { return k.DropBounding(s.Cap) }
func (s SetKeepCaps) Do(k Kernel) error   { return k.SetKeepCaps(s.On) }
func (s SetGroups) Do(k Kernel) error     { return k.SetGroups(s.Groups) }
func (s SetResGID) Do(k Kernel) error     { return k.SetResGID(s.To) }
func (s SetResUID) Do(k Kernel) error     { return k.SetResUID(s.To) }
func (s SetNoNewPrivs) Do(k Kernel) error { return k.SetNoNewPrivs() }

func (s Capset) String() string {
	if s.Permitted == s.Inheritable && s.Permitted == s.Effective {
		return "capset permitted=inheritable=effective=" + s.Permitted.String()
	}
	return fmt.Sprintf("capset permitted=%v inheritable=%v effective=%v", s.Permitted, s.Inheritable, s.Effective)
}
func (s RaiseAmbient) String() string { return "prctl PR_CAP_AMBIENT_RAISE " + s.Cap.String() }
func (s DropBounding) String() string { return "prctl PR_CAPBSET_DROP " + s.Cap.String() }
func (s SetKeepCaps) String() string {
	if s.On {
		return "prctl PR_SET_KEEPCAPS 1"
	}
	return "prctl PR_SET_KEEPCAPS 0"
}
func (s SetGroups) String() string   { return "setgroups " + s.Groups.String() }
func (s SetResGID) String() string   { return "setresgid " + s.To.String() }
func (s SetResUID) String() string   { return "setresuid " + s.To.String() }
func (SetNoNewPrivs) String() string { return "prctl PR_SET_NO_NEW_PRIVS 1" }

// String joins the ids with commas, at most a dozen of them; no groups are
// "none".
func (g Groups) String() string {
	const most = 12
	if g.Len() == 0 {
		return "none"
	}
	var words []string
	for i, id := range g.IDs() {
		if i == most {
			words = append(words, fmt.Sprintf("… (%d in all)", g.Len()))
			break
		}
		words = append(words, fmt.Sprint(id))
	}
	return strings.Join(words, ",")
}

// String is the one id when all three are equal, else real,effective,saved.
func (i IDs) String() string {
	if i == Same(i.Real) {
		return fmt.Sprint(i.Real)
	}
	return fmt.Sprintf("%d,%d,%d", i.Real, i.Effective, i.Saved)
}
