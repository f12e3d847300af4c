package ambient

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// A SetMask says which of the five sets are meant.
type SetMask uint8

const (
	InPermitted SetMask = 1 << iota
	InEffective
	InInheritable
	InAmbient
	InBounding

	// DefaultSets are what a process has, not what it might get.
	DefaultSets = InPermitted | InEffective | InInheritable | InAmbient
)

var setNames = [...]string{"permitted", "effective", "inheritable", "ambient", "bounding"}

// Names lists the names of the sets, and String joins them with commas.
func (m SetMask) Names() []string { return bitNames(Set(m), func(i Cap) string { return setNames[i] }) }
func (m SetMask) String() string  { return strings.Join(m.Names(), ",") }

// Union joins the sets of s that m names.
func (m SetMask) Union(s State) (union Set) {
	for i, set := range [...]Set{s.Permitted, s.Effective, s.Inheritable, s.Ambient, s.Bounding} {
		if m&(1<<i) != 0 {
			union |= set
		}
	}
	return union
}

// ParseSets reads lists of names. The error is an *UnknownSetError or ErrEmptyList.
func ParseSets(lists ...string) (m SetMask, err error) {
	for _, w := range Fields(strings.Join(lists, ",")) {
		i := slices.Index(setNames[:], strings.ToLower(w))
		if i < 0 {
			return 0, &UnknownSetError{Name: w}
		}
		m |= 1 << i
	}
	if m == 0 {
		return 0, ErrEmptyList
	}
	return m, nil
}

// An UnknownSetError is a word that names none of the five sets.
type UnknownSetError struct{ Name string }

func (e *UnknownSetError) Error() string {
	return fmt.Sprintf("%.64q is none of %s", e.Name, strings.Join(setNames[:], ", "))
}

// checkGrant compares what was granted with the allowlist, if there is one: what
// was listed and, with Strict, what was asked for and what the launch needs.
func (req Request) checkGrant(now State, host Host) error {
	if req.Allow == nil && !req.Strict {
		return nil
	}
	var allow Set
	if req.Allow != nil {
		allow = req.Allow.Resolve(host)
	}
	if req.Strict {
		allow |= req.Required.Resolve(host) | req.Optional.Resolve(host)
		if now.UID.Effective == 0 {
			allow |= SetOf(CapSetUID, CapSetGID)
			if req.RootParent && req.User != nil && req.User.UID != 0 {
				allow |= SetOf(CapKill)
			}
		}
		if req.Bounding != KeepBounding {
			allow |= SetOf(CapSetPCap)
		}
	}
	return CheckAllowed(now, allow, req.Sets)
}

// CheckAllowed compares the sets of now that m names with allow. The error is an
// *UnexpectedCapabilityError.
func CheckAllowed(now State, allow Set, m SetMask) error {
	e := &UnexpectedCapabilityError{Allow: allow}
	for c := range (m.Union(now) &^ allow).All() {
		stray := Stray{Cap: c}
		for one := InPermitted; one <= InBounding; one <<= 1 {
			if (m & one).Union(now).Has(c) {
				stray.Sets |= one
			}
		}
		e.Stray = append(e.Stray, stray)
	}
	if len(e.Stray) > 0 {
		return e
	}
	return nil
}

// ErrUnexpectedCapability is what every *UnexpectedCapabilityError is.
var ErrUnexpectedCapability = errors.New("unexpected capability")

// An UnexpectedCapabilityError has all that was granted beyond the allowlist.
type UnexpectedCapabilityError struct {
	Stray []Stray
	Allow Set
}

// A Stray is a capability, and the sets it was found in.
type Stray struct {
	Cap  Cap
	Sets SetMask
}

func (*UnexpectedCapabilityError) Is(target error) bool { return target == ErrUnexpectedCapability }

// Set is the set of those found, and the sets that they were found in.
func (e *UnexpectedCapabilityError) Set() (s Set, sets SetMask) {
	for _, x := range e.Stray {
		s |= SetOf(x.Cap)
		sets |= x.Sets
	}
	return s, sets
}

// Error names a dozen of them, and how many more there are.
func (e *UnexpectedCapabilityError) Error() string {
	const most = 12
	text, sep := "more was granted than allowed", ": "
	shown := e.Stray[:min(len(e.Stray), most)]
	for i, x := range shown {
		text += sep + x.Cap.String()
		if NamedCaps.Has(x.Cap) {
			text += fmt.Sprintf(" (%d)", x.Cap)
		}
		if sep = ", "; i+1 == len(shown) || shown[i+1].Sets != x.Sets {
			text += " in " + x.Sets.String()
			sep = "; "
		}
	}
	if more := len(e.Stray) - most; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return fmt.Sprintf("%s; the allowlist is %v", text, e.Allow)
}
