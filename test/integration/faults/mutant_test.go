package faults

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/caplaunch/caplaunch/test/integration/engine"
)

// mutant is caplaunch, built as always, but for one piece of text in a file of its source.
func mutant(t *testing.T, file, was, is string) string {
	t.Helper()
	path := filepath.Join(engine.Root, file)
	text := engine.Read(t, path)
	if strings.Count(text, was) != 1 {
		t.Fatalf("%q is not in %s once: this test has to follow the source", was, file)
	}
	changed := map[string]string{path: strings.Replace(text, was, is, 1)}
	built := filepath.Join(engine.TempDir(t), "caplaunch")
	cmd := exec.Command("make", "-C", engine.Root, "build", "BIN="+built)
	cmd.Env = append(os.Environ(), "GOFLAGS="+engine.Overlay(t, changed))
	if r := engine.Command(t, cmd); r.Code != 0 {
		t.Fatal(r)
	}
	return built
}

// These tests can fail: a caplaunch that believes what the calls return, and does not verify, starts programs in
// the wrong state, and that is seen.
func TestTheseFaultsWouldBeNoticed(t *testing.T) {
	engine.RequireRoot(t)
	engine.Require(t, "unshare", "make")
	gullible := mutant(t, "internal/launch/launch.go", "err = ambient.Verify(l.Kernel, l.Plan); err != nil", "err = error(nil); err != nil")
	lies := map[string]string{ // and the scenario in which one must show
		"setresgid":                  "root becomes a user with capabilities",
		"setresuid":                  "root becomes a user with capabilities",
		"prctl PR_CAP_AMBIENT_RAISE": "root becomes a user with capabilities",
		"prctl PR_SET_NO_NEW_PRIVS":  "root becomes a user with capabilities",
		"prctl PR_CAPBSET_DROP":      "the bounding set is cut",
		"capset":                     "a user keeps some of its ambient capabilities",
	}
	for _, s := range scenarios(t) {
		for _, d := range denials() {
			if lies[d.name] != s.name {
				continue
			}
			argv := slices.Concat([]string{starter(t, "deny"), "0", d.filter, "--"}, s.start, s.inner, s.argv(gullible))
			e := run(t, engine.Timeout, argv...)
			if o, problem := s.judge(e, "Seccomp", "2"); o != broken || !strings.HasPrefix(problem, "the program runs in another state: ") {
				t.Errorf("%s: a lie about %s is not noticed: %v %s %v", s.name, d.name, o, problem, e.Result)
			}
			delete(lies, d.name)
		}
	}
	if len(lies) > 0 {
		t.Errorf("not told: %v", lies)
	}
}
