package release

import (
	"path/filepath"
	"testing"

	"github.com/caplaunch/caplaunch/test/integration/engine"
)

// The weekly rebuild tags the next patch release, and pushes it.
func TestTagPatch(t *testing.T) {
	dir := engine.TempDir(t)
	origin, clone := filepath.Join(dir, "origin"), filepath.Join(dir, "clone")
	ok(t, "git", "clone", "-q", "--bare", engine.Root, origin)
	ok(t, "git", "clone", "-q", origin, clone)
	ok(t, "git", "-C", clone, "-c", "user.name=t", "-c", "user.email=t@localhost", "commit", "-q", "--allow-empty", "-m", "one more")
	ok(t, "git", "-C", clone, "tag", "v0.1000.9")
	if out := ok(t, "make", "-s", "-C", clone, "tag-patch"); out != "tag=v0.1000.10\n" {
		t.Errorf("%s", out)
	}
	head := ok(t, "git", "-C", clone, "rev-parse", "HEAD")
	for _, ref := range []string{"refs/heads/main", "refs/tags/v0.1000.10"} {
		if at := ok(t, "git", "-C", origin, "rev-parse", ref); at != head {
			t.Errorf("%s is at %s", ref, at)
		}
	}
}
