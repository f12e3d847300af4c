package main

import (
	"fmt"
	"io"
	"strings"

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

// describe is who a state is, on one line.
func describe(s ambient.State) string {
	nnp := "off"
	if s.NoNewPrivs {
		nnp = "on"
	}
	return fmt.Sprintf("uid %v  gid %v  groups %v  no_new_privs %s", s.UID, s.GID, s.Groups, nnp)
}

// A style marks what has changed.
type style struct{ gained, lost, plain string }

var colours = style{gained: "\x1b[32m", lost: "\x1b[31m", plain: "\x1b[0m"}

// letters of the five sets, in the order of execve's rule.
const letters = "PIEAB"

func five(s ambient.State) [5]ambient.Set {
	return [5]ambient.Set{s.Permitted, s.Inheritable, s.Effective, s.Ambient, s.Bounding}
}

// cells are the letters of the sets that c is in. Against before, what was
// gained is marked + and what was lost -.
func cells(c ambient.Cap, before *ambient.State, s ambient.State, st style) string {
	now, was := five(s), five(s)
	if before != nil {
		was = five(*before)
	}
	var b strings.Builder
	for i, set := range now {
		letter := letters[i : i+1]
		switch {
		case set.Has(c) && was[i].Has(c):
			b.WriteString("  " + letter)
		case set.Has(c):
			b.WriteString(" " + st.gained + "+" + letter + st.plain)
		case was[i].Has(c):
			b.WriteString(" " + st.lost + "-" + letter + st.plain)
		default:
			b.WriteString("  .")
		}
	}
	return b.String()
}

// printSets writes the five sets as a table: a line for each group of
// capabilities that are in the same ones, before and after. It fits 80 columns.
func printSets(w io.Writer, before *ambient.State, s ambient.State, st style) {
	var union ambient.Set
	for _, set := range five(s) {
		union |= set
	}
	if before != nil {
		for _, set := range five(*before) {
			union |= set
		}
	}
	if union == 0 {
		fmt.Fprintln(w, "  no capability in any of the five sets")
		return
	}
	rows := map[string][]string{}
	var order []string
	for c := range union.All() {
		row := cells(c, nil, s, style{})
		if before != nil {
			row = cells(c, nil, *before, style{}) + "    " + cells(c, before, s, st)
		}
		if rows[row] == nil {
			order = append(order, row)
		}
		rows[row] = append(rows[row], c.String())
	}
	width := 78 - 17
	if before != nil {
		width = 78 - 36
	}
	for _, row := range order {
		pad := strings.Repeat(" ", 17)
		if before != nil {
			pad = strings.Repeat(" ", 36)
		}
		for _, line := range wrap(rows[row], width) {
			if row != "" {
				fmt.Fprintf(w, "%s  %s\n", row, line)
			} else {
				fmt.Fprintf(w, "%s%s\n", pad, line)
			}
			row = ""
		}
	}
}

// wrap joins words with spaces into lines of at most width.
func wrap(words []string, width int) []string {
	var lines []string
	line := ""
	for _, w := range words {
		if line != "" && len(line)+1+len(w) > width {
			lines = append(lines, line)
			line = ""
		}
		if line != "" {
			line += " "
		}
		line += w
	}
	return append(lines, line)
}

const legend = "P permitted  I inheritable  E effective  A ambient  B bounding"
