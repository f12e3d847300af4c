// Package words tests what caplaunch says: explain, check, show, install, the
// allowlist, the grants, and every JSON; on the real engines where the state
// comes from there.
package words

import (
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/caplaunch/caplaunch/test/integration/engine"
)

func TestMain(m *testing.M) { engine.Main(m) }

// image has caplaunch, the probe, a shell and a folder for a volume.
func image(t testing.TB) engine.Image {
	t.Helper()
	engine.Require(t, "busybox")
	busybox, err := exec.LookPath("busybox")
	engine.Must(t, err)
	return engine.ScratchImage("caplaunch.test/words:1", map[string]engine.Src{
		"/caplaunch": engine.File(engine.Caplaunch(t)), "/probe": engine.File(engine.Probe(t)), "/shared": engine.Dir(0o777),
		"/bin/sh": engine.File(busybox), "/shared.d/caplaunch": engine.File(engine.Caplaunch(t)), "/service": engine.File(service(t)),
		"/relay": engine.File(relay(t)),
	})
}

// service is testdata/service, and relay examples/relay.
func service(t testing.TB) string {
	return engine.BuildGo(t, "test/integration/words/testdata/service", "")
}
func relay(t testing.TB) string { return engine.BuildGo(t, "examples/relay", "") }

// caplaunch runs it here, without an engine.
func caplaunch(t testing.TB, words ...string) engine.Result {
	t.Helper()
	return engine.Exec(t, append([]string{engine.Caplaunch(t)}, words...)...)
}

// start runs caplaunch from the state that capstart's options describe.
func start(t testing.TB, options string, words ...string) engine.Result {
	t.Helper()
	return engine.Start(t, strings.Fields(options), append([]string{engine.Caplaunch(t)}, words...)...)
}

// behind is words with the probe behind "--".
func behind(t testing.TB, words ...string) []string {
	return slices.Concat(words, []string{"--", engine.Probe(t)})
}

// copied is what stands on lines of its own to be copied, whole.
var copied = regexp.MustCompile(`(?m)^(hint|grant .*)\n(  .*\n)+`)

// wantWidth checks that every line fits a terminal, unless it is to be copied, or has a path of this run, which may be
// long.
func wantWidth(t testing.TB, what, text string) {
	t.Helper()
	text = copied.ReplaceAllString(text, "")
	for l := range strings.Lines(text) {
		l = strings.TrimSuffix(l, "\n")
		if n := utf8.RuneCountInString(l); n > 80 && !strings.Contains(l, engine.PublicDir()) || strings.HasSuffix(l, " ") {
			t.Errorf("%s: %d columns: %q", what, n, l)
		}
	}
}
