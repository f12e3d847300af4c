package security

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/caplaunch/caplaunch/test/integration/engine"
)

// Of a command line with several faults the first check that fails decides the status: usage, a privileged caplaunch,
// the allowlist, capabilities, identity, PROGRAM.
func TestTheFirstCheckThatFailsDecides(t *testing.T) {
	engine.Begin(t, "setcap")
	const root, user = "-b 10c0 -p 10c0", "-u 65532 -g 65532 -G none"
	plain, privileged := engine.Caplaunch(t), engine.WithCaps(t, engine.Caplaunch(t), "cap_net_raw=ep")
	for _, c := range []struct {
		binary, start, flags string
		code                 int
		says                 string
	}{
		{privileged, user, "--allow=nonsense -c sys_admin -u nobody-here", engine.Failure, "nonsense"},
		{privileged, user, "--allow=none -c sys_admin -u nobody-here", engine.Failure, "to whoever calls it"},
		{plain, root, "--allow=nonsense -c sys_admin -u nobody-here", engine.Failure, "nonsense"},
		{plain, root, "--allow=none -c sys_admin -u nobody-here", engine.Unexpected, "net_admin"},
		{plain, root, "--strict -c sys_admin -u nobody-here", engine.Unexpected, "net_admin"},
		{plain, root, "--allow=all -c sys_admin -u nobody-here", engine.NotGranted, "sys_admin"},
		{plain, root, "-c sys_admin", engine.NotGranted, "sys_admin"},
		{plain, root, "-c net_admin -u nobody-here", engine.Failure, "nobody-here"},
		{plain, "-b 1000 -p 1000", "-c net_admin -u 65532:65532", engine.Failure, "setuid"},
		{plain, root, "-c net_admin -u 65532:65532", 127, "/nonexistent"},
	} {
		words := slices.Concat([]string{c.binary}, strings.Fields(c.flags), []string{"--", "/nonexistent"})
		if l := engine.Refused(t, engine.Start(t, strings.Fields(c.start), words...), c.code); !strings.Contains(l.Msg, c.says) {
			t.Errorf("%s %s: %q is not named: %+v", c.start, c.flags, c.says, l)
		}
	}
	// It is said although a signal comes between.
	engine.Require(t, "strace")
	engine.Refused(t, engine.Exec(t, "strace", "-qqq", "-o", os.DevNull, "-e", "inject=write:error=EINTR:when=1", plain, "check", "--allow=none"), engine.Unexpected)
	// A list of threads that cannot be read to its end is none.
	engine.Refused(t, engine.Exec(t, "strace", "-qqq", "-o", os.DevNull, "-e", "inject=getdents64:error=EIO:when=2+", plain, "check", "--allow=all", "--pid", "1"), engine.Failure)
}

// What the entry could not find out stops a launch before it has changed anything.
func TestAQuestionOfTheEntryThatIsRefusedChangesNothing(t *testing.T) {
	engine.Begin(t, "strace")
	trace := filepath.Join(t.TempDir(), "trace")
	r := engine.Exec(t, "strace", "-f", "-qqq", "-o", trace, "-e", "trace=prctl,capset,setgroups,setresgid,setresuid,rt_sigaction", "-e", "inject=rt_sigaction:error=EPERM:when=1",
		engine.Caplaunch(t), "-u", "65532:65532", "--", engine.Probe(t))
	engine.Refused(t, r, engine.Failure)
	if text := engine.Read(t, trace); !strings.Contains(text, "(INJECTED)") || strings.Contains(text, "setres") {
		t.Error(text)
	}
}

// Where fs.suid_dumpable is 1 a change of ids opens the memory of the process. It has to be closed again before the step
// that gives capabilities up, on whatever thread. TestNobodyReachesTheMemoryOfALaunch of the oracle attacks there.
func TestAProcessHidesBeforeItGivesUpCapabilities(t *testing.T) {
	engine.Begin(t, "strace")
	for _, command := range []string{"run", "explain"} {
		trace := filepath.Join(t.TempDir(), "trace")
		r := engine.Exec(t, "strace", "-f", "-o", trace, "-e", "signal=none", "-e", "trace=setresuid,setresgid,capset,prctl",
			engine.Caplaunch(t), command, "-u", "1000:1000", "--", "/bin/true")
		if r.Code != 0 {
			t.Fatal(r)
		}
		opened, hidden, trimmed := 0, 0, 0
		for line := range strings.Lines(engine.Content(trace)) {
			switch {
			case strings.Contains(line, "setres"):
				opened, hidden = opened+1, 0
			case strings.Contains(line, "PR_SET_DUMPABLE, SUID_DUMP_DISABLE"):
				hidden++
			case strings.Contains(line, "capset("):
				trimmed++
				if hidden == 0 {
					t.Errorf("%s: it gives capabilities up in sight of the new user:\n%s", command, engine.Content(trace))
				}
			}
		}
		if opened < 2 || trimmed == 0 {
			t.Errorf("%s: %d changes of ids, %d of capabilities: nothing is proved", command, opened, trimmed)
		}
	}
}

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
