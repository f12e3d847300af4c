package programs

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/caplaunch/caplaunch/test/integration/engine"
)

// Everything that execve(2) answers with a bare errno has a reason and a hint.
func TestAFailedExecSaysWhy(t *testing.T) {
	engine.RequireRoot(t)
	probe := engine.Probe(t)
	s := start{flags: []string{asUser}}
	locked := filepath.Join(engine.TempDir(t), "locked") // root may search it
	engine.Must(t, os.Mkdir(locked, 0o700))
	inside := filepath.Join(locked, "probe")
	engine.Must(t, engine.CopyFile(inside, probe, 0o755))
	mounted := engine.TempDir(t)
	busy := engine.Copy(t, probe, 0o755)
	sudden := func(wrap []string) start { return start{flags: s.flags, wrap: wrap, sudden: true} }
	elf := "\x7fELF\x02\x01\x01" + strings.Repeat("\x00", 100)

	for name, c := range map[string]struct {
		start
		path string
		code int
		says string
	}{
		"not found":                {s, "/no/such/program", 127, "no such file"},
		"not in PATH":              {s, "no-such-program", 127, "not found in PATH"},
		"a file for a directory":   {s, probe + "/x", 126, "not a directory"},
		"a directory":              {s, mounted, 126, "not a program but a directory"},
		"not executable":           {s, engine.Copy(t, probe, 0o644), 126, "uid 65532 may not execute it (mode 0644, owner 0:0)"},
		"executable for its owner": {s, engine.Copy(t, probe, 0o700), 126, "uid 65532 may not execute it (mode 0700, owner 0:0)"},
		"directory not searchable": {s, inside, 126, "uid 65532 may not search the directory " + locked},
		"noexec mount": {
			start{flags: s.flags, within: fmt.Sprintf("mount -t tmpfs -o noexec,mode=755 tmpfs %s; cp %s %[1]s/probe", mounted, probe)},
			filepath.Join(mounted, "probe"), 126, "its file system is mounted noexec",
		},
		"no #! line":      {s, engine.Write(t, "script", "exit 0\n"), 126, "neither an ELF file nor one whose first line names an interpreter"},
		"empty":           {s, engine.Write(t, "empty", ""), 126, "the file is empty"},
		"half an ELF":     {s, engine.Write(t, "elf", elf), 126, "an ELF file, but damaged"},
		"text busy":       {sudden(nil), busy, 126, "text file busy"},
		"no memory":       {sudden(denied(t, probe, "ENOMEM")), probe, 126, "not enough memory to load it"},
		"security module": {sudden(denied(t, probe, "EPERM")), probe, 126, "operation not permitted"},
	} {
		t.Run(name, func(t *testing.T) {
			if c.path == busy {
				f, err := os.OpenFile(busy, os.O_WRONLY, 0)
				engine.Must(t, err)
				defer f.Close()
			}
			if c.wrap != nil {
				engine.Require(t, c.wrap[0])
			}
			c.refused(t, c.code, c.path+": "+c.says, c.path)
		})
	}
}

// denied is a tracer that lets the exec of one path fail, for errors that no one can cause at will.
func denied(t testing.TB, path, errno string) []string {
	t.Helper()
	return []string{"strace", "-f", "-qq", "-o", "/dev/null", "-P", path, "-e", "inject=execve:error=" + errno}
}

// RLIMIT_NPROC strikes at the first execve after the change of the uid, not at the change.
func TestTooManyProcessesOfTheUserAreTold(t *testing.T) {
	engine.Require(t, "prlimit")
	const other = 54321 // nobody else's, who could have more processes or fewer
	sleeper := exec.Command(engine.Probe(t), "pause")
	sleeper.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: other, Gid: other}}
	engine.Background(t, sleeper)
	s := start{flags: []string{fmt.Sprintf("--user=%d:%[1]d", other)}, wrap: []string{"prlimit", "--nproc=0:"}, sudden: true}
	said := s.refused(t, 126, fmt.Sprintf("uid %d already has as many processes as RLIMIT_NPROC allows", other), engine.Probe(t))
	if r := s.behind(t, said.Hint, `ulimit -S -u "$(ulimit -H -u)"`).run(t, engine.Probe(t)); r.Code != 0 {
		t.Errorf("after the hint: %v", r)
	}
	s.wrap = []string{"prlimit", "--nproc=1:1"}
	if r := s.run(t, engine.Probe(t), "all"); r.Code != 0 || engine.ParseProbe(r.Stdout)["rlimit nproc"] != "1 1" {
		t.Errorf("where one is enough: %v", r)
	}
}

// behind is the start with a hint's beginning done by a shell in front of it.
func (s start) behind(t testing.TB, hint, command string) start {
	t.Helper()
	if !strings.HasPrefix(hint, command) {
		t.Fatalf("want a hint that begins with %q: %q", command, hint)
	}
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
	low, high := 0, limit
	for low+1 < high {
		fill((low + high) / 2)
		// What comes of the launch does not count here, only that it could be started.
		var exit *exec.ExitError
		switch err := s.command(t, path, "--log-format=json").Run(); {
		case errors.Is(err, unix.E2BIG):
			high = (low + high) / 2
		case err == nil || errors.As(err, &exit):
			low = (low + high) / 2
		default:
			t.Fatal(err)
		}
	}
	fill(low - 300) // room for the shell below
	said := s.refused(t, 126, "the arguments and the environment are too long", path)
	if r := s.behind(t, said.Hint, "ulimit -s unlimited").run(t, path); r.Code != 0 {
		t.Errorf("after the hint: %v", r)
	}
}
