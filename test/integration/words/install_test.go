package words

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/caplaunch/caplaunch/test/integration/engine"
)

// wantInstalled checks that path is the binary, and what mode it has; and that nothing else is in its folder.
func wantInstalled(t testing.TB, path string) {
	t.Helper()
	if got, want := engine.Read(t, path), engine.Read(t, engine.Caplaunch(t)); got != want {
		t.Errorf("%s: %d bytes, want %d", path, len(got), len(want))
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

// install makes a file of mode 0555, whatever the umask, in a folder or at a path, as often as one likes, over a copy that
// runs.
func TestInstallCopies(t *testing.T) {
	engine.RequireRoot(t)
	c := engine.Caplaunch(t)
	dir := engine.TempDir(t)
	install := func(umask, dest, path string) {
		t.Helper()
		r := engine.Exec(t, "sh", "-c", `cd "$1" && umask "$2" && shift 2 && exec "$@"`, "sh", dir, umask, c, "install", dest)
		if r.Code != 0 || r.Stdout+r.Stderr != "" {
			t.Errorf("%s: %v", dest, r)
		}
		wantInstalled(t, path)
	}
	path := filepath.Join(dir, "caplaunch")
	for _, umask := range []string{"000", "022", "077", "777"} {
		install(umask, dir, path)
		install(umask, dir+"//", path)
		install(umask, filepath.Join(dir, "named"), filepath.Join(dir, "named"))
	}
	install("022", "relative", filepath.Join(dir, "relative"))

	// One that runs, held at its exit: what is being executed cannot be written, so that a copy in place would fail here.
	engine.Require(t, "strace")
	engine.Background(t, exec.Command("strace", "-f", "-qq", "-o", "/dev/null", "-e", "inject=exit_group:delay_enter=3000000", path, "version"))
	if !engine.Await(func() bool {
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		f.Close()
		return errors.Is(err, syscall.ETXTBSY)
	}) {
		t.Fatal("it was never busy")
	}
	install("022", path, path)
	engine.Exec(t, path, "install", path).Ran(t) // over itself
	wantInstalled(t, path)
	nameless := exec.Command(c, "install", dir)
	nameless.Args[0] = "another"
	engine.Command(t, nameless).Ran(t)
	wantInstalled(t, path)
}

// Whoever looks, at whatever time, finds no file or all of it.
func TestInstallIsAtomic(t *testing.T) {
	engine.RequireRoot(t)
	c, dir := engine.Caplaunch(t), engine.TempDir(t)
	want, path := engine.Read(t, c), filepath.Join(dir, "caplaunch")
	var installing atomic.Int32
	for range 20 {
		installing.Add(1)
		go func() {
			defer installing.Add(-1)
			if out, err := exec.Command(c, "install", dir).CombinedOutput(); err != nil {
				t.Errorf("%v: %s", err, out)
			}
		}()
	}
	for installing.Load() > 0 {
		got, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		if fi, err := os.Stat(path); string(got) != want || err == nil && fi.Mode() != 0o555 {
			t.Errorf("%d of %d bytes, %v", len(got), len(want), fi)
		}
		if out, err := exec.Command(path, "version").CombinedOutput(); err != nil {
			t.Errorf("it does not run: %v %s", err, out)
		}
	}
	wantInstalled(t, path)
}

// What install cannot do, or should not, is an error that says why, and leaves everything as it was.
func TestInstallRefuses(t *testing.T) {
	engine.RequireRoot(t, "mount", "strace")
	dir := engine.TempDir(t)
	in := func(name string) string { return filepath.Join(dir, name) }
	engine.Do(t, "sh", "-euc", `cd "$1"; mkdir -p folder taken/caplaunch/x linked closed; mkdir -m 600 locked; mkfifo fifo; printf mine >file
		ln -s file link; ln -s nothing dangling; ln -s folder folderlink; ln -s ../file linked/caplaunch; chmod 500 closed; chown 65532:65532 closed`, "sh", dir)
	for _, c := range []struct{ dest, says string }{
		{in("link"), "is a symlink"},
		{in("link/"), "is a symlink"},
		{in("dangling"), "is a symlink"},
		{in("dangling/"), "is a symlink"},
		{in("folderlink"), "is a symlink"},
		{in("folderlink") + "/", "is a symlink"},
		{in("linked"), "is a symlink"},
		{in("fifo"), "is not a regular file"},
		{"/dev/null", "is not a regular file"},
		{in("taken"), "is not a regular file"},
		{in("file") + "/", "is no folder"},
		{in("missing") + "/", "is no folder"},
		{in("missing/caplaunch"), "no such file or directory"},
		{in("file/caplaunch"), "not a directory"},
		{"", "it is empty"},
		{in(strings.Repeat("n", 300)), "file name too long"},
		{"/proc/caplaunch", "/proc"},
		{in("a\nb/c"), "no such file"},
	} {
		r := caplaunch(t, "install", c.dest)
		if l := engine.Refused(t, r, engine.Failure); !strings.Contains(l.Msg, c.says) || strings.Contains(l.Hint, "readlink") != (c.says == "is a symlink") {
			t.Errorf("%q: %v", c.dest, r)
		}
	}
	for limit, hint := range map[string]string{"ulimit -n 4": "ulimit -n 1024", "ulimit -f 8": "ulimit -f unlimited"} {
		r := engine.Exec(t, "sh", "-c", limit+`; exec "$@"`, "sh", engine.Caplaunch(t), "install", in("folder"))
		if l := engine.Refused(t, r, engine.Failure); l.Hint != hint {
			t.Errorf("%+v", l)
		}
	}
	for _, call := range []string{"fchmod", "fsync", "renameat"} {
		argv := []string{"strace", "-f", "-qqq", "-o", os.DevNull, "-e", "trace=" + call, "-e", "inject=" + call + ":error=EIO", engine.Caplaunch(t), "install", in("folder")}
		engine.Refused(t, engine.Exec(t, argv...), engine.Failure).Says(t, "input/output error")
	}
	const user = "-u 65532 -g 65532 -b 0"
	for _, d := range []string{"folder", "locked"} {
		engine.Refused(t, start(t, user, "install", in(d)), engine.Failure).Says(t, "permission denied")
	}
	hidden := engine.Copy(t, engine.Caplaunch(t), 0o111)
	engine.Refused(t, engine.Start(t, strings.Fields(user), hidden, "install", "/tmp"), engine.Failure).Says(t, "the running binary cannot be read: permission denied")
	for _, words := range []string{"install", "install a b"} {
		engine.Refused(t, caplaunch(t, strings.Fields(words)...), engine.Failure)
	}
	if data := engine.Read(t, in("file")); data != "mine" {
		t.Errorf("the file has changed: %q", data)
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
		engine.Refused(t, engine.Command(t, engine.Box(t, "sh", "-c", script, "sh", options, engine.Caplaunch(t))), engine.Failure).Says(t, says)
	}
}

// Without /proc too.
func TestInstallWithoutProc(t *testing.T) {
	engine.RequireRoot(t)
	for _, called := range []string{"/bin/caplaunch", "caplaunch", "bin/caplaunch"} {
		bare := engine.Tree(t, map[string]engine.Src{"/bin/caplaunch": engine.File(engine.Caplaunch(t)), "/shared": engine.Dir(0o777)})
		cmd := engine.StartCommand(t, []string{"-R", bare, "-u", "65532", "-g", "65532", "-b", "0"}, called, "install", "/shared")
		cmd.Env = []string{"PATH=/usr/bin:/bin"}
		engine.Command(t, cmd).Ran(t)
		wantInstalled(t, filepath.Join(bare, "shared/caplaunch"))
	}
	bare := engine.Tree(t, map[string]engine.Src{"/caplaunch": engine.File(engine.Caplaunch(t)), "/busybox": engine.File(engine.Tool(t, "busybox"))})
	r := engine.Start(t, []string{"-R", bare}, "/busybox", "sh", "-c", "exec -a none /caplaunch install /")
	engine.Refused(t, r, engine.Failure).Says(t, "the running binary cannot be read: none: not found in PATH")
}
