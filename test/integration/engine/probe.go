package engine

import (
	"os/exec"
	"strconv"
	"strings"
	"testing"
)

// Probe is the path of the static program testdata/probe.c.
func Probe(t testing.TB, flags ...string) string {
	t.Helper()
	return BuildC(t, "testdata/probe.c", flags...)
}

// Starter is the path of one of the programs that testdata/start.c has. See there for their options.
func Starter(t testing.TB, name string, flags ...string) string {
	t.Helper()
	return BuildC(t, "testdata/start.c", append(flags[:len(flags):len(flags)], "-DMAIN="+name, "-pthread")...)
}

// Capstart is the starter of that name.
func Capstart(t testing.TB) string {
	t.Helper()
	return Starter(t, "capstart")
}

// OutOfTheWay are flags that put a C program where the starter "deny" can tell its calls from caplaunch's.
var OutOfTheWay = []string{"-no-pie", "-Wl,-Ttext-segment=0x10000000"}

// Start runs argv from the starting state that capstart's options describe, without any engine.
func Start(t testing.TB, options []string, argv ...string) Result {
	t.Helper()
	RequireRoot(t)
	return Command(t, StartCommand(t, options, argv...))
}

// StartCommand is the command behind Start, for tests that set its directory, environment or descriptors.
func StartCommand(t testing.TB, options []string, argv ...string) *exec.Cmd {
	t.Helper()
	return exec.Command(Capstart(t), append(append(append([]string{}, options...), "--"), argv...)...)
}

// ParseProbe reads what probe printed. Quoted values are unquoted; a key that comes twice keeps its last value.
func ParseProbe(out string) map[string]string {
	m := map[string]string{}
	for line := range strings.Lines(out) {
		key, value, ok := strings.Cut(strings.TrimRight(line, "\r\n"), "=")
		if !ok {
			continue
		}
		if u, err := strconv.Unquote(value); err == nil {
			value = u
		}
		m[key] = value
	}
	return m
}
