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
	unit.Copy(t, "/bin/sh", path, 0o755)
	setcap(t, path, 1<<40|1<<24, true)
	if boundingIsFull(t) {
		t.Log("the bounding set is full: the plain exec would succeed")
	}
}

func boundingIsFull(t testing.TB) bool {
	b, err := os.ReadFile("/proc/self/status")
	unit.Must(t, err)
	return strings.Contains(string(b), "CapBnd:\t000001ffffffffff")
}

func TestACopyRunsTheBytesWithoutTheirPrivilege(t *testing.T) {
	unit.Root(t)
	dir, self := unit.Folder(t), unit.Self(t)
	sh := filepath.Join(dir, "shell")
	capable(t, sh)
	script := unit.Write(t, filepath.Join(dir, "script"), "#! "+sh+" -u\t\n"+show, 0o755)
	nested := unit.Write(t, filepath.Join(dir, "nested"), "#!"+script+" arg of nested\n", 0o755)
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
		unit.Must(t, unix.Removexattr(sh, "security.capability"))
		plain, _ := run(t, launcher(tt.uid, self, append([]string{"--"}, tt.argv...)...))
		setcap(t, sh, 1<<40|1<<24, true)
		if first, _, _ := strings.Cut(plain, "comm="); !strings.HasPrefix(out, first) {
			t.Errorf("%s: plain %q, stripped %q", tt.name, plain, out)
		}
	}
	// Set-id bits are gone as well.
	unit.Must(t, unix.Removexattr(sh, "security.capability"))
	unit.Must(t, unix.Chmod(sh, 0o6755))
	out, _ := run(t, launcher(nobody, self, "strip", "--", sh, "-pc", "id -u; id -g"))
	if out != "65534\n65534\n" {
		t.Errorf("set-id: %q", out)
	}
	out, _ = run(t, launcher(nobody, self, "--", sh, "-pc", "id -u; id -g"))
	if out != "0\n0\n" {
		t.Errorf("set-id without a copy: %q: the case proves nothing", out)
	}
}

func TestACopyNeedsNoProc(t *testing.T) {
	busybox := unit.Tool(t, "busybox")
	if p, err := Find(busybox, ""); err == nil {
		h, err := p.Last().ELF()
		p.Close()
		unit.Need(t, err == nil && h.Interp == "", "a static busybox")
	}
	if !unit.Again(t, unix.CLONE_NEWNS) {
		return
	}
	dir := unit.Folder(t)
	unit.Must(t, unix.Mount("none", dir, "tmpfs", 0, "mode=0755"))
	defer unix.Unmount(dir, unix.MNT_DETACH)
	unit.Must(t, os.Mkdir(filepath.Join(dir, "bin"), 0o755))
	sh := unit.Copy(t, busybox, filepath.Join(dir, "bin/sh"), 0o755)
	setcap(t, sh, 1<<40|1<<24, true)
	out, status := run(t, launcher(0, unit.Self(t), "strip", "chroot="+dir, "--", "/bin/sh", "-c", `echo "$(ulimit -n) $0 $*"`, "zero", "a"))
	if status != 0 || out != "321 zero a\n" {
		t.Errorf("%d %q", status, out)
	}
	// A folder called /proc that is none has other programs under the numbers.
	strace := unit.Tool(t, "strace")
	fds := filepath.Join(dir, "proc/self/fd")
	unit.Must(t, os.MkdirAll(fds, 0o755))
	unit.Copy(t, busybox, filepath.Join(dir, "bin/ash"), 0o755)
	for fd := range 20 {
		unit.Write(t, filepath.Join(fds, fmt.Sprint(fd)), "#!/bin/ash\necho another program\n", 0o755)
	}
	out, status = run(t, launcher(0, strace, "-qq", "-o", os.DevNull, "-e", "trace=execveat", "-e", "inject=execveat:error=EPERM", unit.Self(t), "strip", "chroot="+dir, "--", "/bin/sh"))
	if status != 126 || out != "/bin/sh: operation not permitted\n" {
		t.Errorf("behind a false /proc: %d %q", status, out)
	}
}

// Without execveat(2), as with an old seccomp profile, /proc serves.
func TestACopyRunsWithoutExecveat(t *testing.T) {
	strace := unit.Tool(t, "strace")
	self := unit.Self(t)
	for _, fault := range []string{"ENOSYS", "EPERM"} {
		cmd := launcher(0, strace, "-qq", "-o", os.DevNull, "-e", "trace=execveat", "-e", "inject=execveat:error="+fault, self, "strip", "--", "/bin/sh", "-c", `test "$A" = 1 && `+show, "zero")
		out, status := run(t, cmd)
		if status != 0 || !strings.HasPrefix(out, "nofile=321 zero=zero args=\ncomm=") {
			t.Errorf("%s: %d %q", fault, status, out)
		}
	}
}

func TestACopyWantsWhatExecWants(t *testing.T) {
	unit.Root(t)
	dir, self := unit.Folder(t), unit.Self(t)
	sh := filepath.Join(dir, "shell")
	capable(t, sh)
	unit.Must(t, unix.Chmod(sh, 0o754))
	out, status := run(t, launcher(nobody, self, "strip", "--", sh, "-c", "echo it ran"))
	if status != 126 || !strings.Contains(out, ErrNotExecutable.Error()) {
		t.Errorf("not executable: %d %q", status, out)
	}
	unit.Must(t, unix.Chmod(sh, 0o711))
	out, status = run(t, launcher(nobody, self, "strip", "--", sh, "-c", "echo it ran"))
	if status != 126 || !strings.Contains(out, ErrUnreadable.Error()) {
		t.Errorf("not readable: %d %q", status, out)
	}
	unit.Must(t, unix.Chmod(sh, 0o755))
	out, status = run(t, launcher(0, self, "strip", "fsize=4096", "--", sh, "-c", "echo it ran"))
	if status != 125 || !strings.Contains(out, unix.EFBIG.Error()) {
		t.Errorf("RLIMIT_FSIZE: %d %q", status, out)
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
		p, err := Find(path, "")
		unit.Must(t, err)
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
	unit.Must(t, os.RemoveAll(dir+"2"))
	p, err := Find(unit.Write(t, path, "one", 0o755), "")
	unit.Must(t, err)
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

func TestALargeProgramIsCopiedInTheKernel(t *testing.T) {
	unit.Root(t)
	dir, self := unit.Folder(t), unit.Self(t)
	sh := filepath.Join(dir, "shell")
	capable(t, sh)
	unit.Must(t, os.Truncate(sh, 200<<20))
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
	unit.Need(t, os.Geteuid() == 0, "root")
	if !unit.Again(t, unix.CLONE_NEWPID) {
		return
	}
	proc := unit.Folder(t)
	unit.Must(t, unix.Mount("none", proc, "proc", 0, ""))
	defer unix.Unmount(proc, unix.MNT_DETACH)
	sysctl := filepath.Join(proc, "sys/vm/memfd_noexec")
	if _, err := os.Stat(sysctl); err != nil {
		unit.Need(t, false, "vm.memfd_noexec (Linux 6.3)")
	}
	path := filepath.Join(unit.Folder(t), "p")
	unit.Copy(t, "/bin/true", path, 0o755)
	p, err := Find(path, "")
	unit.Must(t, err)
	unit.Must(t, os.WriteFile(sysctl, []byte("1"), 0))
	unit.Must(t, p.Copy())
	if errno := kernel(t, fmt.Sprint("/proc/self/fd/", p.copy), []string{"true"}, nil); errno != 0 {
		t.Errorf("memfd_noexec=1: exec of the copy: %v", errno)
	}
	unit.Must(t, os.WriteFile(sysctl, []byte("2"), 0)) // it never goes down again
	if err := p.Copy(); reason(t, err) != unix.EACCES || !asError(t, err).Copy || status(err) != 125 {
		t.Errorf("%v", err)
	}
}

// What only the exec brings to light: the errno, and that an execve which returns
// is an error whatever it returns.
func TestAFailedExecIsAnError(t *testing.T) {
	dir, self := unit.Folder(t), unit.Self(t)
	prog := unit.Copy(t, "/bin/true", filepath.Join(dir, "p"), 0o755)
	replace := func(argv ...string) error {
		p, err := Find(prog, "")
		unit.Must(t, err)
		defer p.Close()
		return reason(t, p.Replace(argv, nil))
	}
	f, err := os.OpenFile(prog, os.O_WRONLY, 0)
	unit.Must(t, err)
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
	if os.Geteuid() == 0 && !boundingIsFull(t) {
		setcap(t, prog, 1<<40|1<<24, true)
		if err := replace("p"); err != unix.EPERM {
			t.Errorf("file capabilities: %v", err)
		}
		unit.Must(t, unix.Removexattr(prog, "security.capability"))
	}
	strace := unit.Tool(t, "strace")
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
	dir := unit.Folder(t)
	prog := unit.Copy(t, "/bin/true", filepath.Join(dir, "p"), 0o755)
	p, err := Find(prog, "")
	unit.Must(t, err)
	if err := p.Ask([]string{"p"}, nil); err != nil {
		t.Error(err)
	}
	unit.Must(t, os.Chmod(prog, 0o644))
	err = p.Ask([]string{"p"}, nil)
	if err == nil {
		t.Skip("needs AT_EXECVE_CHECK (Linux 6.14)")
	}
	if reason(t, err) != unix.EACCES {
		t.Error(err)
	}
	unit.Must(t, os.Chmod(prog, 0o755))
	p, err = Find(prog, "")
	unit.Must(t, err)
	unit.Must(t, p.Copy())
	unit.Must(t, os.Remove(prog)) // the copy is asked for
	if err := p.Ask([]string{"p"}, nil); err != nil {
		t.Error(err)
	}
	if err := p.Ask([]string{strings.Repeat("x", 200<<10)}, nil); reason(t, err) != unix.E2BIG {
		t.Error(err)
	}
}
