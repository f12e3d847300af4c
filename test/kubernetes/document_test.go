package kubernetes

import (
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
)

var (
	page   = filepath.Join(root, "docs/kubernetes.md")
	pageMu sync.Mutex
)

// document compares the part of the page between <!-- name --> and <!-- end --> with text; with -update it writes it.
func document(t *testing.T, name, text string) {
	t.Helper()
	pageMu.Lock()
	defer pageMu.Unlock()
	all := read(t, page)
	_, rest, ok := strings.Cut(all, "<!-- "+name+" -->\n")
	is, _, ok2 := strings.Cut(rest, "<!-- end -->\n")
	switch {
	case !ok || !ok2:
		t.Fatalf("docs/kubernetes.md has no part %q", name)
	case *update:
		must(t, os.WriteFile(page, []byte(all[:len(all)-len(rest)]+text+rest[len(is):]), 0o644))
	case is != text:
		t.Fatalf("docs/kubernetes.md says\n%s\nbut it is\n%s\nmake test-kubernetes ARGS=-update writes it", is, text)
	}
}

// Each manifest of the page is a file of examples/kubernetes.
func TestThePageShowsTheExamples(t *testing.T) {
	shown := regexp.MustCompile("<!-- (.*\\.yaml) -->\n").FindAllStringSubmatch(read(t, page), -1)
	for _, name := range shown {
		document(t, name[1], "```yaml\n"+example(t, name[1])+"```\n")
	}
	if blocks := strings.Count(read(t, page), "```yaml"); len(shown) != blocks {
		t.Errorf("%d blocks of YAML, %d of them files", blocks, len(shown))
	}
}

var applied sync.Map // the names of the examples that a test read

// unread says which examples no test has read, when all tests ran.
func unread() (names []string) {
	if flag.Lookup("test.run").Value.String() != "" {
		return nil
	}
	examples := os.DirFS(filepath.Join(root, "examples/kubernetes"))
	fs.WalkDir(examples, ".", func(name string, d fs.DirEntry, err error) error {
		if _, ok := applied.Load(name); !ok && filepath.Ext(name) == ".yaml" {
			names = append(names, name)
		}
		return err
	})
	return names
}
