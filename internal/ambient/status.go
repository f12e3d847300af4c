package ambient

import (
	"fmt"
	"strconv"
	"strings"
)

// A StatusError is a /proc/PID/status that does not say what it has to.
type StatusError struct {
	Field string // the field, such as "CapPrm"
	Value string // what it says, "" where it is missing
	Twice bool   // it comes more than once
	Err   error  // of reading the number, if that is it
}

func (e *StatusError) Error() string {
	switch {
	case e.Twice:
		return fmt.Sprintf("malformed process status: %s comes twice", e.Field)
	case e.Value == "":
		return fmt.Sprintf("malformed process status: no %s", e.Field)
	}
	return fmt.Sprintf("malformed process status: %s is %.64q", e.Field, e.Value)
}

func (e *StatusError) Unwrap() error { return e.Err }

// ParseStatus reads the state in the text of /proc/PID/status, proc(5).
// Securebits are not in it. The error is a *StatusError.
func ParseStatus(text string) (State, error) {
	var s State
	var failed error
	fields := map[string]string{}
	for line := range strings.Lines(text) {
		if key, value, ok := strings.Cut(line, ":"); ok {
			if _, twice := fields[key]; twice && failed == nil && strings.Contains(" Uid Gid Groups CapInh CapPrm CapEff CapBnd CapAmb NoNewPrivs ", " "+key+" ") {
				failed = &StatusError{Field: key, Value: value, Twice: true} // a name cannot fake one: it comes escaped
			}
			fields[key] = strings.TrimSpace(value)
		}
	}
	number := func(field, word string, base, bits int) uint64 {
		n, err := strconv.ParseUint(word, base, bits)
		if err != nil && failed == nil {
			failed = &StatusError{Field: field, Value: fields[field], Err: err}
		}
		return n
	}
	mask := func(field string) Set {
		w := fields[field]
		if len(w) != 16 && failed == nil {
			failed = &StatusError{Field: field, Value: w}
		}
		return Set(number(field, w, 16, 64))
	}
	ids := func(field string) IDs {
		w := strings.Fields(fields[field])
		if len(w) != 4 {
			if failed == nil {
				failed = &StatusError{Field: field, Value: fields[field]}
			}
			return IDs{}
		}
		id := func(i int) uint32 { return uint32(number(field, w[i], 10, 32)) }
		id(3) // of the file system: it is the effective one
		return IDs{id(0), id(1), id(2)}
	}
	s.UID, s.GID = ids("Uid"), ids("Gid")
	if _, ok := fields["Groups"]; !ok && failed == nil {
		failed = &StatusError{Field: "Groups"}
	}
	var groups []uint32
	for w := range strings.FieldsSeq(fields["Groups"]) {
		groups = append(groups, uint32(number("Groups", w, 10, 32)))
	}
	s.Groups = NewGroups(groups...)
	s.Inheritable, s.Permitted, s.Effective = mask("CapInh"), mask("CapPrm"), mask("CapEff")
	s.Bounding, s.Ambient = mask("CapBnd"), mask("CapAmb")
	s.NoNewPrivs = number("NoNewPrivs", fields["NoNewPrivs"], 10, 1) == 1
	if failed != nil {
		return State{}, failed
	}
	return s, nil
}
