package faults

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/caplaunch/caplaunch/test/integration/engine"
)

// mutant is caplaunch, built as always, but for one piece of text in its source.
func mutant(t *testing.T, was, is string) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(engine.Root, "cmd", "caplaunch", "*.go"))
	engine.Must(t, err)
	dir := engine.TempDir(t)
	replace := map[string]string{}
	for _, file := range files {
		text := engine.Read(t, file)
		if changed := strings.ReplaceAll(text, was, is); changed != text {
			replace[file] = filepath.Join(dir, filepath.Base(file))
			engine.Must(t, os.WriteFile(replace[file], []byte(changed), 0o644))
		}
	}
	if len(replace) != 1 {
		t.Fatalf("%q is in %d files instead of one: this test has to follow the source", was, len(replace))
	}
	overlay, err := json.Marshal(map[string]any{"Replace": replace})
	engine.Must(t, err)
	path := filepath.Join(dir, "overlay.json")
	engine.Must(t, os.WriteFile(path, overlay, 0o644))
	built := filepath.Join(dir, "caplaunch")
	cmd := exec.Command("make", "-C", engine.Root, "build", "BIN="+built)
	cmd.Env = append(os.Environ(), "GOFLAGS=-overlay="+path)
	if r := engine.Command(t, cmd); r.Code != 0 {
		t.Fatal(r)
	}
	return built
}

// These tests can fail: a caplaunch that believes what the calls return, and does not verify, starts programs in
// the wrong state, and that is seen.
func TestTheseFaultsWouldBeNoticed(t *testing.T) {
	engine.RequireRoot(t)
	engine.Require(t, "strace", "unshare", "make")
	gullible := mutant(t, "ambient.Verify(a.kernel, l.plan)", "error(nil)")
	lies := map[string]string{ // and the scenario in which one must show
		"setgroups":                  "root becomes a user with capabilities",
		"setresgid":                  "root becomes a user with capabilities",
		"setresuid":                  "root becomes a user with capabilities",
		"prctl PR_CAP_AMBIENT_RAISE": "root becomes a user with capabilities",
		"prctl PR_SET_NO_NEW_PRIVS":  "root becomes a user with capabilities",
		"prctl PR_CAPBSET_DROP":      "the bounding set is cut",
		"capset":                     "a user keeps some of its ambient capabilities",
	}
	for _, s := range scenarios(t) {
		if !slices.Contains([]string{"root becomes a user with capabilities", "the bounding set is cut", "a user keeps some of its ambient capabilities"}, s.name) {
			continue
		}
		for _, c := range s.record(t, gullible) {
			if lies[c.op] != s.name {
				continue
			}
			o, problem, e := injection{s, c, "retval=0"}.try(t, gullible)
			if o != broken || !strings.Contains(problem, "the program runs in another state") {
				t.Errorf("%s: a lie about %s is not noticed: %v %v", s.name, c.line, o, e.Result)
			}
			t.Logf("%s: %s", c.line, problem)
			if c.op == "prctl PR_CAPBSET_DROP" {
				lies[c.op] = "" // one of them will do
			}
		}
	}

	s := scenarios(t)[0]
	argv := append([]string{helper(t, "deny"), "0", strconv.Itoa(unix.SYS_SETGROUPS), "--"}, s.argv(gullible)...)
	o, problem := judge(s.promise.With("Seccomp", "2"), run(t, engine.Timeout, argv...))
	if o != broken || !strings.HasPrefix(problem, "the program runs in another state: Groups") {
		t.Errorf("a filter that lies about setgroups is not noticed: %v %s", o, problem)
	}
}
