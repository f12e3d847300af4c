//go:build linux

package exec

import (
	"fmt"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// show prints what must be unchanged: the limit, the descriptors, the
// arguments, the name.
const show = `echo "nofile=$(ulimit -n) zero=$0 args=$*"
for fd in 3 4 5 6 7 8 9; do { true >&$fd; } 2>/dev/null && echo "leaked $fd"; done
read comm < /proc/$$/comm && echo "comm=$comm"
`

// capable makes a copy of a shell with file capabilities that no exec here can
// satisfy: the effective bit, and a bit that is not in the bounding set.
func capable(t testing.TB, path string) {
	t.Helper()
	copyFile(t, "/bin/sh", path, 0o755)
	setcap(t, path, 1<<40|1<<24, true)
	if boundingIsFull(t) {
		t.Log("the bounding set is full: the plain exec would succeed")
	}
}

func boundingIsFull(t testing.TB) bool {
	b, err := os.ReadFile("/proc/self/status")
	check(t, err)
	return strings.Contains(string(b), "CapBnd:\t000001ffffffffff")
}

func TestACopyRunsTheBytesWithoutTheirPrivilege(t *testing.T) {
	needRoot(t)
	dir, self := folder(t), self(t)
	sh := filepath.Join(dir, "shell")
	capable(t, sh)
	script := write(t, filepath.Join(dir, "script"), "#! "+sh+" -u\t\n"+show, 0o755)
	nested := write(t, filepath.Join(dir, "nested"), "#!"+script+" arg of nested\n", 0o755)
	for _, tt := range []struct {
		name string
		uid  uint32
		argv []string
		want string
	}{
		{"a program", 0, []string{sh, "-c", show, "zero", "a", ""}, "nofile=321 zero=zero args=a \ncomm=memfd:shell\n"},
		{"of another user", nobody, []string{sh, "-c", show, "zero"}, "nofile=321 zero=zero args=\ncomm=memfd:shell\n"},
		{"a script", nobody, []string{script, "a", "b c"}, "nofile=321 zero=" + script + " args=a b c\ncomm=memfd:script\n"},
		{"a nested script", 0, []string{nested, "a"}, "nofile=321 zero=" + script + " args=arg of nested " + nested + " a\ncomm=memfd:nested\n"},
	} {
		out, status := run(t, launcher(tt.uid, self, append([]string{"strip", "--"}, tt.argv...)...))
		if i := strings.Index(out, "comm="); i >= 0 && !strings.Contains(out, "comm=memfd:") { // before Linux 6.14
			out, tt.want = out[:i], tt.want[:strings.Index(tt.want, "comm=")]
		}
		if status != 0 || out != tt.want {
			t.Errorf("%s: %d %q", tt.name, status, out)
		}
		// What the kernel makes of a script without the attribute is the same.
		check(t, unix.Removexattr(sh, "security.capability"))
		plain, _ := run(t, launcher(tt.uid, self, append([]string{"--"}, tt.argv...)...))
		setcap(t, sh, 1<<40|1<<24, true)
		if first, _, _ := strings.Cut(plain, "comm="); !strings.HasPrefix(out, first) {
			t.Errorf("%s: plain %q, stripped %q", tt.name, plain, out)
		}
	}
	// Set-id bits are gone as well.
	check(t, unix.Removexattr(sh, "security.capability"))
	check(t, unix.Chmod(sh, 0o6755))
	out, _ := run(t, launcher(nobody, self, "strip", "--", sh, "-pc", "id -u; id -g"))
	if out != "65534\n65534\n" {
		t.Errorf("set-id: %q", out)
	}
	out, _ = run(t, launcher(nobody, self, "--", sh, "-pc", "id -u; id -g"))
	if out != "0\n0\n" {
		t.Errorf("set-id without a copy: %q: the case proves nothing", out)
	}
}

// Without execveat(2), as with an old seccomp profile, /proc serves.
func TestACopyRunsWithoutExecveat(t *testing.T) {
	strace, err := osexec.LookPath("strace")
	need(t, err == nil, "strace")
	self := self(t)
	for _, fault := range []string{"ENOSYS", "EPERM"} {
		cmd := launcher(0, strace, "-qq", "-o", os.DevNull, "-e", "trace=execveat", "-e", "inject=execveat:error="+fault, self, "strip", "--", "/bin/sh", "-c", show, "zero")
		out, status := run(t, cmd)
		if status != 0 || !strings.HasPrefix(out, "nofile=321 zero=zero args=\ncomm=") {
			t.Errorf("%s: %d %q", fault, status, out)
		}
	}
}

func TestACopyWantsWhatExecWants(t *testing.T) {
	needRoot(t)
	dir, self := folder(t), self(t)
	sh := filepath.Join(dir, "shell")
	capable(t, sh)
	check(t, unix.Chmod(sh, 0o754))
	out, status := run(t, launcher(nobody, self, "strip", "--", sh, "-c", "echo it ran"))
	if status != 126 || !strings.Contains(out, ErrNotExecutable.Error()) {
		t.Errorf("not executable: %d %q", status, out)
	}
	check(t, unix.Chmod(sh, 0o711))
	out, status = run(t, launcher(nobody, self, "strip", "--", sh, "-c", "echo it ran"))
	if status != 126 || !strings.Contains(out, ErrUnreadable.Error()) {
		t.Errorf("not readable: %d %q", status, out)
	}
	check(t, unix.Chmod(sh, 0o755))
	out, status = run(t, launcher(0, self, "strip", "fsize=4096", "--", sh, "-c", "echo it ran"))
	if status != 125 || !strings.Contains(out, unix.EFBIG.Error()) {
		t.Errorf("RLIMIT_FSIZE: %d %q", status, out)
	}
}

func TestACopyIsOfWhatWasLookedAt(t *testing.T) {
	dir := folder(t)
	path := write(t, filepath.Join(dir, "p"), "one", 0o755)
	for name, change := range map[string]struct {
		do   func()
		want string // "" where the change is found
	}{
		"written":  {func() { write(t, path, "two", 0o755) }, ""},
		"longer":   {func() { write(t, path, "one and more", 0o755) }, ""},
		"emptied":  {func() { check(t, os.Truncate(path, 0)) }, ""},
		"chmod":    {func() { check(t, os.Chmod(path, 0o700)) }, ""},
		"replaced": {func() { check(t, os.Rename(write(t, path+"2", "two", 0o755), path)) }, ""}, // its ctime tells
		"moved":    {func() { check(t, os.Rename(dir, dir+"2")); check(t, os.Mkdir(dir, 0o755)) }, "one"},
	} {
		write(t, path, "one", 0o755)
		p, err := Find(path, "")
		check(t, err)
		time.Sleep(12 * time.Millisecond) // the times of files are no finer on old kernels
		change.do()
		err = p.Copy()
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
	check(t, os.RemoveAll(dir+"2"))
	p, err := Find(write(t, path, "one", 0o755), "")
	check(t, err)
	check(t, p.Copy())
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

func TestALargeProgramIsCopiedInTheKernel(t *testing.T) {
	needRoot(t)
	dir, self := folder(t), self(t)
	sh := filepath.Join(dir, "shell")
	capable(t, sh)
	check(t, os.Truncate(sh, 200<<20))
	start := time.Now()
	out, status := run(t, launcher(0, self, "strip", "mem", "--", sh, "-c", "echo it ran"))
	took := time.Since(start)
	heap, rest, _ := strings.Cut(out, "\n")
	if n, err := strconv.Atoi(heap); status != 0 || rest != "it ran\n" || err != nil || n > 32<<20 {
		t.Errorf("%d %q", status, out)
	}
	t.Logf("200 MB in %v, %s bytes of Go's memory", took, heap)
}

func TestMemfdNoexecIsTold(t *testing.T) {
	if os.Getenv(insideEnv) == "" {
		needRoot(t)
	}
	if !inside(t, unix.CLONE_NEWPID) {
		return
	}
	proc := folder(t)
	check(t, unix.Mount("none", proc, "proc", 0, ""))
	defer unix.Unmount(proc, unix.MNT_DETACH)
	sysctl := filepath.Join(proc, "sys/vm/memfd_noexec")
	if _, err := os.Stat(sysctl); err != nil {
		need(t, false, "vm.memfd_noexec (Linux 6.3)")
	}
	path := filepath.Join(folder(t), "p")
	copyFile(t, "/bin/true", path, 0o755)
	p, err := Find(path, "")
	check(t, err)
	check(t, os.WriteFile(sysctl, []byte("1"), 0))
	check(t, p.Copy())
	if errno := kernel(t, fmt.Sprint("/proc/self/fd/", p.copy), []string{"true"}, nil); errno != 0 {
		t.Errorf("memfd_noexec=1: exec of the copy: %v", errno)
	}
	check(t, os.WriteFile(sysctl, []byte("2"), 0)) // it never goes down again
	if err := p.Copy(); reason(t, err) != unix.EACCES || !asError(t, err).Copy || status(err) != 125 {
		t.Errorf("%v", err)
	}
}

// What only the exec brings to light: the errno, and that an execve which returns
// is an error whatever it returns.
func TestAFailedExecIsAnError(t *testing.T) {
	dir, self := folder(t), self(t)
	prog := filepath.Join(dir, "p")
	copyFile(t, "/bin/true", prog, 0o755)
	replace := func(argv ...string) error {
		p, err := Find(prog, "")
		check(t, err)
		defer p.Close()
		return reason(t, p.Replace(argv, nil))
	}
	f, err := os.OpenFile(prog, os.O_WRONLY, 0)
	check(t, err)
	if err := replace("p"); err != unix.ETXTBSY {
		t.Errorf("busy: %v", err)
	}
	f.Close()
	if err := replace("p", strings.Repeat("x", 200<<10)); err != unix.E2BIG {
		t.Errorf("too long: %v", err)
	}
	if err := replace("p", "a\x00b"); err != unix.EINVAL {
		t.Errorf("a NUL: %v", err)
	}
	if os.Geteuid() == 0 && os.Getenv(insideEnv) == "" && !boundingIsFull(t) {
		setcap(t, prog, 1<<40|1<<24, true)
		if err := replace("p"); err != unix.EPERM {
			t.Errorf("file capabilities: %v", err)
		}
		check(t, unix.Removexattr(prog, "security.capability"))
	}
	strace, err := osexec.LookPath("strace")
	need(t, err == nil, "strace")
	for _, options := range [][]string{{"--"}, {"strip", "--"}} {
		cmd := launcher(0, strace, append(append([]string{"-qq", "-o", os.DevNull, "-e", "trace=execve,execveat", "-e", "inject=execve,execveat:retval=0", self}, options...), prog)...)
		if out, status := run(t, cmd); status != 126 || !strings.Contains(out, ErrReturned.Error()) {
			t.Errorf("%s: %d %q", options, status, out)
		}
	}
}

// Ask runs nothing, and says what the exec would say, where the kernel knows the
// question.
func TestAskAsksTheKernel(t *testing.T) {
	dir := folder(t)
	prog := filepath.Join(dir, "p")
	copyFile(t, "/bin/true", prog, 0o755)
	p, err := Find(prog, "")
	check(t, err)
	if err := p.Ask([]string{"p"}, nil); err != nil {
		t.Error(err)
	}
	check(t, os.Chmod(prog, 0o644))
	err = p.Ask([]string{"p"}, nil)
	if err == nil {
		t.Skip("needs AT_EXECVE_CHECK (Linux 6.14)")
	}
	if reason(t, err) != unix.EACCES {
		t.Error(err)
	}
	check(t, os.Chmod(prog, 0o755))
	p, err = Find(prog, "")
	check(t, err)
	check(t, p.Copy())
	if err := p.Ask([]string{"p"}, nil); err != nil {
		t.Error(err)
	}
	if err := p.Ask([]string{strings.Repeat("x", 200<<10)}, nil); reason(t, err) != unix.E2BIG {
		t.Error(err)
	}
}
