package programs

import (
	"errors"
	"fmt"
	"os/exec"
	"sort"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/caplaunch/caplaunch/test/integration/engine"
)

// RLIMIT_NPROC strikes at the first execve after the change of the uid, not at the change.
func TestTooManyProcessesOfTheUserAreTold(t *testing.T) {
	engine.Require(t, "prlimit")
	const other = 54321 // nobody else's, who could have more processes or fewer
	sleeper := exec.Command(engine.Probe(t), "pause")
	sleeper.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: other, Gid: other}}
	engine.Background(t, sleeper)
	s := start{flags: []string{fmt.Sprintf("--user=%d:%[1]d", other)}, wrap: []string{"prlimit", "--nproc=0:"}, sudden: true}
	said := s.refused(t, 126, fmt.Sprintf("uid %d already has as many processes as RLIMIT_NPROC allows", other), engine.Probe(t))
	s.behind(t, said, `ulimit -S -u "$(ulimit -H -u)"`).run(t, engine.Probe(t)).Ran(t)
	s.wrap = []string{"prlimit", "--nproc=1:1"} // where one is enough
	engine.Promise{"rlimit nproc": "1 1"}.Want(t, s.run(t, engine.Probe(t), "all"))
}

// behind is the start with a hint's beginning done by a shell in front of it.
func (s start) behind(t testing.TB, said engine.Line, command string) start {
	t.Helper()
	said.Hints(t, command)
	s.wrap = append(s.wrap[:len(s.wrap):len(s.wrap)], "bash", "-ec", command+"; exec \"$@\"", "bash")
	return s
}

// The kernel puts "#!" lines in front of the arguments: what was just short enough for caplaunch is too long then.
func TestTooLongArgumentsAreTold(t *testing.T) {
	path := engine.Probe(t)
	for range 4 {
		path = engine.Write(t, "s", "#!"+path+" "+strings.Repeat("x", 180)+"\n")
	}
	var stack unix.Rlimit
	engine.Must(t, unix.Getrlimit(unix.RLIMIT_STACK, &stack))
	limit := int(min(stack.Cur/4, 6<<20))
	const most = 100_000 // of one variable; the kernel takes 128 KiB
	s := start{flags: []string{asUser}, sudden: true}
	fill := func(n int) {
		for s.env = nil; n > 0; n -= most {
			s.env = append(s.env, fmt.Sprintf("FILL%d=%s", len(s.env), strings.Repeat("x", min(n, most))))
		}
	}
	// The largest environment with which this start can be made.
	tooLarge := sort.Search(limit, func(n int) bool {
		fill(n)
		err := s.command(t, path, "--log-format=json").Run()
		if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
			err = nil // what comes of the launch does not count here, only that it could be started
		} else if !errors.Is(err, unix.E2BIG) {
			engine.Must(t, err)
		}
		return err != nil
	})
	fill(tooLarge - 301) // room for the shell below
	said := s.refused(t, 126, "the arguments and the environment are too long", path)
	s.behind(t, said, "ulimit -s unlimited").run(t, path).Ran(t)
}
