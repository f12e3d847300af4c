//go:build linux

package exec

import (
	"encoding/json"
	"fmt"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/caplaunch/caplaunch/internal/ambient"
)

func TestSearchPathIsTheFirstPATH(t *testing.T) {
	for _, tt := range []struct {
		env  []string
		want string
	}{
		{nil, DefaultPath}, {[]string{"PATH=", "PATH=/x"}, ""}, {[]string{"XPATH=/y", "PATH=/x:"}, "/x:"}, {[]string{"PATH"}, DefaultPath},
	} {
		if got := SearchPath(tt.env); got != tt.want {
			t.Errorf("%q: %q", tt.env, got)
		}
	}
}

// TestFindAgreesWithEnv compares with env(1), which is execvp(3), as root and,
// predicted, as another user.
func TestFindAgreesWithEnv(t *testing.T) {
	env, err := osexec.LookPath("env")
	need(t, err == nil, "env(1)")
	dir := folder(t)
	t.Chdir(dir)
	put := func(name, text string, mode os.FileMode) {
		check(t, os.MkdirAll(filepath.Dir(name), 0o755))
		write(t, name, text, mode)
	}
	echo := "#!/bin/sh\necho \"$0\"\n"
	put("good/p", echo, 0o755)
	put("also/p", echo, 0o755)
	put("plain/p", echo, 0o644)
	put("lost/p", "#!/not/here\n", 0o755)
	put("plainlost/p", "#!"+dir+"/plain/p\n", 0o755)
	put("closed/p", echo, 0o755)
	put("mine/p", echo, 0o700)
	put("file", echo, 0o755)
	put("deep/p", "#!"+dir+"/deep/p\n", 0o755)
	check(t, os.Mkdir("empty", 0o755))
	check(t, os.MkdirAll("isdir/p", 0o755))
	check(t, os.Mkdir("broken", 0o755))
	check(t, os.Symlink("p", "broken/p"))
	check(t, os.Chmod("closed", 0o700))
	elements := []string{"good", "also", "plain", "lost", "plainlost", "closed", "mine", "file", "empty", "isdir", "nothere", "", ".", "deep", "broken", dir + "/good", "also/", "good//"}
	rnd := random(t)
	compare := func(name, path string) {
		t.Helper()
		for _, v := range []*Viewer{nil, {UID: nobody, GID: nobody}} {
			cmd := osexec.Command(env, "--", name)
			cmd.Env = []string{"PATH=" + path}
			if v != nil && os.Geteuid() == 0 {
				cmd.SysProcAttr = as(nobody)
			} else if v != nil {
				continue
			}
			out, status := run(t, cmd)
			p, err := Find(name, path, v, host)
			if err != nil {
				// execvp leaves the errno of the last candidate, and for "not a
				// directory" alone Find says "not found" nevertheless.
				e, notDir := asError(t, err), strings.Contains(out, "Not a directory")
				if e.ExitStatus() != status && !(notDir && e.ExitStatus() == 127) {
					t.Errorf("%q in %q for %+v: env says %d %s, Find says %v", name, path, v, status, out, err)
				}
			} else if status != 0 || strings.TrimSpace(out) != p.Path() {
				t.Errorf("%q in %q for %+v: env says %d %s, Find says %q", name, path, v, status, out, p.Path())
			}
		}
	}
	for _, path := range elements {
		compare("p", path)
	}
	compare("p", "/"+strings.Repeat("x", 5000)+":good") // passed over
	compare("p", "/"+strings.Repeat("x", 300)+":good")  // not passed over
	for _, name := range []string{"", "nothere", "file", "./file", "good/p", "closed/p", "mine/p", "nothere/p", dir + "/good/p", "file/", "good/../also/p", strings.Repeat("n", 300)} {
		compare(name, "good:"+dir)
		compare(name, "")
	}
	for range 60 {
		var path []string
		for range 1 + rnd.IntN(4) {
			path = append(path, elements[rnd.IntN(len(elements))])
		}
		compare("p", strings.Join(path, ":"))
	}
}

// TestAccessIsPredictedAsTheKernelDecides compares what is said of another
// user with the exec by that user: modes, owners, groups, capabilities, ACLs.
func TestAccessIsPredictedAsTheKernelDecides(t *testing.T) {
	needRoot(t)
	dir := folder(t)
	check(t, os.Mkdir(filepath.Join(dir, "d"), 0o755))
	d, path := filepath.Join(dir, "d"), filepath.Join(dir, "d", "p")
	copyFile(t, "/bin/true", path, 0o755)
	const attr = "system.posix_acl_access"
	acls := unix.Setxattr(path, attr, acl(1, 7, 1<<32-1, 2, 5, 3000, 4, 5, 1<<32-1, 16, 7, 1<<32-1, 32, 5, 1<<32-1), 0)
	need(t, acls == nil, "POSIX ACLs in the folder for temporary files")
	rnd := random(t)
	ids := []uint32{3000, 3001, 3002}
	id := func() uint32 { return ids[rnd.IntN(len(ids))] }
	modes := func() uint32 { return rnd.Uint32() & 0o777 }
	allowed := 0
	const rounds = 500
	for range rounds {
		for _, f := range []string{d, path} {
			unix.Removexattr(f, attr)
			check(t, unix.Chown(f, int(id()), int(id())))
			mode := modes()
			if rnd.IntN(2) == 0 {
				mode |= 0o111 // or hardly anything would run
			}
			check(t, unix.Chmod(f, mode))
			if rnd.IntN(3) == 0 {
				list := []uint32{1, modes() & 7, 1<<32 - 1}
				if rnd.IntN(2) == 0 {
					list = append(list, 2, modes()&7, 3000)
				}
				if rnd.IntN(3) == 0 {
					list = append(list, 2, modes()&7, 3001)
				}
				list = append(list, 4, modes()&7, 1<<32-1)
				if rnd.IntN(2) == 0 {
					list = append(list, 8, modes()&7, 3001)
				}
				if rnd.IntN(3) == 0 {
					list = append(list, 8, modes()&7, 3002)
				}
				list = append(list, 16, modes()&7, 1<<32-1, 32, modes()&7, 1<<32-1)
				check(t, unix.Setxattr(f, attr, acl(list...), 0))
			}
		}
		v := &Viewer{UID: id(), GID: id()}
		var groups []uint32
		for range rnd.IntN(3) {
			groups = append(groups, id())
		}
		v.Groups = ambient.NewGroups(groups...)
		for _, c := range []ambient.Cap{capDACOverride, capDACReadSearch} {
			if rnd.IntN(5) == 0 {
				v.Caps |= ambient.SetOf(c)
			}
		}
		want := kernelAs(t, path, []string{"true"}, v)
		_, err := Inspect(path, v, host)
		if e := asError(t, err); e == nil != (want == 0) || e != nil && e.Errno != want {
			sd, _ := os.Stat(d)
			sp, _ := os.Stat(path)
			t.Fatalf("%+v: kernel says %v, Inspect says %v (%v %v)", v, want, err, sd.Mode(), sp.Mode())
		}
		if want == 0 {
			allowed++
		}
	}
	t.Logf("%d of %d allowed", allowed, rounds)
	if allowed < rounds/10 || allowed > rounds*9/10 {
		t.Error("the cases prove little")
	}
}

// TestUnseenIsLeftToTheUser: root without dac_override before the folder of
// the user.
func TestUnseenIsLeftToTheUser(t *testing.T) {
	needRoot(t)
	dir := folder(t)
	home := filepath.Join(dir, "home")
	check(t, os.Mkdir(home, 0o700))
	copyFile(t, "/bin/true", filepath.Join(home, "p"), 0o755)
	secret := filepath.Join(dir, "secret")
	copyFile(t, "/bin/true", secret, 0o500)
	for _, f := range []string{home, home + "/p", secret} {
		check(t, unix.Chown(f, nobody, nobody))
	}
	// Any other user stands for the root without capabilities.
	for _, path := range []string{home + "/p", secret} {
		cmd := osexec.Command(self(t), fmt.Sprintf("uid=%d", nobody), "--", path)
		cmd.Env = append(os.Environ(), helperEnv+"=launch")
		cmd.SysProcAttr = as(4711)
		out, status := run(t, cmd)
		var e Error
		if i := strings.Index(out, "{"); i < 0 || json.Unmarshal([]byte(out[i:]), &e) != nil || e.Reason != Unseen || status != 126 {
			t.Errorf("%s: %d %s", path, status, out)
		}
		// As the user, the same call says the rest.
		cmd = osexec.Command(cmd.Path, "--", path)
		cmd.Env = append(os.Environ(), helperEnv+"=launch")
		cmd.SysProcAttr = as(nobody)
		if out, status := run(t, cmd); status != 0 {
			t.Errorf("%s as the user: %d %s", path, status, out)
		}
		_, err := Inspect(path, &Viewer{UID: 4711, GID: 4711}, host)
		if got := reasonOf(t, err); got != NotSearchable && got != NotExecutable {
			t.Errorf("%s for another user: %v", path, err)
		}
	}
	// In PATH it stops the search: what comes later might be the wrong one.
	cmd := osexec.Command(self(t), fmt.Sprintf("uid=%d", nobody), "--", "true")
	cmd.Env = []string{helperEnv + "=launch", "PATH=" + home + ":/bin"}
	cmd.SysProcAttr = as(4711)
	if out, status := run(t, cmd); status != 126 || !strings.Contains(out, "only as that user") {
		t.Errorf("in PATH: %d %s", status, out)
	}
	if _, err := Inspect("/proc/self/fd/0", &Viewer{UID: nobody, GID: nobody}, host); reasonOf(t, err) != Unseen {
		t.Errorf("in /proc: %v", err)
	}
}
