package main

import (
	"io/fs"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/caplaunch/caplaunch/test/unit"
)

const root = "../.."

// product is the text of all of cmd and internal, for every system, by the names of the files.
func product(t *testing.T) map[string]string {
	t.Helper()
	files := map[string]string{}
	for _, dir := range []string{"cmd", "internal"} {
		unit.Must(t, fs.WalkDir(os.DirFS(root), dir, func(name string, _ fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
				return err
			}
			text, err := os.ReadFile(root + "/" + name)
			files[name] = string(text)
			return err
		}))
	}
	if len(files) < 40 {
		t.Fatalf("only %d files found", len(files))
	}
	return files
}

// The rooms that can break the promise import nothing that only prints, not even by way of another room.
func TestTheRoomsOfThePromiseImportNothingThatOnlyPrints(t *testing.T) {
	list := exec.Command("go", "list", "-deps", "./internal/launch", "./internal/ambient/...", "./internal/exec", "./internal/identity", "./internal/origin")
	list.Dir, list.Env = root, append(os.Environ(), "GOOS=linux")
	out, err := list.Output()
	if err != nil || !strings.Contains(string(out), "/internal/ambient/linux\n") {
		t.Fatalf("%v\n%s", err, out)
	}
	if printing := regexp.MustCompile(`(?m)caplaunch/(cmd/.*|internal/(grant|why|shell))$`).FindAllString(string(out), -1); printing != nil {
		t.Error(printing)
	}
}

// A rule is what may stand only where the names of files match, unless it matches but.
type rule struct{ what, but, where string }

const door = `^internal/ambient/linux/`

var rules = []rule{
	// Writes of credentials go through one door, since per-thread and all-thread writes mixed abort the Go runtime: nothing
	// else makes the calls, or goes around it.
	{`\b(unix|syscall)\.(Set(re|res|fs)?[ug]id|Setgroups|Capset|Prctl\w*|AllThreadsSyscall6?|SYS_(SET\w*[UG]ID(32)?|SETGROUPS(32)?|CAPSET|PRCTL|SECCOMP|UNSHARE|SETNS)|PR_SET_\w+|PR_CAP\w+|Unshare|Setns|CLONE_NEW\w+)\b`, ``, door},
	{`//go:linkname|"(.*/psx|kernel\.org/.*|C|os/exec|plugin)"`, ``, door},
	{`[\w.]+ "(os|syscall|golang\.org/x/sys/unix)"`, `^import`, door}, // by another name
	// A number that is no constant could be any call. A function named systemCall may have it as its parameter.
	{`\.(Raw)?(Vfork)?Syscall(NoError)?6?\b(\([\w.]*)?`, `\((unix|syscall)\.SYS_`, door + `|^internal/origin/origin_linux\.go`},
	{`\.(Raw)?(Vfork)?Syscall(NoError)?6?\b(\([\w.]*)?|\bsystemCall\b(\([\w.]*)?`, `\((unix|syscall)\.SYS_|\(number$`, door},
	// One exit: whatever fails passes through the one place that maps errors to statuses, and two kinds of line on stderr
	// need no logging package.
	{`\bos\.Exit\b`, ``, `^cmd/caplaunch/main\.go`},
	{`"(log|log/slog|.*(zap|logrus|zerolog).*)"|\bpanic\(`, ``, ``},
	// Nobody but main touches the environment of the process: what is the program's goes by value.
	{`\b(os|syscall)\.(Getenv|LookupEnv|Environ|Setenv|Unsetenv|Clearenv|ExpandEnv)\b`, ``, `^internal/origin/|^cmd/caplaunch/other\.go`},
	// The model asks the system nothing, or the prediction could differ from one machine to the next.
	{`"(os|syscall|time|net|runtime|unsafe|os/user|golang\.org/x/sys/.*|.*/internal/ambient/.*)"`, ``, `^cmd/|^internal/[^a]|` + door},
}

// breaches finds what breaks the rules.
func breaches(name, text string) (found []string) {
	text = regexp.MustCompile(`(?m)(^|\s)// .*$`).ReplaceAllString(text, "")
	for _, r := range rules {
		if r.where != "" && regexp.MustCompile(r.where).MatchString(name) {
			continue
		}
		for _, what := range regexp.MustCompile(r.what).FindAllString(text, -1) {
			if r.but == "" || !regexp.MustCompile(r.but).MatchString(what) {
				found = append(found, what)
			}
		}
	}
	return found
}

func TestHouseRules(t *testing.T) {
	const mostLines, longest = 400, 60 // that a reader can hold
	for name, text := range product(t) {
		if found := breaches(name, text); found != nil {
			t.Errorf("%s: %q", name, found)
		}
		if n := strings.Count(text, "\n"); n > mostLines {
			t.Errorf("%s has %d lines", name, n)
		}
		for _, f := range regexp.MustCompile(`(?m)^func .*\{\n(.*\n)*?\}`).FindAllString(text, -1) {
			if n := strings.Count(f, "\n") + 1; n > longest {
				t.Errorf("%s: %d lines: %.60s", name, n, f)
			}
		}
	}
	// The rules have to find each way around the door.
	for text, finds := range map[string]bool{
		`func f() { unix.Setresuid(0, 0, 0) }`:                                         true,
		`func f() { unix.RawSyscall(unix.SYS_SETRESUID32, 0, 0, 0) }`:                  true,
		`func f() { unix.RawSyscall6(117, 0, 0, 0, 0, 0, 0) }`:                         true,
		`func f(number uintptr) { unix.RawSyscall(number, 0, 0, 0) }`:                  true,
		`func f() { unix.RawSyscall(unix.SYS_CAPGET, 0, 0, 0); unix.Getuid() }`:        false,
		`func g() { systemCall(unix.SYS_GETPID) }`:                                     false,
		`func g(n uintptr) { systemCall(n) }`:                                          true,
		`var f = unix.RawSyscall`:                                                      true,
		`var g = systemCall`:                                                           true,
		`import u "golang.org/x/sys/unix"; func f() { u.Setgroups(nil) }`:              true,
		`import . "syscall"; func f() { Setgroups(nil) }`:                              true,
		`import "syscall"; func f() { syscall.AllThreadsSyscall(syscall.SYS_GETPID) }`: true,
		`import "kernel.org/pub/linux/libs/security/libcap/psx"`:                       true,
		`import "os/exec"; var c exec.Cmd`:                                             true,
		`import "os"; func f() { os.Getpid() }`:                                        false,
		"//go:linkname f runtime.f\nfunc f()":                                          true,
	} {
		if found := breaches("internal/x/x.go", text+"\n"); (found != nil) != finds {
			t.Errorf("%s: %q", text, found)
		}
	}
}
