package main

import "github.com/caplaunch/caplaunch/internal/ambient"

type explainCmd struct {
	launchFlags
	output
	For  string `placeholder:"PLACE" enum:",docker,podman,compose,kubernetes,systemd" default:"" help:"Print only the smallest grant, as text to paste: docker, podman, compose, kubernetes or systemd. Needs no privilege and no PROGRAM."`
	JSON bool   `name:"json" help:"Print JSON."`
}

type checkCmd struct {
	Allow []string `sep:"none" required:"" placeholder:"LIST" env:"CAPLAUNCH_ALLOW" help:"Capabilities that may be granted; none means not one."`
	Sets  []string `sep:"none" placeholder:"LIST" env:"CAPLAUNCH_SETS" help:"The sets looked at: permitted, effective, inheritable, ambient (the default), bounding."`
	PID   int      `name:"pid" placeholder:"N" help:"Look at another process, in /proc/N/status."`
	JSON  bool     `name:"json" help:"Print the outcome as JSON."`
}

type showCmd struct {
	PID  int  `arg:"" optional:"" name:"pid" help:"The process to look at; caplaunch itself without."`
	JSON bool `name:"json" help:"Print JSON."`
}

type installCmd struct {
	Dest string `arg:"" help:"A folder, or the path of the copy."`
}

// parse reads the lists of check. The error is a *usageError.
func (c *checkCmd) parse() (allow ambient.List, sets ambient.SetMask, err error) {
	if allow, err = ambient.ParseList(c.Allow...); err != nil {
		return allow, 0, usagef(listHint("allow", err), "--allow: %w", err)
	}
	sets = ambient.DefaultSets
	if c.Sets != nil {
		if sets, err = ambient.ParseSets(c.Sets...); err != nil {
			return allow, 0, usagef("--sets="+ambient.DefaultSets.String(), "--sets: %w", err)
		}
	}
	return allow, sets, nil
}
