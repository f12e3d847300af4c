package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const (
	root   = "../.."
	module = "github.com/caplaunch/caplaunch/"
)

// A goFile is a Go file of the product that is not a test.
type goFile struct {
	name, folder string // from the root of the repository
	fset         *token.FileSet
	paths        map[string]string // of what is imported, by the names that stand for them
	*ast.File
}

func (f goFile) at(n ast.Node) string { return fmt.Sprint(f.name, ":", f.fset.Position(n.Pos()).Line) }

// from tells the package and the name in it that a node like unix.Capset speaks of, or nothing.
func (f goFile) from(n ast.Node) (pkg, name string) {
	if s, ok := n.(*ast.SelectorExpr); ok {
		if x, ok := s.X.(*ast.Ident); ok && f.paths[x.Name] != "" {
			return f.paths[x.Name], s.Sel.Name
		}
	}
	return "", ""
}

func parsed(t *testing.T, name string, text any) goFile {
	t.Helper()
	f := goFile{name, path.Dir(name), token.NewFileSet(), map[string]string{}, nil}
	var err error
	if f.File, err = parser.ParseFile(f.fset, filepath.Join(root, name), text, parser.ParseComments); err != nil {
		t.Fatal(err)
	}
	for _, i := range f.Imports {
		p, _ := strconv.Unquote(i.Path.Value)
		name := path.Base(p)
		if i.Name != nil {
			name = i.Name.Name
		}
		f.paths[name] = p
	}
	return f
}

// product is all of cmd and internal, for every system.
func product(t *testing.T) (files []goFile) {
	t.Helper()
	for _, dir := range []string{"cmd", "internal"} {
		err := fs.WalkDir(os.DirFS(root), dir, func(name string, d fs.DirEntry, err error) error {
			if err == nil && strings.HasSuffix(name, ".go") && !strings.HasSuffix(name, "_test.go") && !strings.Contains(name, "/testdata/") {
				files = append(files, parsed(t, name, nil))
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(files) < 40 {
		t.Fatalf("only %d files found", len(files))
	}
	return files
}

// The rooms that can break the promise, design: they import nothing that only
// prints, not even by way of another room.
var promise = []string{"internal/launch", "internal/ambient", "internal/ambient/linux", "internal/exec", "internal/identity", "internal/origin"}

func TestTheRoomsOfThePromiseImportNothingThatOnlyPrints(t *testing.T) {
	uses := map[string][]string{}
	for _, f := range product(t) {
		uses[f.folder] = append(uses[f.folder], "")
		for _, p := range f.paths {
			if rest, ok := strings.CutPrefix(p, module); ok {
				uses[f.folder] = append(uses[f.folder], rest)
			}
		}
	}
	for _, room := range promise {
		if uses[room] == nil {
			t.Errorf("%s is not there", room)
		}
		seen := []string{room}
		for i := 0; i < len(seen); i++ {
			for _, next := range uses[seen[i]] {
				if !slices.Contains(seen, next) {
					seen = append(seen, next)
				}
			}
			if strings.HasPrefix(seen[i], "cmd/") || slices.Contains([]string{"internal/grant", "internal/why", "internal/shell"}, seen[i]) {
				t.Errorf("%s leads to %s", room, seen[i])
			}
		}
	}
}

var (
	// credentials are the calls that set them, as functions of package syscall or unix and as numbers.
	credentials = regexp.MustCompile(`^(Set(re|res|fs)?[ug]id|Setgroups|Capset|Prctl.*|AllThreadsSyscall6?|SYS_(SET.*[UG]ID(32)?|SETGROUPS(32)?|CAPSET|PRCTL|SECCOMP|UNSHARE|SETNS)|PR_SET_.*|PR_CAP.*|Unshare|Setns|CLONE_NEW.*)$`)
	// rawCall is a function that makes the system call whose number it is given.
	rawCall     = regexp.MustCompile(`^(Raw)?(Syscall|SyscallNoError|VforkSyscall)6?$`)
	environment = regexp.MustCompile(`^(Getenv|LookupEnv|Environ|Setenv|Unsetenv|Clearenv|ExpandEnv)$`)
	aroundDoor  = regexp.MustCompile(`/psx$|^kernel\.org/|^C$|^os/exec$|^plugin$`)
	logging     = regexp.MustCompile(`^log(/slog)?$|zap|logrus|zerolog`)
	impure      = regexp.MustCompile(`^(os|syscall|time|net|runtime|unsafe|io/ioutil|os/exec|os/user)$|golang\.org/x/sys|/internal/ambient/`)
)

func isDoor(pkg string) bool { return pkg == "syscall" || strings.HasPrefix(pkg, "golang.org/x/sys") }

// strayCalls finds what only internal/ambient/linux may do: writes of credentials go through one door, since
// per-thread and all-thread writes mixed abort the Go runtime. A number that is no constant could be any call: a
// function named systemCall may have it as its parameter number, and counts as such a call itself.
func strayCalls(f goFile) (stray []string) {
	add := func(n ast.Node, what string) { stray = append(stray, f.at(n)+": "+what) }
	for _, group := range f.Comments {
		for _, c := range group.List {
			if strings.Contains(c.Text, "go:linkname") {
				add(c, c.Text)
			}
		}
	}
	for name, p := range f.paths {
		if aroundDoor.MatchString(p) || name == "." && isDoor(p) {
			add(f.Name, "imports "+name+" "+p)
		}
	}
	constant := map[ast.Node]bool{} // functions that are called with one
	within := ""
	ast.Inspect(f.File, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncDecl:
			within = n.Name.Name
			constant[n.Name] = true
		case *ast.CallExpr:
			if len(n.Args) > 0 {
				pkg, name := f.from(n.Args[0])
				number, isName := n.Args[0].(*ast.Ident)
				constant[n.Fun] = isDoor(pkg) && strings.HasPrefix(name, "SYS_") || isName && number.Name == "number" && within == "systemCall"
			}
		}
		pkg, name := f.from(n)
		if id, ok := n.(*ast.Ident); isDoor(pkg) && credentials.MatchString(name) {
			add(n, name)
		} else if (isDoor(pkg) && rawCall.MatchString(name) || ok && id.Name == "systemCall") && !constant[n] {
			add(n, "a system call whose number is not a constant of its own")
		}
		return true
	})
	return stray
}

func TestOneDoorForWrites(t *testing.T) {
	for _, f := range product(t) {
		if f.folder != "internal/ambient/linux" {
			for _, s := range strayCalls(f) {
				t.Error(s)
			}
		}
	}
	// The rule has to find each way around it.
	const unix = `import "golang.org/x/sys/unix"; `
	const call = unix + `func systemCall(number uintptr) { unix.RawSyscall(number, 0, 0, 0) }; `
	for text, finds := range map[string]bool{
		unix + `func f() { unix.Setresuid(0, 0, 0) }`:                                                             true,
		unix + `func f() { unix.RawSyscall(unix.SYS_SETRESUID32, 0, 0, 0) }`:                                      true,
		unix + `func f() { unix.RawSyscall6(117, 0, 0, 0, 0, 0, 0) }`:                                             true,
		unix + `func f(number uintptr) { unix.RawSyscall(number, 0, 0, 0) }`:                                      true,
		unix + `var f = unix.RawSyscall`:                                                                          true,
		unix + `func f() { unix.RawSyscall(unix.SYS_CAPGET, 0, 0, 0); unix.Getuid(); unix.IoctlSetInt(0, 0, 0) }`: false,
		call + `func g() { systemCall(unix.SYS_GETPID) }`:                                                         false,
		call + `func g(n uintptr) { systemCall(n) }`:                                                              true,
		call + `var g = systemCall`:                                                                               true,
		`import u "golang.org/x/sys/unix"; func f() { u.Setgroups(nil) }`:                                         true,
		`import . "syscall"; func f() { Setgroups(nil) }`:                                                         true,
		`import "syscall"; func f() { syscall.AllThreadsSyscall(syscall.SYS_GETPID, 0, 0, 0) }`:                   true,
		`import "kernel.org/pub/linux/libs/security/libcap/psx"`:                                                  true,
		`import _ "unsafe"` + "\n//go:linkname f runtime.f\nfunc f()":                                             true,
		`import "os/exec"; var c exec.Cmd`:                                                                        true,
		`type unix struct{}; func (unix) Setresuid() {}; func f() { var unix unix; unix.Setresuid() }`:            false,
	} {
		if got := strayCalls(parsed(t, "internal/x/x.go", "package x; "+text+"\n")); (len(got) > 0) != finds {
			t.Errorf("%s: %q", text, got)
		}
	}
}

// One exit: whatever fails passes through the one place that maps errors to statuses, and two kinds of line on stderr
// need no logging package. Nobody but main touches the environment of the process: what is the program's goes by
// value. The model asks the system nothing, or the prediction could differ from one machine to the next. And a reader
// can hold each file and function.
func TestHouseRules(t *testing.T) {
	const mostLines, longest = 400, 60
	exits := 0
	for _, f := range product(t) {
		if n := f.fset.File(f.FileStart).LineCount(); n > mostLines+1 {
			t.Errorf("%s has %d lines", f.name, n)
		}
		for name, p := range f.paths {
			if logging.MatchString(p) || name == "." && p == "os" || f.folder == "internal/ambient" && impure.MatchString(p) {
				t.Errorf("%s imports %s", f.name, p)
			}
		}
		ast.Inspect(f.File, func(n ast.Node) bool {
			switch pkg, name := f.from(n); {
			case pkg == "os" && name == "Exit":
				if exits++; f.name != "cmd/caplaunch/main.go" {
					t.Errorf("%s: os.Exit", f.at(n))
				}
			case (pkg == "os" || pkg == "syscall") && environment.MatchString(name) && f.folder != "internal/origin" && f.name != "cmd/caplaunch/other.go":
				t.Errorf("%s: %s", f.at(n), name)
			}
			switch n := n.(type) {
			case *ast.Ident:
				if n.Name == "panic" {
					t.Errorf("%s: panic", f.at(n))
				}
			case *ast.FuncDecl:
				if lines := f.fset.Position(n.End()).Line - f.fset.Position(n.Pos()).Line + 1; lines > longest {
					t.Errorf("%s: %s has %d lines", f.at(n), n.Name.Name, lines)
				}
			}
			return true
		})
	}
	if exits != 1 {
		t.Errorf("%d exits", exits)
	}
}
