//go:build linux

package oracle

import (
	"cmp"
	"encoding/json"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

var (
	allMutants  = flag.Bool("all", false, "try all mutants, not a share that the seed chooses")
	someMutants = flag.Int("mutants", 40, "how many mutants to try without -all")
	oneMutant   = flag.String("mutant", "", "try only the mutants with this in their names")
)

// A mutant breaks one place of a function: number n of those that are built into
// one binary, of which the environment chooses one.
type mutant struct {
	n      int
	name   string // file, function, what becomes of which piece of source
	judges []judge
}

// A mutator builds all mutants of a source file into it.
type mutator struct {
	fset    *token.FileSet
	source  []byte
	in      string // file and function
	next    int
	mutants []mutant
	inserts []insert
	names   map[string]int
}

// An insert is text before or after a node.
type insert struct {
	at    int // offset
	inner int // of several at one place, the smaller comes first
	text  string
}

// helpers are what the mutants call; the package is theirs.
const helpers = `package %s

import (
	"os"
	"strconv"
)

var mutant, _ = strconv.Atoi(os.Getenv("` + mutantEnv + `"))

func mutateBool(n int, b bool) bool { return mutant == n || mutant != n+1 && b }

func mutateZero[T any](n int, v T) T {
	if mutant == n {
		return *new(T)
	}
	return v
}

func mutateOnes[T ~uint8 | ~uint32 | ~uint64](n int, v T) T {
	if mutant == n {
		return ^T(0)
	}
	return v
}
`

const mutantEnv = "ORACLE_MUTANT"

// mutate wraps a node in a call; variants says what each number, from the next one
// on, makes of it.
func (m *mutator) mutate(node ast.Node, format, end string, variants ...string) {
	from, to := m.fset.Position(node.Pos()).Offset, m.fset.Position(node.End()).Offset
	m.inserts = append(m.inserts, insert{from, -to, fmt.Sprintf(format, m.next)}, insert{to, -from, end})
	text := strings.Join(strings.Fields(string(m.source[from:to])), " ")
	for _, v := range variants {
		name := fmt.Sprintf("%s: %s becomes %s", m.in, text, v)
		if m.names[name]++; m.names[name] > 1 {
			name += fmt.Sprintf(", number %d", m.names[name])
		}
		m.mutants = append(m.mutants, mutant{n: m.next, name: name})
		m.next++
	}
}

// file puts every mutant of a file's functions into its source: each condition is
// true or false, each part of a mask is all or nothing, each value in a literal and
// each argument of a system call is zero, and each assignment and call is left out.
func (m *mutator) file(path string) error {
	var err error
	if m.source, err = os.ReadFile(path); err != nil {
		return err
	}
	m.fset, m.inserts = token.NewFileSet(), nil
	parsed, err := parser.ParseFile(m.fset, path, m.source, 0)
	if err != nil {
		return err
	}
	for _, d := range parsed.Decls {
		fn, ok := d.(*ast.FuncDecl)
		if !ok || fn.Body == nil || aside[fn.Name.Name] {
			continue
		}
		m.in = filepath.Base(path) + " " + fn.Name.Name
		if fn.Recv != nil {
			m.in = filepath.Base(path) + " " + strings.TrimLeft(m.text(fn.Recv.List[0].Type), "*") + "." + fn.Name.Name
		}
		ast.Inspect(fn.Body, m.visit)
	}
	slices.SortStableFunc(m.inserts, func(a, b insert) int { return 2*cmp.Compare(a.at, b.at) + cmp.Compare(a.inner, b.inner) })
	var out []byte
	from := 0
	for _, i := range m.inserts {
		out = append(append(out, m.source[from:i.at]...), i.text...)
		from = i.at
	}
	m.source = append(out, m.source[from:]...)
	return nil
}

// aside are functions that only say something, or read a file.
var aside = map[string]bool{"String": true, "Error": true, "Names": true, "ReadFile": true}

func (m *mutator) text(node ast.Node) string {
	return string(m.source[m.fset.Position(node.Pos()).Offset:m.fset.Position(node.End()).Offset])
}

func (m *mutator) visit(node ast.Node) bool {
	switch node := node.(type) {
	case *ast.BlockStmt:
		m.statements(node.List)
	case *ast.CaseClause:
		m.statements(node.Body)
	case *ast.ForStmt: // but for its condition, lest it never ends
		ast.Inspect(node.Body, m.visit)
		return false
	case *ast.IfStmt:
		m.condition(node.Cond)
	case *ast.SwitchStmt:
		for _, clause := range node.Body.List {
			for _, e := range clause.(*ast.CaseClause).List {
				if node.Tag == nil {
					m.condition(e)
				}
			}
		}
	case *ast.Ident:
		if node.Name == "true" || node.Name == "false" {
			m.mutate(node, "(mutant == %d) != ", "", "the contrary")
		}
	case *ast.BinaryExpr:
		switch node.Op {
		case token.EQL, token.NEQ, token.LSS, token.GTR, token.LEQ, token.GEQ:
			m.mutate(node, "mutateBool(%d, ", ")", "true", "false")
		case token.AND:
			m.operand(node.X, "mutateOnes", "all")
			m.operand(node.Y, "mutateOnes", "all")
		case token.OR:
			m.operand(node.X, "mutateZero", "nothing")
			m.operand(node.Y, "mutateZero", "nothing")
		case token.AND_NOT:
			m.operand(node.Y, "mutateZero", "nothing")
		}
	case *ast.CompositeLit:
		if _, isArray := node.Type.(*ast.ArrayType); isArray {
			break
		}
		for _, e := range node.Elts {
			if kv, ok := e.(*ast.KeyValueExpr); ok {
				e = kv.Value
			}
			m.operand(e, "mutateZero", "zero")
		}
	case *ast.CallExpr:
		if m.text(node.Fun) == "k.call" { // the number of the call aside
			for _, a := range node.Args[1:] {
				m.operand(a, "mutateZero", "zero")
			}
		}
	}
	return true
}

// statements leaves out what assigns or calls.
func (m *mutator) statements(list []ast.Stmt) {
	for _, s := range list {
		switch s := s.(type) {
		case *ast.AssignStmt:
			if s.Tok != token.DEFINE {
				m.mutate(s, "if mutant != %d { ", " }", "nothing")
			}
		case *ast.ExprStmt:
			m.mutate(s, "if mutant != %d { ", " }", "nothing")
		}
	}
}

// condition breaks what a condition is made of, but for comparisons, which are
// broken wherever they stand.
func (m *mutator) condition(e ast.Expr) {
	switch x := e.(type) {
	case *ast.ParenExpr:
		m.condition(x.X)
	case *ast.UnaryExpr:
		m.condition(x.X)
	case *ast.BinaryExpr:
		if x.Op == token.LAND || x.Op == token.LOR {
			m.condition(x.X)
			m.condition(x.Y)
		}
	default:
		m.mutate(e, "mutateBool(%d, ", ")", "true", "false")
	}
}

// operand breaks a value, but for constants that have no type yet, and pointers that
// the compiler must see.
func (m *mutator) operand(e ast.Expr, how, becomes string) {
	text := m.text(e)
	if _, isLiteral := e.(*ast.BasicLit); isLiteral || text == "op" || strings.HasPrefix(text, "unix.") || strings.Contains(text, "unsafe.") || strings.Contains(text, "<<") {
		return
	}
	m.mutate(e, how+"(%d, ", ")", becomes)
}

// A judge is a test that has to find a mutant out: by what it says, lest it fails for
// another reason.
type judge struct {
	dir  string // of its package
	run  string
	args []string
	says string
}

const (
	here      = "."
	model     = "../../../internal/ambient"
	kernel    = model + "/linux"
	disagrees = `the model disagrees with the kernel`
	unitFails = `(?m)^--- FAIL: |^panic: `
)

// sources are what is broken, and who finds it out: the first of several.
var sources = []struct {
	file   string
	judges []judge
}{
	{model + "/rules.go", []judge{
		{here, "^TestModelAgreesAsRoot$", []string{"-n=20000"}, disagrees},
		{here, "^TestMoreGroupsThanNGROUPS_MAXAreRefused$", nil, disagrees},
		{here, "^TestModelAgreesWhereOneIDIsMapped$", []string{"-n=20000"}, disagrees},
		{model, "^Test", nil, unitFails},
	}},
	{model + "/plan.go", []judge{{model, "^Test", nil, unitFails}}},
	{model + "/allow.go", []judge{{model, "^Test", nil, unitFails}}},
	// A Kernel that is wrong can already fail to take up the starting state.
	{kernel + "/kernel.go", []judge{{kernel, "^Test", nil, unitFails}, {here, "^TestModelAgreesThrough", []string{"-doors=1000"}, disagrees +
		`|starting state|thread \d+ has|no signal can be queued|not enough to start with|results? differs? between threads|no answer about the rule for ids`}}},
	{kernel + "/read.go", []judge{{kernel, "^Test", nil, unitFails}, {here, "^TestModelAgreesThrough", []string{"-doors=1000"}, disagrees +
		`|starting state|not enough to start with|no answer about the rule for ids|: it reports success without an answer`}}},
}

// build puts all mutants into the test binaries of the judges.
func build(t *testing.T, dir string) (all []mutant, binaries map[string]string) {
	overlay, binaries := map[string]string{}, map[string]string{}
	put := func(path, name string, source []byte) {
		path, err := filepath.Abs(path)
		must(t, err)
		overlay[path] = filepath.Join(dir, name)
		must(t, os.WriteFile(overlay[path], source, 0o644))
	}
	m := &mutator{next: 1, names: map[string]int{}}
	for i, s := range sources {
		must(t, m.file(s.file))
		put(s.file, fmt.Sprint(i, ".go"), m.source)
		for range len(m.mutants) - len(all) {
			all = append(all, m.mutants[len(all)])
			all[len(all)-1].judges = s.judges
		}
		for _, j := range s.judges {
			if binaries[j.dir] == "" {
				binaries[j.dir] = filepath.Join(dir, fmt.Sprint(len(binaries), ".test"))
			}
		}
	}
	for _, pkg := range []string{model, kernel} {
		put(pkg+"/mutate.go", filepath.Base(pkg)+".go", fmt.Appendf(nil, helpers, filepath.Base(pkg)))
	}
	b, err := json.Marshal(map[string]any{"Replace": overlay})
	must(t, err)
	must(t, os.WriteFile(filepath.Join(dir, "overlay.json"), b, 0o644))
	for pkg, binary := range binaries {
		build := exec.Command("go", "test", "-c", "-vet=off", "-overlay="+filepath.Join(dir, "overlay.json"), "-o", binary, ".")
		build.Dir = pkg
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("the mutants do not build: %v\n%s", err, out)
		}
	}
	return all, binaries
}

// try reports whether a judge finds a mutant out.
func (j judge) try(m mutant, binary, executor string) (caught bool, out string) {
	args := append([]string{"-test.run=" + j.run, "-test.v", "-test.failfast", "-test.timeout=2m"}, j.args...)
	cmd := exec.Command(binary, args...)
	cmd.Dir = j.dir
	cmd.Env = append(os.Environ(), executorEnv+"="+executor, "TEST_REQUIRE=1", "TEST_SEED=1", fmt.Sprint(mutantEnv, "=", m.n))
	b, err := cmd.CombinedOutput()
	return err != nil && regexp.MustCompile(j.says).Match(b), string(b)
}

// TestEveryMutantIsFoundOut breaks the model, the plan and what makes the calls in
// one place at a time: a mutant that all judges pass is a test that is missing.
func TestEveryMutantIsFoundOut(t *testing.T) {
	if os.Getuid() != 0 {
		unusable(t, "needs root")
	}
	require(t, "go")
	dir := publicDir(t)
	all, binaries := build(t, dir)
	path := executor(t, dir)
	chosen := slices.DeleteFunc(slices.Clone(all), func(m mutant) bool { return !strings.Contains(m.name, *oneMutant) })
	for name := range alike {
		if !slices.ContainsFunc(all, func(m mutant) bool { return m.name == name }) {
			t.Errorf("no mutant: %s", name)
		}
	}
	if !*allMutants && *oneMutant == "" {
		r := rand.New(rand.NewPCG(1, 3)) // the same share every time: make oracle tries all
		r.Shuffle(len(chosen), func(i, j int) { chosen[i], chosen[j] = chosen[j], chosen[i] })
		chosen = chosen[:min(*someMutants, len(chosen))]
	}
	begin := time.Now()
	work := make(chan mutant)
	var caught, same atomic.Int64
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for m := range work {
				_, isAlike := alike[m.name]
				found, out := false, ""
				for _, j := range m.judges {
					if found, out = j.try(m, binaries[j.dir], path); found {
						break
					}
				}
				switch {
				case found && isAlike:
					t.Errorf("found out after all: %s", m.name)
				case found:
					caught.Add(1)
				case isAlike:
					same.Add(1)
				default:
					t.Errorf("lives: %d %s\n%.600s", m.n, m.name, out[max(0, len(out)-600):])
				}
			}
		})
	}
	for _, m := range chosen {
		work <- m
	}
	close(work)
	wg.Wait()
	t.Logf("-seed=%d: %d of %d mutants, %d found out, %d change nothing, %.0f s", theSeed(), len(chosen), len(all), caught.Load(), same.Load(), time.Since(begin).Seconds())
}

// alike are mutants that nobody can find out, and why.
var alike = map[string]string{
	"read.go reader.groups: n > ambient.MaxGroups becomes false": "it only saves memory",
}
