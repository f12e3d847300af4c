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
	"testing"

	"golang.org/x/sys/unix"

	"github.com/caplaunch/caplaunch/internal/exec"
	"github.com/caplaunch/caplaunch/test/unit"
)

// found is the program, until the test ends.
func found(t *testing.T, program string) *exec.Program {
	t.Helper()
	p, err := exec.Find(program, "/bin:/usr/bin")
	unit.Must(t, err)
	t.Cleanup(p.Close)
	return p
}

// native is a dynamic program of this machine, with another ELF interpreter and
// machine: a copy of /bin/true where these two are changed.
func native(t *testing.T, loader string, machine uint16) string {
	t.Helper()
	p := found(t, "true")
	h, err := p.Last().ELF()
	unit.Must(t, err)
	unit.Need(t, h.Interp != "" && len(h.Interp) >= len(loader), "a dynamic /bin/true, whose ELF interpreter has a long name")
	b, err := os.ReadFile(p.Last().Path)
	unit.Must(t, err)
	if loader != "" {
		b = bytes.Replace(b, []byte(h.Interp+"\x00"), []byte(loader+strings.Repeat("\x00", 1+len(h.Interp)-len(loader))), 1)
	}
	if machine != 0 {
		binary.NativeEndian.PutUint16(b[18:], machine)
	}
	return string(b)
}

// places are what Explain fills in.
var places = regexp.MustCompile(`\{[A-Za-z]+\}`)

// A broken is a program that cannot be executed.
type broken struct {
	name string
	make func(t *testing.T, dir string) (program string) // to be looked for in dir
	user unit.User
	argv []string
	row  *row
	text string // beside the row's own, where that has places to fill in
	hint string
	mend bool // the hint, up to " (", can be pasted and mends it
}

func (b broken) as(t *testing.T, do func()) {
	if b.user.UID != 0 {
		b.user.As(t, do)
		return
	}
	do()
}

var brokens = []broken{
	{name: "not in PATH", make: func(*testing.T, string) string { return "nothere" }, row: notInPath},
	{name: "no name", make: func(*testing.T, string) string { return "" }, row: noName},
	{name: "nowhere", make: in("nothere"), row: notFound},
	{name: "a part that is no directory", make: file("p", "#!/bin/sh\n", 0o755, "/x"), row: notReached, text: "/p/x: not a directory", hint: "ls -ld "},
	{name: "a loop", make: made("loop", "ln -s loop loop"), row: notReached, text: "too many levels of symbolic links"},
	{name: "a closed directory", make: made("locked dir/p",
		"mkdir -m 700 'locked dir'; echo '#!/bin/sh' > 'locked dir/p'; chmod 755 */p"), user: unit.Someone, row: notSearchable, text: "uid 4711 may not search the directory '", hint: "chmod a+x '", mend: true},
	{name: "a closed directory behind a symlink", make: made("link",
		"mkdir -m 700 locked; echo '#!/bin/sh' > locked/p; chmod 755 */p; ln -s locked/p link"), user: unit.Someone, row: notSearchable, text: "/locked", hint: "chmod a+x /", mend: true},
	{name: "a directory", make: in(""), row: notRegular, text: "not a program but a directory"},
	{name: "a device", make: func(*testing.T, string) string { return "/dev/null" }, row: notRegular, text: "/dev/null: not a program but a device"},
	{name: "a FIFO", make: made("f", "mkfifo -m 777 f"), row: notRegular, text: "a FIFO"},
	{name: "no x", make: file("plain 1", "#!/bin/sh\n", 0o600, ""), row: notExecutable, text: "may not execute it (mode 0600, owner 0:0)", hint: "chmod a+rx '", mend: true},
	{name: "no x for this user", make: file("plain*", "#!/bin/sh\n", 0o700, ""), user: unit.Someone, row: notExecutable, text: "uid 4711 may not execute it (mode 0700, owner 0:0)", hint: "chmod a+rx '", mend: true},
	{name: "no x in PATH", make: func(t *testing.T, dir string) string {
		return filepath.Base(unit.Write(t, dir+"/only-here", "#!/bin/sh\n", 0o644))
	}, row: notExecutable, text: "/only-here: uid 0", mend: true},
	{name: "no interpreter of a script", make: file("p", "#!/not/here -x\n", 0o755, ""), row: missingInterpreter, text: `its "#!" line, /not/here, does not`, hint: "install /not/here, or write"},
	{name: "a carriage return", make: file("crlf's \"$x\" `file` \\", "#!/bin/sh\r\nexit 0\r\n", 0o755, ""), row: carriageReturn, text: `$'/bin/sh\015'`, hint: `sed -i 's/\r$//' '/`, mend: true},
	{name: "an interpreter without x", make: made("s",
		`echo '#!/bin/sh' > sh; chmod 644 sh; echo "#!$PWD/sh" > s; chmod 755 s`), row: notExecutable, text: "/sh, the interpreter of /", hint: "/sh (in a", mend: true},
	{name: "an interpreter that is a directory", make: file("p", "#!/bin\n", 0o755, ""), row: notRegular, text: "/bin, the interpreter of /"},
	{name: "an empty #! line", make: file("p", "#!", 0o755, ""), row: noInterpreter, hint: "sed -i '1c #!/bin/sh' /", mend: true},
	{name: "its own interpreter", make: func(t *testing.T, dir string) string { return unit.Write(t, dir+"/p", "#!"+dir+"/p\n", 0o755) }, row: tooDeep},
	{name: "no loader", make: patched("/lib/nothere", 0), row: missingLoader, text: "ELF interpreter, /lib/nothere,", hint: "install /lib/nothere, or"},
	{name: "no musl", make: patched("/lib/ld-musl-nothere.so.1", 0), row: missingMusl, text: "/lib/ld-musl-nothere.so.1"},
	{name: "no glibc", make: patched("/lib/ld-linux-nothere.so", 0), row: missingGlibc, text: "/lib/ld-linux-nothere.so"},
	{name: "a loader that is none", make: func(t *testing.T, dir string) string {
		loader := unit.Write(t, dir+"/l", strings.Repeat("no ELF, but longer than an ELF header; ", 4), 0o755)
		return unit.Write(t, dir+"/p", native(t, loader, 0), 0o755)
	}, row: badLoader, text: "/l, is damaged", hint: "/l again"},
	{name: "a loader without x", make: func(t *testing.T, dir string) string {
		loader := unit.Write(t, dir+"/l", native(t, "", 0), 0o644)
		return unit.Write(t, dir+"/p", native(t, loader, 0), 0o755)
	}, row: notExecutable, text: "/l, the interpreter of /", hint: "/l (in a"},
	{name: "a loader that is a directory", make: patched("/lib", 0), row: notRegular, text: "/lib, the interpreter of /"},
	{name: "another machine", make: patched("", 258), row: wrongArch, text: "built for loong64, and this is " + runtime.GOARCH, hint: "linux/" + runtime.GOARCH},
	{name: "a machine without a name", make: patched("", 4711), row: wrongArch, text: "built for machine 4711"},
	{name: "cut off", make: file("p", "\x7fELF\x02\x01\x01", 0o755, ""), row: malformedELF},
	{name: "of another system", make: file("p", "\xcf\xfa\xed\xfe\x00\n", 0o755, ""), row: notText, hint: "use the build for linux/"},
	{name: "text", make: file("it's text", "echo hello\n", 0o755, ""), row: noFormat, hint: "sed -i '1i #!/bin/sh' '/", mend: true},
	{name: "empty", make: file("p", "", 0o755, ""), row: empty},
	{name: "an interpreter that is empty", make: made("p", `touch e; echo "#!$PWD/e" > p; chmod 755 e p`), row: empty, text: "/e: the file is empty"},
	{name: "too long", make: file("p", "#!/bin/sh\n", 0o755, ""), argv: []string{strings.Repeat("x", 200<<10)}, row: tooLong},
}

// made is what commands make in the folder.
func made(name, commands string) func(*testing.T, string) string {
	return func(t *testing.T, dir string) string {
		unit.Shell(t, dir, commands)
		return filepath.Join(dir, name)
	}
}

// in is a path in the folder.
func in(name string) func(*testing.T, string) string {
	return func(_ *testing.T, dir string) string { return filepath.Join(dir, name) }
}

// file writes a file, and looks for its path and more.
func file(name, text string, mode uint32, more string) func(*testing.T, string) string {
	return func(t *testing.T, dir string) string {
		return unit.Write(t, filepath.Join(dir, name), text, mode) + more
	}
}

func patched(loader string, machine uint16) func(*testing.T, string) string {
	return func(t *testing.T, dir string) string {
		return unit.Write(t, dir+"/p", native(t, loader, machine), 0o755)
	}
}

// try looks for the program and executes it. What comes back is why that failed, and the program, if it was found.
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
	unit.Root(t)
	if handlers, _ := os.ReadDir("/proc/sys/fs/binfmt_misc"); len(handlers) > 2 {
		t.Log("this machine has handlers of binfmt_misc")
	}
	cases := brokens
	if runtime.GOARCH == "amd64" {
		cases = append(cases[:len(cases):len(cases)], broken{name: "no glibc for 386", make: func(t *testing.T, dir string) string {
			return unit.Write(t, dir+"/p", string(unit.ELF{Class: 1, Data: 1, Machine: 3, Interp: "/lib/ld-linux.so.9", Base: 0x10000}.Bytes()), 0o755)
		}, row: missingGlibc32, text: "/lib/ld-linux.so.9", hint: "libc6:i386"})
	}
	for _, b := range cases {
		t.Run(b.name, func(t *testing.T) {
			dir := unit.Folder(t)
			program, hint := b.make(t, dir), ""
			b.as(t, func() {
				e, p := try(t, program, dir, b.argv)
				if b.row == missingGlibc32 && e.Err == unix.ENOEXEC {
					t.Log("this kernel runs no 386 program")
					return
				}
				var text string
				text, hint = Explain(e, p)
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
			})
			if b.mend {
				paste(t, hint)
				b.as(t, func() { mended(t, program, dir) })
			}
		})
	}
}

// paste does what the hint says.
func paste(t *testing.T, hint string) {
	t.Helper()
	command, _, _ := strings.Cut(hint, " (")
	command, _, _ = strings.Cut(command, ", or ")
	unit.Shell(t, "/", command)
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
	dir := unit.Folder(t)
	path := unit.Write(t, dir+"/p", native(t, "", 0), 0o755)
	foreign := unit.Write(t, dir+"/foreign", native(t, "", 258), 0o755)
	for _, c := range []struct {
		e          exec.Error
		of         string
		row        *row
		text, hint string
	}{
		{exec.Error{Err: unix.ENOENT}, foreign, missingEmulator, "built for loong64", "flag F"},
		{exec.Error{Err: exec.ErrBadCaps}, path, badCaps, "", "setcap -r " + path + " in the image, or caplaunch --strip-file-caps"},
		{exec.Error{Err: exec.ErrHiddenCaps}, path, hiddenCaps, "seccomp filter", "start caplaunch without"},
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
		c.e.Path = c.of
		text, hint := Explain(&c.e, found(t, c.of))
		said(t, broken{name: c.e.Err.Error(), row: c.row, text: c.text, hint: c.hint}, text, hint)
	}
}

func TestFilePrivilegeIsTakenFromTheFile(t *testing.T) {
	unit.Root(t)
	dir := unit.Folder(t)
	path := unit.Write(t, dir+"/p", native(t, "", 0), 0o755)
	unit.Must(t, os.Symlink("p", dir+"/link"))
	const caps = "\x01\x00\x00\x02\x00\x20" // cap_net_raw=ep
	setcap := func() {
		unit.Must(t, unix.Setxattr(path, "security.capability", []byte(caps+strings.Repeat("\x00", 14)), 0))
	}
	mends := func(via, want string) {
		t.Helper()
		if got := Mend(found(t, via)); got != want {
			t.Errorf("%q, not %q", got, want)
		}
	}
	setcap()
	mends(dir+"/link", "setcap -r "+path+" in the image, or caplaunch --strip-file-caps")
	unit.Must(t, unix.Chmod(path, 0o6755))
	mends(path, "setcap -r "+path+" && chmod ug-s "+path+" in the image, or caplaunch --strip-file-caps")
	unit.Must(t, unix.Removexattr(path, "security.capability"))
	unit.Must(t, unix.Chmod(path, 0o4711))
	// Who cannot read it has no copy of it.
	unit.Someone.As(t, func() { mends(path, "chmod ug-s "+path+" in the image") })
	setcap()
	p := found(t, path)
	text, hint := Explain(&exec.Error{Path: path, Err: unix.EPERM, Copy: true}, p)
	said(t, broken{name: "no memfd_create", row: copyFailed}, text, hint)
	text, hint = Explain(&exec.Error{Path: p.Path, Err: unix.EPERM}, p)
	said(t, broken{name: "uncovered", row: uncoveredCaps, hint: "setcap -r"}, text, hint)
}

func TestWhatCannotBeReadIsNotExplained(t *testing.T) {
	unit.Root(t)
	for text, errno := range map[string]string{"#!/not/here\n": "no such file or directory", "echo hello\n": "exec format error", "": "exec format error", native(t, "/lib/nothere", 0): "no such file or directory"} {
		path := unit.Write(t, unit.Folder(t)+"/p", text, 0o711)
		unit.Someone.As(t, func() {
			e, p := try(t, path, "", nil)
			text, hint := Explain(e, p)
			said(t, broken{name: "unreadable", row: hidden, text: errno, hint: "chmod a+r " + path}, text, hint)
		})
	}
}

func TestAForeignFormatMayHaveAHandler(t *testing.T) {
	dir := unit.Folder(t)
	for name, c := range map[string]struct {
		text             string
		doubted, foreign bool
	}{
		"native": {native(t, "", 0), false, false}, "another machine": {native(t, "", 258), true, true}, "binary": {"\xcf\xfa\xed\xfe\x00\n", true, true},
		"text": {"echo hello\n", true, false}, "cut off": {"\x7fELF\x02\x01\x01", true, false}, "script": {"#!/bin/sh\n", false, false},
	} {
		e, foreign := Doubt(found(t, unit.Write(t, dir+"/p", c.text, 0o755)))
		if (e != nil) != c.doubted || foreign != c.foreign {
			t.Errorf("%s: %v, %v", name, e, foreign)
		}
	}
}
