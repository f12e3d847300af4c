package engine

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// BuildC compiles testdata/NAME.c statically and gives the path of the program, which every user may execute. The
// result is cached by the content of the source and the flags.
func BuildC(t testing.TB, name string, flags ...string) string {
	t.Helper()
	path, err := buildC(name, flags...)
	if err != nil {
		Unusable(t, "%s.c cannot be compiled: %v", name, err)
	}
	return path
}

func buildC(name string, flags ...string) (string, error) {
	source := filepath.Join(SourceDir, "testdata", name+".c")
	text, err := os.ReadFile(source)
	if err != nil {
		return "", err
	}
	key := hash(append([]string{string(text)}, flags...)...)
	built, err := cached(filepath.Join("c", name+"-"+key), func(tmp string) error {
		_, err := must(exec.Command("gcc", append(flags, "-static", "-O2", "-Wall", "-o", tmp, source)...))
		return err
	})
	if err != nil {
		return "", err
	}
	return public(built, name+"-"+key)
}

// public copies a program to where every user may execute it.
func public(path, name string) (string, error) {
	dst := filepath.Join(PublicDir(), "bin", name)
	if err := os.MkdirAll(filepath.Dir(dst), 0o755); err != nil {
		return "", err
	}
	publicLock.Lock()
	defer publicLock.Unlock()
	if exists(dst) {
		return dst, nil
	}
	return dst, CopyFile(dst, path, 0o755)
}

var publicLock sync.Mutex

// Probe is the path of the static program testdata/probe.c.
func Probe(t testing.TB) string {
	t.Helper()
	return BuildC(t, "probe")
}

// Capstart is the path of the static program testdata/capstart.c. See there for its options.
func Capstart(t testing.TB) string {
	t.Helper()
	return BuildC(t, "capstart")
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

// Sets is the capability sets that probe printed, as "P=… I=… E=… B=… A=…" in hex without leading zeros: a line to
// compare.
func Sets(out string) string {
	m := ParseProbe(out)
	var b []string
	for _, s := range []struct{ name, key string }{{"P", "CapPrm"}, {"I", "CapInh"}, {"E", "CapEff"}, {"B", "CapBnd"}, {"A", "CapAmb"}} {
		v, err := strconv.ParseUint(m[s.key], 16, 64)
		if err != nil {
			b = append(b, s.name+"=?")
			continue
		}
		b = append(b, fmt.Sprintf("%s=%x", s.name, v))
	}
	return strings.Join(b, " ")
}

// Caplaunch is the path of the program under test: $CAPLAUNCH_BIN, or bin/caplaunch after "make build". It is a
// copy that every user may execute.
func Caplaunch(t testing.TB) string {
	t.Helper()
	path, err := caplaunch()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

var caplaunch = sync.OnceValues(func() (string, error) {
	path := os.Getenv("CAPLAUNCH_BIN")
	if path == "" {
		if _, err := must(exec.Command("make", "-C", Root, "build")); err != nil {
			return "", err
		}
		path = filepath.Join(Root, "bin", "caplaunch")
	}
	return public(path, "caplaunch")
})
