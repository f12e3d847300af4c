package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/caplaunch/caplaunch/internal/ambient"
	"github.com/caplaunch/caplaunch/internal/grant"
	"github.com/caplaunch/caplaunch/internal/why"
)

// An explanation is explain --json. Its shape is stable: fields are added, not
// changed.
type explanation struct {
	Place   string       `json:"place"`
	Start   shownState   `json:"start"`
	Program string       `json:"program"`         // the file, "" when it was not found
	Steps   []string     `json:"steps"`           // in order; empty when the launch is refused
	After   *shownState  `json:"after,omitempty"` // the state after execve
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

// explain takes every step of the launch on its own process, stops in front of the
// execve, and says what it found.
func (a *app) explain(l *line, report *reporter) error {
	job, err := a.launch(l, &l.Explain.launchFlags)
	if err != nil {
		return err
	}
	job.Explain, job.Kernel = true, a.all
	refused := job.Run()
	h := a.hinter(l, job)
	if refused != nil && job.Host.Known == 0 {
		return h.explainFailure(refused) // there is nothing to explain
	}
	notes := []string{}
	if refused == nil {
		if doubt, foreign := why.Doubt(job.Program); doubt != nil && foreign && handlers() > 0 {
			text, _ := why.Explain(doubt, job.Program)
			notes = append(notes, oneLine(text)+": it runs only if binfmt_misc has a handler for it")
		} else if doubt != nil {
			refused = doubt
		}
	}
	asRoot := h.Now.UID.Effective != 0 && !h.makesAmbient() && (len(job.Plan.Steps) == 0 || h.asked() != 0)
	x := explanation{
		Place: h.place.String(), Start: shown(h.Now), Steps: []string{}, Given: []string{}, Skipped: []shownSkip{},
		Notes: append(notes, h.notes(refused == nil)...), Grant: h.smallest(asRoot).Text(h.place),
	}
	if job.Program != nil {
		x.Program = oneLine(job.Program.Path)
	}
	for _, m := range job.Plan.Skipped {
		x.Skipped = append(x.Skipped, shownSkip{m.Cap.String(), m.Why()})
	}
	if refused != nil {
		f := h.explainFailure(refused)
		x.Verdict = shownVerdict{Code: f.code, Msg: f.msg, Hint: f.hint}
	} else {
		after := shown(job.Plan.AfterExec)
		x.After, x.Given = &after, job.Plan.Given.Names()
		x.Steps = steps(job.Plan.Steps)
		x.Verdict = shownVerdict{OK: true, Msg: verdict(job.Plan.AfterExec, job.Plan.Given)}
	}
	if l.Explain.JSON {
		err = json.NewEncoder(a.stdout).Encode(x)
	} else {
		err = x.print(a.stdout, h)
	}
	if err == nil && refused != nil {
		err = exit(x.Verdict.Code)
	}
	return err
}

func verdict(s ambient.State, given ambient.Set) string {
	if given == 0 {
		return fmt.Sprintf("PROGRAM runs as uid %v, gid %v without capabilities", s.UID, s.GID)
	}
	return fmt.Sprintf("PROGRAM runs as uid %v, gid %v with %v", s.UID, s.GID, given)
}

// steps are the steps as text, those that differ in the capability alone as one.
func steps(all []ambient.Step) []string {
	lines := []string{}
	last := ""
	for _, s := range all {
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

// handlers reports how many handlers binfmt_misc shows. In a container there may
// be some that it does not show. One that is mounted on demand is left alone: explain
// changes nothing.
func handlers() int {
	var fs unix.Statfs_t
	at, err := unix.Open("/proc/sys/fs/binfmt_misc", unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0
	}
	defer unix.Close(at)
	if unix.Fstatfs(at, &fs) != nil || fs.Type != unix.BINFMTFS_MAGIC {
		return 0
	}
	return len(list("/proc/sys/fs/binfmt_misc")) - len([]string{"register", "status"})
}

// print writes the explanation for a person, in 80 columns but for what is to be
// copied.
func (x *explanation) print(out io.Writer, h *hinter) error {
	var b strings.Builder
	section := func(title, text string) {
		for _, line := range wrap(text, columns-9) {
			fmt.Fprintf(&b, "%-9s%s\n", title, line)
			title = ""
		}
	}
	copied := func(title, text string) { // a line of its own, whole
		fmt.Fprintf(&b, "%s\n  %s\n", title, strings.ReplaceAll(strings.TrimSuffix(text, "\n"), "\n", "\n  "))
	}
	if x.Verdict.OK {
		section("verdict", x.Verdict.Msg)
	} else {
		section("error", x.Verdict.Msg)
		section("", fmt.Sprintf("run would end with status %d", x.Verdict.Code))
		copied("hint", x.Verdict.Hint)
	}
	section("place", x.Place)
	section("start", who(h.Now))
	now, marks := h.Now, ""
	if x.Verdict.OK {
		now, marks = h.Plan.AfterExec, "; +gained -lost"
		section("after", who(now))
		section("steps", strings.Join(append(x.Steps, "execve "+x.Program), "; "))
	}
	b.WriteByte('\n')
	printSets(&b, h.Now, now)
	fmt.Fprintf(&b, "  %s%s\n\n", legend, marks)
	for _, s := range x.Skipped {
		section("skipped", s.Capability+": "+s.Reason)
	}
	for _, n := range x.Notes {
		section("note", n)
	}
	if strings.Contains(x.Verdict.Hint, strings.TrimSuffix(x.Grant, "\n")) || h.place == grant.Host {
		x.Grant = "" // it is not said twice, and a host grants nothing
	}
	title := "grant    the smallest that would do"
	if slices.ContainsFunc(x.Notes, func(n string) bool { return strings.Contains(n, "is not needed") }) {
		title = "grant    the smallest for what was asked, more than is needed"
	}
	if strings.HasPrefix(x.Grant, "--") {
		title += ", as flags of " + strings.Replace(x.Place, "unknown", "docker", 1) + " run"
	}
	if x.Grant != "" {
		copied(title, x.Grant)
	}
	_, err := io.WriteString(out, b.String())
	return err
}

// notes says what else is worth knowing about a launch.
func (h *hinter) notes(runs bool) (notes []string) {
	note := func(yes bool, format string, args ...any) {
		if yes {
			notes = append(notes, fmt.Sprintf(format, args...))
		}
	}
	asked, after := h.asked(), h.Plan.AfterExec
	if ports := readNumbers("/proc/sys/net/ipv4/ip_unprivileged_port_start"); len(ports) == 1 && asked.Has(ambient.CapNetBindService) {
		note(ports[0] == 0, "net_bind_service is not needed here: ip_unprivileged_port_start is 0, so every user can bind every port")
	}
	if pings := readNumbers("/proc/sys/net/ipv4/ping_group_range"); len(pings) == 2 && asked.Has(ambient.CapNetRaw) && runs {
		for _, gid := range after.Groups.With(after.GID.Effective).IDs() {
			if pings[0] <= uint64(gid) && uint64(gid) <= pings[1] {
				note(true, "net_raw is not needed for ping here: ping_group_range allows gid %d", gid)
				break
			}
		}
	}
	kept := "--keep-groups keeps those that the runtime added"
	if h.Request.KeepGroups {
		kept = "root's own, or not mapped here"
	}
	note(runs && h.Plan.Lost.Len() > 0, "PROGRAM does not get the groups %s that caplaunch was started with (%s)", h.Plan.Lost.List(), kept)
	note(runs && h.Plan.BoundingKept, "the bounding set stays as it is: setpcap is not there to cut it")
	note(runs && h.Plan.Switched && h.Request.RootParent && after.UID.Effective != 0 && !h.Now.Permitted.Has(ambient.CapKill),
		"what started caplaunch in this container (process %d) is root without KILL, so it cannot signal PROGRAM: put it behind -- (… -- tini -- PROGRAM), or grant KILL", os.Getppid())
	note(runs && h.Plan.Given.Has(ambient.CapSetUID) && after.UID.Effective != 0, "PROGRAM has setuid without being root: a child that changes its user keeps every capability")
	note(runs && !h.Program.Last().Readable, "uid %v may not read PROGRAM, so whether the kernel can run what is in it is not known", after.UID)
	note(runs && h.StripFileCaps, "/proc/self/exe of a copy is the copy; a PROGRAM that starts itself again by its path meets its file capabilities again")
	note(runs && after.NoNewPrivs && !h.Now.NoNewPrivs, "no_new_privs: a set-uid child of PROGRAM, such as sudo or ping, gains nothing")
	enters := map[grant.Place]string{grant.Docker: "docker exec and HEALTHCHECK enter", grant.Podman: "podman exec and health checks enter", grant.Kubernetes: "kubectl exec, probes and hooks enter"}[h.place]
	note(runs && enters != "" && h.Now.UID.Effective == 0 && after.UID.Effective != 0, "%s as root: caplaunch --user=%d:%d -- in front there too", enters, after.UID.Effective, after.GID.Effective)
	note(h.nested && asked != 0, "this is a user namespace: capabilities hold only for what belongs to it, such as its own network namespace")
	note(h.nested && asked != 0 && appArmorRestricts(), "apparmor_restrict_unprivileged_userns is on: capabilities of a user namespace may look granted and be refused")
	return notes
}
