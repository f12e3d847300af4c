package release

import (
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/caplaunch/caplaunch/test/integration/engine"
)

// Every block of commands in docs/install.md is run as it stands, on a copy of this machine that is thrown away, but for
// two that need what is not here: a network, and Alpine.
func TestInstallDocument(t *testing.T) {
	engine.RequireRoot(t, "rpm", "skopeo", "unshare")
	dist(t)
	text := engine.Read(t, filepath.Join(engine.Root, "docs/install.md"))
	script := `mount -t tmpfs none "$1"
mkdir "$1/upper" "$1/work" "$1/root"
mount -t overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" overlay "$1/root"
for d in proc sys dev; do mount --rbind "/$d" "$1/root/$d"; done
chroot "$1/root" sh -eu <<'END'
`
	blocks := regexp.MustCompile("(?ms)^<!-- not run: the test of the release does it, on a copy of the machine -->\n```sh\n(.*?)^```$").FindAllStringSubmatch(text, -1)
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
	if all := strings.Count(text, "```sh\n"); all != len(blocks)+2 {
		t.Errorf("%d blocks, of which only Alpine's and the network's are not run, and %d were", all, len(blocks))
	}
}
