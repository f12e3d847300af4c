// Package programs launches what users launch, and what breaks launchers: programs with file capabilities, scripts,
// other architectures, and everything that execve(2) refuses. Each is run by caplaunch and, where it is refused, by
// the command tell as well, which is made of the same packages and gives the error with its type and its fields.
package programs

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/caplaunch/caplaunch/internal/ambient"
	cexec "github.com/caplaunch/caplaunch/internal/exec"
	"github.com/caplaunch/caplaunch/test/integration/engine"
)

func TestMain(m *testing.M) { engine.Main(m) }

const (
	asUser = "--user=65532:65532"

	netBind  ambient.Set = 1 << 10
	netAdmin ambient.Set = 1 << 12
	netRaw   ambient.Set = 1 << 13

	refusal = ambient.ExitFailure // of caplaunch itself
)

// A start is what stands around a launch.
type start struct {
	within string   // shell commands to be done before, in mount, network and PID namespaces that end with the launch
	wrap   []string // a command that runs the launcher, such as prlimit
	from   []string // options of capstart
	root   string   // of a tree: see newRoot
	flags  []string // of caplaunch
	env    []string // besides this process's
}

// command is the launch of argv by one of the launchers caplaunch and tell.
func (s start) command(t testing.TB, launcher string, argv ...string) *exec.Cmd {
	t.Helper()
	engine.RequireRoot(t)
	words, from := s.wrap, s.from
	if s.root != "" {
		from = append([]string{"-R", s.root}, from...)
		launcher = "/" + filepath.Base(launcher)
	}
	if from != nil {
		words = slices.Concat(words, []string{engine.Capstart(t)}, from, []string{"--"})
	}
	words = slices.Concat(words, []string{launcher}, s.flags, []string{"--"}, argv)
	if s.within != "" {
		words = append([]string{"unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc",
			"sh", "-ec", "ip link set lo up\n" + s.within + "\nexec \"$@\"", "sh"}, words...)
	}
	cmd := exec.Command(words[0], words[1:]...)
	cmd.Env = append(os.Environ(), s.env...)
	return cmd
}

// run launches argv by caplaunch.
func (s start) run(t testing.TB, argv ...string) engine.Result {
	t.Helper()
	return engine.Command(t, s.command(t, engine.Caplaunch(t), argv...))
}

// refused launches argv by caplaunch and by tell, and checks that it is refused by both for the same reason and in
// the same words. It returns the error of tell.
func (s start) refused(t testing.TB, code int, argv ...string) told {
	t.Helper()
	s.flags = append(slices.Clone(s.flags), "--log-format=json")
	said := refused(t, s.run(t, argv...), code)

	e := parse(t, engine.Command(t, s.command(t, tell(t), argv...)))
	if e.Exec == nil && e.File == nil || e.Code != code || e.Msg != said.Msg || e.Exec != nil && e.Hint != said.Hint {
		t.Errorf("caplaunch says %+v, its packages %+v", said, e)
	}
	return e
}

// told is an error with its fields.
type told struct {
	Msg, Hint string
	Code      int
	Exec      *cexec.Error // one of the two
	File      *struct {
		Caps                      *ambient.FileCaps
		SetUID, SetGID            *uint32
		Given, Permitted, Ambient ambient.Set
		Denied                    bool // by execve; else it would end in Permitted and Ambient
	}
}

// parse reads what tell printed.
func parse(t testing.TB, r engine.Result) told {
	t.Helper()
	var e told
	if err := json.Unmarshal([]byte(r.Stdout), &e); err != nil {
		t.Fatalf("tell: %v: %v", err, r)
	}
	return e
}

// said is caplaunch's own line about a failure.
type said struct {
	Level, Msg, Hint string
	Code             int
}

// refused checks that nothing ran, with that exit status, and that there is one error with a hint, as JSON or text.
func refused(t testing.TB, r engine.Result, code int) said {
	t.Helper()
	var errs []said
	for line := range strings.Lines(r.Stderr) {
		var s said
		if json.Unmarshal([]byte(line), &s) == nil && s.Level == "error" {
			errs = append(errs, s)
		} else if msg, ok := strings.CutPrefix(line, "caplaunch: error: "); ok {
			errs = append(errs, said{Msg: strings.TrimSpace(msg), Code: code})
		} else if hint, ok := strings.CutPrefix(line, "caplaunch: hint: "); ok && len(errs) > 0 {
			errs[len(errs)-1].Hint = strings.TrimSpace(hint)
		}
	}
	if r.Code != code || r.Stdout != "" || len(errs) != 1 || errs[0].Msg == "" || errs[0].Hint == "" || errs[0].Code != code {
		t.Fatalf("want exit status %d, one error with a hint, and no program: %v", code, r)
	}
	return errs[0]
}

// wantPromise checks that probe ran as uid 65532 with exactly caps, also to be inherited, and no privilege of a file.
func wantPromise(t testing.TB, r engine.Result, caps ambient.Set) map[string]string {
	t.Helper()
	m := engine.ParseProbe(r.Stdout)
	mask, ids := fmt.Sprintf("%016x", uint64(caps)), "65532 65532 65532 65532"
	want := map[string]string{"Uid": ids, "Gid": ids, "Groups": "65532", "NoNewPrivs": "1",
		"CapPrm": mask, "CapInh": mask, "CapEff": mask, "CapAmb": mask}
	if _, ok := m["AT_SECURE"]; ok {
		want["AT_SECURE"] = "0"
	}
	for key, want := range want {
		if m[key] != want || r.Code != 0 {
			t.Errorf("%s is %q, want %q: %v", key, m[key], want, r)
			break
		}
	}
	return m
}

// tell is the path of the command tell, static.
func tell(t testing.TB) string {
	t.Helper()
	return goBuild(t, "tell", "", "./tell")
}

// goBuild builds a static Go program where every user may execute it. Other architectures are told by arch.
func goBuild(t testing.TB, name, arch, source string) string {
	t.Helper()
	engine.Require(t, "go")
	f, _ := builds.LoadOrStore(name, sync.OnceValues(func() (string, error) {
		path := filepath.Join(engine.PublicDir(), name)
		cmd := exec.Command("go", "build", "-o", path, source)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if arch != "" {
			cmd.Env = append(cmd.Env, "GOARCH="+arch)
		}
		if out, err := cmd.CombinedOutput(); err != nil {
			return "", fmt.Errorf("%v: %w\n%s", cmd, err, out)
		}
		return path, nil
	}))
	path, err := f.(func() (string, error))()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

var builds sync.Map // of func() (string, error)

// newRoot is a root file system with caplaunch, tell, the probe and files, for start.root.
func newRoot(t testing.TB, files map[string]engine.Src) string {
	t.Helper()
	all := map[string]engine.Src{"/caplaunch": engine.File(engine.Caplaunch(t)), "/tell": engine.File(tell(t)), "/probe": engine.File(engine.Probe(t))}
	for name, src := range files {
		all[name] = src
	}
	return engine.Tree(t, all)
}

// tools are what a Dockerfile needs to set, show, keep and lose file capabilities: a few programs of this machine and
// their libraries, and more. A whole Debian takes every builder ten times as long.
func tools(t testing.TB, more ...string) map[string]engine.Src {
	t.Helper()
	files := map[string]engine.Src{"/tmp": engine.Dir(os.ModeSticky | 0o777)}
	for _, name := range append(more, "sh", "cp", "chown", "setcap", "getcap") {
		engine.Require(t, name)
		path, err := exec.LookPath(name)
		check(t, err)
		files["/bin/"+name] = engine.File(path)
		for _, word := range strings.Fields(engine.Exec(t, "ldd", path).Stdout) {
			if strings.HasPrefix(word, "/") {
				files[word] = engine.File(word)
			}
		}
	}
	return files
}

// toolsImage is their image, for FROM.
const toolsImage = "caplaunch.test/tools:1"

// copyOf is a copy of a program in a new folder, with that mode. No xattr comes along.
func copyOf(t testing.TB, path string, mode os.FileMode) string {
	t.Helper()
	to := filepath.Join(engine.TempDir(t), filepath.Base(path))
	locked(func() { check(t, engine.CopyFile(to, path, mode)) })
	return to
}

// write makes a new program of a text.
func write(t testing.TB, name, text string) string {
	t.Helper()
	path := filepath.Join(engine.TempDir(t), name)
	locked(func() { check(t, os.WriteFile(path, []byte(text), 0o600)) })
	check(t, os.Chmod(path, 0o755))
	return path
}

// locked writes a program while nothing forks: a child that inherits its descriptor would make it "text busy".
func locked(write func()) {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	write()
}

// setcap gives a file capabilities by the tool that users have, such as cap_net_raw=+ep.
func setcap(t testing.TB, caps, path string) {
	t.Helper()
	engine.Require(t, "setcap")
	if r := engine.Exec(t, "setcap", caps, path); r.Code != 0 {
		t.Fatalf("setcap %s %s: %v", caps, path, r)
	}
}

// withCaps is a copy of a program with file capabilities.
func withCaps(t testing.TB, path, caps string) string {
	t.Helper()
	to := copyOf(t, path, 0o755)
	setcap(t, caps, to)
	return to
}

// own makes path belong to uid and gid 65532.
func own(t testing.TB, path string) string {
	t.Helper()
	check(t, os.Chown(path, 65532, 65532))
	return path
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// background starts cmd and kills it, by its PID, when the test is done.
func background(t testing.TB, cmd *exec.Cmd) int {
	t.Helper()
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: unix.SIGKILL}
	check(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return cmd.Process.Pid
}
