package docs

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/caplaunch/caplaunch/test/integration/engine"
)

// Every row of docs/promises.md names tests that exist, or says why there is none.
func TestEveryPromiseIsShown(t *testing.T) {
	exist := map[string]bool{}
	engine.Must(t, filepath.WalkDir(engine.Root, func(path string, d os.DirEntry, err error) error {
		if err == nil && d.IsDir() && strings.HasPrefix(d.Name(), ".") {
			return filepath.SkipDir
		}
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		pkg := strings.TrimSuffix(file.Name.Name, "_test")
		for _, decl := range file.Decls {
			if f, ok := decl.(*ast.FuncDecl); ok && f.Recv == nil && strings.HasPrefix(f.Name.Name, "Test") {
				exist[pkg+"."+f.Name.Name] = true
			}
		}
		return nil
	}))
	name := regexp.MustCompile("`([a-z]+\\.Test[^`]*)`")
	rows := 0
	for line := range strings.Lines(engine.Read(t, filepath.Join(engine.Root, "docs/promises.md"))) {
		cells := strings.Split(strings.Trim(line, "|\n "), " | ")
		if !strings.HasPrefix(line, "| ") || cells[0] == "promise" || cells[0] == "---" {
			continue
		}
		rows++
		tests := name.FindAllStringSubmatch(line, -1)
		if len(cells) != 2 || len(tests) == 0 && !strings.HasPrefix(cells[1], "none: ") {
			t.Errorf("neither a test nor a reason: %s", line)
		}
		for _, m := range tests {
			if !exist[m[1]] {
				t.Errorf("there is no test %s: %s", m[1], cells[0])
			}
		}
	}
	if rows < 100 {
		t.Errorf("only %d promises", rows)
	}
}
