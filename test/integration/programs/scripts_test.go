package programs

import (
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/caplaunch/caplaunch/test/integration/engine"
)

// python is Debian's own interpreter. Another one in PATH may live where uid 65532 cannot go.
const python = "/usr/bin/python3"

// statusScript is a script that prints its arguments and its /proc/self/status as the probe does.
const statusScript = `
import sys
for i, a in enumerate(sys.argv): print(f'arg{i}="{a}"')
for line in open("/proc/self/status"):
    key, value = line.split(":", 1)
    print(key + "=" + " ".join(value.split()))
`

func TestAScriptGetsTheCapabilities(t *testing.T) {
	engine.Require(t, python)
	s := start{flags: []string{"--caps=net_admin", asUser}, env: []string{"PATH=/usr/bin:/bin"}}
	for _, line := range []string{"#!" + python, "#!/usr/bin/env python3", "#! " + python + " -B"} {
		path := engine.Write(t, "script", line+statusScript)
		given.With("arg0", path, "arg1", "a b", "arg2", "").Want(t, s.run(t, path, "a b", ""))
	}
}

// The kernel takes credentials from the interpreter's file, not the script's.
func TestAScriptIsJudgedByItsInterpreter(t *testing.T) {
	engine.Require(t, python)
	real, err := filepath.EvalSymlinks(python)
	engine.Must(t, err)
	interpreter := engine.WithCaps(t, real, "cap_net_admin=+ep")
	path := engine.Write(t, "script", "#!"+interpreter+" -B"+statusScript)
	s := start{flags: []string{"--caps=net_admin", asUser}}
	s.refused(t, engine.Failure, interpreter+": its file capabilities (net_admin) clear the ambient set", path)
	s.flags = append(s.flags, "--strip-file-caps")
	given.With("arg0", path, "arg1", "a b").Want(t, s.run(t, path, "a b"))

	// A script whose own file has capabilities: they do not count, and need no copy.
	plain := engine.Write(t, "script", "#!"+python+statusScript)
	engine.Setcap(t, "cap_net_raw=+ep", plain)
	given.Want(t, start{flags: s.flags[:2]}.run(t, plain))
}

// With a copy of the interpreter, argv is what binfmt_script makes of it without.
func TestTheCopyOfAnInterpreterGetsTheKernelsArguments(t *testing.T) {
	probe, capable := engine.Copy(t, engine.Probe(t), 0o755), engine.WithCaps(t, engine.Probe(t), "cap_net_raw=+ep")
	for _, rest := range []string{"", " one argument  with blanks\t", "\t-x"} {
		// The paths differ: they are taken out before the comparison.
		arguments := func(interpreter string, flags ...string) string {
			path := engine.Write(t, "script", "#! "+interpreter+rest+"\n")
			r := start{flags: append([]string{"--caps=net_admin", asUser}, flags...)}.run(t, path, "a b", "", "c")
			given.Want(t, r)
			argv := regexp.MustCompile(`(?m)^arg.*$`).FindAllString(r.Stdout, -1)
			return strings.NewReplacer(interpreter, "INTERPRETER", path, "SCRIPT").Replace(strings.Join(argv, " "))
		}
		want, got := arguments(probe), arguments(capable, "--strip-file-caps")
		if got != want || !strings.Contains(got, "SCRIPT") {
			t.Errorf("%q: %s, the kernel makes %s", rest, got, want)
		}
	}
}
