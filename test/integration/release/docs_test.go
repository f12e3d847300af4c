package release

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/caplaunch/caplaunch/test/integration/engine"
)

// Every block of commands in docs/install.md is run as it stands, on a copy of this machine that is thrown away. What is
// marked with what it needs, alpine or network, is not.
func TestInstallDocument(t *testing.T) {
	engine.RequireRoot(t)
	engine.Require(t, "rpm", "skopeo", "unshare")
	dist(t)
	text, err := os.ReadFile(filepath.Join(engine.Root, "docs/install.md"))
	engine.Must(t, err)
	script := `mount -t tmpfs none "$1"
mkdir "$1/upper" "$1/work" "$1/root"
mount -t overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" overlay "$1/root"
for d in proc sys dev; do mount --rbind "/$d" "$1/root/$d"; done
chroot "$1/root" sh -eu <<'END'
`
	blocks := regexp.MustCompile("(?ms)^```sh\n(.*?)^```$").FindAllStringSubmatch(string(text), -1)
	for _, b := range blocks {
		script += fmt.Sprintf("(cd '%s'\nset -x\n%s)\n", engine.Root, b[1])
	}
	if len(blocks) < 7 {
		t.Fatalf("only %d blocks found", len(blocks))
	}
	r := engine.Exec(t, "unshare", "-m", "--propagation=private", "sh", "-euc", script+"END\n", "sh", engine.TempDir(t))
	if said := strings.Count(r.Stdout, "caplaunch v"); r.Code != 0 || said != 3 || strings.Count(r.Stdout, "net_raw") < 2 {
		t.Errorf("%d versions: %v", said, r)
	}
	if marked := regexp.MustCompile("(?m)^```sh +(.*)$").FindAllStringSubmatch(string(text), -1); len(marked) != 2 || marked[0][1] != "network" || marked[1][1] != "alpine" {
		t.Errorf("not run: %v", marked)
	}
}

// Links between the documents lead to a file, and to a heading of it.
func TestDocumentsLinkToWhatIsThere(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)\s]+)\)`)
	code := regexp.MustCompile("(?ms)^```.*?^```$")
	heading := regexp.MustCompile(`(?m)^#+ (.*)$`)
	other := regexp.MustCompile("[^a-z0-9 _-]")
	anchor := func(s string) string {
		return strings.ReplaceAll(other.ReplaceAllString(strings.ToLower(s), ""), " ", "-")
	}
	found := 0
	for path := range strings.FieldsSeq(ok(t, "git", "-C", engine.Root, "ls-files", "*.md")) {
		text, err := os.ReadFile(filepath.Join(engine.Root, path))
		engine.Must(t, err)
		for _, m := range link.FindAllStringSubmatch(code.ReplaceAllString(string(text), ""), -1) {
			name, section, _ := strings.Cut(m[1], "#")
			if strings.Contains(name, "://") {
				continue
			}
			found++
			to := filepath.Join(engine.Root, filepath.Dir(path), name)
			if name == "" {
				to = filepath.Join(engine.Root, path)
			}
			there := section == ""
			if _, err := os.Stat(to); err != nil {
				t.Errorf("%s links to %s: %v", path, m[1], err)
				continue
			}
			target, _ := os.ReadFile(to) // a folder has no headings
			for _, h := range heading.FindAllStringSubmatch(string(target), -1) {
				there = there || anchor(h[1]) == section
			}
			if !there {
				t.Errorf("%s links to %s, which has no such heading", path, m[1])
			}
		}
	}
	if found == 0 {
		t.Error("no link found")
	}
}
