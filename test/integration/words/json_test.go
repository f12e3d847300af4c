package words

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/caplaunch/caplaunch/test/integration/engine"
)

// Every kind of line that caplaunch writes is one JSON object when it is asked for, by the flag or by the variable, and two
// or one lines of text when not.
func TestLinesAreJSONWhenAskedFor(t *testing.T) {
	engine.RequireRoot(t)
	probe := engine.Probe(t)
	for _, c := range []struct {
		words, levels string // of the lines
		code          int
	}{
		{"-u 65532:65532 -c net_admin -o 45,sys_resource -- " + probe, "info info", 0},
		{"-u 65532:65532 -c net_admin -q -o 45,sys_resource -- " + probe, "", 0},
		{"-u 65532:65532 -c net_admin -v --stdio=keep -- " + probe, "debug debug debug debug debug debug debug debug", 0},
		{"-u 65532:65532 -c 45 -- " + probe, "error", 77},
		{"-u 65532:65532 --strict -- " + probe, "error", 78},
		{"-u 65532:65532 -- /nonexistent", "error", 127},
		{"-u 65532:65532 -- /etc/passwd", "error", 126},
		{"-u 4294967296 -- true", "error", 125},
		{"", "error", 125},
		{"--bogus -- true", "error", 125},
		{"explain -c net_amdin -- true", "error", 125},
		{"explain --for=docker -c net_admin", "info", 0},
		{"check --allow=none", "error", 78},
		{"check --allow=all", "", 0},
		{"show", "", 0},
		{"install /dev/null", "error", 125},
		{"version --bogus", "error", 125},
		{"version", "", 0},
		{"--help", "", 0},
	} {
		words := strings.Fields(c.words)
		run := func(env string, words ...string) engine.Result {
			cmd := exec.Command(engine.Caplaunch(t), words...)
			cmd.Env = append([]string{"PATH=/bin:/usr/bin"}, strings.Fields(env)...)
			return engine.Command(t, cmd)
		}
		levels := func(r engine.Result) string {
			var l []string
			for _, line := range engine.Lines(t, r) {
				l = append(l, line.Level)
				if about := line.Code == 77 || line.Code == 78; line.Level == "error" && about != (line.Capability != nil) {
					t.Errorf("%s: %+v", c.words, line)
				}
				if isError := line.Level == "error"; line.Msg == "" || isError != (line.Hint != "") || isError != (line.Code != 0) {
					t.Errorf("%s: %+v", c.words, line)
				}
			}
			return strings.Join(l, " ")
		}
		r := run("CAPLAUNCH_LOG_FORMAT=json", words...)
		if got := levels(r); got != c.levels || r.Code != c.code {
			t.Errorf("%s: %q\n%v", c.words, got, r)
		}
		// The flag says the same, where the command has it; and it wins.
		if len(words) > 0 && words[0] != "version" && words[0] != "--help" {
			at := 0
			if slices.Contains([]string{"explain", "check", "show", "install"}, words[0]) {
				at = 1
			}
			flagged := run("CAPLAUNCH_LOG_FORMAT=text", slices.Insert(slices.Clone(words), at, "--log-format=json")...)
			if flagged.Code != r.Code || levels(flagged) != c.levels {
				t.Errorf("%s: %v\nby the variable: %v", c.words, flagged, r)
			}
		}
		text := run("", words...)
		want := len(strings.Fields(c.levels)) + strings.Count(c.levels, "error")
		if n := strings.Count(text.Stderr, "\n"); n != want || strings.Count(text.Stderr, "caplaunch: ") < want || text.Code != c.code {
			t.Errorf("%s: %d lines, want %d: %v", c.words, n, want, text)
		}
	}
}

// version says what was built, in text and in JSON.
func TestVersion(t *testing.T) {
	var v struct {
		Version, Commit, Go, Platform string
		Modified, Entry               bool
	}
	engine.Decode(t, caplaunch(t, "version", "--json").Stdout, &v)
	if v.Version == "" || v.Commit == "" || v.Go != runtime.Version() || v.Platform != runtime.GOOS+"/"+runtime.GOARCH ||
		v.Entry != (runtime.GOARCH == "amd64" || runtime.GOARCH == "arm64") {
		t.Errorf("%+v", v)
	}
	for _, words := range [][]string{{"version"}, {"version", "-v"}} {
		r := caplaunch(t, words...).Ran(t, v.Platform)
		if !strings.HasPrefix(r.Stdout, "caplaunch "+v.Version+"\n") {
			t.Error(r)
		}
		if !strings.HasPrefix(v.Version, "v0.0.0-") { // a long pseudo-version is nobody's choice
			wantWidth(t, "version", r.Stdout)
		}
	}
}

// What other systems get behaves as its tests say: they are run here, on a build whose files for Linux are hidden. That they
// build is proven where the release is.
func TestOtherSystemsBehave(t *testing.T) {
	dir := filepath.Join(engine.Root, "cmd/caplaunch")
	changed := map[string]string{}
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	engine.Must(t, err)
	for _, path := range files {
		data := engine.Read(t, path)
		if text, other := strings.CutPrefix(data, "//go:build !linux\n"); other {
			changed[path] = text
		} else if strings.HasSuffix(path, "_linux.go") || strings.HasSuffix(path, "_linux_test.go") || strings.Contains(data, "//go:build linux\n") {
			changed[path] = ""
		}
	}
	cmd := exec.Command("go", "test", engine.Overlay(t, changed), "-count=1", "-v", "-run=^(TestCheckSkipsOnceAndSucceeds|TestOnlyVersionAndExplainForDoWithoutLinux)$", ".")
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "CGO_ENABLED=0")
	engine.Command(t, cmd).Ran(t, "--- PASS: TestCheckSkipsOnceAndSucceeds", "--- PASS: TestOnlyVersionAndExplainForDoWithoutLinux")
	cmd = exec.Command("go", "vet", "./cmd/caplaunch", "./internal/...")
	cmd.Dir, cmd.Env = engine.Root, append(os.Environ(), "GOOS=darwin", "CGO_ENABLED=0")
	engine.Command(t, cmd).Ran(t)
}

// docs/json.md names every key that there is.
func TestEveryKeyIsDocumented(t *testing.T) {
	engine.RequireRoot(t)
	doc := engine.Read(t, filepath.Join(engine.Root, "docs/json.md"))
	keys, key := map[string]bool{}, regexp.MustCompile(`"([^"\\]+)":`)
	for _, r := range []engine.Result{
		caplaunch(t, "version", "--json"), caplaunch(t, "show", "--json"), caplaunch(t, "check", "--json", "--log-format=json", "--allow=none"),
		caplaunch(t, "explain", "--json", "--for=compose", "-u", "1:1"), caplaunch(t, behind(t, "explain", "--json", "-u", "65532:65532", "-o", "45")...),
		caplaunch(t, behind(t, "explain", "--json", "-u", "65532:65532", "-c", "45")...), caplaunch(t, behind(t, "--log-format=json", "-u", "65532:65532", "-c", "45")...),
	} {
		for line := range strings.Lines(r.Stdout + r.Stderr) {
			var v any
			engine.Decode(t, line, &v)
			for _, m := range key.FindAllStringSubmatch(line, -1) {
				keys[m[1]] = true
			}
		}
	}
	for k := range keys {
		if !strings.Contains(doc, "`"+k+"`") {
			t.Errorf("%s is not in docs/json.md", k)
		}
	}
	if len(keys) < 40 {
		t.Errorf("only %d", len(keys))
	}
}
