// Package programs launches what users launch, and what breaks launchers: programs with file capabilities, scripts,
// other architectures, and everything that execve(2) refuses. Each is run by caplaunch and, where it is refused, by
// the command tell as well, which is made of the same packages and gives the error with its type and its fields.
package programs

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

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
	said := engine.Refused(t, s.run(t, argv...), code)

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

// wantPromise checks that a program ran as uid 65532 with exactly caps, also to be inherited, and no privilege of a file.
func wantPromise(t testing.TB, r engine.Result, caps ambient.Set) map[string]string {
	t.Helper()
	return engine.Promised("65532", uint64(caps)).Want(t, r)
}

// status is the program testdata/status.
func status(t testing.TB, arch string) string {
	t.Helper()
	return engine.BuildGo(t, "test/integration/programs/testdata/status", arch)
}

// tell is the path of the command tell, static.
func tell(t testing.TB) string {
	t.Helper()
	return engine.BuildGo(t, "test/integration/programs/tell", "")
}

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
		engine.Must(t, err)
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

// own makes path belong to uid and gid 65532.
func own(t testing.TB, path string) string {
	t.Helper()
	engine.Must(t, os.Chown(path, 65532, 65532))
	return path
}
