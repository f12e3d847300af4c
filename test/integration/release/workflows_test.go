package release

import (
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/caplaunch/caplaunch/test/integration/engine"
)

// An action is a full commit, and says which version that is; what a step runs is .ci/run or a target of make, so that
// it can be run anywhere.
func TestWorkflowsRunOnlyWhatCanBeRunHere(t *testing.T) {
	const install = "apt-get update && apt-get install -y ca-certificates gcc git make"
	pinned := regexp.MustCompile(`^[a-z-]+/[a-z-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$`)
	target := regexp.MustCompile(`^make (?:-s )?([a-z-]+)(?: [A-Z_]+=\S+)*(?: >> "\$GITHUB_OUTPUT")?$`)
	paths, err := filepath.Glob(filepath.Join(engine.Root, ".github/workflows/*.yml"))
	engine.Must(t, err)
	steps := 0
	for _, path := range paths {
		content := engine.Read(t, path)
		for _, m := range regexp.MustCompile(`(?m)uses: (.*)$`).FindAllStringSubmatch(content, -1) {
			if !pinned.MatchString(m[1]) {
				t.Errorf("%s: %s", path, m[1])
			}
		}
		var workflow struct {
			Jobs map[string]struct{ Steps []struct{ Run string } }
		}
		engine.Must(t, yaml.Unmarshal([]byte(content), &workflow))
		for _, job := range workflow.Jobs {
			for _, s := range job.Steps {
				run, _, _ := strings.Cut(s.Run, " #")
				if run == "" || run == ".ci/run" || run == install {
					continue
				}
				steps++
				m := target.FindStringSubmatch(run)
				if m == nil {
					t.Errorf("%s: %q is no target", path, run)
				} else if r := engine.Exec(t, "make", "-n", "-C", engine.Root, m[1]); r.Code != 0 {
					t.Errorf("%s: %q: %v", path, run, r)
				}
			}
		}
	}
	if steps < 10 {
		t.Errorf("only %d steps found", steps)
	}
}

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
