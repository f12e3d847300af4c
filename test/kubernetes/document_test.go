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
	data, err := os.ReadFile(page)
	must(t, err)
	part := regexp.MustCompile(`(?s)(<!-- ` + regexp.QuoteMeta(name) + ` -->\n)(.*?)(<!-- end -->\n)`)
	found := part.FindSubmatch(data)
	if found == nil {
		t.Fatalf("docs/kubernetes.md has no part %q", name)
	}
	if string(found[2]) == text {
		return
	}
	if !*update {
		t.Fatalf("docs/kubernetes.md says\n%s\nbut it is\n%s\nmake test-kubernetes ARGS=-update writes it", found[2], text)
	}
	data = part.ReplaceAllLiteral(data, []byte(string(found[1])+text+string(found[3])))
	must(t, os.WriteFile(page, data, 0o644))
}

// Each manifest of the page is a file of examples/kubernetes.
func TestThePageShowsTheExamples(t *testing.T) {
	read := func() string {
		data, err := os.ReadFile(page)
		must(t, err)
		return string(data)
	}
	shown := regexp.MustCompile("<!-- (.*\\.yaml) -->\n").FindAllStringSubmatch(read(), -1)
	for _, name := range shown {
		document(t, name[1], "```yaml\n"+example(t, name[1])+"```\n")
	}
	if blocks := strings.Count(read(), "```yaml"); len(shown) != blocks {
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
