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

// CheckAllowed compares the sets of now that m names with allow. The error is
// an *UnexpectedCapabilityError with every capability that is in one of them
// and not in allow.
func CheckAllowed(now State, allow Set, m SetMask) error {
	sets := [...]Set{now.Permitted, now.Effective, now.Inheritable, now.Ambient, now.Bounding}
	var stray Set
	for i, s := range sets {
		if m&(1<<i) != 0 {
			stray |= s &^ allow
		}
	}
	if stray == 0 {
		return nil
	}
	e := &UnexpectedCapabilityError{Allow: allow}
	for c := range stray.All() {
		var in SetMask
		for i, s := range sets {
			if m&(1<<i) != 0 && s.Has(c) {
				in |= 1 << i
			}
		}
		e.Stray = append(e.Stray, Stray{c, in})
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

// Set is the set of those found.
func (e *UnexpectedCapabilityError) Set() Set {
	var s Set
	for _, x := range e.Stray {
		s |= SetOf(x.Cap)
	}
	return s
}

func (e *UnexpectedCapabilityError) Error() string {
	var parts []string
	var last SetMask
	for _, x := range e.Stray {
		if x.In != last && last != 0 {
			parts[len(parts)-1] += " in " + last.String()
		}
		last = x.In
		name := fmt.Sprintf("%v (%d)", x.Cap, uint8(x.Cap))
		if x.Cap.String() == fmt.Sprint(uint8(x.Cap)) {
			name = fmt.Sprint(uint8(x.Cap))
		}
		parts = append(parts, name)
	}
	return fmt.Sprintf("more was granted than allowed: %s in %v; the allowlist is %v", strings.Join(parts, ", "), last, e.Allow)
}

// Is makes errors.Is(err, ErrUnexpectedCapability) true.
func (*UnexpectedCapabilityError) Is(target error) bool { return target == ErrUnexpectedCapability }

// ExitStatus is 78.
func (*UnexpectedCapabilityError) ExitStatus() int { return ExitUnexpected }
