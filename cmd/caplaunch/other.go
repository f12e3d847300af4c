//go:build !linux

package main

import (
	"fmt"
	"os"
	"runtime"

	"github.com/caplaunch/caplaunch/internal/grant"
	"github.com/caplaunch/caplaunch/internal/identity"
)

// target would be PROGRAM's file.
type target struct{ path, privileged string }

func newApp() *app {
	return &app{files: identity.Etc, environ: os.Environ(), stdout: os.Stdout, stderr: os.Stderr}
}

// errNotLinux refuses what needs Linux.
func errNotLinux(command string) error {
	return usagef("run it on Linux; caplaunch explain --for=docker works here too", "%s needs Linux, this is %s", command, runtime.GOOS)
}

func (a *app) run(*runCmd, []string, *reporter) error { return errNotLinux("run") }
func (a *app) show(*showCmd) error                    { return errNotLinux("show") }
func (a *app) install(*installCmd) error              { return errNotLinux("install") }

// check has nothing to look at here. A service that calls it before it starts
// should start on its developer's machine all the same.
func (a *app) check(c *checkCmd, report *reporter) error {
	if _, _, err := c.parse(); err != nil {
		return err
	}
	report.write(record{Level: "info", Msg: fmt.Sprintf("skipping linux-only capability check on %s", runtime.GOOS)})
	return nil
}

func (a *app) explain(c *explainCmd, argv []string, _ *reporter) error {
	l := &launch{flags: c.launchFlags, argv: argv}
	if place, ok := grant.ParsePlace(c.For); ok {
		return a.explainFor(l, place)
	}
	return errNotLinux("explain without --for")
}
