package main

import (
	"fmt"
	"strconv"

	"github.com/caplaunch/caplaunch/internal/ambient"
)

// A pid is the number of a process. kong alone would take 0x1 for one.
type pid int

func (p *pid) UnmarshalText(text []byte) error {
	n, err := strconv.ParseUint(string(text), 10, 31)
	if *p = pid(n); err != nil || n == 0 {
		return fmt.Errorf("%.64q is no process number", text)
	}
	return nil
}

// An outcome is check --json.
type outcome struct {
	OK      bool         `json:"ok"`
	Allow   []string     `json:"allow"`
	Sets    []string     `json:"sets"`
	Stray   []shownStray `json:"stray"`             // what is in the sets and not allowed
	Skipped string       `json:"skipped,omitempty"` // why nothing was looked at: not on Linux
	Hint    string       `json:"hint,omitempty"`
}

type shownStray struct {
	Name   string   `json:"name"`
	Number uint8    `json:"number"`
	Sets   []string `json:"sets"`
}

// lists reads the lists of check. The error is a *usageError.
func (c *checkCmd) lists(s sources) (allow ambient.List, sets ambient.SetMask, err error) {
	if allow, err = s.list("allow", c.Allow); err == nil {
		sets, err = s.sets(c.Sets)
	}
	return allow, sets, err
}
