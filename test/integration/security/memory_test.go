package security

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/caplaunch/caplaunch/test/integration/engine"
)

// Until the execve the other threads of the Go runtime still have what was granted. A process of the same user, which has
// nothing, must not reach them through the memory of the process; the one that waits here has made all its steps.
func TestNobodyReachesTheMemoryOfALaunch(t *testing.T) {
	t.Parallel()
	engine.RequireRoot(t)
	engine.Require(t, "strace", "setpriv")
	for _, user := range []string{"0:0", "1000:1000"} {
		dir := t.TempDir()
		trace := filepath.Join(dir, "trace")
		uid, gid, _ := strings.Cut(user, ":")
		ids := []string{"setpriv", "--reuid=" + uid, "--regid=" + gid, "--clear-groups"}
		// strace does not count its own: the second execve is that of the program, which waits before it is made.
		line := append([]string{"-o", trace, "-e", "trace=execve", "-e", "inject=execve:delay_enter=100000000:when=2", "--"}, ids...)
		cmd := exec.Command("strace", append(line, "--inh-caps=+net_admin", "--ambient-caps=+net_admin", engine.Caplaunch(t), "-u", user, "--", "/bin/sleep", "0")...)
		engine.Background(t, cmd)
		status := ""
		pid := 0
		if !engine.Await(func() bool { // all steps are made: no_new_privs is the last
			children, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", cmd.Process.Pid))
			pid, _ = strconv.Atoi(strings.TrimSpace(string(children)))
			b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
			status = string(b)
			return strings.Contains(status, "NoNewPrivs:\t1") && strings.Contains(status, "Name:\tcaplaunch")
		}) {
			t.Fatalf("%s: the launch does not come to its execve: %s", user, status)
		}
		attack := append(ids, "--inh-caps=-all", "--bounding-set=-all", "--", "sh", "-c", fmt.Sprintf("exec 3<>/proc/%d/mem", pid))
		if r := engine.Exec(t, attack...); r.Code == 0 || !strings.Contains(r.Stderr, "denied") {
			t.Errorf("%s: the memory of the launch: %v", user, r)
		}
	}
}

// Where fs.suid_dumpable is 1 a change of ids opens the memory of the process. It has to be closed again before the step
// that gives capabilities up, on whatever thread. TestNobodyReachesTheMemoryOfALaunch of the oracle attacks there.
func TestAProcessHidesBeforeItGivesUpCapabilities(t *testing.T) {
	t.Parallel()
	engine.RequireRoot(t)
	engine.Require(t, "strace")
	for _, command := range []string{"run", "explain"} {
		trace := filepath.Join(t.TempDir(), "trace")
		r := engine.Exec(t, "strace", "-f", "-o", trace, "-e", "signal=none", "-e", "trace=setresuid,setresgid,capset,prctl",
			engine.Caplaunch(t), command, "-u", "1000:1000", "--", "/bin/true")
		if r.Code != 0 {
			t.Fatal(r)
		}
		opened, hidden, trimmed := 0, 0, 0
		for line := range strings.Lines(read(trace)) {
			switch {
			case strings.Contains(line, "setres"):
				opened, hidden = opened+1, 0
			case strings.Contains(line, "PR_SET_DUMPABLE, SUID_DUMP_DISABLE"):
				hidden++
			case strings.Contains(line, "capset("):
				trimmed++
				if hidden == 0 {
					t.Errorf("%s: it gives capabilities up in sight of the new user:\n%s", command, read(trace))
				}
			}
		}
		if opened < 2 || trimmed == 0 {
			t.Errorf("%s: %d changes of ids, %d of capabilities: nothing is proved", command, opened, trimmed)
		}
	}
}
