package engine

import (
	"os/exec"
	"strconv"
	"strings"
	"testing"
)

// Probe is the path of the static program testdata/probe.c.
func Probe(t testing.TB) string {
	t.Helper()
	return BuildC(t, "testdata/probe.c")
}

// Capstart is the path of the static program testdata/capstart.c. See there for its options.
func Capstart(t testing.TB) string {
	t.Helper()
	return BuildC(t, "testdata/capstart.c")
}

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
