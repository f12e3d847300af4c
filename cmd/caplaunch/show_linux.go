package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/caplaunch/caplaunch/internal/ambient"
)

// show prints the state of a process, of caplaunch itself without a number.
func (a *app) show(c *showCmd) error {
	if err := a.notBorrowed(); err != nil {
		return err
	}
	var s ambient.State
	var err error
	if c.PID != nil {
		s, err = stateOf(int(*c.PID))
	} else {
		s, err = a.one.State()
	}
	if err != nil {
		return err
	}
	out := shown(s)
	bits := "securebits none"
	switch {
	case c.PID != nil:
		out.Securebits, bits = nil, "securebits unknown: only a process itself can read them"
	case len(out.Securebits) > 0:
		bits = "securebits " + strings.Join(out.Securebits, " ")
	}
	if c.JSON {
		return json.NewEncoder(a.stdout).Encode(out)
	}
	var b strings.Builder
	fmt.Fprintln(&b, strings.Join(append(wrap(who(s), columns), wrap(bits, columns)...), "\n"))
	printSets(&b, s, s)
	fmt.Fprintln(&b, legend)
	_, err = io.WriteString(a.stdout, b.String())
	return err
}
