package security

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/caplaunch/caplaunch/test/integration/engine"
)

// meanwhile calls f again and again until the test is done.
func meanwhile(t *testing.T, f func(i int)) {
	t.Helper()
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
				f(i)
			}
		}
	}()
	t.Cleanup(func() {
		close(stop)
		<-done
	})
}

// exchange swaps two names, so that there is something behind each at every moment.
func exchange(a, b string) {
	_ = unix.Renameat2(unix.AT_FDCWD, a, unix.AT_FDCWD, b, unix.RENAME_EXCHANGE)
}

// launches is how many of them a race gets.
const launches = 200

// A part of the path that somebody swaps meanwhile leads to a program which the new user may neither reach nor read: it
// must not be copied for it. All that is said of a file comes from one open of it, as the new user.
func TestAPathThatIsSwappedLeadsToNothingTheUserMayNotRead(t *testing.T) {
	t.Parallel()
	engine.RequireRoot(t)
	for what, isLink := range map[string]bool{"a folder": false, "a symlink": true} {
		t.Run(what, func(t *testing.T) {
			dir := engine.TempDir(t)
			plain, secret := filepath.Join(dir, "plain"), filepath.Join(dir, "secret")
			engine.Must(t, os.Mkdir(plain, 0o755))
			engine.Must(t, os.Mkdir(secret, 0o700))
			engine.Must(t, engine.CopyFile(filepath.Join(plain, "program"), engine.Probe(t), 0o755))
			engine.Must(t, engine.CopyFile(filepath.Join(secret, "program"), engine.Starter(t, "fill"), 0o700)) // exit status 120
			engine.Setcap(t, "cap_net_raw=+ep", filepath.Join(plain, "program"))
			engine.Setcap(t, "cap_net_raw=+ep", filepath.Join(secret, "program"))
			path := filepath.Join(plain, "program")
			if isLink {
				path = filepath.Join(dir, "link")
				engine.Must(t, os.Symlink("plain/program", path))
				engine.Must(t, os.Symlink("secret/program", path+"2"))
				meanwhile(t, func(int) { exchange(path, path+"2") })
			} else {
				meanwhile(t, func(int) { exchange(plain, secret) })
			}
			ran := 0
			for i := 0; i < launches || ran == 0 && i < 20*launches; i++ {
				r := engine.Exec(t, engine.Caplaunch(t), "--strip-file-caps", "-c", "net_admin", "-u", "65532:65532", "--", path)
				switch {
				case r.Code == 0:
					engine.Promised("65532", engine.NetAdmin).Want(t, r)
					ran++
				case r.Code == 120:
					t.Fatalf("a program ran that the user may not read: %v", r)
				default:
					engine.Refused(t, r, r.Code)
					if r.Code < 125 || r.Code > 127 {
						t.Errorf("%v", r)
					}
				}
			}
			t.Logf("%d of %d ran, the others were refused", ran, launches)
		})
	}
}

// With no_new_privs off, the owner of a file could add set-id bits to it at any moment, even while it is held open. So
// what runs is a copy, always.
func TestAnOwnerCannotAddBitsToACopy(t *testing.T) {
	t.Parallel()
	engine.RequireRoot(t)
	path := engine.Copy(t, engine.Probe(t), 0o755)
	engine.Must(t, os.Chown(path, 40005, 40006))
	promise := engine.Promised("65532", engine.NetAdmin).With("NoNewPrivs", "0")
	launch := []string{engine.Caplaunch(t), "--allow-new-privs", "--strip-file-caps", "-c", "net_admin", "-u", "65532:65532", "--", path}
	comm := promise.Want(t, engine.Exec(t, launch...))["comm"]
	if !strings.HasPrefix(comm, "memfd:") && strings.Trim(comm, "0123456789") != "" {
		t.Errorf("it is no copy: %s", comm)
	}
	meanwhile(t, func(i int) {
		_ = os.Chmod(path, []os.FileMode{0o755, 0o755 | os.ModeSetuid, 0o755 | os.ModeSetgid}[i%3])
	})
	ran := 0
	for i := 0; i < launches || ran == 0 && i < 20*launches; i++ {
		r := engine.Exec(t, launch...)
		if r.Code == 0 {
			promise.Want(t, r)
			ran++
		} else if l := engine.Refused(t, r, engine.Failure); !strings.Contains(l.Msg, "changed") {
			t.Errorf("%+v", l)
		}
	}
	t.Logf("%d of %d ran, the others were refused", ran, launches)
}

// install keeps to the folder that it opened, and follows no symlink that is put in its place.
func TestInstallFollowsNoFolderThatIsSwapped(t *testing.T) {
	t.Parallel()
	engine.RequireRoot(t)
	dir := engine.TempDir(t)
	shared, link, secret := filepath.Join(dir, "shared"), filepath.Join(dir, "link"), filepath.Join(dir, "secret")
	engine.Must(t, os.Mkdir(shared, 0o755))
	engine.Must(t, os.Mkdir(secret, 0o755))
	engine.Must(t, os.Symlink(secret, link))
	meanwhile(t, func(int) { exchange(shared, link) })
	installed := 0
	for i := 0; i < launches/2 || installed == 0 && i < 20*launches; i++ {
		for _, to := range []string{shared, shared + "/", filepath.Join(shared, "name")} {
			if r := engine.Exec(t, engine.Caplaunch(t), "install", to); r.Code == 0 {
				installed++
			} else {
				engine.Refused(t, r, engine.Failure)
			}
			if names, err := os.ReadDir(secret); err != nil || len(names) > 0 {
				t.Fatalf("it followed a symlink: %v %v", names, err)
			}
		}
	}
	t.Logf("%d installed, the others were refused", installed)
}

// An install that is ended by a signal leaves no temporary file behind.
func TestInstallThatIsEndedLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	engine.RequireRoot(t)
	engine.Require(t, "strace")
	dir := engine.TempDir(t)
	// At each call that can have to do with it, one after the other, from the making of the temporary file on.
	ended := 0
	for _, call := range []string{"openat", "write", "fchmod", "fsync", "newfstatat", "renameat", "renameat2", "close", "read", "rt_sigaction", "getrandom"} {
		for n := 1; n <= 12; n++ {
			for _, signal := range []string{"SIGTERM", "SIGINT"} {
				r := engine.Exec(t, "strace", "-f", "-qqq", "-o", os.DevNull, "-e", "trace="+call, "-e", "inject="+call+":signal="+signal+":when="+strconv.Itoa(n), engine.Caplaunch(t), "install", dir)
				if r.Code != 0 {
					ended++
				}
			}
			names, err := os.ReadDir(dir)
			engine.Must(t, err)
			for _, name := range names {
				if name.Name() != "caplaunch" {
					t.Fatalf("%s left behind, a signal at %s number %d", name.Name(), call, n)
				}
			}
		}
	}
	if ended == 0 {
		t.Error("no signal ended an install: they came too late")
	}
	t.Logf("%d were ended", ended)
}
