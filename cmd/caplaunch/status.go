package main

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/caplaunch/caplaunch/internal/ambient"
)

// A statusError is a /proc/PID/status that does not say what it has to.
type statusError struct {
	Field string // the field, such as "CapPrm"
	Value string // what it says; "" where it is missing, or comes twice
}

func (e *statusError) Error() string {
	if e.Value == "" {
		return fmt.Sprintf("malformed process status: %s does not come once", e.Field)
	}
	return fmt.Sprintf("malformed process status: %s is %.64q", e.Field, e.Value)
}

// parseStatus reads the state in the text of /proc/PID/status, proc(5).
// Securebits are not in it. The error is a *statusError.
func parseStatus(text string) (s ambient.State, err error) {
	bad := func(field, value string) {
		if err == nil {
			err = &statusError{field, strings.TrimSpace(value)}
		}
	}
	number := func(field, word string, base, bits int) uint64 {
		n, parseErr := strconv.ParseUint(word, base, bits)
		if parseErr != nil {
			bad(field, "not a number: "+word)
		}
		return n
	}
	mask := func(to *ambient.Set) func(string, string) {
		return func(field, value string) {
			if len(value) != 16 {
				bad(field, "not 16 digits: "+value)
			}
			*to = ambient.Set(number(field, value, 16, 64))
		}
	}
	ids := func(to *ambient.IDs) func(string, string) {
		return func(field, value string) {
			w := strings.Fields(value)
			if len(w) != 4 {
				bad(field, "not four ids: "+value)
				return
			}
			id := func(i int) uint32 { return uint32(number(field, w[i], 10, 32)) }
			id(3) // of the file system: it is the effective one
			*to = ambient.IDs{id(0), id(1), id(2)}
		}
	}
	fields := map[string]func(field, value string){
		"Uid": ids(&s.UID), "Gid": ids(&s.GID), "CapInh": mask(&s.Inheritable), "CapPrm": mask(&s.Permitted),
		"CapEff": mask(&s.Effective), "CapBnd": mask(&s.Bounding), "CapAmb": mask(&s.Ambient),
		"NoNewPrivs": func(field, value string) { s.NoNewPrivs = number(field, value, 10, 1) == 1 },
		"Groups": func(field, value string) {
			var groups []uint32
			for w := range strings.FieldsSeq(value) {
				groups = append(groups, uint32(number(field, w, 10, 32)))
			}
			s.Groups = ambient.NewGroups(groups...)
		},
	}
	count := map[string]int{}
	for line := range strings.Lines(text) {
		key, value, ok := strings.Cut(line, ":")
		if read := fields[key]; ok && read != nil {
			count[key]++
			read(key, strings.TrimSpace(value))
		}
	}
	for field := range fields {
		if count[field] != 1 {
			bad(field, "") // a name cannot fake one: it comes escaped
		}
	}
	if err != nil {
		return ambient.State{}, err
	}
	return s, nil
}
