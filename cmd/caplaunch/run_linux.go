//go:build linux

package main

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"

	"github.com/caplaunch/caplaunch/internal/ambient"
	"github.com/caplaunch/caplaunch/internal/exec"
	"github.com/caplaunch/caplaunch/internal/grant"
	"github.com/caplaunch/caplaunch/internal/identity"
	"github.com/caplaunch/caplaunch/internal/origin"
)

// run launches argv. It returns only when that failed, with a *reportedError.
func (a *app) run(r *runCmd, argv []string, report *reporter) error {
	report.json, report.quiet, report.verbose = r.LogFormat == "json", r.Quiet, r.Verbose && !r.Quiet
	l := &launch{flags: r.launchFlags, argv: argv}
	err := a.prepare(l)
	if err == nil {
		err = a.become(l, report)
	}
	report.fail(err, l.hint(err))
	return &reportedError{err}
}

// prepare decides the whole launch and touches nothing.
func (a *app) prepare(l *launch) error {
	l.place = grant.Detect(a.environ, exists, ambient.Host{})
	spec, groups, err := l.parse()
	if err != nil {
		return err
	}
	if l.now, err = a.kernel.State(); err != nil {
		return err
	}
	if l.host, err = a.kernel.Host(); err != nil {
		return err
	}
	l.place = grant.Detect(a.environ, exists, l.host)
	a.resolve(l, spec, groups)
	if l.plan, err = ambient.NewPlan(l.req, l.now, l.host); err != nil {
		return err
	}
	return a.find(l, l.viewer())
}

// viewer is who will execute the program.
func (l *launch) viewer() *exec.Viewer {
	after := l.plan.AfterSteps
	return &exec.Viewer{UID: after.UID.Effective, GID: after.GID.Effective, Groups: after.Groups, Caps: l.plan.Given}
}

// A target is PROGRAM's file.
type target struct {
	path    string // "" until it was found
	program exec.Program
	file    exec.Target // what is executed: the path, or what Strip made of it
	unseen  bool        // only the new user can look at it

	mend     string // the command that takes the privilege from its file
	copyable bool   // --strip-file-caps would do it as well
}

// find looks for the program and holds the plan against its file, for the user
// v, or for who the process is already when v is nil.
func (a *app) find(l *launch, v *exec.Viewer) error {
	p, err := exec.Find(l.argv[0], exec.SearchPath(a.environ), v, l.host)
	var e *exec.Error
	if errors.As(err, &e) && e.Reason == exec.Unseen && v != nil {
		l.unseen = true
		return nil
	}
	if err != nil {
		return err
	}
	l.program, l.path, l.file = p, p.Path(), p.Target()
	if l.flags.StripFileCaps && p.Privileged() {
		return nil // the copy has no privilege, and the plan was made for such a file
	}
	f, err := p.Credentials()
	if err != nil {
		return err
	}
	if l.plan, err = l.plan.For(f); err != nil {
		source := p.Files[len(p.Files)-1].Path
		l.mend, l.copyable = p.Mend(shellWord), p.Uncopyable() == nil
		return fmt.Errorf("%s: %w", shellWord(source), err)
	}
	return nil
}

// copyProgram makes the copy for --strip-file-caps, or holds the file if it has
// no privilege.
func (l *launch) copyProgram() (err error) {
	if l.flags.StripFileCaps && l.path != "" {
		l.file, err = l.program.Strip()
	}
	return err
}

// become carries the plan out and replaces the process.
func (a *app) become(l *launch, report *reporter) error {
	if _, err := origin.Received(); err != nil && !errors.Is(err, origin.ErrNoEntry) {
		return err // now, and not after the steps
	}
	env := a.environment(l)
	death, err := a.kernel.DeathSignal()
	if err != nil {
		return err
	}
	parent := os.Getppid()
	if err := l.copyProgram(); err != nil {
		return err
	}
	if l.plan.Switched && l.flags.Stdio == "auto" {
		a.handOver(l.plan.AfterSteps, report)
	}

	for _, s := range l.plan.Steps {
		report.verbosef("%v", s)
	}
	stalled := func(op string) string { return report.stalled(op, l.callHint()) }
	apply := func() error {
		if err := ambient.Apply(a.kernel, l.plan.Steps); err != nil {
			return err
		}
		return a.keepDeathSignal(death, parent)
	}
	if err := a.kernel.Watch(stalled, apply); err != nil {
		return err
	}
	origin.LastWords(report.dying("between the last step and the execve"))
	if l.unseen {
		if err := a.find(l, nil); err != nil {
			return err
		}
		if err := l.copyProgram(); err != nil {
			return err
		}
	}
	if err := ambient.Verify(a.kernel, l.plan); err != nil {
		return err
	}
	for _, m := range l.plan.Skipped { // not sooner: what fails until here is two lines
		report.skipped(m.Cap, m.Why(l.now, l.host))
	}
	report.verbosef("execve %s", l.path)
	return a.leave(l, env)
}

// leave gives back what the Go runtime changed before main, and execs.
func leave(l *launch, env []string) error {
	if err := restore(l); err != nil {
		return err
	}
	return l.file.Explain(exec.Replace(l.file, l.argv, env))
}

// resolve looks the user and the groups up. What fails is reported in its turn,
// by the plan.
func (a *app) resolve(l *launch, spec *identity.Spec, groups []identity.Name) {
	if spec != nil {
		u, entry, err := a.files.Resolve(*spec, l.flags.KeepEnv, groups != nil || l.flags.KeepGroups)
		l.req.User, l.entry, l.req.UserErr = &u, entry, err
	}
	if groups != nil && l.req.UserErr == nil {
		ids, err := a.files.Groups(groups)
		l.req.Groups, l.req.UserErr = &ids, err
	}
}

// environment is the program's: as received, less caplaunch's own variables,
// and with HOME, USER, LOGNAME of a new user.
func (a *app) environment(l *launch) []string {
	set := map[string]string{}
	if l.plan.Switched && !l.flags.KeepEnv {
		set["HOME"], set["USER"], set["LOGNAME"] = l.entry.Home, l.entry.Name, l.entry.Name
		if l.entry.Home == "" {
			set["HOME"] = "/"
		}
	}
	env := make([]string, 0, len(a.environ)+len(set))
	done := map[string]bool{}
	put := func(key string) {
		if value := set[key]; value != "" && !done[key] {
			env = append(env, key+"="+value)
		}
		done[key] = true
	}
	for _, kv := range a.environ {
		key, _, ok := strings.Cut(kv, "=")
		if _, ours := set[key]; ours && ok {
			put(key) // in the place of the first one
		} else if !strings.HasPrefix(kv, "CAPLAUNCH_") {
			env = append(env, kv)
		}
	}
	for _, key := range []string{"HOME", "USER", "LOGNAME"} {
		put(key)
	}
	return env
}

// keepDeathSignal sets the parent-death signal again, which a change of ids
// clears. A parent that died in between sent none.
func (a *app) keepDeathSignal(sig, parent int) error {
	if sig == 0 {
		return nil
	}
	if now, err := a.kernel.DeathSignal(); err != nil || now == sig {
		return err
	}
	if err := a.kernel.SetDeathSignal(sig); err != nil {
		return err
	}
	if now, err := a.kernel.DeathSignal(); err != nil || now != sig {
		return errors.Join(errors.New("the parent-death signal could not be kept"), err)
	}
	if os.Getppid() != parent {
		// The signal that the kernel would have sent.
		return errors.Join(errors.New("the parent died"), syscall.Kill(os.Getpid(), syscall.Signal(sig)))
	}
	return nil
}

func restore(l *launch) error {
	p, err := origin.Received()
	switch {
	case errors.Is(err, origin.ErrNoEntry) && l.ignore == 0:
		return nil // nothing was recorded, so that there is nothing to restore
	case err != nil && !errors.Is(err, origin.ErrNoEntry):
		return err
	}
	p.Ignored |= l.ignore
	return origin.Restore(p)
}

// exists reports whether there is something at path.
func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
