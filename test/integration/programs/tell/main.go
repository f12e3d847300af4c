// Tell launches a program as caplaunch does, but ends in the error itself: its type and its fields, as JSON on
// stdout, where caplaunch has words for it. It understands the flags of caplaunch that the tests use.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"

	"github.com/caplaunch/caplaunch/internal/ambient"
	"github.com/caplaunch/caplaunch/internal/ambient/linux"
	"github.com/caplaunch/caplaunch/internal/exec"
)

func main() {
	runtime.LockOSThread()
	err := launch(os.Args[1:])
	told := map[string]any{"msg": err.Error()}
	if e, ok := errors.AsType[*exec.Error](err); ok {
		told["exec"], told["code"], told["hint"] = e, e.ExitStatus(), e.Hint()
	}
	if e, ok := errors.AsType[*ambient.FileError](err); ok {
		told["file"], told["code"] = map[string]any{
			"caps": e.File.Caps, "setUID": e.File.SetUID, "setGID": e.File.SetGID,
			"given": e.Given, "permitted": e.After.Permitted, "ambient": e.After.Ambient, "denied": e.Err != nil,
		}, e.ExitStatus()
	}
	if err := json.NewEncoder(os.Stdout).Encode(told); err != nil {
		panic(err)
	}
}

// launch is caplaunch's prepare and become, without what the tests of this folder do not look at.
func launch(args []string) error {
	var (
		req   ambient.Request
		strip bool
	)
	end := slices.Index(args, "--")
	for _, flag := range args[:end] {
		switch name, value, _ := strings.Cut(flag, "="); name {
		case "--caps":
			list, err := ambient.ParseList(value)
			if err != nil {
				return err
			}
			req.Required = list
		case "--user":
			req.User = new(ambient.User)
			if _, err := fmt.Sscanf(value, "%d:%d", &req.User.UID, &req.User.GID); err != nil {
				return err
			}
		case "--strip-file-caps":
			strip = true
		case "--allow-new-privs":
			req.AllowNewPrivs = true
		case "--log-format":
		default:
			return errors.New("tell does not know " + flag)
		}
	}
	argv, env := args[end+1:], os.Environ()

	var kernel linux.Kernel
	now, err := kernel.State()
	if err != nil {
		return err
	}
	host, err := kernel.Host()
	if err != nil {
		return err
	}
	plan, err := ambient.NewPlan(req, now, host)
	if err != nil {
		return err
	}
	after := plan.AfterSteps
	target, err := find(&plan, argv[0], strip, &exec.Viewer{UID: after.UID.Effective, GID: after.GID.Effective, Groups: after.Groups, Caps: plan.Given}, host)
	unseen := false
	if e, ok := errors.AsType[*exec.Error](err); ok && e.Reason == exec.Unseen {
		unseen = true
	} else if err != nil {
		return err
	}
	if err := ambient.Apply(kernel, plan.Steps); err != nil {
		return err
	}
	if unseen {
		if target, err = find(&plan, argv[0], strip, nil, host); err != nil {
			return err
		}
	}
	if err := ambient.Verify(kernel, plan); err != nil {
		return err
	}
	return target.Explain(exec.Replace(target, argv, env))
}

// find looks for the program, as v or as who the process is.
func find(plan *ambient.Plan, name string, strip bool, v *exec.Viewer, host ambient.Host) (exec.Target, error) {
	p, err := exec.Find(name, exec.SearchPath(os.Environ()), v, host)
	if err != nil {
		return exec.Target{}, err
	}
	if strip && p.Privileged() {
		return p.Strip() // the copy has no privilege, and the plan was made for such a file
	}
	f, err := p.Credentials()
	if err != nil {
		return exec.Target{}, err
	}
	if *plan, err = plan.For(f); err != nil {
		return exec.Target{}, fmt.Errorf("%s: %w", p.Files[len(p.Files)-1].Path, err)
	}
	if strip {
		return p.Strip()
	}
	return p.Target(), nil
}
