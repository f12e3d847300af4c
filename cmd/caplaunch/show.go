package main

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/caplaunch/caplaunch/internal/ambient"
)

// A shownState is a State as JSON: stable, with names.
type shownState struct {
	UID         ids      `json:"uid"`
	GID         ids      `json:"gid"`
	Groups      []uint32 `json:"groups"`
	NoNewPrivs  bool     `json:"no_new_privs"`
	Securebits  []string `json:"securebits"` // null where they cannot be read: of another process
	Permitted   []string `json:"permitted"`
	Effective   []string `json:"effective"`
	Inheritable []string `json:"inheritable"`
	Ambient     []string `json:"ambient"`
	Bounding    []string `json:"bounding"`
}

type ids struct {
	Real      uint32 `json:"real"`
	Effective uint32 `json:"effective"`
	Saved     uint32 `json:"saved"`
}

func shown(s ambient.State) shownState {
	return shownState{
		UID: ids(s.UID), GID: ids(s.GID), Groups: s.Groups.IDs(), NoNewPrivs: s.NoNewPrivs, Securebits: s.Securebits.Names(),
		Permitted: s.Permitted.Names(), Effective: s.Effective.Names(), Inheritable: s.Inheritable.Names(),
		Ambient: s.Ambient.Names(), Bounding: s.Bounding.Names(),
	}
}

// who is the identity of a state on one line.
func who(s ambient.State) string {
	privs := "off"
	if s.NoNewPrivs {
		privs = "on"
	}
	return fmt.Sprintf("uid %v  gid %v  no_new_privs %s  groups %v", s.UID, s.GID, privs, s.Groups)
}

// letters of the five sets, in the order of execve's rule.
const letters = "PIEAB"

const legend = "P permitted  I inheritable  E effective  A ambient  B bounding"

func five(s ambient.State) [5]ambient.Set {
	return [5]ambient.Set{s.Permitted, s.Inheritable, s.Effective, s.Ambient, s.Bounding}
}

// cells are the letters of the sets of now that c is in. What was gained since
// before is marked +, and what was lost -.
func cells(c ambient.Cap, before, now ambient.State) string {
	var b strings.Builder
	was := five(before)
	for i, set := range five(now) {
		letter := letters[i : i+1]
		switch {
		case set.Has(c) && was[i].Has(c):
			b.WriteString("  " + letter)
		case set.Has(c):
			b.WriteString(" +" + letter)
		case was[i].Has(c):
			b.WriteString(" -" + letter)
		default:
			b.WriteString("  .")
		}
	}
	return b.String()
}

// printSets writes the five sets as a table of at most 80 columns: a line for
// each group of capabilities that are in the same ones, those first that are
// permitted. What changed since before is marked.
func printSets(w io.Writer, before, now ambient.State) {
	const every = ambient.DefaultSets | ambient.InBounding
	union := every.Union(before) | every.Union(now)
	if union == 0 {
		fmt.Fprintln(w, "  no capability in any of the five sets")
		return
	}
	rows := map[string][]string{}
	var order []string
	for _, part := range []ambient.Set{now.Permitted, union &^ now.Permitted} {
		for c := range part.All() {
			row := cells(c, before, now)
			if rows[row] == nil {
				order = append(order, row)
			}
			rows[row] = append(rows[row], c.String())
		}
	}
	const indent = 17
	for _, row := range order {
		for _, line := range wrap(strings.Join(rows[row], " "), columns-indent) {
			fmt.Fprintf(w, "%-*s%s\n", indent, row, line)
			row = ""
		}
	}
}

// columns is the width of a terminal, less a little.
const columns = 78

// wrap breaks text into lines of at most width: at spaces, and a long list at a
// comma. A word that is longer stays whole.
func wrap(text string, width int) (lines []string) {
	for utf8.RuneCountInString(text) > width {
		at := strings.LastIndexByte(text[:width+1], ' ')
		if at <= 0 {
			at = strings.LastIndexByte(text[:width], ',') + 1
		}
		if at <= 0 {
			at = strings.IndexByte(text, ' ')
		}
		if at <= 0 {
			break
		}
		lines = append(lines, strings.TrimRight(text[:at], " "))
		text = strings.TrimLeft(text[at:], " ")
	}
	return append(lines, text)
}
