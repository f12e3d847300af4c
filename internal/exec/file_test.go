//go:build linux

package exec

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	osexec "os/exec"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/caplaunch/caplaunch/internal/ambient"
	"github.com/caplaunch/caplaunch/test/unit"
)

// shebangs are first lines, and what passes for them, for the interpreter p.
func shebangs(p string) []string {
	long := strings.Repeat("x", 300)
	fit := func(s string, n int) string { return s + strings.Repeat("y", n-len(s)) } // n bytes
	return []string{
		"#!" + p + "\n", "#! " + p + "\n", "#!\t \t" + p + " \t\n", "#!" + p, "#!" + p + " ", "#!" + p + " a", "#!" + p + " a ",
		"#!" + p + " a b  c \t\nrest", "#!" + p + "\t-x\n", "#!" + p + "\r\n", "#!" + p + " a\r\n", "#!" + p + "\x00junk\n",
		"#!" + p + " a\x00junk\n", "#!" + p + " \x00junk\n", "#!", "#!\n", "#! \n", "#!  ", "#!\x00" + p + "\n", "#\n", "", "# !" + p + "\n", "x!" + p + "\n",
		"#!nothere\n", "#!" + p + "/x\n", "#!/\n", "#!/dev/null\n", "#!" + p + " " + long + "\n", "#!" + long + "\n",
		"#!" + strings.Repeat(" ", 300) + p + "\n", "#!" + strings.Repeat(" ", 254-len(p)) + p + "\n", "#!" + strings.Repeat(" ", 253-len(p)) + p + "\n",
		"#!" + strings.Repeat(" ", 252-len(p)) + p + " z\n", "#!" + strings.Repeat(" ", 251-len(p)) + p + " zz\n",
		fit("#!"+p+" ", 255) + "\n", fit("#!"+p+" ", 256) + "\n", fit("#!"+p+" ", 254) + " \n", fit("#!"+p+" ", 254) + "  \n", fit("#!"+p+" ", 253) + " y",
		"#!" + p + strings.Repeat(" ", 300) + "\n", "#!" + p + strings.Repeat(" ", 300) + "a\n",
	}
}

func TestShebangIsReadAsTheKernelReadsIt(t *testing.T) {
	t.Parallel()
	dir := unit.Folder(t)
	interp := filepath.Join(dir, "p")
	unit.Must(t, os.Rename(unit.Self(t), interp))
	texts := shebangs(interp)
	rnd := unit.Rand(t)
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
		path := unit.Write(t, filepath.Join(dir, fmt.Sprint("s", i)), text, 0o755)
		cmd := osexec.Command(path, "1", "")
		cmd.Env = append(os.Environ(), helperEnv+"=args", "GORACE=atexit_sleep_ms=0")
		out, err := cmd.Output()
		var args []string
		if err == nil {
			unit.Must(t, json.Unmarshal(out, &args))
		}
		p, mine := Find(path, "")
		switch {
		case err == nil:
			if want := append(p.prefix(), "1", ""); mine != nil || !reflect.DeepEqual(args, want) {
				t.Errorf("%.300q: kernel ran %q, Find says %q, %v", text, args, want, mine)
			}
		case errors.Is(err, unix.ENOEXEC) && (mine != nil || len(p.Files) > 1), !errors.Is(err, unix.ENOEXEC) && (mine == nil || !errors.Is(err, errno(t, mine))):
			t.Errorf("%.300q: kernel says %v, Find says %v", text, err, mine)
		}
		if mine == nil {
			p.Close()
		}
	}
}

// TestFindAndKernelAgreeOnWhatCannotRun compares the errno, of Find or of the exec that follows, and the exit status.
func TestFindAndKernelAgreeOnWhatCannotRun(t *testing.T) {
	t.Parallel()
	dir := unit.Folder(t)
	in := func(name string) string { return filepath.Join(dir, name) }
	unit.Shell(t, dir, `mkfifo -m 777 fifo; mkdir dir; ln -s loop loop; ln -s dir/../true link; ln -s nothere dangling; ln -s /bin/true true
		cp /bin/true real; ln -s "$PWD/real" l0; for i in $(seq 41); do ln -s "$PWD/l$((i - 1))" l$i; done`)
	script := "/bin/true"
	for i := range 8 {
		script = unit.Write(t, in(fmt.Sprint("s", i)), "#!"+script+"\n", 0o755)
	}
	for name, f := range map[string]struct {
		text string
		mode uint32
	}{
		"plain": {"#!/bin/sh\n", 0o644}, "lost": {"#!/not/here -x\n", 0o755}, "crlf": {"#!/bin/sh\r\nexit 0\r\n", 0o755}, "bad\nname ": {"#!/bin/sh\r\n", 0o755},
		"itsdir": {"#!" + dir + "\n", 0o755}, "itsplain": {"#!" + in("plain") + "\n", 0o755}, "noname": {"#!", 0o755}, "text": {"echo hello\n", 0o755},
		"binary": {"\xcf\xfa\xed\xfe\x00\n", 0o755}, "empty": {"", 0o755}, "cut": {"\x7fELF\x02\x01\x01", 0o755}, "via": {"#!" + in("cut") + "\n", 0o755},
	} {
		unit.Write(t, in(name), f.text, f.mode)
	}
	for want, paths := range map[int][]string{
		0: {"/bin/true", in("link"), in("true"), in("l38"), in("l39"), "/proc/self/exe", in("s0"), in("s3"), in("s4")},
		126: {
			in("true") + "/", in("l40"), in("l41"), "/bin/true/x", "/bin/true/", in("loop"), "/" + strings.Repeat("a/", 2100),
			"/" + strings.Repeat("a", 300), dir, in("dir") + "/", in("fifo"), "/dev/null", in("plain"), in("itsdir"), in("itsplain"),
			in("noname"), in("text"), in("binary"), in("empty"), in("cut"), in("via"), in("s5"), in("s7"),
		},
		127: {"", in("nothere"), in("dangling"), in("nothere/x"), in("lost"), in("crlf"), in("bad\nname ")},
	} {
		for _, path := range paths {
			p, err := Find(path, "")
			answer := kernel(t, path, "x", "-test.run=^$")
			if err == nil && answer != 0 { // only the exec finds out
				err = p.Replace([]string{"x"}, nil)
			}
			if got := errno(t, err); got != answer || status(err) != want {
				t.Errorf("%.80q: kernel says %v, not %v; status %d, not %d", path, answer, err, status(err), want)
			}
		}
	}
}

// credentials finds the program and what execve takes from it.
func credentials(t *testing.T, path string) (ambient.File, error) {
	t.Helper()
	return found(t, path).Credentials(known)
}

func TestCredentialsComeFromTheLastFile(t *testing.T) {
	unit.Root(t)
	t.Parallel()
	dir := unit.Folder(t)
	sh := unit.Copy(t, "/bin/sh", filepath.Join(dir, "sh"), 0o755)
	script := unit.Write(t, filepath.Join(dir, "s"), "#!"+sh+"\n", 0o755)
	unit.Must(t, unix.Chown(script, 1, 1))
	unit.Must(t, unix.Chmod(script, 0o6755))
	setcap(t, script, 1<<13, true)
	uid, gid := uint32(4711), uint32(4712)
	unit.Must(t, unix.Chown(sh, int(uid), int(gid)))
	raw := &ambient.FileCaps{Permitted: 1 << 13, Effective: true}
	for _, c := range []struct {
		mode uint32
		caps []byte
		want ambient.File
	}{
		{0o755, nil, ambient.File{}}, // what stands on the script counts for nothing
		{0o755, vfsCaps(2, 1<<13|1<<50, 0, true, 0), ambient.File{Caps: raw}},
		{0o755, vfsCaps(2, 0, 0, false, 0), ambient.File{Caps: &ambient.FileCaps{}}}, // an attribute without a bit is one too
		{0o755, vfsCaps(3, 1<<13, 0, true, 0), ambient.File{Caps: raw}},
		{0o755, vfsCaps(3, 1<<13, 0, true, 1000), ambient.File{}}, // of another root
		{0o4755, nil, ambient.File{SetUID: &uid}},
		{0o2755, nil, ambient.File{SetGID: &gid}},
		{0o2745, nil, ambient.File{}},
		{0o6711, nil, ambient.File{SetUID: &uid, SetGID: &gid}},
	} {
		unit.Must(t, unix.Chmod(sh, c.mode))
		if unix.Removexattr(sh, "security.capability"); c.caps != nil {
			unit.Must(t, unix.Setxattr(sh, "security.capability", c.caps, 0))
		}
		for _, path := range []string{sh, script} {
			if got, err := credentials(t, path); err != nil || !reflect.DeepEqual(got, c.want) {
				t.Errorf("%s: %o with %x: %+v, %v", path, c.mode, c.caps, got, err)
			}
		}
	}
	// All that is said of a file comes from one that was opened, whatever the path leads to a moment later.
	p := found(t, sh)
	unit.Copy(t, "/bin/false", sh+"2", 0o755)
	unit.Must(t, os.Rename(sh+"2", sh))
	if c, err := p.Credentials(known); err != nil || c.SetUID == nil {
		t.Errorf("of the file that was opened: %+v, %v", c, err)
	}
	if h, err := p.Last().ELF(); err != nil || h.Arch() != runtime.GOARCH {
		t.Errorf("of the file that was opened: %+v, %v", h, err)
	}
}

func TestRevision3OfAUserNamespaceCountsInside(t *testing.T) {
	if !unit.Again(t, unix.CLONE_NEWUSER) {
		return
	}
	unit.Need(t, os.Geteuid() == 0, "a mapped root")
	dir := unit.Folder(t)
	unit.Must(t, unix.Mount("none", dir, "tmpfs", 0, ""))
	defer unix.Unmount(dir, unix.MNT_DETACH)
	sh := unit.Copy(t, "/bin/sh", filepath.Join(dir, "sh"), 0o755)
	err := unix.Setxattr(sh, "security.capability", vfsCaps(2, 1<<13, 0, true, 0), 0)
	unit.Need(t, err != unix.EOPNOTSUPP, "tmpfs with xattrs in a user namespace")
	unit.Must(t, err)
	if c, err := credentials(t, sh); err != nil || c.Caps == nil || c.Caps.Permitted != 1<<13 {
		t.Errorf("%+v, %v", c, err)
	}
	// Those of another root may or may not count.
	p := found(t, sh)
	p.Last().caps, p.Last().capsErr = nil, unix.EOVERFLOW
	if _, err := p.Credentials(known); reason(t, err) != ErrForeignCaps || err.(*Error).Path != sh {
		t.Errorf("of another root: %v", err)
	}
}

func TestMalformedCapsAreRefused(t *testing.T) {
	t.Parallel()
	for _, f := range []File{{Path: "p", caps: []byte{}}, {Path: "p", caps: make([]byte, 20)}, {Path: "p", capsErr: unix.EINVAL}, {Path: "p", capsErr: unix.ERANGE}} {
		p := Program{Files: []*File{&f}}
		if _, err := p.Credentials(known); reason(t, err) != ErrBadCaps || status(err) != 126 || !f.HasCaps() {
			t.Errorf("%+v: %v", f, err)
		}
		f.nosuid = true
		if c, err := p.Credentials(known); err != nil || c != (ambient.File{}) {
			t.Errorf("nosuid: %v", err)
		}
	}
}

// What this kernel does not know no file gives.
func TestUnknownCapsOfAFileCountForNothing(t *testing.T) {
	all := ambient.Set(1<<13 | 1<<45)
	p := Program{Files: []*File{{caps: vfsCaps(2, all, all, true, 0)}}}
	if c, err := p.Credentials(known); err != nil || *c.Caps != (ambient.FileCaps{Permitted: 1 << 13, Inheritable: 1 << 13, Effective: true}) {
		t.Errorf("%+v, %v", c.Caps, err)
	}
	for mode, want := range map[uint32]bool{unix.S_ISUID: true, unix.S_ISGID: true, 0o777: false} {
		if f := (&File{Stat: unix.Stat_t{Mode: mode}}); f.HasSetID() != want || f.HasCaps() {
			t.Errorf("%o", mode)
		}
	}
}

// A filter that answers as if there were no file capabilities is found out.
func TestHiddenCapsAreTold(t *testing.T) {
	unit.Root(t)
	sh := unit.Copy(t, "/bin/true", filepath.Join(unit.Folder(t), "sh"), 0o755)
	for _, call := range []uint32{unix.SYS_FGETXATTR, unix.SYS_GETXATTR} {
		unit.User{UID: nobody, GID: nobody}.As(t, func() {
			unit.Answer(t, call, unix.ENODATA)
			if _, err := credentials(t, sh); !errors.Is(err, ErrHiddenCaps) {
				t.Errorf("call %d: %v", call, err)
			}
		})
	}
}

// A file of which only execve knows whether it may be executed is not copied: the copy may be.
func TestWhatMayNotRunIsNotCopied(t *testing.T) {
	p := found(t, unit.Self(t))
	p.Last().unsure = true
	if err := p.Copy(); reason(t, err) != ErrNotExecutable {
		t.Error(err)
	}
}

// A file that the user may execute and not read is asked by its path.
func TestAFileThatOnlyRunsIsLookedAt(t *testing.T) {
	unit.Root(t)
	sh := unit.Copy(t, "/bin/true", filepath.Join(unit.Folder(t), "sh"), 0o111)
	setcap(t, sh, 1<<13, false)
	unit.User{UID: nobody, GID: nobody}.As(t, func() {
		p, err := Find(sh, "")
		if err != nil || p.Last().Readable || p.Last().Head != nil {
			t.Errorf("%v", err)
			return
		}
		if c, err := p.Credentials(known); err != nil || c.Caps == nil || c.Caps.Permitted != 1<<13 {
			t.Errorf("%+v, %v", c, err)
		}
		if h, err := p.Last().ELF(); err == nil {
			t.Errorf("%+v", h)
		}
		if err := p.Copy(); reason(t, err) != ErrUnreadable || status(err) != 126 {
			t.Errorf("copy: %v", err)
		}
	})
	if out, status := run(t, launcher(nobody, unit.Self(t), "--", sh)); status != 0 {
		t.Errorf("%d %s", status, out)
	}
	p := found(t, sh)
	p.Last().Readable = false
	unit.Must(t, p.Last().readCaps())
	unit.Must(t, os.Rename(unit.Copy(t, sh, sh+"2", 0o111), sh))
	if err := p.Last().readCaps(); err != ErrChanged {
		t.Errorf("another file by its path: %v", err)
	}
}

// vfsCaps writes a security.capability attribute.
func vfsCaps(revision uint32, permitted, inheritable ambient.Set, effective bool, root uint32) []byte {
	magic := revision << 24
	if effective {
		magic |= 1
	}
	b := binary.LittleEndian.AppendUint32(nil, magic)
	words := []uint32{uint32(permitted), uint32(inheritable), uint32(permitted >> 32), uint32(inheritable >> 32), root}
	for _, w := range words[:map[uint32]int{1: 2, 2: 4, 3: 5}[revision]] {
		b = binary.LittleEndian.AppendUint32(b, w)
	}
	return b
}

func TestFileCapsRevisionsDecideTheSize(t *testing.T) {
	p, i := ambient.Set(0x0123456789abcdef), ambient.Set(0xfedcba9876543210)
	for _, tt := range []struct {
		name string
		in   []byte
		want VFSCaps
		err  error
	}{
		{"revision 1", vfsCaps(1, p, i, true, 0), VFSCaps{0x89abcdef, 0x76543210, true, 0}, nil},
		{"revision 2", vfsCaps(2, p, i, false, 0), VFSCaps{p, i, false, 0}, nil},
		{"revision 3", vfsCaps(3, p, i, true, 1000), VFSCaps{p, i, true, 1000}, nil},
		{"empty caps", vfsCaps(2, 0, 0, false, 0), VFSCaps{}, nil},
		{"nothing", nil, VFSCaps{}, errMalformedCaps},
		{"no header", []byte{1, 0, 0}, VFSCaps{}, errMalformedCaps},
		{"revision 0", make([]byte, 20), VFSCaps{}, errMalformedCaps},
		{"revision 0, empty", make([]byte, 4), VFSCaps{}, errMalformedCaps},
		{"revision 4", append([]byte{0, 0, 0, 4}, make([]byte, 20)...), VFSCaps{}, errMalformedCaps},
		{"revision 2 in 24 bytes", append(vfsCaps(2, p, i, true, 0), 0, 0, 0, 0), VFSCaps{}, errMalformedCaps},
		{"revision 3 in 20 bytes", vfsCaps(3, p, i, true, 0)[:20], VFSCaps{}, errMalformedCaps},
		{"revision 2 in 12 bytes", vfsCaps(2, p, i, true, 0)[:12], VFSCaps{}, errMalformedCaps},
	} {
		got, err := ParseFileCaps(tt.in)
		if !errors.Is(err, tt.err) || got != tt.want {
			t.Errorf("%s: %+v, %v", tt.name, got, err)
		}
	}
}
