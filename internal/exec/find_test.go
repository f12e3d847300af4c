//go:build linux

package exec

import (
	"encoding/binary"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/caplaunch/caplaunch/test/unit"
)

func TestSearchPathIsTheFirstPATH(t *testing.T) {
	for env, want := range map[string]string{"": DefaultPath, "PATH= PATH=/x": "", "XPATH=/y PATH=/x:": "/x:", "PATH": DefaultPath} {
		if got := SearchPath(strings.Fields(env)); got != want {
			t.Errorf("%q: %q", env, got)
		}
	}
}

// The error names the script whose interpreter it is about; and what cannot run counts more than what lacks one.
func TestTheErrorIsOfTheFileThatFails(t *testing.T) {
	dir := unit.Folder(t)
	unit.Shell(t, dir, "mkdir -p lost gone plain folder/p; echo '#!/not/here' > lost/p; echo '#!/nor/here' > gone/p; echo '#!/bin/sh' > plain/p; chmod 755 lost/p gone/p")
	for _, c := range []struct {
		name, path string
		want       Error
	}{
		{dir + "/lost/p", "", Error{Path: "/not/here", Script: dir + "/lost/p", Err: unix.ENOENT}},
		{dir + "/none", "", Error{Path: dir + "/none", Err: unix.ENOENT}},
		{"p", dir + "/lost:" + dir + "/plain", Error{Path: dir + "/plain/p", Err: ErrNotExecutable}},
		{"p", dir + "/plain:" + dir + "/folder", Error{Path: dir + "/plain/p", Err: ErrNotExecutable}},
		{"p", dir + "/none", Error{Path: "p", Err: ErrNotInPath}},
		{"p", dir + "/none:" + dir + "/lost:" + dir + "/gone", Error{Path: "/not/here", Script: dir + "/lost/p", Err: unix.ENOENT}},
		{"p", dir + "/plain:" + dir + "/lost", Error{Path: dir + "/plain/p", Err: ErrNotExecutable}},
	} {
		if _, err := Find(c.name, c.path); err == nil || *err.(*Error) != c.want {
			t.Errorf("%s in %q: %+v", c.name, c.path, err)
		}
	}
}

// TestFindAgreesWithEnv compares with env(1), which is execvp(3), as root and as another user. They differ in one
// case: of a folder that the user may not search env says "permission denied".
func TestFindAgreesWithEnv(t *testing.T) {
	env := unit.Tool(t, "env")
	dir, self := unit.Folder(t), unit.Self(t)
	t.Chdir(dir)
	echo := "#!/bin/sh\necho \"$0\"\n"
	unit.Write(t, "file", echo, 0o755)
	for name, text := range map[string]string{
		"good": echo, "also": echo, "plain": echo, "closed": echo, "mine": echo, "lost": "#!/not/here\n", "nodir": "#!/bin/sh/x\n", "bare": "#!",
		"plainlost": "#!" + dir + "/plain/p\n", "closedlost": "#!" + dir + "/closed/p\n", "deep": "#!" + dir + "/deep/p\n",
	} {
		unit.Must(t, os.Mkdir(name, 0o755))
		unit.Write(t, name+"/p", text, 0o755)
	}
	unit.Shell(t, dir, "mkdir -p empty isdir/p broken; ln -s p broken/p; chmod 644 plain/p; chmod 700 mine/p closed")
	elements := []string{"good", "also", "plain", "lost", "nodir", "plainlost", "closedlost", "bare", "closed", "mine", "file", "empty", "isdir", "nothere", "", ".", "deep", "broken", dir + "/good", "also/", "good//"}
	rnd := unit.Rand(t)
	compare := func(name, path string) {
		t.Helper()
		for _, uid := range []uint32{0, nobody} {
			if uid != 0 && os.Geteuid() != 0 {
				continue
			}
			cmd, find := osexec.Command(env, "--", name), osexec.Command(self, "--", name)
			cmd.Env, find.Env = []string{"PATH=" + path}, []string{"PATH=" + path, helperEnv + "=launch"}
			cmd.SysProcAttr, find.SysProcAttr = as(uid), as(uid)
			want, wantStatus := run(t, cmd)
			got, status := run(t, find)
			switch {
			case status == 0 && wantStatus == 0 && got == want:
			case status != 0 && status == wantStatus:
			// execvp leaves the errno of the last candidate.
			case status == 127 && wantStatus == 126 && strings.Contains(want, "Not a directory"):
			case status == 126 && wantStatus == 127 && strings.Contains(path, "nodir"):
			case status == 127 && wantStatus == 126 && uid != 0 && strings.Contains(path, "closed") && strings.Contains(want, "Permission denied"):
			default:
				t.Errorf("%q in %q for %d: env says %d %s, Find says %d %s", name, path, uid, wantStatus, want, status, got)
			}
		}
	}
	for _, path := range elements {
		compare("p", path)
	}
	for _, n := range []int{300, unix.PathMax - 1, unix.PathMax, 5000} { // the last two are passed over
		compare("p", "/"+strings.Repeat("x", n-1)+":good")
	}
	for _, name := range []string{"", "nothere", "file", "./file", "good/p", "closed/p", "mine/p", "nothere/p", dir + "/good/p", "file/", "good/../also/p", strings.Repeat("n", 300)} {
		compare(name, "good:"+dir)
		compare(name, "")
	}
	for range 40 {
		var path []string
		for range 1 + rnd.IntN(4) {
			path = append(path, elements[rnd.IntN(len(elements))])
		}
		compare("p", strings.Join(path, ":"))
	}
}

// What lies in a folder that the user may not search is not there, whatever else
// is: that is 127. A file that is there and cannot be executed is 126.
func TestAClosedFolderInPATHIsPassedOver(t *testing.T) {
	unit.Root(t)
	dir := unit.Folder(t)
	unit.Shell(t, dir, "for d in closed plain good; do mkdir $d; cp /bin/true $d/p; done; chmod 644 plain/p; chmod 700 closed")
	unit.User{UID: nobody, GID: nobody}.As(t, func() {
		for path, want := range map[string]error{
			"closed": ErrNotInPath, "closed:nothere": ErrNotInPath, "closed:plain": ErrNotExecutable, "plain:closed": ErrNotExecutable, "closed:plain:good": nil,
		} {
			path = dir + "/" + strings.ReplaceAll(path, ":", ":"+dir+"/")
			_, err := Find("p", path)
			if got := reason(t, err); got != want {
				t.Errorf("%s: %v, not %v", path, got, want)
			}
		}
		// Written with its path, it is there.
		if _, err := Find(dir+"/closed/p", ""); reason(t, err) != unix.EACCES {
			t.Errorf("%v", err)
		}
	})
}

// TestAccessIsWhatTheKernelDecides compares Find with the exec by the same user: modes, ids, capabilities, ACLs.
func TestAccessIsWhatTheKernelDecides(t *testing.T) {
	unit.Root(t)
	dir := unit.Folder(t)
	unit.Must(t, os.Mkdir(filepath.Join(dir, "d"), 0o755))
	d, path := filepath.Join(dir, "d"), filepath.Join(dir, "d", "p")
	unit.Copy(t, "/bin/true", path, 0o755)
	const attr = "system.posix_acl_access"
	acls := unix.Setxattr(path, attr, acl(1, 7, 1<<32-1, 2, 5, 3000, 4, 5, 1<<32-1, 16, 7, 1<<32-1, 32, 5, 1<<32-1), 0)
	unit.Need(t, acls == nil, "POSIX ACLs in the folder for temporary files")
	rnd := unit.Rand(t)
	ids := []uint32{3000, 3001, 3002}
	id := func() uint32 { return ids[rnd.IntN(len(ids))] }
	modes := func() uint32 { return rnd.Uint32() & 0o777 }
	// With faccessat2(2) refused, see below, a capability can leave the answer open.
	isOld := os.Getenv("EXEC_TEST_OLD") != ""
	allowed, unsure, rounds := 0, 0, map[bool]int{false: 400, true: 150}[isOld]
	for range rounds {
		for _, f := range []string{d, path} {
			unix.Removexattr(f, attr)
			unit.Must(t, unix.Chown(f, int(id()), int(id())))
			mode := modes()
			if rnd.IntN(2) == 0 {
				mode |= 0o111 // or hardly anything would run
			}
			unit.Must(t, unix.Chmod(f, mode))
			if rnd.IntN(3) == 0 {
				const all = 1<<32 - 1
				var list []uint32
				for _, e := range [][2]uint32{{1, all}, {2, 3000}, {2, 3001}, {4, all}, {8, 3001}, {8, 3002}, {16, all}, {32, all}} {
					if e[1] == all || rnd.IntN(2) == 0 {
						list = append(list, e[0], modes()&7, e[1])
					}
				}
				unit.Must(t, unix.Setxattr(f, attr, acl(list...), 0))
			}
		}
		v := unit.User{UID: id(), GID: id()}
		for range rnd.IntN(3) {
			v.Groups = append(v.Groups, id())
		}
		for c := 1; c <= 2; c++ { // dac_override, dac_read_search
			if rnd.IntN(5) == 0 {
				v.Caps |= 1 << c
			}
		}
		v.As(t, func() {
			want := kernel(t, path, "true")
			p, err := Find(path, "")
			got := errno(t, err)
			if err == nil {
				if p.Close(); p.Last().unsure && isOld && v.Caps != 0 {
					unsure++
					return
				} else if p.Last().unsure {
					t.Errorf("%+v: unsure", v)
				}
			}
			if got != want {
				sd, _ := os.Stat(d)
				sp, _ := os.Stat(path)
				t.Errorf("%+v: kernel says %v, Find says %v (%v %v)", v, want, err, sd.Mode(), sp.Mode())
			}
			if want == 0 {
				allowed++
			}
		})
	}
	t.Logf("%d of %d allowed, %d unsure", allowed, rounds, unsure)
	if allowed < rounds/10 || allowed > rounds*9/10 {
		t.Error("the cases prove little")
	}
	if isOld {
		return
	}
	// Linux before 5.8 does not know faccessat2(2), and old seccomp profiles refuse it.
	strace := unit.Tool(t, "strace")
	for _, fault := range []string{"ENOSYS", "EPERM"} {
		cmd := osexec.Command(strace, "-f", "-qq", "-o", os.DevNull, "-e", "trace=faccessat2", "-e", "inject=faccessat2:error="+fault,
			unit.Self(t), "-test.run=^"+t.Name()+"$", "-test.v")
		cmd.Env = append(os.Environ(), "EXEC_TEST_OLD=1")
		if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS") || strings.Contains(string(out), " 0 unsure") {
			t.Errorf("faccessat2 is %s: %v\n%s", fault, err, out)
		}
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
