package main

import (
	"go/ast"
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

const (
	root   = "../.."
	module = "github.com/caplaunch/caplaunch/"
)

// A goFile is a Go file of the product that is not a test.
type goFile struct {
	name  string // from the root of the repository
	lines int
	fset  *token.FileSet
	*ast.File
}

func (f goFile) folder() string { return filepath.ToSlash(filepath.Dir(f.name)) }

func (f goFile) at(n ast.Node) string {
	return f.name + ":" + strconv.Itoa(f.fset.Position(n.Pos()).Line)
}

// paths gives the import paths by the names that stand for them.
func (f goFile) paths() map[string]string {
	paths := map[string]string{}
	for _, i := range f.Imports {
		p, _ := strconv.Unquote(i.Path.Value)
		name := p[strings.LastIndexByte(p, '/')+1:]
		if i.Name != nil {
			name = i.Name.Name
		}
		paths[name] = p
	}
	return paths
}

func parsed(t *testing.T, name, text string) goFile {
	t.Helper()
	fset := token.NewFileSet()
	f, err := parser.ParseFile(fset, name, text, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	return goFile{name, strings.Count(text, "\n"), fset, f}
}

// product is all of cmd and internal, for every system.
func product(t *testing.T) (files []goFile) {
	t.Helper()
	for _, dir := range []string{"cmd", "internal"} {
		err := filepath.WalkDir(filepath.Join(root, dir), func(path string, d fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return err
			case d.IsDir() && d.Name() == "testdata":
				return filepath.SkipDir
			case d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go"):
				return nil
			}
			b, err := os.ReadFile(path)
			name, _ := filepath.Rel(root, path)
			files = append(files, parsed(t, filepath.ToSlash(name), string(b)))
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
		for _, p := range f.paths() {
			if rest, ok := strings.CutPrefix(p, module); ok {
				uses[f.folder()] = append(uses[f.folder()], rest)
			}
		}
	}
	for _, room := range promise {
		if uses[room] == nil && room != "internal/origin" {
			t.Errorf("%s is not there", room)
		}
		seen := []string{room}
		for i := 0; i < len(seen); i++ {
			for _, next := range uses[seen[i]] {
				if !slices.Contains(seen, next) {
					seen = append(seen, next)
				}
			}
		}
		for _, other := range seen {
			if strings.HasPrefix(other, "cmd/") || slices.Contains([]string{"internal/grant", "internal/why", "internal/shell"}, other) {
				t.Errorf("%s leads to %s", room, other)
			}
		}
	}
}

// The model must not ask the system anything: then the prediction could differ
// from one machine to the next.
func TestTheModelIsPure(t *testing.T) {
	impure := []string{"os", "syscall", "time", "net", "runtime", "unsafe", "io/ioutil", "os/exec", "os/user"}
	for _, f := range product(t) {
		for _, p := range f.paths() {
			if f.folder() == "internal/ambient" && (slices.Contains(impure, p) || strings.Contains(p, "golang.org/x/sys") || strings.Contains(p, "/internal/ambient/")) {
				t.Errorf("%s imports %s", f.name, p)
			}
		}
	}
}

// credentials are the calls that set them, as functions of package syscall or unix
// and as numbers.
var credentials = regexp.MustCompile(`^(Set(re|res|fs)?[ug]id|Setgroups|Capset|Prctl.*|AllThreadsSyscall6?|SYS_(SET.*[UG]ID(32)?|SETGROUPS(32)?|CAPSET|PRCTL|SECCOMP|UNSHARE|SETNS)|PR_SET_.*|PR_CAP.*|Unshare|Setns|CLONE_NEW.*)$`)

// rawCall is a function that makes the system call whose number it is given.
var rawCall = regexp.MustCompile(`^(Raw)?(Syscall|SyscallNoError|VforkSyscall)6?$`)

// strayCalls finds what only internal/ambient/linux may do: writes of credentials
// go through one door, since per-thread and all-thread writes mixed abort the Go
// runtime. A number that is no constant could be any call, unless it is the
// parameter of a function that counts as such a call itself.
func strayCalls(files ...goFile) (stray []string) {
	wrappers := map[string]bool{}
	add := func(f goFile, n ast.Node, what string) { stray = append(stray, f.at(n)+": "+what) }
	for again := true; again; { // until no more wrappers are found
		again, stray = false, nil
		for _, f := range files {
			paths := f.paths()
			for _, c := range f.Comments {
				if strings.Contains(c.Text(), "go:linkname") || slices.ContainsFunc(c.List, func(l *ast.Comment) bool { return strings.HasPrefix(l.Text, "//go:linkname") }) {
					add(f, c, "linkname")
				}
			}
			for name, p := range paths {
				isDoor := p == "syscall" || strings.HasPrefix(p, "golang.org/x/sys")
				if strings.HasSuffix(p, "/psx") || strings.HasPrefix(p, "kernel.org/") || p == "C" || p == "os/exec" || p == "plugin" || name == "." && isDoor {
					add(f, f.Name, "imports "+name+" "+p)
				}
			}
			fromDoor := func(n ast.Node) (string, bool) {
				s, ok := n.(*ast.SelectorExpr)
				if !ok {
					return "", false
				}
				x, ok := s.X.(*ast.Ident)
				p := ""
				if ok {
					p = paths[x.Name]
				}
				return s.Sel.Name, p == "syscall" || strings.HasPrefix(p, "golang.org/x/sys")
			}
			called := map[ast.Node]bool{}
			ast.Inspect(f.File, func(n ast.Node) bool {
				fn, isFunc := n.(*ast.FuncDecl)
				if !isFunc {
					if name, ok := fromDoor(n); ok && credentials.MatchString(name) {
						add(f, n, name)
					}
					return true
				}
				params := map[string]bool{}
				for _, field := range fn.Type.Params.List {
					for _, name := range field.Names {
						params[name.Name] = true
					}
				}
				ast.Inspect(fn, func(n ast.Node) bool {
					call, ok := n.(*ast.CallExpr)
					if !ok {
						return true
					}
					name, door := fromDoor(call.Fun)
					ident, _ := call.Fun.(*ast.Ident)
					isWrapper := ident != nil && wrappers[f.folder()+"."+ident.Name]
					if !(door && rawCall.MatchString(name)) && !isWrapper || len(call.Args) == 0 {
						return true
					}
					called[call.Fun] = true
					number, isParam := call.Args[0].(*ast.Ident)
					constant, fromConstants := fromDoor(call.Args[0])
					switch wrapper := f.folder() + "." + fn.Name.Name; {
					case fromConstants && strings.HasPrefix(constant, "SYS_"):
					case isParam && params[number.Name] && fn.Recv == nil:
						again = again || !wrappers[wrapper]
						wrappers[wrapper] = true
					default:
						add(f, call, "a system call whose number is not a constant of its own")
					}
					return true
				})
				return true
			})
			ast.Inspect(f.File, func(n ast.Node) bool {
				if name, door := fromDoor(n); door && rawCall.MatchString(name) && !called[n] {
					add(f, n, name+" as a value")
				}
				return true
			})
		}
	}
	return stray
}

func TestOneDoorForWrites(t *testing.T) {
	var others []goFile
	for _, f := range product(t) {
		if f.folder() != "internal/ambient/linux" {
			others = append(others, f)
		}
	}
	for _, s := range strayCalls(others...) {
		t.Error(s)
	}
	// The rule has to find each way around it.
	const unix = `import "golang.org/x/sys/unix"; `
	for text, finds := range map[string]bool{
		unix + `func f() { unix.Setresuid(0, 0, 0) }`:                                                                 true,
		unix + `func f() { unix.RawSyscall(unix.SYS_SETRESUID, 0, 0, 0) }`:                                            true,
		unix + `func f() { unix.RawSyscall(unix.SYS_SETRESUID32, 0, 0, 0) }`:                                          true,
		unix + `func f() { unix.RawSyscall6(117, 0, 0, 0, 0, 0, 0) }`:                                                 true,
		unix + `const n = unix.SYS_GETPID; func f() { unix.RawSyscall(n, 0, 0, 0) }`:                                  true,
		unix + `func f(n uintptr) { unix.RawSyscall(n, 0, 0, 0) }; func g() { f(unix.SYS_GETPID) }`:                   false,
		unix + `func f(n uintptr) { unix.RawSyscall(n, 0, 0, 0) }; func g() { f(117) }`:                               true,
		unix + `func f(n uintptr) { unix.RawSyscall(n, 0, 0, 0) }; func g(n uintptr) { f(n) }; func h() { g(1+116) }`: true,
		unix + `var f = unix.RawSyscall`:                                                                              true,
		unix + `var f = unix.Capset`:                                                                                  true,
		unix + `func f() { unix.Prctl(0, 0, 0, 0, 0) }`:                                                               true,
		unix + `func f() { unix.RawSyscall(unix.SYS_CAPGET, 0, 0, 0); unix.Getuid(); unix.IoctlSetInt(0, 0, 0) }`:     false,
		`import u "golang.org/x/sys/unix"; func f() { u.Setgroups(nil) }`:                                             true,
		`import . "golang.org/x/sys/unix"; func f() { Setgroups(nil) }`:                                               true,
		`import . "syscall"; func f() { Setgroups(nil) }`:                                                             true,
		`import "syscall"; func f() { syscall.AllThreadsSyscall(syscall.SYS_GETPID, 0, 0, 0) }`:                       true,
		`import "syscall"; func f() { syscall.Syscall(syscall.SYS_SETGID, 0, 0, 0) }`:                                 true,
		`import "kernel.org/pub/linux/libs/security/libcap/psx"; func f() { psx.Syscall6(0, 0, 0, 0, 0, 0, 0) }`:      true,
		`import _ "unsafe"` + "\n//go:linkname f runtime.f\nfunc f()":                                                 true,
		`import "os/exec"; var c exec.Cmd`:                                                                            true,
		`type unix struct{}; func (unix) Setresuid() {}; func f() { var unix unix; unix.Setresuid() }`:                false,
	} {
		if got := strayCalls(parsed(t, "internal/x/x.go", "package x; "+text+"\n")); (len(got) > 0) != finds {
			t.Errorf("%s: %q", text, got)
		}
	}
}

// One exit: whatever fails passes through the one place that maps errors to
// statuses. And two kinds of line on stderr need no logging package.
func TestOneExitAndNoLog(t *testing.T) {
	exits := 0
	for _, f := range product(t) {
		paths := f.paths()
		for name, p := range paths {
			if p == "log" || p == "log/slog" || strings.Contains(p, "zap") || strings.Contains(p, "logrus") || strings.Contains(p, "zerolog") || name == "." && p == "os" {
				t.Errorf("%s imports %s", f.name, p)
			}
		}
		ast.Inspect(f.File, func(n ast.Node) bool {
			if id, ok := n.(*ast.Ident); ok && id.Name == "panic" {
				t.Errorf("%s: panic", f.at(n))
			}
			s, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			if x, ok := s.X.(*ast.Ident); ok && paths[x.Name] == "os" && s.Sel.Name == "Exit" {
				if exits++; f.name != "cmd/caplaunch/main.go" {
					t.Errorf("%s: os.Exit", f.at(n))
				}
			}
			return true
		})
	}
	if exits != 1 {
		t.Errorf("%d exits", exits)
	}
}

// Nobody but main touches the environment of the process: what is the program's
// goes by value.
func TestTheEnvironmentIsReadInOnePlace(t *testing.T) {
	touches := regexp.MustCompile(`^(Getenv|LookupEnv|Environ|Setenv|Unsetenv|Clearenv|ExpandEnv)$`)
	for _, f := range product(t) {
		paths := f.paths()
		ast.Inspect(f.File, func(n ast.Node) bool {
			if s, ok := n.(*ast.SelectorExpr); ok && touches.MatchString(s.Sel.Name) {
				x, isIdent := s.X.(*ast.Ident)
				if isIdent && (paths[x.Name] == "os" || paths[x.Name] == "syscall") && f.folder() != "internal/origin" && f.name != "cmd/caplaunch/other.go" {
					t.Errorf("%s: %s", f.at(n), s.Sel.Name)
				}
			}
			return true
		})
	}
}

func TestAReaderCanHoldEachFileAndFunction(t *testing.T) {
	const mostLines, longest = 400, 60
	for _, f := range product(t) {
		if f.lines > mostLines {
			t.Errorf("%s has %d lines", f.name, f.lines)
		}
		ast.Inspect(f.File, func(n ast.Node) bool {
			fn, ok := n.(*ast.FuncDecl)
			if !ok {
				return true
			}
			if n := f.fset.Position(fn.End()).Line - f.fset.Position(fn.Pos()).Line + 1; n > longest {
				t.Errorf("%s: %s has %d lines", f.at(fn), fn.Name.Name, n)
			}
			return true
		})
	}
}

// built is the command as go build makes it, not at our entry, which hides GODEBUG
// from the runtime.
func built(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "caplaunch")
	build := exec.Command("go", "build", "-o", path, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return path
}

// A launch is paid for by every start of every container: no package of ours
// works before main.
func TestNoWorkInPackageInit(t *testing.T) {
	run := exec.Command(built(t), "version")
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
