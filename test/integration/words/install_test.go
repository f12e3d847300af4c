package words

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/caplaunch/caplaunch/test/integration/engine"
)

// wantInstalled checks that path is the binary, and what mode it has; and that
// nothing else is in its folder.
func wantInstalled(t testing.TB, path string) {
	t.Helper()
	want, err := os.ReadFile(engine.Caplaunch(t))
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%s: %v, %d bytes, want %d", path, err, len(got), len(want))
	}
	if fi, err := os.Lstat(path); err != nil || fi.Mode() != 0o555 {
		t.Errorf("%s: %v %v", path, fi.Mode(), err)
	}
	noTraces(t, filepath.Dir(path))
}

// noTraces checks that no temporary file was left.
func noTraces(t testing.TB, dir string) {
	t.Helper()
	if left, _ := filepath.Glob(filepath.Join(dir, ".caplaunch-*")); left != nil {
		t.Errorf("left behind: %q", left)
	}
}

// install makes a file of mode 0555, whatever the umask, in a folder or at a path,
// as often as one likes, over a copy that runs.
func TestInstallCopies(t *testing.T) {
	engine.RequireRoot(t)
	c := engine.Caplaunch(t)
	dir := engine.TempDir(t)
	install := func(umask, dest string) {
		t.Helper()
		if r := engine.Exec(t, "sh", "-c", "umask "+umask+`; exec "$@"`, "sh", c, "install", dest); r.Code != 0 || r.Stdout+r.Stderr != "" {
			t.Errorf("%s: %v", dest, r)
		}
	}
	path := filepath.Join(dir, "caplaunch")
	for _, umask := range []string{"000", "022", "077", "777"} {
		install(umask, dir)
		wantInstalled(t, path)
		install(umask, dir+"//")
		wantInstalled(t, path)
		install(umask, filepath.Join(dir, "named"))
		wantInstalled(t, filepath.Join(dir, "named"))
	}

	running := exec.Command(path, "--user=65532:65532", "--", engine.Probe(t), "pause")
	copied := exec.Command(path, "--allow=all", "-u", "0:0", "--", path, "-u", "0:0", "--", "/bin/sleep", "60")
	for _, cmd := range []*exec.Cmd{running, copied} {
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	}
	// One that is caplaunch still, held at its exit: what is being executed cannot
	// be written, so that a copy in place would fail here.
	busy := exec.Command("strace", "-f", "-qq", "-o", "/dev/null", "-e", "inject=exit_group:delay_enter=3000000", path, "version")
	busy.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	engine.Require(t, "strace")
	if err := busy.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = busy.Process.Kill(); _ = busy.Wait() }()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if f != nil {
			f.Close()
		}
		if err != nil {
			break // text file busy
		}
		if time.Now().After(end) {
			t.Fatal("it was never busy")
		}
	}
	install("022", path)
	wantInstalled(t, path)
	install("022", dir)
	wantInstalled(t, path)
	if r := engine.Exec(t, path, "install", path); r.Code != 0 {
		t.Errorf("over itself: %v", r)
	}
	wantInstalled(t, path)
}

// Whoever looks, at whatever time, finds no file or all of it.
func TestInstallIsAtomic(t *testing.T) {
	engine.RequireRoot(t)
	c, dir := engine.Caplaunch(t), engine.TempDir(t)
	want, err := os.ReadFile(c)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "caplaunch")
	done := make(chan struct{})
	var readers, installers sync.WaitGroup
	for range 2 {
		readers.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				got, err := os.ReadFile(path)
				if fi, statErr := os.Stat(path); err == nil && (!bytes.Equal(got, want) || statErr == nil && fi.Mode() != 0o555) {
					t.Errorf("%d of %d bytes, %v", len(got), len(want), fi)
				}
				if err == nil {
					if out, err := exec.Command(path, "version").CombinedOutput(); err != nil {
						t.Errorf("it does not run: %v %s", err, out)
					}
				}
			}
		})
	}
	for range 20 {
		installers.Go(func() {
			if out, err := exec.Command(c, "install", dir).CombinedOutput(); err != nil {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
	installers.Wait()
	close(done)
	readers.Wait()
	wantInstalled(t, path)
}

// What install cannot do, or should not, is an error that says why, and leaves
// everything as it was.
func TestInstallRefuses(t *testing.T) {
	engine.RequireRoot(t)
	engine.Require(t, "mount")
	dir := engine.TempDir(t)
	in := func(name string) string { return filepath.Join(dir, name) }
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.Mkdir(in("folder"), 0o755))
	must(os.MkdirAll(in("taken/caplaunch/x"), 0o755))
	must(os.Mkdir(in("linked"), 0o755))
	must(os.WriteFile(in("file"), []byte("mine"), 0o644))
	must(os.Symlink("file", in("link")))
	must(os.Symlink("nothing", in("dangling")))
	must(os.Symlink("folder", in("folderlink")))
	must(os.Symlink("../file", in("linked/caplaunch")))
	must(syscall.Mkfifo(in("fifo"), 0o644))
	must(os.Mkdir(in("closed"), 0o500))
	must(os.Chown(in("closed"), 65532, 65532))
	for _, c := range []struct{ dest, says string }{
		{in("link"), "is a symlink"}, {in("link/"), "is a symlink"}, {in("dangling"), "is a symlink"}, {in("dangling/"), "is a symlink"},
		{in("folderlink"), "is a symlink"}, {in("folderlink") + "/", "is a symlink"}, {in("linked"), "is a symlink"},
		{in("fifo"), "is not a regular file"}, {"/dev/null", "is not a regular file"}, {in("taken"), "is not a regular file"}, {in("file") + "/", "is no folder"},
		{in("missing") + "/", "is no folder"}, {in("missing/caplaunch"), "no such file or directory"}, {in("file/caplaunch"), "not a directory"},
		{"", "no such file or directory"}, {in(strings.Repeat("n", 300)), "file name too long"}, {"/proc/caplaunch", "/proc"}, {in("a\nb/c"), "no such file"},
	} {
		r := caplaunch(t, "install", c.dest)
		if r.Code != 125 || r.Stdout != "" || !strings.Contains(r.Stderr, "caplaunch: error: cannot install to ") || !strings.Contains(r.Stderr, c.says) || strings.Count(r.Stderr, "\n") != 2 {
			t.Errorf("%q: %v", c.dest, r)
		}
	}
	if r := start(t, "-u 65532 -g 65532 -b 0", "install", in("folder")); r.Code != 125 || !strings.Contains(r.Stderr, "permission denied") {
		t.Error(r)
	}
	for _, words := range []string{"install", "install a b"} {
		if r := caplaunch(t, strings.Fields(words)...); r.Code != 125 {
			t.Errorf("%s: %v", words, r)
		}
	}
	if data, err := os.ReadFile(in("file")); string(data) != "mine" || err != nil {
		t.Errorf("the file has changed: %q %v", data, err)
	}
	if _, err := os.Lstat(in("nothing")); err == nil {
		t.Error("a symlink was followed")
	}
	for _, d := range []string{"", "folder", "linked", "taken", "closed"} {
		noTraces(t, in(d))
	}

	// On a disk that is full or cannot be written, over a copy that is there.
	for options, says := range map[string]string{"size=1m": "no space left on device", "ro": "read-only file system"} {
		script := `set -e
d=$(mktemp -d /run/words.XXXXXX)
mount -t tmpfs -o "$1" tmpfs "$d"
code=0; "$2" install "$d" || code=$?
ls -A "$d" | sed 's/^/left: /'
umount "$d"
exit $code`
		r := engine.Command(t, engine.Box(t, "sh", "-c", script, "sh", options, engine.Caplaunch(t)))
		if r.Code != 125 || r.Stdout != "" || !strings.Contains(r.Stderr, says) {
			t.Errorf("%s: %v", options, r)
		}
	}
}

// Without /proc too.
func TestInstallWithoutProc(t *testing.T) {
	engine.RequireRoot(t)
	for _, called := range []string{"/bin/caplaunch", "caplaunch", "bin/caplaunch"} {
		bare := engine.Tree(t, map[string]engine.Src{"/bin/caplaunch": engine.File(engine.Caplaunch(t)), "/shared": engine.Dir(0o777)})
		cmd := engine.StartCommand(t, []string{"-R", bare, "-u", "65532", "-g", "65532", "-b", "0"}, called, "install", "/shared")
		cmd.Env = []string{"PATH=/usr/bin:/bin"}
		if r := engine.Command(t, cmd); r.Code != 0 {
			t.Errorf("%s: %v", called, r)
			continue
		}
		wantInstalled(t, filepath.Join(bare, "shared/caplaunch"))
	}
}

// A volume that one container fills and another one starts from.
func TestInstallFillsAVolume(t *testing.T) {
	d := engine.TheDocker(t)
	img := d.Load(t, image(t))
	volume := fmt.Sprintf("words-%d", os.Getpid())
	if r := d.Cmd(t, "volume", "create", "--driver=local", "--opt=type=tmpfs", "--opt=device=tmpfs", "--opt=o=mode=1777", volume); r.Code != 0 {
		t.Fatal(r)
	}
	defer d.Cmd(t, "volume", "rm", "-f", volume)
	keep := d.Cmd(t, "run", "-d", "--network=none", "-v", volume+":/shared", img, "/probe", "pause") // a tmpfs goes with its last user
	defer d.Cmd(t, "rm", "-f", strings.TrimSpace(keep.Stdout))
	for range 2 {
		r := d.Run(t, img, []string{"-v", volume + ":/shared", "--user=65532:65532", "--cap-drop=ALL", "--read-only", "--security-opt=no-new-privileges"}, "/caplaunch", "install", "/shared")
		if r.Code != 0 || r.Stdout+r.Stderr != "" {
			t.Fatal(r)
		}
	}
	r := d.Run(t, d.Load(t, engine.ProbeImage(t)), []string{"-v", volume + ":/shared:ro", "--cap-drop=ALL", "--cap-add=SETUID", "--cap-add=SETGID", "--cap-add=NET_ADMIN", "--read-only", "--security-opt=no-new-privileges"},
		"/shared/caplaunch", "-c", "net_admin", "-u", "65532:65532", "--", "/probe")
	wantPromise(t, r, "65532", netAdmin, "1")
}

// A set-uid caplaunch must not write, for whoever calls it, where its owner may.
func TestAPrivilegedCaplaunchInstallsNothing(t *testing.T) {
	engine.RequireRoot(t)
	engine.Require(t, "setcap")
	dir := engine.TempDir(t)
	secret := filepath.Join(dir, "secret")
	if err := os.WriteFile(secret, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, change := range []string{"chmod 4755", "chmod 2755", "setcap cap_dac_override=ep"} {
		path := filepath.Join(engine.TempDir(t), "caplaunch")
		if err := engine.CopyFile(path, engine.Caplaunch(t), 0o755); err != nil {
			t.Fatal(err)
		}
		if r := engine.Exec(t, append(strings.Fields(change), path)...); r.Code != 0 {
			t.Fatal(r)
		}
		r := engine.Start(t, strings.Fields("-u 1000 -g 1000 -G none"), path, "install", secret)
		if text, _ := os.ReadFile(secret); r.Code != 125 || !strings.Contains(r.Stderr, "to whoever calls it") || string(text) != "secret" {
			t.Errorf("%s: %v", change, r)
		}
	}
}
