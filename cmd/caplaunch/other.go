//go:build !linux

package main

import (
	"encoding/json"
	"os"
	"runtime"

	"github.com/caplaunch/caplaunch/internal/identity"
)

// target would be PROGRAM's file.
type target struct {
	path, mend string
	copyable   bool
}

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
	allow, sets, err := c.parse()
	if err != nil {
		return err
	}
	skipped := "skipping linux-only capability check on " + runtime.GOOS
	report.infof("%s", skipped)
	if !c.JSON {
		return nil
	}
	return json.NewEncoder(a.stdout).Encode(outcome{OK: true, Allow: allow.Set.Names(), Sets: sets.Names(), Stray: []shownStray{}, Skipped: skipped})
}

func (a *app) explain(c *explainCmd, _ []string, report *reporter) error {
	if c.For != "" {
		return a.explainGrant(c, report)
	}
	return errNotLinux("explain without --for")
}
