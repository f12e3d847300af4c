// Package release tests what "make release" has put into dist: that it is what it says, and that it can be installed
// and used as docs/install.md tells.
package release

import (
	"debug/buildinfo"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/caplaunch/caplaunch/test/integration/engine"
)

func TestMain(m *testing.M) { engine.Main(m) }

// dist is the folder with the release of this commit. Making it takes minutes on a machine that has cached nothing,
// so it is not made here.
func dist(t testing.TB) string {
	dir := filepath.Join(engine.Root, "dist")
	head := engine.Exec(t, "git", "-C", engine.Root, "rev-parse", "HEAD")
	if _, err := os.Stat(filepath.Join(dir, "SHA256SUMS")); err != nil {
		engine.Unusable(t, "run make release first: %v", err)
	}
	if of := info(t, filepath.Join(dir, "bin/linux-amd64/caplaunch"))["vcs.revision"]; of != strings.TrimSpace(head.Stdout) {
		engine.Unusable(t, "run make release again: dist is of commit %s", of)
	}
	return dir
}

// info is what a binary says of its build.
func info(t testing.TB, path string) map[string]string {
	info, err := buildinfo.ReadFile(path)
	engine.Must(t, err)
	m := map[string]string{"version": info.Main.Version}
	for _, s := range info.Settings {
		m[s.Key] = s.Value
	}
	return m
}

// binaries are those of all platforms, by names such as "armv6".
func binaries(t testing.TB) map[string]string {
	paths, err := filepath.Glob(filepath.Join(dist(t), "bin/linux-*/caplaunch"))
	engine.Must(t, err)
	m := map[string]string{}
	for _, path := range paths {
		m[strings.TrimPrefix(filepath.Base(filepath.Dir(path)), "linux-")] = path
	}
	if len(m) != 9 {
		t.Errorf("%d platforms: %v", len(m), m)
	}
	return m
}

// one is the only file that the pattern matches.
func one(t testing.TB, pattern ...string) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(pattern...))
	engine.Must(t, err)
	if len(found) != 1 {
		t.Fatalf("%v: %v", pattern, found)
	}
	return found[0]
}

// ok is what a command that must succeed printed.
func ok(t testing.TB, argv ...string) string {
	t.Helper()
	return engine.Do(t, argv...).Stdout
}

// tagged is the release of this commit, for this machine alone, as if it had the tag: what an upgrade leads to, and
// the proof that a tag is all that a release needs.
func tagged(t testing.TB) string {
	dist(t)
	dir, err := makeTagged()
	engine.Must(t, err)
	return dir
}

const nextTag = "0.1000.0"

var makeTagged = sync.OnceValues(func() (string, error) {
	clone := filepath.Join(engine.PublicDir(), "tagged")
	cmd := exec.Command("sh", "-ec", `git clone -q "$1" "$2"; git -C "$2" tag "v$3"; make -C "$2" release PLATFORMS=amd64`, "sh", engine.Root, clone, nextTag)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", &exec.Error{Name: string(out), Err: err}
	}
	return filepath.Join(clone, "dist"), nil
})
