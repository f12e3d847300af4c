//go:build linux

// Package launch is the launch, from the request to the execve. Run reads from
// top to bottom: read the state, look up the user, plan, hand the standard
// descriptors over, apply the steps, find and judge the program as the new user,
// verify, put the signals back, execve. What explain says comes from the same
// function, which then changes nothing outside its process and starts nothing.
package launch

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"github.com/caplaunch/caplaunch/internal/ambient"
	"github.com/caplaunch/caplaunch/internal/ambient/linux"
	"github.com/caplaunch/caplaunch/internal/exec"
	"github.com/caplaunch/caplaunch/internal/identity"
	"github.com/caplaunch/caplaunch/internal/origin"
)

// A Kernel is what a launch asks of package linux.
type Kernel interface {
	ambient.Kernel
	StateAndHost() (ambient.State, ambient.Host, error)
	Hide() error
	DeathSignal() (int, error)
	SetDeathSignal(int) error
}

// A Launch is one command line on its way to the exec.
type Launch struct {
	Request ambient.Request // Run fills in who the program runs as
	User    *identity.Spec  // nil: nobody was named
	Groups  []identity.Name // nil: none were named
	Argv    []string        // of the program, at least one word
	Environ []string        // as received, less what is caplaunch's own

	StripFileCaps bool
	KeepEnv       bool           // leave HOME, USER and LOGNAME alone
	KeepStdio     bool           // leave stdin, stdout and stderr alone
	Ignore        origin.Signals // ignored in the program, beside those received
	Explain       bool           // stop in front of the execve

	Kernel Kernel // must write on every thread if the process lives on (Explain)
	Files  identity.Files
	Say    func(format string, args ...any) // a line of what is being done
	Ready  func()                           // called before signals and descriptors are put back, and the execve

	// What was found out on the way, for whoever explains it.
	Now     ambient.State // before anything was changed
	Host    ambient.Host
	Answer  identity.Answer
	Plan    ambient.Plan
	Program *exec.Program // nil until it was found
}

// Run becomes the program, and returns only when that failed. With Explain it
// returns nil when all but the execve succeeded. The process may have changed its
// credentials by then, also with an error: it should end soon. The caller must be
// locked to the main thread, runtime.LockOSThread.
//
// The errors are those of the packages that it goes through: *linux.ReadError,
// those of ambient.NewPlan, *identity.LookupError, *ambient.StepError,
// *exec.Error, *ambient.FileError, *ambient.VerifyError and those of
// origin.Restore.
func (l *Launch) Run() (err error) {
	if err = origin.Check(); err != nil {
		return err
	}
	if l.Now, l.Host, err = l.Kernel.StateAndHost(); err != nil {
		return err
	}
	l.identify()
	if l.Plan, err = ambient.NewPlan(l.Request, l.Now, l.Host); err != nil {
		return err
	}
	env := l.environment()

	// Before the switch: only the old user may change the mode and the owner of its
	// pipes and its terminal.
	if l.Plan.Switched && !l.KeepStdio && !l.Explain {
		l.handOver()
	}
	if err = l.apply(); err != nil {
		return err
	}

	// The process is the new user now, so the kernel answers for that user. The
	// program has not run, so a refusal here is as safe as an earlier one.
	if l.Program, err = exec.Find(l.Argv[0], exec.SearchPath(env)); err != nil {
		return err
	}
	if err = l.judge(); err != nil {
		return err
	}
	// No return value of a step is trusted. Nothing below changes credentials.
	if err = ambient.Verify(l.Kernel, l.Plan); err != nil {
		return err
	}
	if l.Explain {
		return l.Program.Ask(l.Argv, env)
	}
	l.Ready()
	l.Say("execve %s", l.Program.Path)
	if err = origin.Restore(l.Ignore); err != nil {
		return err
	}
	return l.Program.Replace(l.Argv, env)
}

// identify looks up who the program runs as. Its error waits in UserErr: NewPlan
// looks for others first.
func (l *Launch) identify() {
	r := &l.Request
	wish := identity.Wish{User: l.User, Groups: l.Groups, KeepGroups: r.KeepGroups, Entries: l.User != nil && !l.KeepEnv}
	l.Answer, r.UserErr = l.Files.Look(wish, l.Now.UID.Real)
	r.User, r.Groups, r.Unkept = l.Answer.User, l.Answer.Groups, l.Answer.Memberships
	if r.User != nil || r.Groups != nil {
		r.Doubtful = linux.Doubtful(l.Now.Groups)
	}
}

// apply carries the steps out, and keeps the parent-death signal over them.
func (l *Launch) apply() error {
	death, err := l.Kernel.DeathSignal()
	if err != nil {
		return err
	}
	parent := os.Getppid()
	if l.Plan.Lost.Len() > 0 {
		l.Say("groups that PROGRAM does not get: %s", l.Plan.Lost.List())
	}
	for _, step := range l.Plan.Steps {
		l.Say("%v", step)
		if err := l.Kernel.Do(step); err != nil {
			return &ambient.StepError{Step: step, Err: err}
		}
		switch step.(type) {
		case ambient.SetResGID, ambient.SetResUID:
			// After each change of ids, which undoes it where fs.suid_dumpable is 1. Until
			// this call only the capabilities that this thread still has keep other
			// processes of the new user out. The steps that give them up come later.
			if err := l.Kernel.Hide(); err != nil {
				return err
			}
		}
	}
	if death == 0 {
		return nil
	}
	// A change of ids has cleared the signal. A parent that died since has sent none.
	if err := l.Kernel.SetDeathSignal(death); err != nil {
		return fmt.Errorf("the parent-death signal could not be kept: %w", err)
	}
	now, err := l.Kernel.DeathSignal()
	switch {
	case err != nil:
		return err
	case now != death:
		return errors.New("the parent-death signal could not be kept")
	case os.Getppid() != parent:
		_ = syscall.Kill(os.Getpid(), syscall.Signal(death)) // as the kernel would have
		return errors.New("the parent died")
	}
	return nil
}

// judge refuses a program whose file would break the promise. With StripFileCaps a
// file that has privilege is copied instead; with no_new_privs off, every file is,
// since its owner could add privilege to it at any time. A copy has none, which is
// what NewPlan has planned for.
func (l *Launch) judge() error {
	file, err := l.Program.Credentials(l.Host.Known)
	hasPrivilege := err != nil || file != ambient.File{} // with an error it may have
	if l.StripFileCaps && (hasPrivilege || l.Request.AllowNewPrivs) {
		return l.Program.Copy()
	}
	if f := l.Program.Last(); l.Request.AllowNewPrivs && !f.Readable {
		// It may be a script, whose interpreter's file could give privilege.
		return &exec.Error{Path: f.Path, Err: exec.ErrUnreadable}
	}
	if err == nil {
		err = l.Plan.CheckFile(file)
	}
	return err
}
