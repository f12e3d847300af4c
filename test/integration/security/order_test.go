package security

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/caplaunch/caplaunch/test/integration/engine"
)

// Of a command line with several faults the first check that fails decides the status: usage, a privileged caplaunch,
// the allowlist, capabilities, identity, PROGRAM.
func TestTheFirstCheckThatFailsDecides(t *testing.T) {
	begin(t, "setcap")
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
	begin(t, "strace")
	trace := filepath.Join(t.TempDir(), "trace")
	r := engine.Exec(t, "strace", "-f", "-qqq", "-o", trace, "-e", "trace=prctl,capset,setgroups,setresgid,setresuid,rt_sigaction", "-e", "inject=rt_sigaction:error=EPERM:when=1",
		engine.Caplaunch(t), "-u", "65532:65532", "--", engine.Probe(t))
	engine.Refused(t, r, engine.Failure)
	if text := engine.Read(t, trace); !strings.Contains(text, "(INJECTED)") || strings.Contains(text, "setres") {
		t.Error(text)
	}
}
