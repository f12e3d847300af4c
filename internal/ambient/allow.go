package ambient

import (
	"errors"
	"fmt"
	"strings"
)

// A SetMask says which of the five sets are meant.
type SetMask uint8

// The five sets.
const (
	InPermitted SetMask = 1 << iota
	InEffective
	InInheritable
	InAmbient
	InBounding

	// DefaultSets are those that an allowlist looks at when none are named:
	// what a process has, not what it might get.
	DefaultSets = InPermitted | InEffective | InInheritable | InAmbient
)

var setNames = [...]string{"permitted", "effective", "inheritable", "ambient", "bounding"}

// String joins the names with commas.
func (m SetMask) String() string { return strings.Join(m.Names(), ",") }

// Names lists the names of the sets.
func (m SetMask) Names() []string {
	names := []string{}
	for i, n := range setNames {
		if m&(1<<i) != 0 {
			names = append(names, n)
		}
	}
	return names
}

// ParseSets reads names of sets split at commas and white space, in any case.
// The error is an *UnknownSetError.
func ParseSets(lists ...string) (SetMask, error) {
	var m SetMask
	for _, list := range lists {
	words:
		for _, w := range Fields(list) {
			for i, n := range setNames {
				if strings.EqualFold(w, n) {
					m |= 1 << i
					continue words
				}
			}
			return 0, &UnknownSetError{Name: w}
		}
	}
	if m == 0 {
		return 0, &UnknownSetError{}
	}
	return m, nil
}

// An UnknownSetError is a word that names none of the five sets.
type UnknownSetError struct{ Name string }

func (e *UnknownSetError) Error() string {
	if e.Name == "" {
		return "an empty list of sets"
	}
	return fmt.Sprintf("%q is none of permitted, effective, inheritable, ambient, bounding", e.Name)
}

// Of joins the sets of s that m names.
func (m SetMask) Of(s State) (union Set) {
	for i, set := range [...]Set{s.Permitted, s.Effective, s.Inheritable, s.Ambient, s.Bounding} {
		if m&(1<<i) != 0 {
			union |= set
		}
	}
	return union
}

// CheckAllowed compares the sets of now that m names with allow. The error is
// an *UnexpectedCapabilityError with every capability that is in one of them
// and not in allow.
func CheckAllowed(now State, allow Set, m SetMask) error {
	e := &UnexpectedCapabilityError{Allow: allow}
	for c := range (m.Of(now) &^ allow).All() {
		var in SetMask
		for i := range setNames {
			if one := SetMask(1 << i); one&m != 0 && one.Of(now).Has(c) {
				in |= one
			}
		}
		e.Stray = append(e.Stray, Stray{c, in})
	}
	if e.Stray == nil {
		return nil
	}
	return e
}

// ErrUnexpectedCapability is what every *UnexpectedCapabilityError is.
var ErrUnexpectedCapability = errors.New("unexpected capability")

// An UnexpectedCapabilityError names what was granted beyond the allowlist.
type UnexpectedCapabilityError struct {
	Stray []Stray
	Allow Set
}

// A Stray is a capability outside the allowlist and the sets it was found in.
type Stray struct {
	Cap Cap
	In  SetMask
}

// Set is the set of those found, and the sets that they were found in.
func (e *UnexpectedCapabilityError) Set() (s Set, in SetMask) {
	for _, x := range e.Stray {
		s |= SetOf(x.Cap)
		in |= x.In
	}
	return s, in
}

// Error names a dozen of them, and how many more there are.
func (e *UnexpectedCapabilityError) Error() string {
	const most = 12
	var text strings.Builder
	text.WriteString("more was granted than allowed: ")
	shown := e.Stray[:min(len(e.Stray), most)]
	for i, x := range shown {
		text.WriteString(x.Cap.String())
		if int(x.Cap) < Named() {
			fmt.Fprintf(&text, " (%d)", x.Cap)
		}
		switch {
		case i == len(shown)-1 || shown[i+1].In != x.In:
			fmt.Fprintf(&text, " in %v", x.In)
			if i < len(shown)-1 {
				text.WriteString("; ")
			}
		default:
			text.WriteString(", ")
		}
	}
	if more := len(e.Stray) - len(shown); more > 0 {
		fmt.Fprintf(&text, " and %d more", more)
	}
	fmt.Fprintf(&text, "; the allowlist is %v", e.Allow)
	return text.String()
}

// Is makes errors.Is(err, ErrUnexpectedCapability) true.
func (*UnexpectedCapabilityError) Is(target error) bool { return target == ErrUnexpectedCapability }
