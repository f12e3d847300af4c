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

// describe is who each of the states is, as lines with the same things below
// each other.
func describe(states ...ambient.State) []string {
	lines := make([]string, len(states))
	column := func(name string, value func(ambient.State) any) {
		width := 0
		for i, s := range states {
			lines[i] += fmt.Sprintf("%s %v", name, value(s))
			width = max(width, len(lines[i]))
		}
		for i := range lines {
			lines[i] += strings.Repeat(" ", width-len(lines[i])+2)
		}
	}
	column("uid", func(s ambient.State) any { return s.UID })
	column("gid", func(s ambient.State) any { return s.GID })
	column("no_new_privs", func(s ambient.State) any {
		if s.NoNewPrivs {
			return "on"
		}
		return "off"
	})
	for i, s := range states {
		lines[i] += fmt.Sprintf("groups %v", s.Groups)
	}
	return lines
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
	note := func(c ambient.Cap) {
		row := cells(c, nil, s, style{})
		if before != nil {
			row = cells(c, nil, *before, style{}) + "    " + cells(c, before, s, st)
		}
		if rows[row] == nil {
			order = append(order, row)
		}
		rows[row] = append(rows[row], c.String())
	}
	// What it has comes first: that is what one looks for.
	for c := range s.Permitted.All() {
		note(c)
	}
	for c := range (union &^ s.Permitted).All() {
		note(c)
	}
	indent := 17
	if before != nil {
		indent = 36
	}
	for _, row := range order {
		for i, line := range wrap(strings.Join(rows[row], " "), columns-indent) {
			if i == 0 {
				fmt.Fprintf(w, "%s  %s\n", row, line)
			} else {
				fmt.Fprintf(w, "%*s%s\n", indent, "", line)
			}
		}
	}
}

// columns is the width of a terminal, less a little.
const columns = 78

// wrap breaks text at spaces into lines of at most width, and at commas a word
// that is longer. What has neither, a path, stays whole. Spaces inside a line
// stay as they are.
func wrap(text string, width int) []string {
	var lines []string
	line := ""
	add := func(part string) {
		if line != "" && utf8.RuneCountInString(line+strings.TrimRight(part, " ")) > width {
			lines = append(lines, strings.TrimRight(line, " "))
			line = ""
		}
		if line != "" || strings.TrimSpace(part) != "" {
			line += part
		}
	}
	for word := range strings.SplitAfterSeq(text, " ") {
		if utf8.RuneCountInString(word) <= width {
			add(word)
			continue
		}
		for part := range strings.SplitAfterSeq(word, ",") {
			add(part)
		}
	}
	return append(lines, strings.TrimRight(line, " "))
}

const legend = "P permitted  I inheritable  E effective  A ambient  B bounding"
