// Package docs does what the documents print: every fenced block of every page is run, or says why not.
package docs

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/caplaunch/caplaunch/test/integration/engine"
)

func TestMain(m *testing.M) { engine.Main(m) }

// A block is one fenced block of a page. The HTML comment above it, its mark, says what is done with it:
//
//	<!-- run -->             run it on this machine, as root, in a copy of the repository that the page's blocks share
//	<!-- run: systemd -->    run it in a Debian that systemd has booted, in such a copy
//	<!-- file: NAME -->      write it to that file of the copy, for the blocks below
//	<!-- in: PATH -->        it stands in that file of the repository, which is tested
//	<!-- run by: PATH -->    the test in that file reads this page, and does it
//	<!-- not run: REASON --> leave it, and say why
//
// In a block of the language console each line that begins with "$ " is a command, and what stands below is its output,
// where … is any text, or any lines when alone on one. A block of the language sh is a script that has to succeed.
type block struct {
	line       int
	lang, text string
	marks      []string // of all comments above
}

var (
	fence = regexp.MustCompile("^(\\s*)```+ ?(\\S*)( .*)?$")
	mark  = regexp.MustCompile(`^\s*<!-- (.*) -->$`)
	other = regexp.MustCompile("^[\\s>*+-]*(```|~~~)|<pre") // a block in a way that is not looked for
)

func blocks(t testing.TB, text string) (all []block) {
	t.Helper()
	var above []string // comments, if nothing but empty lines has followed them
	var open *block
	var indent, before string
	for n, line := range strings.Split(text, "\n") {
		m := fence.FindStringSubmatch(line)
		switch {
		case open == nil && m != nil:
			open, indent = &block{line: n + 1, lang: m[2], marks: above}, m[1]
		case open != nil && m != nil && m[2] == "":
			all = append(all, *open)
			open, above = nil, nil
		case open != nil:
			open.text += strings.TrimPrefix(line, indent) + "\n"
		case other.MatchString(line):
			t.Errorf("line %d: a block that begins in another way than with ```", n+1)
		case mark.MatchString(line):
			above = append(above, mark.FindStringSubmatch(line)[1])
		case strings.TrimSpace(line) != "":
			if above = nil; before == "" && strings.HasPrefix(line, "    ") {
				t.Errorf("line %d: a block that is only indented, where a fence and a mark should be", n+1)
			}
		}
		before = line
	}
	if open != nil {
		t.Errorf("line %d: a block that does not end", open.line)
	}
	return all
}

// files are those of the repository whose names are of that kind.
func files(t testing.TB, kind string) (all []string) {
	t.Helper()
	for _, path := range strings.Fields(engine.Do(t, "git", "-C", engine.Root, "ls-files", "-co", "--exclude-standard", kind).Stdout) {
		all = append(all, filepath.Join(engine.Root, path))
	}
	return all
}

func TestEveryBlockOfEveryPageIsRunOrSaysWhyNot(t *testing.T) {
	for _, path := range files(t, "*.md") {
		page, _ := filepath.Rel(engine.Root, path)
		t.Run(page, func(t *testing.T) {
			text := engine.Read(t, path)
			s := session{page: page, text: text}
			for _, b := range blocks(t, text) {
				if !slices.ContainsFunc(b.marks, func(mark string) bool { return s.do(t, b, mark) }) {
					t.Errorf("%s:%d: a block of the language %q without a mark that is known: %q", page, b.line, b.lang, b.marks)
				}
			}
		})
	}
}

// do does with a block what its mark says, and reports whether it understood.
func (s *session) do(t testing.TB, b block, mark string) bool {
	t.Helper()
	kind, what, _ := strings.Cut(mark, ": ")
	path := filepath.Join(engine.Root, what)
	switch {
	case kind == "run" && (b.lang == "console" || b.lang == "sh") && (what == "" || what == "systemd"):
		s.run(t, b, what)
	case kind == "file" && what != "":
		s.write(t, what, b.text)
	case kind == "in" && what != "":
		if !contains(engine.Read(t, path), b.text) {
			t.Errorf("%s:%d: this does not stand in %s", s.page, b.line, what)
		}
	case kind == "run by" && strings.HasSuffix(what, "_test.go"):
		if !strings.Contains(engine.Read(t, path), filepath.Base(s.page)) {
			t.Errorf("%s:%d: %s does not read this page", s.page, b.line, what)
		}
	case kind == "not run" && len(strings.Fields(what)) > 1:
	default:
		return false
	}
	return true
}

// contains reports whether all lines of part stand in whole, one after the other. Indentation, comment signs and empty
// lines do not count.
func contains(whole, part string) bool {
	plain := func(s string) string {
		out := "\n"
		for line := range strings.Lines(s) {
			if line = strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(line), "#")); line != "" {
				out += line + "\n"
			}
		}
		return out
	}
	return strings.Contains(plain(whole), plain(part))
}

var (
	link   = regexp.MustCompile(`\]\(([^)#\s]*)(#[^)\s]*)?\)|(?:src|srcset)="([^"]*)"`)
	anchor = regexp.MustCompile(`[^\p{L}\p{N}\- _]`)
)

// A link to a page, or to a heading of it, leads there. What is elsewhere on the web is not asked.
func TestEveryLinkLeadsSomewhere(t *testing.T) {
	for _, page := range files(t, "*.md") {
		text := engine.Read(t, page)
		for _, b := range blocks(t, text) {
			text = strings.Replace(text, b.text, "", 1)
		}
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			to := m[1] + m[3]
			if strings.Contains(to, "://") || strings.HasPrefix(to, "mailto:") {
				continue
			}
			path := page
			if to != "" {
				path = filepath.Join(filepath.Dir(path), to)
			}
			if _, err := os.Stat(path); err != nil {
				t.Errorf("%s: a link to %s, which is not there", page, to)
				continue
			}
			if heading := strings.TrimPrefix(m[2], "#"); heading != "" && !hasHeading(engine.Read(t, path), heading) {
				t.Errorf("%s: %s has no heading %s", page, to, heading)
			}
		}
	}
}

func hasHeading(text, want string) bool {
	for line := range strings.Lines(text) {
		if title, ok := strings.CutPrefix(strings.TrimLeft(line, "#"), " "); ok && line[0] == '#' {
			if strings.ReplaceAll(anchor.ReplaceAllString(strings.ToLower(strings.TrimSpace(title)), ""), " ", "-") == want {
				return true
			}
		}
	}
	return false
}

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
