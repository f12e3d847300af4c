//go:build linux

package why

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	osexec "os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/caplaunch/caplaunch/internal/exec"
)

const someone = 4711 // a user without anything

// need skips a test that cannot run here, and fails it where all must run.
func need(t *testing.T, ok bool, what string) {
	t.Helper()
	if ok {
		return
	}
	if os.Getenv("TEST_REQUIRE") == "1" {
		t.Fatal("needs " + what)
	}
	t.Skip("needs " + what)
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// folder is an empty folder with a short name that every user can enter.
func folder(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "w")
	check(t, err)
	check(t, os.Chmod(dir, 0o755))
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func write(t *testing.T, path, text string, mode os.FileMode) string {
	t.Helper()
	syscall.ForkLock.RLock() // or a child of another test would hold the file open
	defer syscall.ForkLock.RUnlock()
	check(t, os.WriteFile(path, []byte(text), 0o600))
	check(t, unix.Chmod(path, uint32(mode)))
	return path
}

// as runs do as the user, without groups and capabilities, on a thread that ends
// with it.
func as(t *testing.T, uid int, do func()) {
	t.Helper()
	if uid == 0 {
		do()
		return
	}
	done := make(chan bool)
	go func() {
		defer close(done)
		runtime.LockOSThread()
		for _, call := range [][3]uintptr{{unix.SYS_SETGROUPS, 0, 0}, {unix.SYS_SETRESGID, uintptr(uid), uintptr(uid)}, {unix.SYS_SETRESUID, uintptr(uid), uintptr(uid)}} {
			if _, _, errno := unix.RawSyscall(call[0], call[1], call[2], uintptr(uid)); errno != 0 {
				t.Error(errno)
			}
		}
		do()
	}()
	<-done
}

// native is a dynamic program of this machine, with another ELF interpreter and
// machine: a copy of /bin/true where these two are changed.
func native(t *testing.T, loader string, machine uint16) string {
	t.Helper()
	p, err := exec.Find("true", "/bin:/usr/bin")
	check(t, err)
	defer p.Close()
	h, err := p.Last().ELF()
	check(t, err)
	need(t, h.Interp != "", "a dynamic /bin/true")
	b, err := os.ReadFile(p.Last().Path)
	check(t, err)
	if loader != "" {
		if len(loader) > len(h.Interp) {
			t.Fatalf("%s does not fit", loader)
		}
		b = bytes.Replace(b, []byte(h.Interp+"\x00"), []byte(loader+strings.Repeat("\x00", 1+len(h.Interp)-len(loader))), 1)
	}
	if machine != 0 {
		binary.NativeEndian.PutUint16(b[18:], machine)
	}
	return string(b)
}

// program386 is a program for 386 with an ELF interpreter.
func program386(loader string) string {
	b := append([]byte("\x7fELF\x01\x01\x01"), make([]byte, 9)...)
	word := func(words ...uint32) {
		for _, w := range words {
			b = binary.LittleEndian.AppendUint32(b, w)
		}
	}
	const base, at = 0x10000, 52 + 2*32
	word(3<<16|2, 1, base, 52, 0, 0, 32<<16|52, 2) // executable, 386; two program headers of 32 bytes
	b = append(b, make([]byte, 52-len(b))...)
	size := uint32(len(loader) + 1)
	word(3, at, base+at, base+at, size, size, 4, 1)
	word(1, 0, base, base, at+size, at+size, 5, 4096)
	return string(b) + loader + "\x00"
}

// places are what Explain fills in.
var places = regexp.MustCompile(`\{[A-Za-z]+\}`)

// A broken is a program that cannot be executed.
type broken struct {
	name string
	make func(t *testing.T, dir string) (program string) // to be looked for in dir
	user int
	argv []string
	row  *row
	text string // beside the row's own, where that has places to fill in
	hint string
	mend bool // the hint, up to " (", can be pasted and mends it
}

var brokens = []broken{
	{name: "not in PATH", make: func(*testing.T, string) string { return "nothere" }, row: notInPath},
	{name: "no name", make: func(*testing.T, string) string { return "" }, row: noName},
	{name: "nowhere", make: in("nothere"), row: notFound},
	{name: "a part that is no directory", make: file("p", "#!/bin/sh\n", 0o755, "/x"), row: notReached, text: "/p/x: not a directory", hint: "ls -ld "},
	{name: "a loop", make: func(t *testing.T, dir string) string {
		check(t, os.Symlink("loop", filepath.Join(dir, "loop")))
		return dir + "/loop"
	}, row: notReached, text: "too many levels of symbolic links"},
	{name: "a closed directory", make: func(t *testing.T, dir string) string {
		check(t, os.Mkdir(dir+"/locked dir", 0o700))
		return write(t, dir+"/locked dir/p", "#!/bin/sh\n", 0o755)
	}, user: someone, row: notSearchable, text: "uid 4711 may not search the directory '", hint: "chmod a+x '", mend: true},
	{name: "a closed directory behind a symlink", make: func(t *testing.T, dir string) string {
		check(t, os.Mkdir(dir+"/locked", 0o700))
		write(t, dir+"/locked/p", "#!/bin/sh\n", 0o755)
		check(t, os.Symlink("locked/p", dir+"/link"))
		return dir + "/link"
	}, user: someone, row: notSearchable, text: "/locked", hint: "chmod a+x /", mend: true},
	{name: "a directory", make: in(""), row: notRegular, text: "not a program but a directory"},
	{name: "a device", make: func(*testing.T, string) string { return "/dev/null" }, row: notRegular, text: "/dev/null: not a program but a device"},
	{name: "a FIFO", make: func(t *testing.T, dir string) string { check(t, unix.Mkfifo(dir+"/f", 0o777)); return dir + "/f" }, row: notRegular, text: "a FIFO"},
	{name: "no x", make: file("plain 1", "#!/bin/sh\n", 0o600, ""), row: notExecutable, text: "may not execute it (mode 0600, owner 0:0)", hint: "chmod a+rx '", mend: true},
	{name: "no x for this user", make: file("plain*", "#!/bin/sh\n", 0o700, ""), user: someone, row: notExecutable, text: "uid 4711 may not execute it (mode 0700, owner 0:0)", hint: "chmod a+rx '", mend: true},
	{name: "no x in PATH", make: func(t *testing.T, dir string) string {
		write(t, dir+"/only-here", "#!/bin/sh\n", 0o644)
		return "only-here"
	}, row: notExecutable, text: "/only-here: uid 0", mend: true},
	{name: "no interpreter of a script", make: file("p", "#!/not/here -x\n", 0o755, ""), row: missingInterpreter, text: `its "#!" line, /not/here, does not`, hint: "install /not/here, or write"},
	{name: "a carriage return", make: file("crlf's \"$x\" `file` \\", "#!/bin/sh\r\nexit 0\r\n", 0o755, ""), row: carriageReturn, text: `$'/bin/sh\015'`, hint: `sed -i 's/\r$//' '/`, mend: true},
	{name: "an interpreter without x", make: func(t *testing.T, dir string) string {
		return write(t, dir+"/s", "#!"+write(t, dir+"/sh", "#!/bin/sh\n", 0o644)+"\n", 0o755)
	}, row: notExecutable, text: "/sh, the interpreter of /", hint: "/sh (in a", mend: true},
	{name: "an interpreter that is a directory", make: file("p", "#!/bin\n", 0o755, ""), row: notRegular, text: "/bin, the interpreter of /"},
	{name: "an empty #! line", make: file("p", "#!", 0o755, ""), row: noInterpreter, hint: "sed -i '1c #!/bin/sh' /", mend: true},
	{name: "its own interpreter", make: func(t *testing.T, dir string) string { return write(t, dir+"/p", "#!"+dir+"/p\n", 0o755) }, row: tooDeep},
	{name: "no loader", make: patched("/lib/nothere", 0), row: missingLoader, text: "ELF interpreter, /lib/nothere,", hint: "install /lib/nothere, or"},
	{name: "no musl", make: patched("/lib/ld-musl-nothere.so.1", 0), row: missingMusl, text: "/lib/ld-musl-nothere.so.1"},
	{name: "no glibc", make: patched("/lib/ld-linux-nothere.so", 0), row: missingGlibc, text: "/lib/ld-linux-nothere.so"},
	{name: "a loader that is none", make: func(t *testing.T, dir string) string {
		loader := write(t, dir+"/l", strings.Repeat("no ELF, but longer than an ELF header; ", 4), 0o755)
		return write(t, dir+"/p", native(t, loader, 0), 0o755)
	}, row: badLoader, text: "/l, is damaged", hint: "/l again"},
	{name: "a loader without x", make: func(t *testing.T, dir string) string {
		loader := write(t, dir+"/l", native(t, "", 0), 0o644)
		return write(t, dir+"/p", native(t, loader, 0), 0o755)
	}, row: notExecutable, text: "/l, the interpreter of /", hint: "/l (in a"},
	{name: "a loader that is a directory", make: patched("/lib", 0), row: notRegular, text: "/lib, the interpreter of /"},
	{name: "another machine", make: patched("", 258), row: wrongArch, text: "built for loong64, and this is " + runtime.GOARCH, hint: "linux/" + runtime.GOARCH},
	{name: "a machine without a name", make: patched("", 4711), row: wrongArch, text: "built for machine 4711"},
	{name: "cut off", make: file("p", "\x7fELF\x02\x01\x01", 0o755, ""), row: malformedELF},
	{name: "of another system", make: file("p", "\xcf\xfa\xed\xfe\x00\n", 0o755, ""), row: notText, hint: "use the build for linux/"},
	{name: "text", make: file("it's text", "echo hello\n", 0o755, ""), row: noFormat, hint: "sed -i '1i #!/bin/sh' '/", mend: true},
	{name: "empty", make: file("p", "", 0o755, ""), row: empty},
	{name: "an interpreter that is empty", make: func(t *testing.T, dir string) string {
		return write(t, dir+"/p", "#!"+write(t, dir+"/e", "", 0o755)+"\n", 0o755)
	}, row: empty, text: "/e: the file is empty"},
	{name: "too long", make: file("p", "#!/bin/sh\n", 0o755, ""), argv: []string{strings.Repeat("x", 200<<10)}, row: tooLong},
}

// in is a path in the folder.
func in(name string) func(*testing.T, string) string {
	return func(_ *testing.T, dir string) string { return filepath.Join(dir, name) }
}

// file writes a file, and looks for its path and more.
func file(name, text string, mode os.FileMode, more string) func(*testing.T, string) string {
	return func(t *testing.T, dir string) string { return write(t, filepath.Join(dir, name), text, mode) + more }
}

func patched(loader string, machine uint16) func(*testing.T, string) string {
	return func(t *testing.T, dir string) string { return write(t, dir+"/p", native(t, loader, machine), 0o755) }
}

// try looks for the program and executes it. What comes back is why that failed,
// and the program, if it was found.
func try(t *testing.T, program, path string, argv []string) (*exec.Error, *exec.Program) {
	p, err := exec.Find(program, path)
	if err == nil {
		err = p.Replace(append([]string{"x"}, argv...), nil)
	}
	var e *exec.Error
	if !errors.As(err, &e) {
		t.Errorf("%s: %v", program, err)
		return &exec.Error{Err: unix.Errno(0)}, p
	}
	return e, p
}

// said checks what Explain says against the row.
func said(t *testing.T, b broken, text, hint string) {
	t.Helper()
	fits := func(got, row, more string) bool {
		for _, part := range append(places.Split(row, -1), more) {
			if !strings.Contains(got, part) {
				return false
			}
		}
		return !places.MatchString(got) && !strings.ContainsAny(got, "\n\r") && got != ""
	}
	if !fits(text, b.row.text, b.text) || !fits(hint, b.row.hint, b.hint) {
		t.Errorf("%s:\n%s\n%s\nwant %q, %q\n%q, %q", b.name, text, hint, b.row.text, b.text, b.row.hint, b.hint)
	}
}

func TestEachBrokenProgramHasItsReasonAndItsHint(t *testing.T) {
	need(t, os.Geteuid() == 0, "root")
	if handlers, _ := os.ReadDir("/proc/sys/fs/binfmt_misc"); len(handlers) > 2 {
		t.Log("this machine has handlers of binfmt_misc")
	}
	cases := brokens
	if runtime.GOARCH == "amd64" {
		cases = append(cases[:len(cases):len(cases)], broken{name: "no glibc for 386", make: func(t *testing.T, dir string) string {
			return write(t, dir+"/p", program386("/lib/ld-linux.so.9"), 0o755)
		}, row: missingGlibc32, text: "/lib/ld-linux.so.9", hint: "libc6:i386"})
	}
	for _, b := range cases {
		t.Run(b.name, func(t *testing.T) {
			dir := folder(t)
			program, command := b.make(t, dir), ""
			as(t, b.user, func() {
				e, p := try(t, program, dir, b.argv)
				if b.row == missingGlibc32 && e.Err == unix.ENOEXEC {
					t.Log("this kernel runs no 386 program")
					return
				}
				text, hint := Explain(e, p)
				said(t, b, text, hint)
				// explain says the same without executing it.
				if p != nil && b.argv == nil {
					doubt, _ := Doubt(p)
					if doubt == nil {
						t.Errorf("no doubt about %s", program)
					} else if doubted, hinted := Explain(doubt, p); doubted != text || hinted != hint {
						t.Errorf("doubted: %s, %s\nwant %s, %s", doubted, hinted, text, hint)
					}
				}
				if b.mend {
					command, _, _ = strings.Cut(hint, " (")
					command, _, _ = strings.Cut(command, ", or ")
				}
			})
			if b.mend {
				if out, err := osexec.Command("/bin/sh", "-c", command).CombinedOutput(); err != nil {
					t.Errorf("%s: %v %s", command, err, out)
				}
				as(t, b.user, func() { mended(t, program, dir) })
			}
		})
	}
}

// mended checks that the program runs.
func mended(t *testing.T, program, dir string) {
	t.Helper()
	p, err := exec.Find(program, dir)
	if err == nil {
		p.Close()
		err = osexec.Command(p.Path).Run()
	}
	if err != nil {
		t.Errorf("not mended: %v", err)
	}
}

// What the exec of the test cannot bring about is told of a program that is there.
func TestEachErrnoHasItsReason(t *testing.T) {
	dir := folder(t)
	path := write(t, dir+"/p", native(t, "", 0), 0o755)
	foreign := write(t, dir+"/foreign", native(t, "", 258), 0o755)
	for _, c := range []struct {
		e    exec.Error
		of   string
		row  *row
		text string
		hint string
	}{
		{exec.Error{Err: unix.ENOENT}, foreign, missingEmulator, "built for loong64", "flag F"},
		{exec.Error{Err: exec.ErrBadCaps}, path, badCaps, "", "setcap -r " + path + " in the image, or caplaunch --strip-file-caps"},
		{exec.Error{Err: exec.ErrForeignCaps}, path, foreignCaps, "", "setcap -r " + path},
		{exec.Error{Err: unix.ETXTBSY}, path, textBusy, "", "fuser -v " + path},
		{exec.Error{Err: unix.EAGAIN}, path, tooManyProcesses, fmt.Sprintf("uid %d already", os.Geteuid()), "ulimit -S -u"},
		{exec.Error{Err: unix.ENOMEM}, path, noMemory, "", ""},
		{exec.Error{Err: unix.EMFILE}, path, tooManyFiles, "too many open files", "ulimit -n"},
		{exec.Error{Err: unix.EIO}, path, badLoader, "", "install "}, // the kernel read too little of one of the two
		{exec.Error{Err: unix.EPERM}, path, refused, "operation not permitted", "security module"},
		{exec.Error{Err: unix.EACCES}, path, refused, "permission denied", "security module"},
		{exec.Error{Err: unix.ENODEV}, path, unexplained, "no such device", "dmesg"},
		{exec.Error{Err: exec.ErrChanged}, path, changed, "", path},
		{exec.Error{Err: exec.ErrReturned}, path, returned, "", ""},
		{exec.Error{Err: exec.ErrUnreadable}, path, opaque, "mode 0755", "chmod a+r " + path + ", or"},
		{exec.Error{Err: exec.ErrUnreadable, Copy: true}, path, unreadable, "mode 0755", "chmod a+r " + path + ", or setcap -r " + path + " and run without"},
		{exec.Error{Err: exec.ErrOrigin, Copy: true}, path, origin, "", "setcap -r " + path + " in the image, and run without --strip-file-caps"},
		{exec.Error{Err: unix.EACCES, Copy: true}, path, copyForbidden, "", "memfd_noexec=1"},
		{exec.Error{Err: unix.EFBIG, Copy: true}, path, copyTooLarge, "", "ulimit -f"},
		{exec.Error{Err: unix.EMFILE, Copy: true}, path, tooManyFiles, "", ""},
		{exec.Error{Err: unix.ENOSYS, Copy: true}, path, copyFailed, "function not implemented", "memfd_create"},
		{exec.Error{Err: unix.EIO, Copy: true}, path, copyFailed, "input/output error", "memfd_create"},
	} {
		p, err := exec.Find(c.of, "")
		check(t, err)
		c.e.Path = c.of
		text, hint := Explain(&c.e, p)
		said(t, broken{name: c.e.Err.Error(), row: c.row, text: c.text, hint: c.hint}, text, hint)
		p.Close()
	}
}

func TestFilePrivilegeIsTakenFromTheFile(t *testing.T) {
	need(t, os.Geteuid() == 0, "root")
	dir := folder(t)
	path := write(t, dir+"/p", native(t, "", 0), 0o755)
	check(t, os.Symlink("p", dir+"/link"))
	mend := func(via string) string {
		p, err := exec.Find(via, "")
		check(t, err)
		defer p.Close()
		return Mend(p)
	}
	caps := []byte{1, 0, 0, 2, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0} // cap_net_raw=ep
	check(t, unix.Setxattr(path, "security.capability", caps, 0))
	if got, want := mend(dir+"/link"), "setcap -r "+path+" in the image, or caplaunch --strip-file-caps"; got != want {
		t.Errorf("%q, not %q", got, want)
	}
	check(t, unix.Chmod(path, 0o6755))
	if got, want := mend(path), "setcap -r "+path+" && chmod ug-s "+path+" in the image, or caplaunch --strip-file-caps"; got != want {
		t.Errorf("%q, not %q", got, want)
	}
	check(t, unix.Removexattr(path, "security.capability"))
	check(t, unix.Chmod(path, 0o4711))
	// Who cannot read it has no copy of it.
	as(t, someone, func() {
		if got, want := mend(path), "chmod ug-s "+path+" in the image"; got != want {
			t.Errorf("%q, not %q", got, want)
		}
	})
	check(t, unix.Setxattr(path, "security.capability", caps, 0))
	p, err := exec.Find(path, "")
	check(t, err)
	defer p.Close()
	text, hint := Explain(&exec.Error{Path: path, Err: unix.EPERM, Copy: true}, p)
	said(t, broken{name: "no memfd_create", row: copyFailed}, text, hint)
	said(t, broken{name: "uncovered", row: uncoveredCaps, hint: "setcap -r"}, explained(p, unix.EPERM), hinted(p, unix.EPERM))
}

func explained(p *exec.Program, err error) string {
	text, _ := Explain(&exec.Error{Path: p.Path, Err: err}, p)
	return text
}

func hinted(p *exec.Program, err error) string {
	_, hint := Explain(&exec.Error{Path: p.Path, Err: err}, p)
	return hint
}

func TestWhatCannotBeReadIsNotExplained(t *testing.T) {
	need(t, os.Geteuid() == 0, "root")
	for text, errno := range map[string]string{"#!/not/here\n": "no such file or directory", "echo hello\n": "exec format error", "": "exec format error", native(t, "/lib/nothere", 0): "no such file or directory"} {
		path := write(t, folder(t)+"/p", text, 0o711)
		as(t, someone, func() {
			e, p := try(t, path, "", nil)
			text, hint := Explain(e, p)
			said(t, broken{name: "unreadable", row: hidden, text: errno, hint: "chmod a+r " + path}, text, hint)
		})
	}
}

func TestAForeignFormatMayHaveAHandler(t *testing.T) {
	dir := folder(t)
	for name, c := range map[string]struct {
		text             string
		doubted, foreign bool
	}{
		"native": {native(t, "", 0), false, false}, "another machine": {native(t, "", 258), true, true}, "binary": {"\xcf\xfa\xed\xfe\x00\n", true, true},
		"text": {"echo hello\n", true, false}, "cut off": {"\x7fELF\x02\x01\x01", true, false}, "script": {"#!/bin/sh\n", false, false},
	} {
		p, err := exec.Find(write(t, dir+"/p", c.text, 0o755), "")
		check(t, err)
		e, foreign := Doubt(p)
		if (e != nil) != c.doubted || foreign != c.foreign {
			t.Errorf("%s: %v, %v", name, e, foreign)
		}
		p.Close()
	}
}

func TestANoexecMountIsTold(t *testing.T) {
	const inside = "WHY_TEST_INSIDE"
	if os.Getenv(inside) == "" {
		need(t, os.Geteuid() == 0, "root")
		cmd := osexec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v")
		cmd.Env = append(os.Environ(), inside+"=1")
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS}
		if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS") {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	dir := folder(t)
	check(t, unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
	check(t, unix.Mount("none", dir, "tmpfs", unix.MS_NOEXEC, "mode=0755"))
	defer unix.Unmount(dir, unix.MNT_DETACH)
	path := write(t, dir+"/p", "#!/bin/sh\n", 0o755)
	e, p := try(t, path, "", nil)
	text, hint := Explain(e, p)
	said(t, broken{name: "noexec", row: noExecMount, hint: "--target " + path}, text, hint)
	command, _, _ := strings.Cut(hint, " (")
	if out, err := osexec.Command("/bin/sh", "-c", command).CombinedOutput(); err != nil {
		t.Errorf("%s: %v %s", command, err, out)
	}
	mended(t, path, "")
}
