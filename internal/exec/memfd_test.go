//go:build linux

package exec

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/caplaunch/caplaunch/test/unit"
)

// show prints what a copy must leave as it is: the limit of descriptors, the arguments, the environment.
const show = `test "$A" = 1 && echo "$(ulimit -n) $0 $*"`

// capable is a copy of a shell whose file capabilities no exec here can satisfy.
func capable(t *testing.T) (self, sh string) {
	t.Helper()
	unit.Root(t)
	sh = unit.Copy(t, "/bin/sh", filepath.Join(unit.Folder(t), "shell"), 0o755)
	setcap(t, sh, 1<<40|1<<24, true)
	return unit.Self(t), sh
}

func TestACopyRunsTheBytesWithoutTheirPrivilege(t *testing.T) {
	self, sh := capable(t)
	script := unit.Write(t, sh+"-script", "#! "+sh+" -u\t\n"+show, 0o755)
	nested := unit.Write(t, sh+"-nested", "#!"+script+" arg of nested\n", 0o755)
	long := unit.Copy(t, sh, filepath.Join(filepath.Dir(sh), strings.Repeat("n", 255)), 0o755)
	for _, c := range []struct {
		uid  uint32
		argv []string
		want string
	}{
		{0, []string{sh, "-c", show, "zero", "a", ""}, "321 zero a \n"},
		{nobody, []string{script, "a", "b c"}, "321 " + script + " a b c\n"},
		{0, []string{long, "-c", show, "zero"}, "321 zero \n"},
		{0, []string{nested, "a"}, "321 " + script + " arg of nested " + nested + " a\n"},
	} {
		if out, status := run(t, launcher(c.uid, self, append([]string{"strip", "--"}, c.argv...)...)); status != 0 || out != c.want {
			t.Errorf("%q: %d %q", c.argv, status, out)
		}
	}
	unit.Must(t, unix.Removexattr(sh, "security.capability"))
	unit.Must(t, unix.Chmod(sh, 0o6755))
	for option, want := range map[string]string{"strip": "1 65534 65534\n", "": "1 0 0\n"} {
		if out, _ := run(t, launcher(nobody, self, option, "--", sh, "-pc", `echo "$A $(id -u) $(id -g)"`)); out != want {
			t.Errorf("set-id, %q: %q", option, out)
		}
	}
}

// Without execveat(2), as with an old seccomp profile, /proc serves; but not a folder of that name that is none.
func TestACopyRunsWithoutExecveat(t *testing.T) {
	self, strace := unit.Self(t), unit.Tool(t, "strace")
	without := func(fault string, args ...string) (string, int) {
		return run(t, launcher(0, strace, append([]string{"-qq", "-o", os.DevNull, "-e", "trace=execveat", "-e", "inject=execveat:error=" + fault, self, "strip"}, args...)...))
	}
	for _, fault := range []string{"ENOSYS", "EPERM", "ENOENT"} {
		if out, status := without(fault, "--", "/bin/sh", "-c", show, "zero"); status != 0 || out != "321 zero \n" {
			t.Errorf("%s: %d %q", fault, status, out)
		}
	}
	unit.Root(t)
	dir := unit.Folder(t)
	// Other programs under the numbers.
	unit.Shell(t, dir, "mkdir -p proc/self/fd; cp "+unit.Tool(t, "busybox")+" sh; for fd in $(seq 0 19); do cp sh proc/self/fd/$fd; done")
	if out, status := without("EPERM", "chroot="+dir, "--", "/sh", "-c", "echo another program"); status != 126 || out != "/sh: operation not permitted\n" {
		t.Errorf("behind a false /proc: %d %q", status, out)
	}
	if out, status := run(t, launcher(0, self, "strip", "chroot="+dir, "--", "/sh", "-c", "echo without /proc")); status != 0 || out != "without /proc\n" {
		t.Errorf("%d %q", status, out)
	}
}

func TestACopyWantsWhatExecWants(t *testing.T) {
	self, sh := capable(t)
	fi, err := os.Stat(sh)
	unit.Must(t, err)
	for _, c := range []struct {
		mode   os.FileMode
		limit  int64
		status int
		says   string
	}{
		{0o754, fi.Size(), 126, sh + ": " + ErrNotExecutable.Error()},
		{0o711, fi.Size(), 126, sh + ": " + ErrUnreadable.Error()},
		{0o755, fi.Size() - 1, 125, sh + ": " + unix.EFBIG.Error()},
		{0o755, fi.Size(), 0, "it ran"},
	} {
		unit.Must(t, os.Chmod(sh, c.mode))
		if out, status := run(t, launcher(nobody, self, "strip", fmt.Sprint("fsize=", c.limit), "--", sh, "-c", "echo it ran")); status != c.status || !strings.HasPrefix(out, c.says) {
			t.Errorf("%o: %d %q", c.mode, status, out)
		}
	}
	beside := unit.ELF{Class: 2, Data: 1, Machine: 62, Dynamic: []unit.Tag{{Tag: 29, Text: "$ORIGIN"}}}.Bytes() // RUNPATH
	if err := found(t, unit.Write(t, sh+"-beside", string(beside), 0o755)).Copy(); reason(t, err) != ErrOrigin {
		t.Error(err)
	}
}

func TestACopyIsOfWhatWasLookedAt(t *testing.T) {
	dir := unit.Folder(t)
	path := unit.Write(t, filepath.Join(dir, "p"), "one", 0o755)
	for name, change := range map[string]struct {
		do   func()
		want string // "" where the change is found
	}{
		"written":  {func() { unit.Write(t, path, "two", 0o755) }, ""},
		"longer":   {func() { unit.Write(t, path, "one and more", 0o755) }, ""},
		"emptied":  {func() { unit.Must(t, os.Truncate(path, 0)) }, ""},
		"chmod":    {func() { unit.Must(t, os.Chmod(path, 0o700)) }, ""},
		"replaced": {func() { unit.Must(t, os.Rename(unit.Write(t, path+"2", "two", 0o755), path)) }, ""}, // its ctime tells
		"moved":    {func() { unit.Must(t, os.Rename(dir, dir+"2")); unit.Must(t, os.Mkdir(dir, 0o755)) }, "one"},
	} {
		unit.Write(t, path, "one", 0o755)
		p := found(t, path)
		time.Sleep(12 * time.Millisecond) // the times of files are no finer on old kernels
		change.do()
		err := p.Copy()
		if change.want == "" && (reason(t, err) != ErrChanged || status(err) != 125) || change.want != "" && err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if err == nil {
			b, err := os.ReadFile("/proc/self/fd/" + strconv.Itoa(p.copy))
			if err != nil || string(b) != change.want {
				t.Errorf("%s: %q, %v", name, b, err)
			}
			unix.Close(p.copy)
		}
		p.Close()
	}
	unit.Must(t, os.RemoveAll(dir+"2"))
	p := found(t, unit.Write(t, path, "one", 0o755))
	unit.Must(t, p.Copy())
	defer unix.Close(p.copy)
	proc := "/proc/self/fd/" + strconv.Itoa(p.copy)
	if f, err := os.OpenFile(proc, os.O_WRONLY, 0); err == nil {
		_, err := f.Write([]byte("x"))
		f.Close()
		if err == nil {
			t.Error("it can be written to")
		}
	}
	if flags, err := unix.FcntlInt(uintptr(p.copy), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
		t.Error("it is not closed at an exec")
	}
	if seals, err := unix.FcntlInt(uintptr(p.copy), unix.F_GET_SEALS, 0); err != nil || seals&15 != 15 {
		t.Errorf("seals %#x, %v", seals, err)
	}
}

func TestACopyOverTheLimitOfFilesIsRefused(t *testing.T) {
	if !unit.Again(t, 0) {
		return
	}
	p := found(t, "/proc/self/exe")
	unit.Must(t, unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: uint64(p.Last().Stat.Size) - 1, Max: unix.RLIM_INFINITY}))
	if err := p.Copy(); reason(t, err) != unix.EFBIG {
		t.Error(err)
	}
}

func TestMemfdNoexecIsTold(t *testing.T) {
	unit.Need(t, os.Geteuid() == 0, "root")
	if !unit.Again(t, unix.CLONE_NEWPID) {
		return
	}
	proc := unit.Folder(t)
	unit.Must(t, unix.Mount("none", proc, "proc", 0, ""))
	defer unix.Unmount(proc, unix.MNT_DETACH)
	sysctl := filepath.Join(proc, "sys/vm/memfd_noexec")
	_, err := os.Stat(sysctl)
	unit.Need(t, err == nil, "vm.memfd_noexec (Linux 6.3)")
	p := found(t, unit.Copy(t, "/bin/true", filepath.Join(unit.Folder(t), "p"), 0o755))
	unit.Must(t, os.WriteFile(sysctl, []byte("1"), 0))
	unit.Must(t, p.Copy())
	if errno := kernel(t, fmt.Sprint("/proc/self/fd/", p.copy), "true"); errno != 0 {
		t.Errorf("memfd_noexec=1: exec of the copy: %v", errno)
	}
	unit.Must(t, os.WriteFile(sysctl, []byte("2"), 0)) // it never goes down again
	if err := p.Copy(); reason(t, err) != unix.EACCES || status(err) != 125 {
		t.Errorf("%v", err)
	}
}

// What only the exec brings to light is an error, also an execve that returns and reports success.
func TestAFailedExecIsAnError(t *testing.T) {
	self, strace := unit.Self(t), unit.Tool(t, "strace")
	program := unit.Copy(t, "/bin/true", filepath.Join(unit.Folder(t), "p"), 0o755)
	p := found(t, program)
	f, err := os.OpenFile(program, os.O_WRONLY, 0)
	unit.Must(t, err)
	if err := p.Replace([]string{"p"}, nil); reason(t, err) != unix.ETXTBSY {
		t.Errorf("busy: %v", err)
	}
	f.Close()
	for _, option := range []string{"", "strip"} {
		cmd := launcher(0, strace, "-qq", "-o", os.DevNull, "-e", "trace=execve,execveat", "-e", "inject=execve,execveat:retval=0", self, option, "--", program)
		if out, status := run(t, cmd); status != 126 || !strings.Contains(out, ErrReturned.Error()) {
			t.Errorf("%s: %d %q", option, status, out)
		}
	}
}

// Ask runs nothing, and says what the exec would say, where the kernel knows the question.
func TestAskAsksTheKernel(t *testing.T) {
	program := unit.Copy(t, "/bin/true", filepath.Join(unit.Folder(t), "p"), 0o755)
	p := found(t, program)
	unit.Must(t, p.Ask([]string{"p"}, nil))
	root := []byte{'/', 0}
	if errno := execveat(unix.AT_FDCWD, &root[0], nil, nil, 0x10000); errno != unix.EACCES {
		t.Skip("needs AT_EXECVE_CHECK (Linux 6.14)")
	}
	unit.Must(t, os.Chmod(program, 0o644))
	if err := p.Ask([]string{"p"}, nil); reason(t, err) != unix.EACCES {
		t.Error(err)
	}
	unit.Must(t, os.Chmod(program, 0o755))
	p = found(t, program)
	unit.Must(t, p.Copy())
	unit.Must(t, os.Remove(program)) // the copy is asked for
	unit.Must(t, p.Ask([]string{"p"}, nil))
	if err := p.Ask([]string{strings.Repeat("x", 200<<10)}, nil); reason(t, err) != unix.E2BIG {
		t.Error(err)
	}
}
