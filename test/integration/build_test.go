package integration

import (
	"crypto/sha256"
	"debug/elf"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/caplaunch/caplaunch/test/integration/engine"
)

// Two clones of one commit give the same bytes, whatever their paths are.
func TestBuildIsRepeatable(t *testing.T) {
	engine.Require(t, "git")
	var sums []string
	for _, name := range []string{"one", "two/deeper"} {
		dir := filepath.Join(t.TempDir(), name)
		engine.Do(t, "git", "clone", "-q", engine.Root, dir)
		build := exec.Command("make", "build")
		build.Dir = dir
		if r := engine.Command(t, build); r.Code != 0 {
			t.Fatal(r)
		}
		b, err := os.ReadFile(filepath.Join(dir, "bin", "caplaunch"))
		engine.Must(t, err)
		sums = append(sums, fmt.Sprintf("%x", sha256.Sum256(b)))
	}
	if sums[0] != sums[1] {
		t.Errorf("%s and %s", sums[0], sums[1])
	}
}

// No interpreter and no libraries: it runs in an image that has nothing else.
func TestBinaryIsStatic(t *testing.T) {
	f, err := elf.Open(engine.Caplaunch(t))
	engine.Must(t, err)
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP || p.Type == elf.PT_DYNAMIC {
			t.Errorf("it has a %v segment", p.Type)
		}
	}
	if libs, _ := f.ImportedLibraries(); len(libs) > 0 {
		t.Errorf("it needs %v", libs)
	}
}
