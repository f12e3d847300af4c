// Package programs launches what users launch, and what breaks launchers: programs with file capabilities, scripts,
// other architectures, and everything that execve(2) refuses. Each is run by caplaunch and, where it is refused,
// explained by it as well: explain has to foretell the refusal in the same words.
package programs

import (
	"encoding/json"
	"os"
	"os/exec"
	"slices"
	"testing"

	"github.com/caplaunch/caplaunch/test/integration/engine"
)

func TestMain(m *testing.M) { engine.Main(m) }

const (
	asUser   = "--user=65532:65532"
	netAdmin = engine.NetAdmin
)

// given is that a program ran as uid 65532 with exactly NET_ADMIN, also to be inherited, and no privilege of a file.
var given = engine.Promised("65532", netAdmin)

// A start is what stands around a launch.
type start struct {
	within string   // shell commands to be done before, in mount, network and PID namespaces that end with the launch
	wrap   []string // a command that runs the launcher, such as prlimit
	from   []string // options of capstart
	flags  []string // of caplaunch
	env    []string // besides this process's
	sudden bool     // what refuses it shows in execve alone: explain cannot foretell it
}

// command is the launch of argv by caplaunch.
func (s start) command(t testing.TB, argv ...string) *exec.Cmd {
	engine.RequireRoot(t)
	words := s.wrap
	if s.from != nil {
		words = slices.Concat(words, []string{engine.Capstart(t)}, s.from, []string{"--"})
	}
	words = slices.Concat(words, []string{engine.Caplaunch(t)}, s.flags, []string{"--"}, argv)
	if s.within != "" {
		words = append([]string{
			"unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc",
			"sh", "-ec", "ip link set lo up\n" + s.within + "\nexec \"$@\"", "sh",
		}, words...)
	}
	cmd := exec.Command(words[0], words[1:]...)
	cmd.Env = append(os.Environ(), s.env...)
	return cmd
}

// run launches argv by caplaunch.
func (s start) run(t testing.TB, argv ...string) engine.Result {
	return engine.Command(t, s.command(t, argv...))
}

// refused launches argv and checks that it is refused, in words that contain says. It checks that explain says the same.
func (s start) refused(t testing.TB, code int, says string, argv ...string) engine.Line {
	t.Helper()
	s.flags = append(slices.Clone(s.flags), "--log-format=json")
	said := engine.Refused(t, s.run(t, argv...), code).Says(t, says)
	if !s.sudden {
		if v := s.explain(t, code, argv...); v != (engine.Verdict{Code: code, Msg: said.Msg, Hint: said.Hint}) {
			t.Errorf("run says     %+v\nexplain says %+v", said, v)
		}
	}
	return said
}

// explain asks what a launch of argv would do. The exit status has to be the one given.
func (s start) explain(t testing.TB, code int, argv ...string) engine.Verdict {
	t.Helper()
	s.flags = append([]string{"explain", "--json"}, s.flags...)
	r := s.run(t, argv...)
	var x struct{ Verdict engine.Verdict }
	if err := json.Unmarshal([]byte(r.Stdout), &x); err != nil || r.Code != code {
		t.Fatalf("explain: %v: %v", err, r)
	}
	return x.Verdict
}
