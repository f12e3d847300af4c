package main

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const root = "../.."

// sources are the Go files of the product that are not tests, with their text.
func sources(t *testing.T) map[string]string {
	files := map[string]string{}
	for _, dir := range []string{"cmd", "internal"} {
		err := filepath.WalkDir(filepath.Join(root, dir), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() && d.Name() == "testdata" {
				return descend(err, d)
			}
			if strings.HasSuffix(path, ".go") && !strings.HasSuffix(path, "_test.go") {
				b, err := os.ReadFile(path)
				rel, _ := filepath.Rel(root, path)
				files[filepath.ToSlash(rel)] = string(b)
				return err
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(files) < 20 {
		t.Fatalf("only %d files found", len(files))
	}
	return files
}

func descend(err error, d fs.DirEntry) error {
	if err == nil && d.IsDir() {
		return filepath.SkipDir
	}
	return err
}

func imports(t *testing.T, name, text string) []string {
	f, err := parser.ParseFile(token.NewFileSet(), name, text, parser.ImportsOnly)
	if err != nil {
		t.Fatal(err)
	}
	var paths []string
	for _, i := range f.Imports {
		p, _ := strconv.Unquote(i.Path.Value)
		paths = append(paths, p)
	}
	return paths
}

// The model must not ask the system anything: then the prediction could differ
// from one machine to the next.
func TestModelIsPure(t *testing.T) {
	for name, text := range sources(t) {
		if filepath.Dir(name) != "internal/ambient" {
			continue
		}
		for _, p := range imports(t, name, text) {
			if slices.Contains([]string{"os", "syscall", "time", "net", "runtime", "unsafe"}, p) || strings.Contains(p, "golang.org/x/sys") || strings.HasSuffix(p, "/psx") {
				t.Errorf("%s imports %s", name, p)
			}
		}
	}
}

// Every write of credentials goes through one door: per-thread and all-thread
// writes mixed abort the Go runtime.
func TestOneDoorForWrites(t *testing.T) {
	for name, text := range sources(t) {
		inside := filepath.Dir(name) == "internal/ambient/linux"
		if !inside && slices.ContainsFunc(imports(t, name, text), func(p string) bool { return strings.HasSuffix(p, "/psx") }) {
			t.Errorf("%s imports psx", name)
		}
		for _, call := range []string{"unix.Prctl(", "unix.Capset(", "unix.Setresuid(", "unix.Setresgid(", "unix.Setgroups(", "syscall.Setuid(", "syscall.Setgroups("} {
			if strings.Contains(text, call) {
				t.Errorf("%s calls %s", name, call)
			}
		}
	}
}

// One exit: whatever fails passes through the one place that maps errors to
// statuses.
func TestExitStandsOnce(t *testing.T) {
	for name, text := range sources(t) {
		n := strings.Count(text, "os.Exit(") + strings.Count(text, "log.Fatal") + strings.Count(text, "panic(")
		if name == "cmd/caplaunch/main.go" {
			n--
		}
		if n != 0 {
			t.Errorf("%s: %d more than allowed", name, n)
		}
	}
}

// A launch is paid for by every start of every container: no package of ours
// works before main.
func TestNoWorkInPackageInit(t *testing.T) {
	path := filepath.Join(t.TempDir(), "caplaunch")
	build := exec.Command("go", "build", "-o", path, ".") // not at our entry, which hides GODEBUG from the runtime
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	run := exec.Command(path, "version")
	run.Env = append(os.Environ(), "GODEBUG=inittrace=1")
	out, err := run.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	line := regexp.MustCompile(`(?m)^init (main|github\.com/caplaunch/\S+) .* (\d+) bytes, (\d+) allocs$`)
	found := line.FindAllStringSubmatch(string(out), -1)
	if !strings.Contains(string(out), "\ninit github.com/alecthomas/kong ") || len(found) == 0 {
		t.Fatalf("no trace of inits in\n%s", out)
	}
	for _, m := range found {
		if allocs, _ := strconv.Atoi(m[3]); allocs > 10 {
			t.Errorf("init of %s: %s bytes in %s allocations", m[1], m[2], m[3])
		}
	}
}
