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

// launches is how many of them a race gets, at least.
const launches = 300

// race launches again and again while somebody changes the file. What ran is for judge; the rest was refused in words.
func race(t *testing.T, judge func(engine.Result), launch ...string) (refused int) {
	t.Helper()
	ran := 0
	for i := 0; i < launches || ran == 0 && i < 20*launches; i++ {
		r := engine.Exec(t, launch...)
		if r.Code == 0 {
			judge(r)
			ran++
			continue
		}
		if engine.Refused(t, r, r.Code); r.Code < 125 || r.Code > 127 {
			t.Errorf("%v", r)
		}
		refused++
	}
	t.Logf("%d ran, %d were refused", ran, refused)
	return refused
}

// A part of the path that somebody swaps meanwhile leads to a program which the new user may neither reach nor read: it
// must not be copied for it. All that is said of a file comes from one open of it, as the new user.
func TestAPathThatIsSwappedLeadsToNothingTheUserMayNotRead(t *testing.T) {
	engine.Begin(t)
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
			granted := engine.Promised("65532", engine.NetAdmin)
			race(t, func(r engine.Result) { granted.Want(t, r) }, engine.Caplaunch(t), "--strip-file-caps", "-c", "net_admin", "-u", "65532:65532", "--", path)
		})
	}
}

// swapped is a path that leads to a plain program, one with file capabilities, a set-uid one and a script in turn.
func swapped(t *testing.T) string {
	t.Helper()
	path := engine.Copy(t, engine.Probe(t), 0o755)
	others := []string{path + "-caps", path + "-setuid", path + "-script"}
	engine.Must(t, engine.CopyFile(others[0], path, 0o755))
	engine.Setcap(t, "cap_net_admin,cap_net_raw,cap_sys_admin=+ep", others[0])
	engine.Must(t, engine.CopyFile(others[1], path, 0o755|os.ModeSetuid))
	engine.Must(t, os.WriteFile(others[2], []byte("#!"+engine.Probe(t)+" x\n"), 0o755))
	meanwhile(t, func(i int) { exchange(path, others[i%len(others)]) })
	return path
}

// What was looked at need not be what is executed, SECURITY.md: then it has less than the promise, and never more.
func TestASwappedProgramNeverGetsMoreThanThePromise(t *testing.T) {
	engine.Begin(t)
	granted, exact := engine.Promised("65532", engine.NetAdmin), 0
	any := granted.With("CapPrm", "*", "CapEff", "*", "CapInh", "*", "CapAmb", "*", "AT_SECURE", "*")
	refused := race(t, func(r engine.Result) {
		m := any.Want(t, r)
		for _, set := range []string{"CapPrm", "CapEff", "CapInh", "CapAmb"} {
			if m[set] != granted[set] && m[set] != engine.Mask(0) {
				t.Errorf("more than the promise: %v", r)
			}
		}
		if granted.Broken(r.Stdout) == "" {
			exact++
		}
	}, engine.Caplaunch(t), "-c", "net_admin", "-u", "65532:65532", "--", swapped(t))
	if exact == 0 || refused == 0 {
		t.Errorf("the race was not run: %d had exactly the promise, %d were refused", exact, refused)
	}
}

// With no_new_privs off, the owner of a file could add set-id bits to it at any moment, even while it is held open. So
// what runs is a copy, always.
func TestNobodyAddsBitsToACopy(t *testing.T) {
	engine.Begin(t)
	owned := engine.Copy(t, engine.Probe(t), 0o755)
	engine.Must(t, os.Chown(owned, 40005, 40006))
	promise := engine.Promised("65532", engine.NetAdmin).With("NoNewPrivs", "0")
	launch := []string{engine.Caplaunch(t), "--allow-new-privs", "--strip-file-caps", "-c", "net_admin", "-u", "65532:65532", "--"}
	comm := promise.Want(t, engine.Exec(t, append(launch, owned)...))["comm"]
	if !strings.HasPrefix(comm, "memfd:") && strings.Trim(comm, "0123456789") != "" {
		t.Errorf("it is no copy: %s", comm)
	}
	meanwhile(t, func(i int) {
		_ = os.Chmod(owned, []os.FileMode{0o755, 0o755 | os.ModeSetuid, 0o755 | os.ModeSetgid}[i%3])
	})
	for _, path := range []string{owned, swapped(t)} {
		race(t, func(r engine.Result) { promise.Want(t, r) }, append(launch, path)...)
	}
}

// install keeps to the folder that it opened, and follows no symlink that is put in its place.
func TestInstallFollowsNoFolderThatIsSwapped(t *testing.T) {
	engine.Begin(t)
	dir := engine.TempDir(t)
	shared, link, secret := filepath.Join(dir, "shared"), filepath.Join(dir, "link"), filepath.Join(dir, "secret")
	engine.Must(t, os.Mkdir(shared, 0o755))
	engine.Must(t, os.Mkdir(secret, 0o755))
	engine.Must(t, os.Symlink(secret, link))
	meanwhile(t, func(int) { exchange(shared, link) })
	installed := 0
	for i := 0; i < launches/3 || installed == 0 && i < 20*launches; i++ {
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
	engine.Begin(t, "strace")
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
