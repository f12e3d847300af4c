package security

import (
	"os/exec"
	"testing"

	"github.com/caplaunch/caplaunch/test/integration/engine"
)

// An init of the same container needs KILL to signal a program that is another user: --strict lets it pass there, and
// nowhere else.
func TestStrictLetsKillPassForAnInit(t *testing.T) {
	engine.RequireRoot(t)
	engine.Require(t, "unshare", "setpriv")
	for script, want := range map[string]int{`"$@"; exit $?`: 0, `exec "$@"`: 78} {
		r := engine.Command(t, exec.Command("unshare", "--pid", "--fork", "--mount-proc", "setpriv", "--bounding-set=-all,+kill,+setgid,+setuid", "--inh-caps=-all",
			"sh", "-c", script, "sh", engine.Caplaunch(t), "--strict", "--user=65532:65532", "--", engine.Probe(t)))
		if r.Code != want {
			t.Errorf("%s: %v", script, r)
		}
	}
}
