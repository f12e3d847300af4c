package docs

import (
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/caplaunch/caplaunch/test/integration/engine"
)

// Every row of docs/promises.md names tests that exist, or says why there is none.
func TestEveryPromiseIsShown(t *testing.T) {
	exist := map[string]bool{}
	pkg, test := regexp.MustCompile(`(?m)^package (\w+?)(?:_test)?$`), regexp.MustCompile(`(?m)^func (Test\w+)\(`)
	for _, path := range files(t, "*_test.go") {
		text := engine.Read(t, path)
		for _, m := range test.FindAllStringSubmatch(text, -1) {
			exist[pkg.FindStringSubmatch(text)[1]+"."+m[1]] = true
		}
	}
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
