package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/caplaunch/caplaunch/internal/ambient"
	"github.com/caplaunch/caplaunch/internal/grant"
)

type explainCmd struct {
	launchFlags
	output
	For  string `placeholder:"PLACE" enum:",docker,podman,compose,kubernetes,systemd" default:"" help:"Print only the smallest grant, as text to paste: docker, podman, compose, kubernetes or systemd. Needs no privilege and no PROGRAM."`
	JSON bool   `name:"json" help:"Print JSON."`
}

// logFormat is the flag for commands that have no line but an error.
type logFormat struct {
	LogFormat string `enum:"text,json" default:"text" placeholder:"text|json" env:"CAPLAUNCH_LOG_FORMAT" help:"How caplaunch's own lines look."`
}

type checkCmd struct {
	logFormat
	Allow []string `sep:"none" required:"" placeholder:"LIST" env:"CAPLAUNCH_ALLOW" help:"Capabilities that may be granted; none means not one."`
	Sets  []string `sep:"none" placeholder:"LIST" env:"CAPLAUNCH_SETS" help:"The sets looked at: permitted, effective, inheritable, ambient (the default), bounding."`
	PID   *pid     `name:"pid" placeholder:"N" help:"Look at another process, in /proc/N/status."`
	JSON  bool     `name:"json" help:"Print the outcome as JSON."`
}

type showCmd struct {
	logFormat
	PID  *pid `arg:"" optional:"" name:"pid" help:"The process to look at; caplaunch itself without."`
	JSON bool `name:"json" help:"Print JSON."`
}

// A pid is the number of a process. kong alone would take 0x1 for one.
type pid int

func (p *pid) UnmarshalText(text []byte) error {
	n, err := strconv.ParseUint(string(text), 10, 31)
	if *p = pid(n); err != nil || n == 0 {
		return &pidError{string(text)}
	}
	return nil
}

// A pidError is a word that is no process number.
type pidError struct{ word string }

func (e *pidError) Error() string { return fmt.Sprintf("%.64q is no process number", e.word) }

type installCmd struct {
	logFormat
	Dest string `arg:"" help:"A folder, or the path of the copy."`
}

// An outcome is check --json.
type outcome struct {
	OK      bool         `json:"ok"`
	Allow   []string     `json:"allow"`
	Sets    []string     `json:"sets"`
	Stray   []shownStray `json:"stray"`             // what is in the sets and not allowed
	Skipped string       `json:"skipped,omitempty"` // why nothing was looked at: not on Linux
	Hint    string       `json:"hint,omitempty"`
}

type shownStray struct {
	Name   string   `json:"name"`
	Number uint8    `json:"number"`
	Sets   []string `json:"sets"`
}

// parse reads the lists of check. The error is a *usageError.
func (c *checkCmd) parse() (allow ambient.List, sets ambient.SetMask, err error) {
	if allow, err = ambient.ParseList(c.Allow...); err != nil {
		return allow, 0, usagef(listHint("allow", c.Allow), "%s: %w", source("allow"), err)
	}
	sets = ambient.DefaultSets
	if c.Sets != nil {
		if sets, err = ambient.ParseSets(c.Sets...); err != nil {
			return allow, 0, usagef(setsHint(c.Sets), "%s: %w", source("sets"), err)
		}
	}
	return allow, sets, nil
}

// explainGrant prints the smallest grant for the place that --for names. It asks
// nothing of the system.
func (a *app) explainGrant(c *explainCmd, report *reporter) error {
	report.json, report.quiet = c.LogFormat == "json", c.Quiet
	named := ambient.UpTo(ambient.Cap(ambient.Named() - 1))
	for _, f := range []struct {
		flag  string
		words []string
	}{{"caps", c.Caps}, {"optional-caps", c.OptionalCaps}} {
		flag := source(f.flag)
		if l, err := ambient.ParseList(f.words...); err == nil && !named.Contains(l.Set) {
			rest := (l.Set & named).String()
			if l.All {
				rest = "all"
			}
			return usagef(flag+"="+rest, "%s: %v has no name in this caplaunch, and no runtime takes a number", flag, l.Set&^named)
		}
	}
	const user = "65532:65532"
	l := &launch{flags: c.launchFlags}
	if l.flags.User == nil {
		word := user
		l.flags.User = &word
	}
	spec, _, err := l.parse()
	if err != nil {
		return err
	}
	root := spec.User.Numeric && spec.User.ID == 0 || spec.User.Text == "root"
	if root && l.req.AllowNewPrivs && !l.req.DropBounding {
		return &ambient.RefusedError{Why: ambient.RootRegains}
	}
	l.host.Known = ambient.UpTo(ambient.Cap(ambient.Named() - 1))
	l.req.User = &ambient.User{UID: 1} // only whether it is root counts; a name is taken for somebody else
	if root {
		l.req.User.UID = 0
	}
	g := l.grant()
	err = l.req.CheckAllowed(ambient.State{Permitted: g.Caps, Effective: g.Caps, Bounding: g.Caps}, l.host)
	var stray *ambient.UnexpectedCapabilityError
	if errors.As(err, &stray) {
		report.fail(err, source("allow")+"="+(stray.Allow|stray.Set()).String())
		return &reportedError{err}
	}
	if c.User == nil {
		report.infof("no --user: this grant is for caplaunch --user=%s, or any other that is not root", user)
	}
	place, _ := grant.ParsePlace(c.For)
	if c.JSON {
		return json.NewEncoder(a.stdout).Encode(struct {
			Place string `json:"place"`
			Grant string `json:"grant"`
		}{place.String(), g.Text(place)})
	}
	_, err = io.WriteString(a.stdout, g.Text(place))
	return err
}
