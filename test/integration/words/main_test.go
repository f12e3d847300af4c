// Package words tests what caplaunch says: explain, check, show, install, the allowlist, the grants, and every JSON; on
// the real engines where the state comes from there.
package words

import (
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/caplaunch/caplaunch/test/integration/engine"
)

func TestMain(m *testing.M) { engine.Main(m) }

// image has caplaunch, what it launches, users, an init, and a folder for a volume.
func image(t testing.TB) engine.Image {
	busybox := engine.File(engine.Tool(t, "busybox"))
	return engine.ScratchImage("caplaunch.test/words:1", map[string]engine.Src{
		"/caplaunch": engine.File(engine.Caplaunch(t)), "/shared": engine.Dir(0o777), "/probe": engine.File(engine.Probe(t)),
		"/tini": engine.File(engine.Tool(t, "tini-static")), "/bin/sh": busybox, "/bin/sleep": busybox,
		"/etc/passwd": engine.Text("root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000::/:/bin/sh\n"),
		"/etc/group":  engine.Text("root:x:0:\napp:x:1000:\ngpu:x:44:app\n"),
	})
}

// docker is Docker with that image.
func docker(t testing.TB) (d *engine.Docker, img string) {
	d = engine.TheDocker(t)
	return d, d.Load(t, image(t))
}

// admin is the launch of most tests in a container.
var admin = []string{"/caplaunch", "-c", "net_admin", "-u", "65532:65532", "--", "/probe"}

// background starts a container that goes on until the test is done, and gives its id.
func background(t testing.TB, d *engine.Docker, args ...string) string {
	t.Helper()
	id := strings.TrimSpace(d.Cmd(t, slices.Concat([]string{"run", "-d", "--network=none"}, args)...).Ran(t).Stdout)
	t.Cleanup(func() { d.Cmd(t, "rm", "-f", id) })
	return id
}

// caplaunch runs it here, without an engine.
func caplaunch(t testing.TB, words ...string) engine.Result {
	return engine.Exec(t, append([]string{engine.Caplaunch(t)}, words...)...)
}

// start runs caplaunch from the state that capstart's options describe.
func start(t testing.TB, options string, words ...string) engine.Result {
	return engine.Start(t, strings.Fields(options), append([]string{engine.Caplaunch(t)}, words...)...)
}

// behind is words with the probe behind "--".
func behind(t testing.TB, words ...string) []string {
	return append(slices.Clone(words), "--", engine.Probe(t))
}

// mapped begins a script of bash: $p is a process in a user namespace that has that map of ids.
const mapped = `unshare --user sleep 60 & p=$!
while test "$(readlink /proc/$p/ns/user)" = "$(readlink /proc/self/ns/user)"; do :; done
echo %[1]s >/proc/$p/uid_map; echo %[1]s >/proc/$p/gid_map
`

// copied is what stands on lines of its own to be copied, whole.
var copied = regexp.MustCompile(`(?m)^(hint|grant .*)\n(  .*\n)+`)

// wantWidth checks that every line fits a terminal, unless it is to be copied, or has a path of this run, which may be
// long.
func wantWidth(t testing.TB, what, text string) {
	t.Helper()
	for l := range strings.SplitSeq(copied.ReplaceAllString(text, ""), "\n") {
		if n := utf8.RuneCountInString(l); n > 80 && !strings.Contains(l, engine.PublicDir()) || strings.HasSuffix(l, " ") {
			t.Errorf("%s: %d columns: %q", what, n, l)
		}
	}
}
