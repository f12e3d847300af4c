//go:build linux

package exec

import (
	"encoding/json"
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

// launcher is a command that launches with the options, without capabilities
// in the bounding set but those for the switch, so that a file with "+ep" is
// EPERM for it.
func launcher(t testing.TB, self string, args ...string) *osexec.Cmd {
	t.Helper()
	cmd := osexec.Command("/bin/sh", append([]string{"-c", `ulimit -Sn 321; exec "$0" "$@"`, self}, args...)...)
	cmd.Env = append(os.Environ(), helperEnv+"=launch", "A=1", "EMPTY=")
	return cmd
}

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
	bounding := strings.Contains(status(t), "CapBnd:\t000001ffffffffff")
	if bounding {
		t.Log("the bounding set is full: the plain exec would succeed")
	}
}

func status(t testing.TB) string {
	b, err := os.ReadFile("/proc/self/status")
	check(t, err)
	return string(b)
}

func TestStripRunsTheBytesWithoutTheirPrivilege(t *testing.T) {
	needRoot(t)
	dir, self := folder(t), self(t)
	sh := filepath.Join(dir, "shell")
	capable(t, sh)
	script := write(t, filepath.Join(dir, "script"), "#! "+sh+" -u\t\n"+show, 0o755)
	nested := write(t, filepath.Join(dir, "nested"), "#!"+script+" arg of nested\n", 0o755)
	for _, tt := range []struct {
		name, uid string
		argv      []string
		want      string
	}{
		{"a program", "0", []string{sh, "-c", show, "zero", "a", ""}, "nofile=321 zero=zero args=a \ncomm=memfd:shell\n"},
		{"before the switch", "65534", []string{sh, "-c", show, "zero"}, "nofile=321 zero=zero args=\ncomm=memfd:shell\n"},
		{"a script", "65534", []string{script, "a", "b c"}, "nofile=321 zero=" + script + " args=a b c\ncomm=memfd:script\n"},
		{"a nested script", "0", []string{nested, "a"}, "nofile=321 zero=" + script + " args=arg of nested " + nested + " a\ncomm=memfd:nested\n"},
	} {
		out, status := run(t, launcher(t, self, append([]string{"strip", "uid=" + tt.uid, "--"}, tt.argv...)...))
		if i := strings.Index(out, "comm="); i >= 0 && !strings.Contains(out, "comm=memfd:") { // before Linux 6.14
			out, tt.want = out[:i], tt.want[:strings.Index(tt.want, "comm=")]
		}
		if status != 0 || out != tt.want {
			t.Errorf("%s: %d %q", tt.name, status, out)
		}
		// What the kernel makes of a script without the attribute is the same.
		check(t, unix.Removexattr(sh, "security.capability"))
		plain, _ := run(t, launcher(t, self, append([]string{"strip", "uid=" + tt.uid, "--"}, tt.argv...)...))
		setcap(t, sh, 1<<40|1<<24, true)
		if first, _, _ := strings.Cut(plain, "comm="); !strings.HasPrefix(out, first) {
			t.Errorf("%s: plain %q, stripped %q", tt.name, plain, out)
		}
	}
	// Set-id bits are gone as well.
	check(t, unix.Removexattr(sh, "security.capability"))
	check(t, unix.Chmod(sh, 0o6755))
	out, _ := run(t, launcher(t, self, "strip", "uid=65534", "--", sh, "-pc", "id -u; id -g"))
	if out != "65534\n65534\n" {
		t.Errorf("set-id: %q", out)
	}
	out, _ = run(t, launcher(t, self, "uid=65534", "--", sh, "-pc", "id -u; id -g"))
	if out != "0\n0\n" {
		t.Errorf("set-id without strip: %q: the case proves nothing", out)
	}
}

func TestStripNeedsNoProc(t *testing.T) {
	busybox, err := osexec.LookPath("busybox")
	need(t, err == nil, "busybox")
	if b, _ := os.Open(busybox); b != nil {
		e, err := ParseELF(b)
		b.Close()
		need(t, err == nil && e.Interp == "", "a static busybox")
	}
	if !inside(t, 0) {
		return
	}
	dir := folder(t)
	check(t, unix.Mount("none", dir, "tmpfs", 0, "mode=0755"))
	defer unix.Unmount(dir, unix.MNT_DETACH)
	check(t, os.Mkdir(filepath.Join(dir, "bin"), 0o755))
	sh := filepath.Join(dir, "bin/sh")
	copyFile(t, busybox, sh, 0o755)
	setcap(t, sh, 1<<40|1<<24, true)
	out, status := run(t, launcher(t, self(t), "strip", "chroot="+dir, "--", "/bin/sh", "-c", `echo "$(ulimit -n) $0 $*"`, "zero", "a"))
	if status != 0 || out != "321 zero a\n" {
		t.Errorf("%d %q", status, out)
	}
}

func TestStripWantsWhatExecWants(t *testing.T) {
	needRoot(t)
	dir, self := folder(t), self(t)
	sh := filepath.Join(dir, "shell")
	capable(t, sh)
	check(t, unix.Chmod(sh, 0o750))
	out, status := run(t, launcher(t, self, "strip", "uid=65534", "--", sh, "-c", "echo it ran"))
	if status != 126 || !strings.Contains(out, "may not execute it") {
		t.Errorf("not executable: %d %q", status, out)
	}
	// Executable and not readable: the copy runs, and cannot be read either.
	check(t, unix.Chmod(sh, 0o711))
	out, status = run(t, launcher(t, self, "strip", "uid=65534", "--", sh, "-c", "cat /proc/$$/exe >/dev/null 2>&1 && echo leaked; echo it ran"))
	if status != 0 || out != "it ran\n" {
		t.Errorf("not readable: %d %q", status, out)
	}
	check(t, unix.Chmod(sh, 0o755))
	out, status = run(t, launcher(t, self, "strip", "fsize=4096", "--", sh, "-c", "echo it ran"))
	if status != 125 || !strings.Contains(out, "RLIMIT_FSIZE") {
		t.Errorf("RLIMIT_FSIZE: %d %q", status, out)
	}
}

func TestACopyIsOfWhatWasInspected(t *testing.T) {
	dir := folder(t)
	path := write(t, filepath.Join(dir, "p"), "one", 0o755)
	for name, change := range map[string]func(){
		"written":  func() { write(t, path, "two", 0o755) },
		"replaced": func() { check(t, os.Rename(write(t, path+"2", "one", 0o755), path)) },
		"longer":   func() { write(t, path, "one and more", 0o755) },
		"emptied":  func() { check(t, os.Truncate(path, 0)) },
		"chmod":    func() { check(t, os.Chmod(path, 0o700)) },
		"removed":  func() { check(t, os.Remove(path)) },
	} {
		write(t, path, "one", 0o755)
		p, err := Inspect(path, nil, host)
		check(t, err)
		time.Sleep(12 * time.Millisecond) // the times of files are no finer on old kernels
		change()
		for how, make := range map[string]func() (Target, error){"copied": p.Copy, "held": p.Strip} {
			_, err = make()
			if e := asError(t, err); e == nil || e.Reason != Changed || e.ExitStatus() != 125 {
				t.Errorf("%s and %s: %v", name, how, err)
			}
		}
	}
	p, err := Inspect(write(t, path, "one", 0o755), nil, host)
	check(t, err)
	target, err := p.Copy()
	check(t, err)
	defer unix.Close(target.fd)
	proc := "/proc/self/fd/" + strconv.Itoa(target.fd)
	if b, err := os.ReadFile(proc); err != nil || string(b) != "one" {
		t.Errorf("%q, %v", b, err)
	}
	if f, err := os.OpenFile(proc, os.O_WRONLY, 0); err == nil {
		_, err := f.Write([]byte("x"))
		f.Close()
		if err == nil {
			t.Error("it can be written to")
		}
	}
	if flags, err := unix.FcntlInt(uintptr(target.fd), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
		t.Error("it is not closed at an exec")
	}
	if seals, err := unix.FcntlInt(uintptr(target.fd), unix.F_GET_SEALS, 0); err != nil || seals&15 != 15 {
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
	out, status := run(t, launcher(t, self, "strip", "mem", "--", sh, "-c", "echo it ran"))
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
	path := write(t, filepath.Join(folder(t), "p"), "#!", 0o755)
	copyFile(t, "/bin/true", path, 0o755)
	p, err := Inspect(path, nil, host)
	check(t, err)
	check(t, os.WriteFile(sysctl, []byte("1"), 0))
	target, err := p.Copy()
	check(t, err)
	if errno := kernel(t, fmt.Sprint("/proc/self/fd/", target.fd), []string{"true"}, nil); errno != 0 {
		t.Errorf("memfd_noexec=1: exec of the copy: %v", errno)
	}
	check(t, os.WriteFile(sysctl, []byte("2"), 0)) // it never goes down again
	_, err = p.Copy()
	if e := asError(t, err); e == nil || e.Reason != CopyForbidden || e.ExitStatus() != 125 || e.Hint() == "" {
		t.Errorf("%v", err)
	}
}

// TestAFailedExecIsExplained: what only the exec brings to light.
func TestAFailedExecIsExplained(t *testing.T) {
	dir, self := folder(t), self(t)
	prog := filepath.Join(dir, "p")
	copyFile(t, "/bin/true", prog, 0o755)
	explain := func(argv ...string) *Error {
		p, err := Inspect(prog, nil, host)
		check(t, err)
		target := p.Target()
		return asError(t, target.Explain(Replace(target, argv, nil)))
	}
	f, err := os.OpenFile(prog, os.O_WRONLY, 0)
	check(t, err)
	if e := explain("p"); e.Reason != TextBusy || e.ExitStatus() != 126 {
		t.Errorf("%v", e)
	}
	f.Close()
	if e := explain("p", strings.Repeat("x", 200<<10)); e.Reason != TooLong {
		t.Errorf("%v", e)
	}
	if os.Geteuid() == 0 && os.Getenv(insideEnv) == "" {
		setcap(t, prog, 1<<40|1<<24, true)
		if !strings.Contains(status(t), "CapBnd:\t000001ffffffffff") {
			if e := explain("p"); e.Reason != CapsUncovered {
				t.Errorf("%v", e)
			}
		}
		check(t, unix.Removexattr(prog, "security.capability"))
		// The user has a process, the limit is 0, and it does not hold for root.
		other := osexec.Command("sleep", "60")
		other.SysProcAttr = as(54321)
		check(t, other.Start())
		defer other.Wait()
		defer other.Process.Kill()
		out, status := run(t, launcher(t, self, "noprocs", "uid=54321", "--", prog))
		var e Error
		if i := strings.Index(out, "{"); i < 0 || json.NewDecoder(strings.NewReader(out[i:])).Decode(&e) != nil || e.Reason != TooManyProcs || status != 126 {
			t.Errorf("%d %s", status, out)
		}
	}
	p, err := Inspect(prog, nil, host)
	check(t, err)
	check(t, os.Chmod(prog, 0o644))
	if e := asError(t, p.Target().Explain(unix.EACCES)); e.Reason != NotExecutable {
		t.Errorf("changed: %v", e)
	}
	check(t, os.Remove(prog))
	if e := asError(t, p.Target().Explain(unix.ENOENT)); e.Reason != NotFound || e.ExitStatus() != 127 {
		t.Errorf("removed: %v", e)
	}
	copyFile(t, "/bin/true", prog, 0o755)
	for errno, want := range map[unix.Errno]Reason{0: Returned, unix.EPERM: Refused, unix.EACCES: Refused, unix.ENOMEM: NoMemory, unix.EMFILE: Refused} {
		if e := asError(t, p.Target().Explain(errno)); e.Reason != want {
			t.Errorf("%v: %v", errno, e)
		}
	}
}
