// Package security holds caplaunch against whoever wants more than the promise: ids that are not what they look like, a
// queue that somebody fills, files and folders that are swapped, variables, signals. Each test has the attack and its
// honest neighbour.
package security

import (
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/caplaunch/caplaunch/test/integration/engine"
)

func TestMain(m *testing.M) { engine.Main(m) }

// An end is what became of a launch of the probe that pauses: the program's status as the rest of the machine sees it,
// or a refusal.
type end struct {
	ran    map[string]string // lines of /proc/PID/status, nil when nothing ran
	result engine.Result
}

// outside starts argv, whose last words are the probe and "pause", and looks at it from outside of its namespaces.
func outside(t *testing.T, argv ...string) end {
	t.Helper()
	cmd := exec.Command(argv[0], argv[1:]...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	engine.Must(t, cmd.Start())
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	dir := filepath.Join("/proc", strconv.Itoa(cmd.Process.Pid))
	ended := func() bool { return len(done) == 1 }
	started := func() bool { // in a chroot, and for another user, there is no more to see than its words
		words := strings.Split(strings.TrimSuffix(engine.Content(filepath.Join(dir, "cmdline")), "\x00"), "\x00")
		return len(words) == 2 && words[1] == "pause"
	}
	if !engine.Await(func() bool { return ended() || started() }) {
		t.Errorf("%q neither ran nor was refused", argv)
	}
	e := end{}
	if !ended() {
		e.ran = map[string]string{}
		for line := range strings.Lines(engine.Content(filepath.Join(dir, "status"))) {
			key, value, _ := strings.Cut(line, ":")
			e.ran[key] = strings.Join(strings.Fields(value), " ")
		}
	}
	_ = cmd.Process.Kill()
	<-done
	e.result = engine.Result{Stderr: stderr.String(), Code: cmd.ProcessState.ExitCode()}
	return e
}

// is checks that the program ran with these ids and groups, as the rest of the machine sees them.
func (e end) is(t *testing.T, uid, gid int, groups string) {
	t.Helper()
	four := func(id int) string { return strings.Join(slices.Repeat([]string{strconv.Itoa(id)}, 4), " ") }
	if e.ran == nil {
		t.Errorf("nothing ran: %v", e.result)
	} else if e.ran["Uid"] != four(uid) || e.ran["Gid"] != four(gid) || e.ran["Groups"] != groups && groups != "*" {
		t.Errorf("uid %s, gid %s, groups %q; want %d, %d, %q", e.ran["Uid"], e.ran["Gid"], e.ran["Groups"], uid, gid, groups)
	}
}

// inNamespace is the starter "userns" in front of what follows: root of a namespace with those maps, who is 100000 outside.
func inNamespace(t testing.TB, groups string, more ...string) []string {
	words := []string{engine.Starter(t, "userns"), "-u", mapped, "-g", mapped, "-G", groups, "-m", contained, "-n", contained}
	return slices.Concat(words, more, []string{"--"})
}

// refused checks that nothing ran, and gives the error.
func (e end) refused(t *testing.T) engine.Line {
	t.Helper()
	if e.ran != nil {
		t.Errorf("the program ran with uid %s, gid %s, groups %s", e.ran["Uid"], e.ran["Gid"], e.ran["Groups"])
		return engine.Line{}
	}
	return engine.Refused(t, e.result, engine.Failure)
}
