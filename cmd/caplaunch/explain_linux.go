package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/caplaunch/caplaunch/internal/ambient"
	"github.com/caplaunch/caplaunch/internal/exec"
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
	if c.For != "" {
		return a.explainGrant(c, report)
	}
	l := &launch{flags: c.launchFlags, argv: argv}
	report.json = c.LogFormat == "json"
	refused := a.prepare(l)
	var usage *usageError
	if refused != nil && (errors.As(refused, &usage) || l.host.Known == 0) {
		return refused // there is nothing to explain yet
	}
	doubt := (*exec.Error)(nil)
	if refused == nil && !l.unseen {
		if doubt = l.program.Doubt(l.viewer()); doubt != nil && (!doubt.Foreign() || handlers() <= 0) {
			refused = doubt
		}
		if e := l.program.Uncopyable(); refused == nil && l.flags.StripFileCaps && l.program.Privileged() && e != nil {
			refused = e
		}
	}
	x := explanation{
		Place: l.place.String(), Start: shown(l.now), Program: l.path, Steps: []string{}, Given: []string{},
		Skipped: []shownSkip{}, Notes: a.notes(l, refused), Grant: smallest(l, refused).Text(l.place),
		Verdict: shownVerdict{OK: refused == nil, Msg: fmt.Sprintf("PROGRAM runs, with %v", l.plan.Given)},
	}
	if l.unseen && refused == nil {
		x.Verdict.Msg += ", unless there is something about its file that cannot be seen from here"
	}
	switch {
	case doubt == nil || !doubt.Foreign():
	case refused == nil:
		x.Notes = append(x.Notes, oneLine(doubt.Error())+": it runs only if binfmt_misc has a handler for it")
	default:
		x.Notes = append(x.Notes, "a handler of binfmt_misc that cannot be seen from here would run it all the same")
	}
	for _, m := range l.plan.Skipped {
		x.Skipped = append(x.Skipped, shownSkip{m.Cap.String(), m.Why(l.now, l.host)})
	}
	if refused == nil {
		for _, s := range l.plan.Steps {
			x.Steps = append(x.Steps, s.String())
		}
		after := shown(l.plan.AfterExec)
		x.After, x.Given = &after, l.plan.Given.Names()
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

// handlers reports how many handlers binfmt_misc shows. In a container there may
// be some that it does not show.
func handlers() int {
	shown, _ := os.ReadDir("/proc/sys/fs/binfmt_misc")
	return len(shown) - len([]string{"register", "status"})
}

// smallest is the smallest grant for the launch. What no runtime can give, as
// this kernel does not know it, is not in it. A start that is not root and was
// refused has to become one in the places that give such a user nothing.
func smallest(l *launch, refused error) grant.Grant {
	g := l.grant()
	asked := l.req.Required.On(l.host) | l.req.Optional.Set
	root := l.now.UID.Effective == 0
	if l.req.User != nil && refused == nil && !l.plan.Switched && len(l.plan.Skipped) == 0 &&
		(root || asked == 0 || l.place == grant.Podman || l.place == grant.Systemd) {
		// It already is who it is to be, which takes no switch.
		g.Root = root
		g.Caps &^= ambient.SetOf(ambient.CapSetUID, ambient.CapSetGID) &^ asked
	}
	if l.req.User == nil && l.now.UID.Effective != 0 {
		switch l.place {
		case grant.Podman, grant.Systemd:
		case grant.Namespace:
			g = l.asRoot()
		default:
			if refused != nil && g.Caps != 0 {
				g = l.asRoot()
			}
		}
	}
	g.Caps &= l.host.Known
	return g
}

// print writes the explanation for a person, in 80 columns.
func (x *explanation) print(out io.Writer, l *launch, refused error, colour bool) error {
	var b strings.Builder
	section := func(title, text string) {
		for _, line := range wrap(text, columns-9) {
			fmt.Fprintf(&b, "%-9s%s\n", title, line)
			title = ""
		}
	}
	if l.place != grant.Unknown {
		section("place", x.Place)
	}
	if x.Program != "" {
		section("program", oneLine(x.Program))
	}
	if refused == nil {
		title := "steps"
		for i, s := range append(summed(l.plan.Steps), "execve "+oneLine(x.Program)) {
			for j, line := range wrap(s, columns-13) {
				number := fmt.Sprintf("%2d. ", i+1)
				if j > 0 {
					number = "    "
				}
				fmt.Fprintf(&b, "%-9s%s%s\n", title, number, line)
				title = ""
			}
		}
		who := describe(l.now, l.plan.AfterExec)
		section("start", who[0])
		section("after", who[1])
		st := style{}
		if colour {
			st = colours
		}
		fmt.Fprintf(&b, "\n  %-15s    %s\n", "start", "after")
		printSets(&b, &l.plan.Before, l.plan.AfterExec, st)
	} else {
		section("start", describe(l.now)[0])
		b.WriteByte('\n')
		printSets(&b, nil, l.now, style{})
	}
	b.WriteString("\n  " + legend + "\n\n")
	for _, s := range x.Skipped {
		section("skipped", s.Capability+": "+s.Reason)
	}
	for _, n := range x.Notes {
		section("note", n)
	}
	if refused == nil {
		section("verdict", x.Verdict.Msg)
	} else {
		section("verdict", "error: "+x.Verdict.Msg)
		section("", "hint: "+x.Verdict.Hint)
		section("", fmt.Sprintf("exit status %d", x.Verdict.Code))
	}
	b.WriteString("grant    " + grantTitle(l.place, refused) + "\n")
	for line := range strings.Lines(x.Grant) {
		for _, line := range wrapGrant(l.place, strings.TrimSuffix(line, "\n")) {
			b.WriteString("  " + line + "\n")
		}
	}
	_, err := io.WriteString(out, b.String())
	return err
}

// grantTitle says what the grant is.
func grantTitle(p grant.Place, refused error) string {
	title := "the smallest that works"
	if refused != nil {
		title = "the smallest that would do"
	}
	switch p {
	case grant.Docker, grant.Podman:
		return title + ", as flags of " + p.String() + " run"
	case grant.Unknown:
		return title + ", as flags of docker run (else: --for=PLACE)"
	}
	return title
}

// wrapGrant breaks a line of a grant so that it can still be pasted: YAML goes
// on where it is indented, a shell and systemd after a backslash.
func wrapGrant(p grant.Place, line string) []string {
	body := strings.TrimLeft(line, " ")
	indent := line[:len(line)-len(body)]
	lines := wrap(body, columns-6-len(indent))
	for i := range lines {
		lines[i] = indent + lines[i]
		if i > 0 {
			lines[i] = "  " + lines[i]
		}
		if i < len(lines)-1 && p != grant.Kubernetes && p != grant.Compose {
			lines[i] += ` \`
		}
	}
	return lines
}

// summed is the steps as text, those that differ in the capability alone as one.
func summed(steps []ambient.Step) []string {
	var lines []string
	last := ""
	for _, s := range steps {
		text := s.String()
		call, name := "", ""
		switch s.(type) {
		case ambient.DropBounding, ambient.RaiseAmbient:
			i := strings.LastIndexByte(text, ' ')
			call, name = text[:i], text[i:]
		}
		if call != "" && call == last {
			lines[len(lines)-1] += name
		} else {
			lines = append(lines, text)
		}
		last = call
	}
	return lines
}

// notes says what else is worth knowing about a launch.
func (a *app) notes(l *launch, refused error) []string {
	notes := []string{}
	asked := l.req.Required.Set | l.req.Optional.Set
	if asked.Has(ambient.CapNetBindService) {
		if n, err := readNumbers("/proc/sys/net/ipv4/ip_unprivileged_port_start"); err == nil && n[0] == 0 {
			notes = append(notes, "net_bind_service is not needed here: ip_unprivileged_port_start is 0, so every user can bind every port")
		}
	}
	if asked.Has(ambient.CapNetRaw) {
		if n, err := readNumbers("/proc/sys/net/ipv4/ping_group_range"); err == nil && len(n) == 2 {
			if gid, ok := pingGroup(l, refused, n[0], n[1]); ok {
				notes = append(notes, fmt.Sprintf("net_raw is not needed for ping here: ping_group_range allows gid %d", gid))
			}
		}
	}
	if after := l.plan.AfterExec; refused == nil && l.plan.Switched && !l.req.KeepGroups && l.req.Groups == nil {
		dropped := slices.DeleteFunc(l.now.Groups.IDs(), func(gid uint32) bool { return gid == 0 || after.Groups.Has(gid) })
		if len(dropped) > 0 {
			notes = append(notes, fmt.Sprintf("the groups %v that it was started with, such as a fsGroup, are not kept: --keep-groups keeps them", ambient.NewGroups(dropped...)))
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

// pingGroup is a group of the program between low and high, icmp(7).
func pingGroup(l *launch, refused error, low, high uint64) (gid uint32, ok bool) {
	groups := l.plan.AfterExec.Groups.With(l.plan.AfterExec.GID.Effective)
	switch u := l.req.User; {
	case refused == nil:
	case u != nil && l.req.UserErr == nil:
		groups = u.Groups.With(u.GID)
	default: // who it is to be is not known
		return 0, false
	}
	for _, gid := range groups.IDs() {
		if low <= uint64(gid) && uint64(gid) <= high {
			return gid, true
		}
	}
	return 0, false
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
