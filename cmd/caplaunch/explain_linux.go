package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/caplaunch/caplaunch/internal/ambient"
	"github.com/caplaunch/caplaunch/internal/grant"
)

// An explanation is explain --json. Its shape is stable: fields are added, not
// changed.
type explanation struct {
	Place   string       `json:"place"`
	Start   shownState   `json:"start"`
	Program string       `json:"program"`         // the file, "" when it was not found
	Steps   []string     `json:"steps"`           // in order; empty when the launch is refused
	After   *shownState  `json:"after,omitempty"` // the predicted state after execve
	Given   []string     `json:"given"`           // capabilities of PROGRAM
	Skipped []shownSkip  `json:"skipped"`         // optional ones that it does not get
	Notes   []string     `json:"notes"`           // what else is worth knowing
	Verdict shownVerdict `json:"verdict"`         // what run would do
	Grant   string       `json:"grant"`           // the smallest one, for the place
}

type shownSkip struct {
	Capability string `json:"capability"`
	Reason     string `json:"reason"`
}

type shownVerdict struct {
	OK   bool   `json:"ok"`
	Code int    `json:"code"` // exit status of run when it is refused
	Msg  string `json:"msg"`
	Hint string `json:"hint,omitempty"`
}

// explain says what run would do, and does none of it.
func (a *app) explain(c *explainCmd, argv []string, report *reporter) error {
	l := &launch{flags: c.launchFlags, argv: argv}
	if place, ok := grant.ParsePlace(c.For); ok {
		return a.explainFor(l, place)
	}
	report.json = c.LogFormat == "json"
	refused := a.prepare(l)
	var usage *usageError
	if refused != nil && (asUsage(refused, &usage) || l.host.Known == 0) {
		return refused // there is nothing to explain yet
	}
	x := explanation{
		Place: l.place.String(), Start: shown(l.now), Program: l.path, Steps: []string{}, Given: l.plan.Given.Names(),
		Skipped: []shownSkip{}, Notes: a.notes(l), Grant: l.grant().Text(l.place),
		Verdict: shownVerdict{OK: refused == nil, Msg: fmt.Sprintf("PROGRAM runs, with %v", l.plan.Given)},
	}
	for _, s := range l.plan.Steps {
		x.Steps = append(x.Steps, s.String())
	}
	for _, m := range l.plan.Skipped {
		x.Skipped = append(x.Skipped, shownSkip{m.Cap.String(), m.Why(l.now, l.host)})
	}
	if refused == nil {
		after := shown(l.plan.AfterExec)
		x.After = &after
	} else {
		x.Verdict = shownVerdict{Code: exitStatus(refused), Msg: oneLine(refused.Error()), Hint: oneLine(l.hint(refused))}
	}
	var err error
	if c.JSON {
		err = json.NewEncoder(a.stdout).Encode(x)
	} else {
		err = x.print(a.stdout, l, refused, colourful(a.stdout, a.environ))
	}
	if err != nil {
		return err
	}
	if refused != nil {
		return &reportedError{refused}
	}
	return nil
}

// print writes the explanation for a person, in 80 columns.
func (x *explanation) print(out io.Writer, l *launch, refused error, colour bool) error {
	var b strings.Builder
	section := func(title string, lines ...string) {
		for i, line := range lines {
			if i > 0 {
				title = ""
			}
			b.WriteString(strings.TrimRight(fmt.Sprintf("%-9s%s", title, line), " ") + "\n")
		}
	}
	place := ""
	if l.place != grant.Unknown {
		place = " (" + x.Place + ")"
	}
	section("start", describe(l.now)+place)
	if x.Program != "" {
		section("program", oneLine(x.Program))
	}
	if refused == nil {
		section("steps", "")
		for i, s := range append(x.Steps, "execve "+oneLine(x.Program)) {
			for j, line := range wrap(strings.Fields(s), 72) {
				if number := fmt.Sprintf("%4d. ", i+1); j == 0 {
					b.WriteString(number + line + "\n")
				} else {
					b.WriteString("      " + line + "\n")
				}
			}
		}
		section("after", describe(l.plan.AfterExec))
		st := style{}
		if colour {
			st = colours
		}
		fmt.Fprintf(&b, "\n  %-15s    %s\n", "start", "after")
		printSets(&b, &l.plan.Before, l.plan.AfterExec, st)
	} else {
		b.WriteByte('\n')
		printSets(&b, nil, l.now, style{})
	}
	b.WriteString("\n  " + legend + "\n\n")
	for _, s := range x.Skipped {
		section("skipped", wrap(strings.Fields(s.Capability+": "+s.Reason), 71)...)
	}
	for _, n := range x.Notes {
		section("note", wrap(strings.Fields(n), 71)...)
	}
	if refused == nil {
		section("verdict", wrap(strings.Fields(x.Verdict.Msg), 71)...)
	} else {
		section("verdict", wrap(strings.Fields("error: "+x.Verdict.Msg), 71)...)
		section("", wrap(strings.Fields("hint: "+x.Verdict.Hint), 71)...)
		section("", fmt.Sprintf("exit status %d", x.Verdict.Code))
	}
	for i, line := range strings.Split(strings.TrimSuffix(x.Grant, "\n"), "\n") {
		title := "grant"
		if i > 0 {
			title = ""
		}
		lines := []string{line}
		if len(line) > 71 { // flags: a shell goes on after a backslash
			lines = wrap(strings.Fields(line), 69)
			for j := range lines[:len(lines)-1] {
				lines[j] += ` \`
			}
		}
		section(title, lines...)
	}
	_, err := io.WriteString(out, b.String())
	return err
}

// notes says what else is worth knowing about a launch.
func (a *app) notes(l *launch) []string {
	notes := []string{}
	asked := l.req.Required.Set | l.req.Optional.Set
	if asked.Has(ambient.CapNetBindService) {
		if n, err := readNumbers("/proc/sys/net/ipv4/ip_unprivileged_port_start"); err == nil && n[0] == 0 {
			notes = append(notes, "net_bind_service is not needed here: ip_unprivileged_port_start is 0, so every user can bind every port")
		}
	}
	if asked.Has(ambient.CapNetRaw) {
		if n, err := readNumbers("/proc/sys/net/ipv4/ping_group_range"); err == nil && len(n) == 2 {
			gid := uint64(l.plan.AfterExec.GID.Effective)
			if u := l.req.User; u != nil {
				gid = uint64(u.GID)
			}
			if n[0] <= gid && gid <= n[1] {
				notes = append(notes, fmt.Sprintf("net_raw is not needed for ping here: ping_group_range allows gid %d", gid))
			}
		}
	}
	if l.host.Nested && asked != 0 {
		notes = append(notes, "this is a user namespace: capabilities hold only for what belongs to it, such as its own network namespace, not for the host")
	}
	if l.unseen {
		notes = append(notes, "PROGRAM cannot be looked at from here: run does it as the new user, after the switch and before the exec")
	}
	return notes
}

// readNumbers reads a sysctl.
func readNumbers(path string) ([]uint64, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var n []uint64
	for _, w := range strings.Fields(string(b)) {
		v, err := strconv.ParseUint(w, 10, 32)
		if err != nil {
			return nil, err
		}
		n = append(n, v)
	}
	if len(n) == 0 {
		return nil, strconv.ErrSyntax
	}
	return n, nil
}
