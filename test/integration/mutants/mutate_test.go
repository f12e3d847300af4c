package mutants

import (
	"cmp"
	"fmt"
	"go/ast"
	"go/constant"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// A mutant breaks one place of a function. All of them are built into one binary, in which a number chooses one.
type mutant struct {
	n    int
	name string // file, function, what becomes of which piece of source
	room *room
}

// A mutator builds all mutants of a package into its source.
type mutator struct {
	fset    *token.FileSet
	info    types.Info
	pkg     *types.Package
	imports map[string]bool // of the file, by path
	source  []byte
	in      string       // file and function
	results *types.Tuple // of the function
	found   func(name string) (n int)
	inserts []insert
}

// An insert is text before or after a node.
type insert struct {
	at, inner int // offset; of several at one place, the smaller comes first
	text      string
}

// The number of the mutant at work stands behind the mark: whoever tries one writes it there, in a copy of the
// binary. So nothing has to hand it on to the processes that a test starts.
const (
	mark    = "\x03\x14\x15\x92\x65\x35\x89\x79\x32\x38\x46\x26\x43\x38\x32\x79"
	helpers = `package %s

var mutant = [3]uint64{0x7989356592151403, 0x7932384326463832, 0}

func mutateBool(n uint64, b bool) bool { return mutant[2] == n || mutant[2] != n+1 && b }

func mutateZero[T any](n uint64, v T) T {
	if mutant[2] == n {
		return *new(T)
	}
	return v
}

func mutateOnes[T ~int | ~int64 | ~uint8 | ~uint16 | ~uint32 | ~uint64 | ~uintptr](n uint64, v T) T {
	if mutant[2] == n {
		return ^T(0)
	}
	return v
}
`
)

// aside are functions that only say something, and calls that only tidy up.
var aside = map[string]bool{"String": true, "Error": true, "Names": true, "Unwrap": true, "Say": true, "printHelp": true, "Close": true, "KeepAlive": true}

func isAside(call *ast.CallExpr) bool {
	s, ok := call.Fun.(*ast.SelectorExpr)
	return ok && aside[s.Sel.Name]
}

var errorType = types.Universe.Lookup("error").Type()

// load parses and type-checks the files of a package; exports are what the compiler made of those that it imports.
func (m *mutator) load(files []string, exports map[string]string) (parsed []*ast.File, err error) {
	m.fset = token.NewFileSet()
	for _, f := range files {
		p, err := parser.ParseFile(m.fset, f, nil, 0)
		if err != nil {
			return nil, err
		}
		parsed = append(parsed, p)
	}
	m.info = types.Info{Types: map[ast.Expr]types.TypeAndValue{}, Defs: map[*ast.Ident]types.Object{}}
	config := types.Config{Importer: importer.ForCompiler(m.fset, "gc", func(path string) (io.ReadCloser, error) { return os.Open(exports[path]) })}
	m.pkg, err = config.Check(parsed[0].Name.Name, m.fset, parsed, &m.info)
	return parsed, err
}

// mutate puts every mutant into the source of a file: each condition is true or false, each limit is off by one, each
// part of a mask is all or nothing, each value in a literal, of a return and of a system call is zero, each error is
// nil, and each assignment and call is left out.
func (m *mutator) mutate(file *ast.File) (source []byte, err error) {
	path := m.fset.Position(file.Pos()).Filename
	if m.source, err = os.ReadFile(path); err != nil {
		return nil, err
	}
	m.inserts, m.imports = nil, map[string]bool{}
	for _, i := range file.Imports {
		m.imports[strings.Trim(i.Path.Value, `"`)] = i.Name == nil
	}
	for _, d := range file.Decls {
		fn, ok := d.(*ast.FuncDecl)
		if !ok || fn.Body == nil || aside[fn.Name.Name] {
			continue
		}
		m.in = filepath.Base(path) + " " + fn.Name.Name
		if fn.Recv != nil {
			m.in = filepath.Base(path) + " " + strings.TrimLeft(m.text(fn.Recv.List[0].Type), "*") + "." + fn.Name.Name
		}
		m.function(m.info.Defs[fn.Name].Type(), fn.Body)
	}
	slices.SortStableFunc(m.inserts, func(a, b insert) int { return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.inner, b.inner)) })
	from := 0
	for _, i := range m.inserts {
		source = append(append(source, m.source[from:i.at]...), i.text...)
		from = i.at
	}
	return append(source, m.source[from:]...), nil
}

func (m *mutator) function(signature types.Type, body ast.Node) {
	outer := m.results
	m.results = signature.(*types.Signature).Results()
	ast.Inspect(body, m.visit)
	m.results = outer
}

func (m *mutator) text(node ast.Node) string {
	return string(m.source[m.fset.Position(node.Pos()).Offset:m.fset.Position(node.End()).Offset])
}

// wrap puts a node between two texts; each becomes says what a number makes of it. In the texts N is the first
// number, and M the one behind it.
func (m *mutator) wrap(node ast.Node, before, after string, becomes ...string) {
	number := strings.NewReplacer()
	for i, b := range becomes {
		n := m.found(fmt.Sprintf("%s: %s becomes %s", m.in, strings.Join(strings.Fields(m.text(node)), " "), b))
		if i == 0 {
			number = strings.NewReplacer("$N", fmt.Sprint(n), "$M", fmt.Sprint(n+2))
		}
	}
	from, to := m.fset.Position(node.Pos()).Offset, m.fset.Position(node.End()).Offset
	end := slices.IndexFunc(m.inserts, func(i insert) bool { return i.at == to && i.inner == -from })
	if end < 0 {
		end = len(m.inserts) // else this is the outer one's inner: it ends first
	}
	m.inserts = slices.Insert(m.inserts, end, insert{to, -from, number.Replace(after)})
	m.inserts = append(m.inserts, insert{from, -to, number.Replace(before)})
}

func (m *mutator) visit(node ast.Node) bool {
	switch node := node.(type) {
	case *ast.FuncLit:
		m.function(m.info.TypeOf(node), node.Body)
		return false
	case *ast.BlockStmt:
		m.statements(node.List)
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
				} else {
					m.operand(e, "mutateOnes", "another", nil)
				}
			}
		}
	case *ast.CaseClause:
		m.statements(node.Body)
	case *ast.ReturnStmt:
		if len(node.Results) != m.results.Len() {
			break // of a function that is called here
		}
		last := len(node.Results) - 1
		for i, e := range node.Results {
			if i < last && types.Identical(m.results.At(last).Type(), errorType) && !m.info.Types[node.Results[last]].IsNil() {
				continue // what stands beside an error does not count
			}
			switch t := m.results.At(i).Type(); {
			case types.Identical(t.Underlying(), types.Typ[types.Bool]):
				m.condition(e)
			case types.Identical(t, errorType) && m.text(e) == "err": // its condition and the call are broken
			case types.Identical(t, errorType) && !m.fails(e):
				m.operand(e, "mutateZero", "nil", t)
			case !m.fails(e):
				m.operand(e, "mutateZero", "zero", nil)
			}
		}
	case *ast.BinaryExpr:
		m.binary(node)
	case *ast.CompositeLit:
		for _, e := range node.Elts {
			if kv, ok := e.(*ast.KeyValueExpr); ok {
				e = kv.Value
			}
			m.operand(e, "mutateZero", "zero", nil)
		}
	case *ast.CallExpr:
		if isAside(node) {
			return false
		}
		if m.fails(node) {
			m.wrap(node, "func() error { if mutant[2] == $N { return nil }; return ", "}()", "nil")
		}
		if f := m.text(node.Fun); f == "k.call" || f == "call" || strings.HasPrefix(f, "unix.") || strings.HasPrefix(f, "syscall.") {
			for _, a := range node.Args {
				m.operand(a, "mutateZero", "zero", nil)
			}
		}
	}
	return true
}

// fails reports whether an expression is a call that gives an error and nothing else.
func (m *mutator) fails(e ast.Expr) bool {
	call, ok := e.(*ast.CallExpr)
	return ok && !m.info.Types[call.Fun].IsType() && types.Identical(m.info.TypeOf(e), errorType)
}

func (m *mutator) binary(e *ast.BinaryExpr) {
	if m.info.Types[e].Value != nil {
		return
	}
	isError := m.info.Types[e.Y].IsNil() && types.Identical(m.info.TypeOf(e.X), errorType)
	switch e.Op {
	case token.EQL, token.NEQ:
		if isError && e.Op == token.NEQ { // one that is there although there is none would be found at once
			m.wrap(e, "(mutant[2] != $N && ", ")", "false")
			break
		}
		m.wrap(e, "mutateBool($N, ", ")", "true", "false")
	case token.LSS, token.GTR, token.LEQ, token.GEQ:
		m.wrap(e, "(mutateBool($N, ", ") != (mutant[2] == $M && "+m.text(e.X)+" == "+m.text(e.Y)+"))", "true", "false", "off by one")
	case token.AND:
		m.operand(e.X, "mutateOnes", "all", nil)
		m.operand(e.Y, "mutateOnes", "all", nil)
	case token.OR:
		m.operand(e.X, "mutateZero", "nothing", nil)
		m.operand(e.Y, "mutateZero", "nothing", nil)
	case token.AND_NOT:
		m.operand(e.Y, "mutateZero", "nothing", nil)
	}
}

// statements leaves out what assigns or calls.
func (m *mutator) statements(list []ast.Stmt) {
	for _, s := range list {
		switch s := s.(type) {
		case *ast.AssignStmt:
			if call, _ := s.Rhs[0].(*ast.CallExpr); s.Tok != token.DEFINE && !m.fails(s.Rhs[0]) && (call == nil || !isAside(call)) {
				m.wrap(s, "if mutant[2] != $N { ", " }", "nothing")
			}
		case *ast.IncDecStmt:
			m.wrap(s, "if mutant[2] != $N { ", " }", "nothing")
		case *ast.ExprStmt:
			if call, _ := s.X.(*ast.CallExpr); !m.fails(s.X) && (call == nil || !isAside(call)) {
				m.wrap(s, "if mutant[2] != $N { ", " }", "nothing")
			}
		}
	}
}

// condition breaks what a condition is made of, but for comparisons, which are broken wherever they stand.
func (m *mutator) condition(e ast.Expr) {
	switch x := e.(type) {
	case *ast.ParenExpr:
		m.condition(x.X)
		return
	case *ast.UnaryExpr:
		m.condition(x.X)
		return
	case *ast.BinaryExpr:
		if x.Op == token.LAND || x.Op == token.LOR {
			m.condition(x.X)
			m.condition(x.Y)
		}
		return
	}
	switch v := m.info.Types[e].Value; {
	case v == nil:
		m.wrap(e, "mutateBool($N, ", ")", "true", "false")
	case constant.BoolVal(v):
		m.wrap(e, "mutant[2] != $N && ", "", "false")
	default:
		m.wrap(e, "mutant[2] == $N || ", "", "true")
	}
}

// operand breaks a value of the type, nil for its own, but for texts, what is zero, and pointers that the compiler must
// see.
func (m *mutator) operand(e ast.Expr, how, becomes string, t types.Type) {
	own := m.info.Types[e]
	lit, isLit := e.(*ast.CompositeLit)
	basic, _ := own.Type.Underlying().(*types.Basic)
	switch text := m.text(e); {
	case !own.IsValue(), own.IsNil(), isLit && (lit.Type == nil || len(lit.Elts) == 0), strings.Contains(text, "unsafe."), strings.Contains(text, ".SYS_"), text == "op":
		return
	case basic != nil && basic.Info()&types.IsBoolean != 0:
		m.condition(e)
		return
	case own.Value != nil && (own.Value.Kind() != constant.Int || constant.Sign(own.Value) == 0):
		return
	case how == "mutateOnes" && (basic == nil || basic.Info()&types.IsInteger == 0):
		return
	}
	b, isBinary := ast.Unparen(e).(*ast.BinaryExpr)
	if isBinary && (b.Op == token.OR || b.Op == token.AND) {
		return // its parts are broken
	}
	if t == nil && (own.Value != nil || isBinary) { // what has no type of its own
		t = own.Type
	}
	if t == nil {
		m.wrap(e, how+"($N, ", ")", becomes)
		return
	}
	canName := true
	name := types.TypeString(t, func(p *types.Package) string {
		if p == m.pkg {
			return ""
		}
		canName = canName && m.imports[p.Path()]
		return p.Name()
	})
	if canName {
		m.wrap(e, how+"["+name+"]($N, ", ")", becomes)
	}
}
