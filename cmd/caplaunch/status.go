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
	Value string // the last that it says
}

func (e *statusError) Error() string {
	return fmt.Sprintf("malformed process status: %s is missing, comes twice or makes no sense: %.64q", e.Field, e.Value)
}

// parseStatus reads the state in the text of /proc/PID/status, proc(5).
// Securebits are not in it. The error is a *statusError.
func parseStatus(text string) (s ambient.State, err error) {
	fields, repeated := map[string][]string{}, map[string]bool{}
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(line, ":")
		_, repeated[key] = fields[key] // a process cannot fake a line by its name: that comes escaped
		fields[key] = strings.Fields(value)
	}
	// read gives the numbers of a field, of which there have to be count; -1 is any.
	read := func(field string, base, bits, count int) []uint64 {
		words, ok := fields[field]
		numbers := make([]uint64, max(count, len(words)))
		good := ok && !repeated[field] && (count < 0 || len(words) == count)
		for i, w := range words {
			n, parseErr := strconv.ParseUint(w, base, bits)
			good = good && parseErr == nil && (base != 16 || len(w) == 16)
			numbers[i] = n
		}
		if !good && err == nil {
			err = &statusError{field, strings.Join(words, " ")}
		}
		return numbers
	}
	mask := func(field string) ambient.Set { return ambient.Set(read(field, 16, 64, 1)[0]) }
	ids := func(field string) ambient.IDs {
		n := read(field, 10, 32, 4) // the fourth is the file system's, which is the effective one
		return ambient.IDs{Real: uint32(n[0]), Effective: uint32(n[1]), Saved: uint32(n[2])}
	}
	var groups []uint32
	for _, id := range read("Groups", 10, 32, -1) {
		groups = append(groups, uint32(id))
	}
	s = ambient.State{
		UID: ids("Uid"), GID: ids("Gid"), Groups: ambient.NewGroups(groups...), NoNewPrivs: read("NoNewPrivs", 10, 1, 1)[0] == 1,
		Inheritable: mask("CapInh"), Permitted: mask("CapPrm"), Effective: mask("CapEff"), Bounding: mask("CapBnd"), Ambient: mask("CapAmb"),
	}
	if err != nil {
		return ambient.State{}, err
	}
	return s, nil
}
