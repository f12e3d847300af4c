package security

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/caplaunch/caplaunch/test/integration/engine"
)

// Where fs.suid_dumpable is 1 a change of ids opens the memory of the process. It has to be closed again before the step
// that gives capabilities up, on whatever thread. TestNobodyReachesTheMemoryOfALaunch of the oracle attacks there.
func TestAProcessHidesBeforeItGivesUpCapabilities(t *testing.T) {
	begin(t, "strace")
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
