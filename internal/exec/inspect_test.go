//go:build linux

package exec

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	osexec "os/exec"
	"path/filepath"
	"reflect"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/caplaunch/caplaunch/internal/ambient"
)

// shebangs are first lines, and what passes for them, for the interpreter p.
func shebangs(p string) []string {
	long := strings.Repeat("x", 300)
	fit := func(s string, n int) string { return s + strings.Repeat("y", n-len(s)) } // n bytes
	return []string{
		"#!" + p + "\n", "#! " + p + "\n", "#!\t \t" + p + " \t\n", "#!" + p, "#!" + p + " ", "#!" + p + " a", "#!" + p + " a ",
		"#!" + p + " a b  c \t\nrest", "#!" + p + "\t-x\n", "#!" + p + "\r\n", "#!" + p + " a\r\n", "#!" + p + "\x00junk\n",
		"#!" + p + " a\x00junk\n", "#!" + p + " \x00junk\n", "#!", "#!\n", "#! \n", "#!  ", "#!\x00" + p + "\n", "#\n", "", "# !" + p + "\n",
		"#!nothere\n", "#!" + p + "/x\n", "#!/\n", "#!/dev/null\n", "#!" + p + " " + long + "\n", "#!" + long + "\n",
		"#!" + strings.Repeat(" ", 300) + p + "\n", "#!" + strings.Repeat(" ", 254-len(p)) + p + "\n", "#!" + strings.Repeat(" ", 253-len(p)) + p + "\n",
		"#!" + strings.Repeat(" ", 252-len(p)) + p + " z\n", "#!" + strings.Repeat(" ", 251-len(p)) + p + " zz\n",
		fit("#!"+p+" ", 255) + "\n", fit("#!"+p+" ", 256) + "\n", fit("#!"+p+" ", 254) + " \n", fit("#!"+p+" ", 254) + "  \n", fit("#!"+p+" ", 253) + " y",
		"#!" + p + strings.Repeat(" ", 300) + "\n", "#!" + p + strings.Repeat(" ", 300) + "a\n",
	}
}

func TestShebangIsReadAsTheKernelReadsIt(t *testing.T) {
	t.Parallel()
	dir := folder(t)
	interp := filepath.Join(dir, "p")
	check(t, os.Rename(self(t), interp))
	texts := shebangs(interp)
	rnd := random(t)
	words := []string{" ", " ", "\t", "\n", "\x00", "a", "bc", "\r", interp, strings.Repeat("w", 90)}
	for range 150 {
		s := "#!"
		if rnd.IntN(2) == 0 {
			s += interp
		}
		for range rnd.IntN(7) {
			s += words[rnd.IntN(len(words))]
		}
		texts = append(texts, s)
	}
	for i, text := range texts {
		path := write(t, filepath.Join(dir, fmt.Sprint("s", i)), text, 0o755)
		cmd := osexec.Command(path, "1", "")
		cmd.Env = append(os.Environ(), helperEnv+"=args", "GORACE=atexit_sleep_ms=0")
		out, err := cmd.Output()
		var args []string
		if err == nil {
			check(t, json.Unmarshal(out, &args))
		}
		p, mine := Inspect(path, nil, host)
		switch {
		case err == nil:
			if want := append(p.prefix(), "1", ""); mine != nil || !reflect.DeepEqual(args, want) {
				t.Errorf("%.300q: kernel ran %q, Inspect says %q, %v", text, args, want, mine)
			}
		case errors.Is(err, unix.ENOEXEC):
			if mine != nil || p.source().Format == ELFFile {
				t.Errorf("%.300q: kernel says %v, Inspect says %v, %+v", text, err, mine, p.source())
			}
		default:
			if e := asError(t, mine); e == nil || !errors.Is(err, e.Errno) {
				t.Errorf("%.300q: kernel says %v, Inspect says %v", text, err, mine)
			}
		}
	}
}

func TestScriptsNestAsDeepAsTheKernelFollows(t *testing.T) {
	t.Parallel()
	dir := folder(t)
	interp := "/bin/true"
	for depth := 1; depth <= 8; depth++ {
		for _, last := range []string{"", "/nothere"} {
			path := filepath.Join(dir, fmt.Sprint("s", depth, last != ""))
			if depth == 1 && last != "" {
				interp = last
			}
			write(t, path, "#!"+interp+"\n", 0o755)
			want := kernel(t, path, []string{"x"}, nil)
			p, err := Inspect(path, nil, host)
			e := asError(t, err)
			if want == 0 && (err != nil || len(p.Files) != depth+1) || want != 0 && (e == nil || e.Errno != want) {
				t.Errorf("%d scripts: kernel says %v, Inspect says %v", depth, want, err)
			}
			if depth == 1 {
				interp = "/bin/true"
			}
		}
		interp = filepath.Join(dir, fmt.Sprint("s", depth, false))
	}
}

func TestInspectAndKernelAgreeOnWhatCannotRun(t *testing.T) {
	t.Parallel()
	dir := folder(t)
	in := func(name string) string { return filepath.Join(dir, name) }
	check(t, unix.Mkfifo(in("fifo"), 0o777))
	check(t, os.Mkdir(in("dir"), 0o755))
	check(t, os.Symlink("loop", in("loop")))
	check(t, os.Symlink("dir/../true", in("link")))
	check(t, os.Symlink("nothere", in("dangling")))
	check(t, os.Symlink("/bin/true", in("true")))
	name, loop := "", in("l0")
	copyFile(t, "/bin/true", in("real"), 0o755)
	check(t, os.Symlink(in("real"), loop))
	for i := 1; i <= 41; i++ {
		name = fmt.Sprint("l", i)
		check(t, os.Symlink(loop, in(name)))
		loop = in(name)
	}
	arm := elfFile(2, 1, 183, "/lib/ld-linux-aarch64.so.1", nil)
	if runtime.GOARCH == "arm64" {
		arm = elfFile(2, 1, 62, "/lib64/ld-linux-x86-64.so.2", nil)
	}
	for _, tt := range []struct {
		path   string
		text   string // of a file to be written
		mode   os.FileMode
		reason Reason // of Inspect
		after  Reason // of Explain
		status int
		hint   string
	}{
		{path: "/bin/true"},
		{path: in("link")},
		{path: in("true/")},
		{path: "", reason: NotFound, status: 127},
		{path: in("nothere"), reason: NotFound, status: 127, hint: "COPY"},
		{path: in("dangling"), reason: NotFound, status: 127},
		{path: in("nothere/x"), reason: NotFound, status: 127},
		{path: "/bin/true/x", reason: NotReached, status: 126},
		{path: "/bin/true/", reason: NotReached, status: 126},
		{path: in("loop"), reason: NotReached, status: 126},
		{path: in("l38")}, {path: in("l39")}, {path: in("l40"), reason: NotReached, status: 126}, {path: in("l41"), reason: NotReached, status: 126},
		{path: "/" + strings.Repeat("a/", 2100), reason: NotReached, status: 126},
		{path: "/" + strings.Repeat("a", 300), reason: NotReached, status: 126},
		{path: dir, reason: NotRegular, status: 126},
		{path: in("dir/"), reason: NotRegular, status: 126},
		{path: in("fifo"), reason: NotRegular, status: 126},
		{path: "/dev/null", reason: NotRegular, status: 126},
		{path: in("plain"), text: "#!/bin/sh\n", mode: 0o644, reason: NotExecutable, status: 126, hint: "chmod a+rx " + in("plain")},
		{path: in("lost"), text: "#!/not/here -x\n", mode: 0o755, reason: MissingInterpreter, status: 127, hint: "install /not/here"},
		{path: in("crlf"), text: "#!/bin/sh\r\nexit 0\r\n", mode: 0o755, reason: MissingInterpreter, status: 127, hint: `sed -i 's/\r$//' ` + in("crlf")},
		{path: in("bad\nname "), text: "#!/bin/sh\r\n", mode: 0o755, reason: MissingInterpreter, status: 127, hint: "sed"},
		{path: in("itsdir"), text: "#!" + dir + "\n", mode: 0o755, reason: NotRegular, status: 126},
		{path: in("itsplain"), text: "#!" + in("plain") + "\n", mode: 0o755, reason: NotExecutable, status: 126},
		{path: in("noloader"), text: string(nativeELF("/lib64/ld-nothere.so")), mode: 0o755, reason: MissingLoader, status: 127},
		{path: in("loaderdir"), text: string(nativeELF("/lib")), mode: 0o755, reason: NotRegular, status: 126},
		{path: in("badloader"), text: string(nativeELF(in("plainx"))), mode: 0o755, after: MalformedELF, status: 126},
		{path: in("noname"), text: "#!", mode: 0o755, reason: NoFormat, status: 126, hint: "#!/bin/sh"},
		{path: in("text"), text: "echo hello\n", mode: 0o755, after: NoFormat, status: 126, hint: "#!/bin/sh"},
		{path: in("binary"), text: "\xcf\xfa\xed\xfe\x00\n", mode: 0o755, after: NoFormat, status: 126, hint: "use the build for linux/"},
		{path: in("empty"), text: "", mode: 0o755, after: Empty, status: 126},
		{path: in("cut"), text: "\x7fELF\x02\x01\x01", mode: 0o755, after: MalformedELF, status: 126},
		{path: in("foreign"), text: string(arm), mode: 0o755, after: WrongArch, status: 126, hint: "linux/" + runtime.GOARCH},
		{path: in("via"), text: "#!" + in("foreign") + "\n", mode: 0o755, after: WrongArch, status: 126},
		{path: "/proc/self/exe"},
	} {
		if tt.mode != 0 {
			write(t, tt.path, tt.text, tt.mode)
		}
		write(t, in("plainx"), "no ELF, but longer than an ELF header, which is sixty-four bytes, as the kernel wants it", 0o755)
		start := time.Now()
		p, err := Inspect(tt.path, nil, host)
		if took := time.Since(start); took > time.Second {
			t.Errorf("%q: took %v", tt.path, took)
		}
		want := kernel(t, tt.path, []string{"x", "-test.run=^$"}, nil)
		if tt.after == WrongArch && want == 0 {
			t.Logf("%q runs here, by binfmt_misc", tt.path)
			continue
		}
		if got := reasonOf(t, err); got != tt.reason {
			t.Errorf("%q: reason %d, not %d: %v", tt.path, got, tt.reason, err)
		}
		if err == nil {
			target := p.Target()
			if tt.after != 0 {
				err = target.Explain(Replace(target, []string{"x"}, nil))
				if got := reasonOf(t, err); got != tt.after {
					t.Errorf("%q: afterwards reason %d, not %d: %v", tt.path, got, tt.after, err)
				}
			}
		}
		if e := asError(t, err); e == nil != (want == 0) || e != nil && (e.Errno != want || e.ExitStatus() != tt.status || !strings.Contains(e.Hint(), tt.hint)) {
			t.Errorf("%q: kernel says %v, not %v (hint %q)", tt.path, want, err, func() string {
				if e != nil {
					return e.Hint()
				}
				return ""
			}())
		}
		if errors.Is(err, fs.ErrNotExist) != (tt.status == 127) {
			t.Errorf("%q: %v", tt.path, err)
		}
	}
}

// nativeELF is a program for this machine with the ELF interpreter.
func nativeELF(interp string) []byte {
	class, data := byte(2), byte(1)
	if strconv.IntSize == 32 {
		class = elfClass32
	}
	if binary.NativeEndian.Uint16([]byte{0, 1}) == 1 {
		data = elfBig
	}
	for m, name := range machines {
		if strings.HasPrefix(runtime.GOARCH, name) {
			if b := elfFile(class, data, m, interp, nil); mustELF(b).Arch() == runtime.GOARCH {
				return b
			}
		}
	}
	panic(runtime.GOARCH)
}

func mustELF(b []byte) ELF {
	e, err := ParseELF(bytes.NewReader(b))
	if err != nil {
		panic(err)
	}
	return e
}

func TestA386ProgramRunsOrIsExplained(t *testing.T) {
	t.Parallel()
	need(t, runtime.GOARCH == "amd64", "amd64")
	path := write(t, filepath.Join(folder(t), "p"), string(elfFile(1, 1, 3, "", exit7)), 0o755)
	p, err := Inspect(path, nil, host)
	check(t, err)
	if f := p.source(); f.ELF.Arch() != "386" || !f.ELF.Native() {
		t.Errorf("%+v", f)
	}
	if kernel(t, path, []string{path}, nil) == unix.ENOEXEC {
		// The kernel is built or booted without IA32 emulation.
		err := p.Target().Explain(Replace(p.Target(), []string{path}, nil))
		if e := asError(t, err); e == nil || e.Reason != WrongArch || e.Arch != "386" {
			t.Errorf("%v", err)
		}
		return
	}
	if _, status := run(t, osexec.Command(path)); status != 7 {
		t.Errorf("exit status %d", status)
	}
	write(t, path, string(elfFile(1, 1, 3, "/lib/ld-linux.so.9", exit7)), 0o755)
	_, err = Inspect(path, nil, host)
	if e := asError(t, err); e == nil || e.Reason != MissingLoader || !strings.Contains(e.Hint(), "libc6:i386") {
		t.Errorf("%v", err)
	}
}

func TestCredentialsComeFromTheLastFile(t *testing.T) {
	needRoot(t)
	t.Parallel()
	dir := folder(t)
	sh := filepath.Join(dir, "sh")
	copyFile(t, "/bin/sh", sh, 0o755)
	script := write(t, filepath.Join(dir, "s"), "#!"+sh+"\n", 0o755)
	look := func(path string) ambient.File {
		t.Helper()
		p, err := Inspect(path, nil, host)
		check(t, err)
		c, err := p.Credentials()
		check(t, err)
		if p.Privileged() != (c != ambient.File{}) {
			t.Error("Privileged")
		}
		return c
	}
	// What stands on the script counts for nothing.
	check(t, unix.Chown(script, 1, 1))
	check(t, unix.Chmod(script, 0o6755))
	setcap(t, script, 1<<13, true)
	if c := look(script); c != (ambient.File{}) {
		t.Errorf("of a script: %+v", c)
	}
	setcap(t, sh, 1<<13|1<<50, true)
	for _, path := range []string{sh, script} {
		c := look(path)
		if c.Caps == nil || *c.Caps != (ambient.FileCaps{Permitted: 1 << 13, Effective: true}) || c.SetUID != nil || c.SetGID != nil {
			t.Errorf("%s: %+v", path, c.Caps)
		}
	}
	// An attribute without a bit is one too.
	setcap(t, sh, 0, false)
	if c := look(script); c.Caps == nil || *c.Caps != (ambient.FileCaps{}) {
		t.Errorf("empty caps: %+v", c.Caps)
	}
	check(t, unix.Removexattr(sh, "security.capability"))
	for _, tt := range []struct {
		mode     uint32
		uid, gid bool
	}{{0o4755, true, false}, {0o2755, false, true}, {0o2745, false, false}, {0o6711, true, true}, {0o755, false, false}} {
		check(t, unix.Chown(sh, 4711, 4712))
		check(t, unix.Chmod(sh, tt.mode))
		c := look(script)
		if (c.SetUID != nil) != tt.uid || (c.SetGID != nil) != tt.gid || tt.uid && *c.SetUID != 4711 || tt.gid && *c.SetGID != 4712 {
			t.Errorf("%o: %v %v", tt.mode, c.SetUID, c.SetGID)
		}
		p, err := Inspect(sh, nil, ambient.Host{UIDs: ambient.IDMap{{First: 0, Count: 65535}}, GIDs: ambient.IDMap{{First: 0, Count: 1}}})
		check(t, err)
		if c, err := p.Credentials(); err != nil || c != (ambient.File{}) {
			t.Errorf("%o with an unmapped group: %+v, %v", tt.mode, c, err)
		}
	}
}

func TestRevision3CountsForItsOwnRoot(t *testing.T) {
	needRoot(t)
	dir := folder(t)
	sh := filepath.Join(dir, "sh")
	copyFile(t, "/bin/sh", sh, 0o755)
	check(t, unix.Setxattr(sh, "security.capability", vfsCaps(3, 1<<13, 0, true, 1000), 0))
	p, err := Inspect(sh, nil, host)
	check(t, err)
	if c, err := p.Credentials(); err != nil || c != (ambient.File{}) || p.Privileged() {
		t.Errorf("of another root: %+v, %v", c, err)
	}
	nested := host
	nested.Nested = true
	p.host = nested
	_, err = p.Credentials()
	if e := asError(t, err); e == nil || e.Reason != ForeignCaps || e.ExitStatus() != 125 || !p.Privileged() {
		t.Errorf("in a namespace: %v", err)
	}
	check(t, unix.Setxattr(sh, "security.capability", vfsCaps(3, 1<<13, 0, true, 0), 0))
	p, err = Inspect(sh, nil, nested)
	check(t, err)
	if c, err := p.Credentials(); err != nil || c.Caps == nil {
		t.Errorf("of this root: %+v, %v", c, err)
	}
}

func TestRevision3OfAUserNamespaceCountsInside(t *testing.T) {
	if !inside(t, unix.CLONE_NEWUSER) {
		return
	}
	need(t, os.Geteuid() == 0, "a mapped root")
	dir := folder(t)
	check(t, unix.Mount("none", dir, "tmpfs", 0, ""))
	defer unix.Unmount(dir, 0)
	sh := filepath.Join(dir, "sh")
	copyFile(t, "/bin/sh", sh, 0o755)
	err := unix.Setxattr(sh, "security.capability", vfsCaps(2, 1<<13, 0, true, 0), 0)
	need(t, err != unix.EOPNOTSUPP, "tmpfs with xattrs in a user namespace")
	check(t, err)
	p, err := Inspect(sh, nil, ambient.Host{Known: host.Known, Nested: true})
	check(t, err)
	if c, err := p.Credentials(); err != nil || c.Caps == nil || c.Caps.Permitted != 1<<13 {
		t.Errorf("%+v, %v", c, err)
	}
}

func TestMalformedCapsAreRefused(t *testing.T) {
	t.Parallel()
	for _, f := range []File{{Path: "p", Caps: []byte{}}, {Path: "p", Caps: make([]byte, 20)}, {Path: "p", capsErr: unix.EINVAL}} {
		p := Program{Files: []File{f}, host: host}
		_, err := p.Credentials()
		if e := asError(t, err); e == nil || e.Reason != BadCaps || e.ExitStatus() != 126 || !p.Privileged() {
			t.Errorf("%+v: %v", f, err)
		}
		f.NoSuid = true
		p = Program{Files: []File{f}, host: host}
		if _, err := p.Credentials(); err != nil || p.Privileged() {
			t.Errorf("nosuid: %v", err)
		}
	}
}

func TestMountFlagsCount(t *testing.T) {
	if !inside(t, 0) {
		return
	}
	dir := folder(t)
	check(t, unix.Mount("none", dir, "tmpfs", unix.MS_NOSUID, ""))
	defer unix.Unmount(dir, unix.MNT_DETACH)
	sh := filepath.Join(dir, "sh")
	copyFile(t, "/bin/true", sh, 0o6755)
	setcap(t, sh, 1<<13, true)
	p, err := Inspect(sh, nil, host)
	check(t, err)
	if c, err := p.Credentials(); err != nil || c != (ambient.File{}) || p.Privileged() {
		t.Errorf("nosuid: %+v, %v", c, err)
	}
	check(t, unix.Mount("none", dir, "", unix.MS_REMOUNT|unix.MS_NOEXEC, ""))
	for _, v := range []*Viewer{nil, {UID: 1, GID: 1}} {
		script := write(t, filepath.Join(folder(t), "s"), "#!"+sh+"\n", 0o755)
		for _, path := range []string{sh, script} {
			_, err := Inspect(path, v, host)
			if e := asError(t, err); e == nil || e.Reason != NoExecMount || e.Errno != kernel(t, path, nil, nil) {
				t.Errorf("noexec: %v", err)
			}
		}
	}
}

func TestAFileThatOnlyRunsIsInspected(t *testing.T) {
	needRoot(t)
	dir := folder(t)
	sh := filepath.Join(dir, "sh")
	copyFile(t, "/bin/true", sh, 0o111)
	setcap(t, sh, 1<<13, false)
	launcher := osexec.Command(self(t), "uid=0", "strip", "--", sh)
	launcher.Env = append(os.Environ(), helperEnv+"=launch")
	launcher.SysProcAttr = as(nobody)
	out, status := run(t, launcher)
	if status != 126 || !strings.Contains(out, "may not read it") {
		t.Errorf("strip: %d %s", status, out)
	}
	launcher = osexec.Command(launcher.Path, "--", sh)
	launcher.Env = append(os.Environ(), helperEnv+"=launch")
	launcher.SysProcAttr = as(nobody)
	if out, status := run(t, launcher); status != 0 {
		t.Errorf("%d %s", status, out)
	}
}

// TestHintsWork pastes the hint into a shell and looks again.
func TestHintsWork(t *testing.T) {
	t.Parallel()
	dir := folder(t)
	locked := filepath.Join(dir, "locked dir")
	check(t, os.Mkdir(locked, 0o700))
	for _, tt := range []struct {
		path, text string
		mode       os.FileMode
		v          *Viewer
		reason     Reason
		cut        string // what ends the command
	}{
		{"crlf", "#!/bin/sh\r\n", 0o755, nil, MissingInterpreter, ""},
		{"crlf's \"$x\" `file` \\", "#!/bin/sh\r\n", 0o755, nil, MissingInterpreter, ""},
		{"plain (1)", "#!/bin/sh\n", 0o600, nil, NotExecutable, " (in"},
		{"plain*", "#!/bin/sh\n", 0o700, &Viewer{UID: 4711, GID: 4711}, NotExecutable, " (in"},
		{"locked dir/p", "#!/bin/sh\n", 0o755, &Viewer{UID: 4711, GID: 4711}, NotSearchable, " (and"},
	} {
		path := write(t, filepath.Join(dir, tt.path), tt.text, tt.mode)
		_, err := Inspect(path, tt.v, host)
		e := asError(t, err)
		if e == nil || e.Reason != tt.reason {
			t.Errorf("%q: %v", path, err)
			continue
		}
		command := e.Hint()
		if i := strings.LastIndex(command, tt.cut); tt.cut != "" && i > 0 {
			command = command[:i]
		}
		if out, status := run(t, osexec.Command("sh", "-c", command)); status != 0 {
			t.Errorf("%s: %s", command, out)
		}
		if _, err := Inspect(path, tt.v, host); err != nil {
			t.Errorf("%s did not help: %v", command, err)
		}
	}
	// The one that runs the file with a shell.
	path := write(t, filepath.Join(dir, "it's text"), "echo it ran\n", 0o755)
	hint := (&Error{Reason: NoFormat, Path: path}).Hint()
	_, command, _ := strings.Cut(hint, "-- ")
	if out, _ := run(t, osexec.Command("sh", "-c", command)); out != "it ran\n" {
		t.Errorf("%s: %s", command, out)
	}
}

// acl writes a system.posix_acl_access attribute.
func acl(entries ...uint32) []byte {
	b := []byte{2, 0, 0, 0}
	for ; len(entries) > 0; entries = entries[3:] {
		b = binary.LittleEndian.AppendUint16(b, uint16(entries[0]))
		b = binary.LittleEndian.AppendUint16(b, uint16(entries[1]))
		b = binary.LittleEndian.AppendUint32(b, entries[2])
	}
	return b
}
