//go:build !linux

package main

import (
	"encoding/json"
	"errors"
	"os"
	"runtime"
)

// system is what caplaunch needs where there are no capabilities: nothing.
type system struct{}

func newApp() *app { return &app{environ: os.Environ(), stdout: os.Stdout, stderr: os.Stderr} }

// errNotLinux refuses what needs Linux.
func errNotLinux(command string) error {
	return usagef("run it on Linux; caplaunch explain --for=docker works here too", "%s needs Linux, this is %s", command, runtime.GOOS)
}

func (a *app) run(*line, *reporter) error     { return errNotLinux("run") }
func (a *app) explain(*line, *reporter) error { return errNotLinux("explain without --for") }
func (a *app) show(*showCmd) error            { return errNotLinux("show") }
func (a *app) install(*installCmd) error      { return errNotLinux("install") }
func (a *app) notBorrowed() error             { return nil }
func (a *app) note() func(string)             { return func(string) {} }
func isUser(string) bool                      { return false }

// inWords is an error with its hint.
func (a *app) inWords(err error) *failure {
	f := &failure{err: err, msg: oneLine(err.Error()), hint: "caplaunch --help", code: exitFailure}
	if usage := (*usageError)(nil); errors.As(err, &usage) {
		f.hint = oneLine(usage.hint)
	}
	return f
}

// check has nothing to look at here. A service that calls it before it starts
// should start on its developer's machine all the same.
func (a *app) check(l *line, report *reporter) error {
	allow, sets, err := l.Check.lists(l.sources)
	if err != nil {
		return err
	}
	skipped := "skipping linux-only capability check on " + runtime.GOOS
	report.infof("%s", skipped)
	if !l.Check.JSON {
		return nil
	}
	return json.NewEncoder(a.stdout).Encode(outcome{OK: true, Allow: allow.Set.Names(), Sets: sets.Names(), Stray: []shownStray{}, Skipped: skipped})
}
