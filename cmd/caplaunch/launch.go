package main

import (
	"errors"
	"io"
	"os"
	"strings"

	"github.com/caplaunch/caplaunch/internal/ambient"
	"github.com/caplaunch/caplaunch/internal/grant"
	"github.com/caplaunch/caplaunch/internal/identity"
	"github.com/caplaunch/caplaunch/internal/origin"
)

// A machine is what the commands need of the system they run on.
type machine interface {
	ambient.Kernel
	Host() (ambient.Host, error)
	DeathSignal() (int, error)
	SetDeathSignal(int) error
	Watch(say func(op string) string, do func() error) error
}

// An app is caplaunch with everything it depends on.
type app struct {
	kernel  machine
	files   identity.Files
	environ []string // as the kernel handed it over
	stdout  io.Writer
	stderr  io.Writer

	handOver func(ambient.State, *reporter)      // the standard descriptors
	leave    func(l *launch, env []string) error // become the program
}

// main runs one command line and returns the exit status. After a launch that
// succeeds it does not return.
func (a *app) main(args []string) int {
	dropEmptyVariables()
	before, after := []string{}, []string(nil)
	if len(args) > 0 {
		before, after = split(args[1:])
	}
	report := &reporter{w: a.stderr, json: wantsJSON(before)}
	origin.LastWords(report.dying("before any id or capability was changed"))
	err := a.command(before, after, report)
	if err == nil || errors.Is(err, errHelp) {
		return 0
	}
	var reported *reportedError
	if !errors.As(err, &reported) {
		report.fail(err, (&launch{}).hint(err))
	}
	return exitStatus(err)
}

// command parses the words before "--" and runs what they name.
func (a *app) command(before, after []string, report *reporter) error {
	g, ctx, err := parse(before, after, a.stdout)
	if err != nil {
		return err
	}
	switch strings.Fields(ctx.Command())[0] {
	case "explain":
		return a.explain(&g.Explain, after, report)
	case "check":
		return a.check(&g.Check, report)
	case "show":
		return a.show(&g.Show)
	case "install":
		return a.install(&g.Install)
	case "version":
		return a.version(&g.Version)
	}
	return a.run(&g.Run, after, report)
}

// A reportedError has been told to the user already.
type reportedError struct{ err error }

func (e *reportedError) Error() string { return e.err.Error() }
func (e *reportedError) Unwrap() error { return e.err }

// A launch is one command line on its way to the exec.
type launch struct {
	flags launchFlags
	argv  []string
	req   ambient.Request
	now   ambient.State
	host  ambient.Host
	place grant.Place
	entry identity.Entry // of the new user

	ignore origin.Signals
	plan   ambient.Plan
	target // PROGRAM's file
}

// parse reads what the flags say, without asking the system.
func (l *launch) parse() (spec *identity.Spec, groups []identity.Name, err error) {
	f := &l.flags
	list := func(flag string, words []string) (ambient.List, error) {
		got, err := ambient.ParseList(words...)
		if err != nil {
			return got, usagef(listHint(flag, words), "%s: %w", source(flag), err)
		}
		return got, nil
	}
	if l.req.Required, err = list("caps", f.Caps); err != nil {
		return nil, nil, err
	}
	if l.req.Optional, err = list("optional-caps", f.OptionalCaps); err != nil {
		return nil, nil, err
	}
	if f.Allow != nil {
		allow, err := list("allow", f.Allow)
		if err != nil {
			return nil, nil, err
		}
		l.req.Allow = &allow
	}
	l.req.Sets = ambient.DefaultSets
	if f.Sets != nil {
		if l.req.Sets, err = ambient.ParseSets(f.Sets...); err != nil {
			return nil, nil, usagef(setsHint(f.Sets), "%s: %w", source("sets"), err)
		}
	}
	if f.User != nil {
		s, err := identity.Parse(*f.User)
		if err != nil {
			return nil, nil, usagef(userHint(*f.User), "%s: %w", source("user"), err)
		}
		spec = &s
	}
	if f.Groups != nil && f.KeepGroups {
		return nil, nil, usagef("caplaunch --keep-groups in place of --groups, or the other way round", "--groups and --keep-groups contradict each other")
	}
	if f.Groups != nil {
		if groups, err = identity.ParseGroups(f.Groups...); err != nil {
			return nil, nil, usagef(groupsHint(f.Groups), "%s: %w", source("groups"), err)
		}
	}
	if l.ignore, err = origin.ParseSignals(f.IgnoreSignals); err != nil {
		return nil, nil, usagef(signalsHint(f.IgnoreSignals), "%s: %w", source("ignore-signals"), err)
	}
	if f.IgnoreSignals != nil && l.ignore == 0 {
		return nil, nil, usagef(example("ignore-signals")+", or leave it out", "%s: an empty list of signals", source("ignore-signals"))
	}
	l.req.Strict, l.req.KeepGroups, l.req.KeepNonRoot = f.Strict, f.KeepGroups, f.NonRoot == "keep"
	l.req.DropBounding, l.req.AllowNewPrivs = f.Bounding == "drop", f.AllowNewPrivs
	return spec, groups, nil
}

// dropEmptyVariables makes a CAPLAUNCH_ variable that is set but empty count as
// not set.
func dropEmptyVariables() {
	for _, kv := range os.Environ() {
		if key, value, _ := strings.Cut(kv, "="); value == "" && strings.HasPrefix(key, "CAPLAUNCH_") {
			os.Unsetenv(key)
		}
	}
}

// wantsJSON looks for --log-format=json before the command line is understood,
// so that a usage error has the format too.
func wantsJSON(args []string) bool {
	format := os.Getenv("CAPLAUNCH_LOG_FORMAT")
	for i, a := range args {
		if v, ok := strings.CutPrefix(a, "--log-format="); ok {
			format = v
		} else if a == "--log-format" && i+1 < len(args) {
			format = args[i+1]
		}
	}
	return format == "json"
}
