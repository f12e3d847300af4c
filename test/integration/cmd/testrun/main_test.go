package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// module is a throw-away module whose tests testrun runs.
func module(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	files["go.mod"] = "module example.test/m\n\ngo 1.26\n"
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

const head = "package m\n\nimport (\n\t\"os\"\n\t\"testing\"\n)\n\nvar _ = os.Exit\n\n"

func TestLastLineAndExitStatus(t *testing.T) {
	for _, c := range []struct {
		name  string
		files map[string]string
		code  int
		last  string
		say   string
	}{
		{"leaves are counted, parents are not", map[string]string{"a_test.go": head + `
func TestA(t *testing.T) { t.Run("x", func(*testing.T) {}); t.Run("y/z", func(t *testing.T) { t.Skip("no moon") }) }
func TestB(*testing.T) {}`}, 0, "2 passed, 0 failed, 1 skipped", "no moon"},
		{"a failing leaf", map[string]string{"a_test.go": head + `
func TestA(t *testing.T) { t.Run("x", func(t *testing.T) { t.Error("boom") }); t.Run("y", func(*testing.T) {}) }`},
			1, "1 passed, 1 failed, 0 skipped", "boom"},
		{"a parent that fails by itself", map[string]string{"a_test.go": head + `
func TestA(t *testing.T) { t.Run("x", func(*testing.T) {}); t.Error("late") }`}, 1, "1 passed, 1 failed, 0 skipped", "late"},
		{"a crash", map[string]string{"a_test.go": head + `
func TestA(*testing.T) {}
func TestB(*testing.T) { os.Exit(3) }`}, 1, "1 passed, 1 failed, 0 skipped", "did not finish"},
		{"a TestMain that fails", map[string]string{"a_test.go": head + `
func TestMain(m *testing.M) { m.Run(); os.Exit(1) }
func TestA(*testing.T) {}`}, 1, "1 passed, 1 failed, 0 skipped", ""},
		{"a package that does not build", map[string]string{"a_test.go": head + "func TestA(*testing.T) { nope }"},
			1, "0 passed, 1 failed, 0 skipped", "undefined: nope"},
		{"no test", map[string]string{"a.go": "package m\n"}, 1, "0 passed, 1 failed, 0 skipped", "no test ran"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out strings.Builder
			code := run([]string{module(t, c.files), "./..."}, &out)
			lines := strings.Split(strings.TrimSpace(out.String()), "\n")
			if last := lines[len(lines)-1]; code != c.code || last != c.last || !strings.Contains(out.String(), c.say) {
				t.Errorf("exit %d, want %d; last line %q, want %q; want %q in:\n%s", code, c.code, last, c.last, c.say, out.String())
			}
		})
	}
}

func TestGroupsAddUpAndBadPatternsFail(t *testing.T) {
	dir := module(t, map[string]string{"a_test.go": head + "func TestA(*testing.T) {}"})
	var out strings.Builder
	if code := run([]string{dir, "./...", "--", dir, "-run=A", "."}, &out); code != 0 || !strings.HasSuffix(out.String(), "\n2 passed, 0 failed, 0 skipped\n") {
		t.Errorf("exit %d:\n%s", code, out.String())
	}
	for _, bad := range [][]string{{dir, "-run=Nothing", "."}, {dir, "./none"}, {dir, "-noflag"}, {dir + "/none", "."}, {}} {
		out.Reset()
		if code := run(bad, &out); code != 1 {
			t.Errorf("%q: exit %d:\n%s", bad, code, out.String())
		}
	}
}
