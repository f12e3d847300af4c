package main

import (
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/caplaunch/caplaunch/internal/ambient"
	"github.com/caplaunch/caplaunch/internal/ambient/linux"
	"github.com/caplaunch/caplaunch/internal/grant"
)

// check compares what was granted with an allowlist.
func (a *app) check(l *line, report *reporter) error {
	c := &l.Check
	allowed, sets, err := c.lists(l.sources)
	if err != nil {
		return err
	}
	now, host, err := a.one.StateAndHost()
	if err == nil {
		err = now.Borrowed()
	}
	if err != nil {
		return err
	}
	if c.PID != nil {
		if now, err = threadsOf(int(*c.PID)); err != nil {
			return err
		}
	}
	allow := allowed.Resolve(host)
	err = ambient.CheckAllowed(now, allow, sets)
	out := outcome{OK: err == nil, Allow: allow.Names(), Sets: sets.Names(), Stray: []shownStray{}}
	var stray *ambient.UnexpectedCapabilityError
	if errors.As(err, &stray) {
		for _, x := range stray.Stray {
			out.Stray = append(out.Stray, shownStray{x.Cap.String(), uint8(x.Cap), x.Sets.Names()})
		}
		around, kept := lookAround(a.environ), allow&(sets|ambient.DefaultSets).Union(now)&ambient.NamedCaps
		beyond, _ := stray.Set()
		out.Hint = around.only(grant.Grant{Caps: kept, NewPrivs: !now.NoNewPrivs, Privileged: around.privileged(now)}, beyond)
	}
	if c.JSON {
		if failed := json.NewEncoder(a.stdout).Encode(out); failed != nil && err == nil {
			return failed // else what was found counts
		}
	}
	if err != nil {
		return &failure{err: err, msg: oneLine(err.Error()), hint: out.Hint, code: exitUnexpected}
	}
	return nil
}

// only is the grant g where more is there than it has. Where nobody grants, the
// rest is taken away by setpriv(1).
func (s surroundings) only(g grant.Grant, stray ambient.Set) string {
	switch s.place {
	case grant.Host, grant.Namespace:
		return "setpriv --bounding-set=-" + strings.Join(stray.Names(), ",-") + " --inh-caps=-all --ambient-caps=-all caplaunch …"
	case grant.Nspawn: // it grants its own choice beside
		return g.Line(s.place) + " --drop-capability=CAP_" + strings.ToUpper(strings.Join(stray.Names(), ",CAP_"))
	}
	return g.Line(s.place)
}

// threadsOf joins the sets of all threads of a process: each thread has its own,
// credentials(7). The rest is the main thread's. One that ends while it looks can have
// left what it had to a new one. So it looks until there was a moment at which it had
// read all that there were. Only an execve gives one more than it had.
func threadsOf(pid int) (ambient.State, error) {
	all, err := stateOf(pid)
	if err != nil {
		return all, err
	}
	tasks, wasRead := "/proc/"+strconv.Itoa(pid)+"/task/", map[string]bool{}
	isNew := func(thread string) bool { return !wasRead[thread] }
	const most = 100
	for range most {
		var folder unix.Stat_t // a link for each thread: the list can end early where one ends
		_ = unix.Stat(tasks, &folder)
		threads := list(tasks)
		whole := len(threads) == int(folder.Nlink)-2 && !slices.ContainsFunc(threads, isNew)
		for _, thread := range threads {
			if !whole && !isNew(thread) {
				continue // but the last time: a number may have come again
			}
			s, err := readStatus(tasks + thread + "/status")
			if err != nil { // it may have ended: then the next list is without it
				whole = false
				continue
			}
			wasRead[thread] = true
			all.Permitted |= s.Permitted
			all.Effective |= s.Effective
			all.Inheritable |= s.Inheritable
			all.Ambient |= s.Ambient
			all.Bounding |= s.Bounding
		}
		if whole {
			return all, nil
		}
	}
	return all, usagef("again: it may have ended just then", "process %d cannot be read: its threads come and go", pid)
}

// stateOf is the state of the main thread of a process. The error is a
// *usageError.
func stateOf(pid int) (ambient.State, error) {
	s, err := readStatus("/proc/" + strconv.Itoa(pid) + "/status")
	var malformed *statusError
	switch {
	case !linux.HasProc():
		return s, usagef("mount -t proc proc /proc", "process %d cannot be read: there is no /proc", pid)
	case err == nil:
		return s, nil
	case errors.As(err, &malformed):
		return s, usagef("Linux 4.10 or newer, with its own /proc", "process %d: %w", pid, err)
	}
	return s, usagef("the number of a process that is in this PID namespace: ls /proc", "process %d cannot be read: %w", pid, err)
}

func readStatus(path string) (ambient.State, error) {
	text, err := linux.ReadFile(path)
	if err != nil {
		return ambient.State{}, err
	}
	return parseStatus(text)
}

// list lists a folder, as far as it can be read. The runtime's poller is kept
// out, which ends the process when there are no descriptors left.
func list(folder string) (names []string) {
	fd, _ := unix.Open(folder, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0) // what cannot be opened has no names
	defer unix.Close(fd)
	buf := make([]byte, 16<<10)
	for {
		n, _ := unix.ReadDirent(fd, buf) // -1 with an error
		if n <= 0 {
			return names
		}
		_, _, names = unix.ParseDirent(buf[:n], -1, names)
	}
}
