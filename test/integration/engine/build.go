package engine

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/caplaunch/caplaunch/test/unit"
)

// BuildC compiles a C program statically and gives its path, where every user may execute it. The source is named from
// test/integration. The result is kept by the content of the source and the flags.
func BuildC(t testing.TB, source string, flags ...string) string {
	t.Helper()
	Require(t, "gcc")
	source = filepath.Join(SourceDir, source)
	name := strings.TrimSuffix(filepath.Base(source), ".c") + "-" + hash(append(flags, Read(t, source))...)
	built, err := cached(filepath.Join("c", name), func(tmp string) error {
		_, err := must(exec.Command("gcc", append(flags, "-static", "-O2", "-Wall", "-Werror", "-o", tmp, source)...))
		return err
	})
	Must(t, err)
	path, err := public(built, name)
	Must(t, err)
	return path
}

// BuildGo builds the Go program of a folder, which is named from the repository's root, statically, and gives its path,
// where every user may execute it. The architecture is this machine's when arch is "". Go itself sees whether the
// program in the cache is the one that it would build.
func BuildGo(t testing.TB, dir, arch string, flags ...string) string {
	t.Helper()
	Require(t, "go")
	name := filepath.Base(dir)
	if arch != "" {
		name += "-" + arch
	}
	if len(flags) > 0 {
		name += "-" + hash(flags...)
	}
	kept := filepath.Join(CacheDir(), "go", name)
	Must(t, os.MkdirAll(filepath.Dir(kept), 0o755))
	held, err := lock(kept+".lock", os.O_CREATE, 0)
	Must(t, err)
	defer held.Close()
	if path := filepath.Join(PublicDir(), "bin", "go", name); exists(path) {
		return path
	}
	cmd := exec.Command("go", append(append([]string{"build", "-o", kept}, flags...), "./"+dir)...)
	cmd.Dir, cmd.Env = Root, append(os.Environ(), "CGO_ENABLED=0", "GOARCH="+arch)
	if strings.HasPrefix(dir, "test/integration/") { // a module of its own
		cmd.Dir = SourceDir
		cmd.Args[len(cmd.Args)-1] = "./" + strings.TrimPrefix(dir, "test/integration/")
	}
	if r := Command(t, cmd); r.Code != 0 {
		t.Fatal(r)
	}
	path, err := public(kept, filepath.Join("go", name))
	Must(t, err)
	return path
}

// Install builds the program of a Go module at a version, once, or skips the test when the module cannot be had.
func Install(t testing.TB, pkg, version string) string {
	t.Helper()
	Require(t, "go")
	name := filepath.Base(pkg)
	dir, err := cached(name+"-"+version, func(tmp string) error {
		cmd := exec.Command("go", "install", pkg+"@"+version)
		cmd.Dir, cmd.Env = os.TempDir(), append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-mod=mod", "GOBIN="+tmp)
		_, err := must(cmd)
		return err
	})
	if err != nil {
		Unusable(t, "%s cannot be built here: %v", name, err)
	}
	return filepath.Join(dir, name)
}

// Overlay is go's flag -overlay, by which the files named have other contents, or are not there if that is "".
func Overlay(t testing.TB, contents map[string]string) string {
	t.Helper()
	replace := map[string]string{}
	for path, text := range contents {
		if replace[path] = ""; text != "" {
			replace[path] = Write(t, filepath.Base(path), text)
		}
	}
	data, err := json.Marshal(map[string]any{"Replace": replace})
	Must(t, err)
	return "-overlay=" + Write(t, "overlay.json", string(data))
}

// Caplaunch is the path of the program under test: $TEST_BIN, or what "make build" makes. It is a copy that every user
// may execute.
func Caplaunch(t testing.TB) string {
	t.Helper()
	path, err := caplaunch()
	Must(t, err)
	return path
}

var caplaunch = sync.OnceValues(func() (string, error) {
	if path := os.Getenv("TEST_BIN"); path != "" {
		return public(path, "caplaunch")
	}
	path := filepath.Join(PublicDir(), "bin", "caplaunch")
	_, err := must(exec.Command("make", "-C", Root, "build", "BIN="+path))
	return path, err
})

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

// Copy is a copy of a program in a new folder, with that mode. No extended attribute comes along.
func Copy(t testing.TB, path string, mode os.FileMode) string {
	t.Helper()
	to := filepath.Join(TempDir(t), filepath.Base(path))
	Must(t, CopyFile(to, path, mode))
	return to
}

// Write makes a new program of a text.
func Write(t testing.TB, name, text string) string {
	t.Helper()
	return unit.Write(t, filepath.Join(TempDir(t), name), text, 0o755)
}

// Setcap gives a file capabilities by the tool that users have, such as cap_net_raw=+ep.
func Setcap(t testing.TB, caps, path string) {
	t.Helper()
	Require(t, "setcap")
	Do(t, "setcap", caps, path)
}

// WithCaps is a copy of a program with file capabilities.
func WithCaps(t testing.TB, path, caps string) string {
	t.Helper()
	to := Copy(t, path, 0o755)
	Setcap(t, caps, to)
	return to
}

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
