// Package words tests what caplaunch says: explain, check, show, install, the
// allowlist, the grants, and every JSON; on the real engines where the state
// comes from there.
package words

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/caplaunch/caplaunch/test/integration/engine"
)

func TestMain(m *testing.M) { engine.Main(m) }

const netAdmin = 0x1000

// image has caplaunch, the probe, a shell and a folder for a volume.
func image(t testing.TB) engine.Image {
	t.Helper()
	engine.Require(t, "busybox")
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		t.Fatal(err)
	}
	return engine.ScratchImage("caplaunch.test/words:1", map[string]engine.Src{
		"/caplaunch": engine.File(engine.Caplaunch(t)), "/probe": engine.File(engine.Probe(t)), "/shared": engine.Dir(0o777),
		"/bin/sh": engine.File(busybox), "/shared.d/caplaunch": engine.File(engine.Caplaunch(t)), "/service": engine.File(service(t)),
		"/relay": engine.File(relay(t)),
	})
}

// service is testdata/service, and relay examples/relay.
func service(t testing.TB) string {
	return goBuild(t, "service", filepath.Join(engine.SourceDir, "words/testdata/service"))
}
func relay(t testing.TB) string {
	return goBuild(t, "relay", filepath.Join(engine.Root, "examples/relay"))
}

func goBuild(t testing.TB, name, dir string) string {
	t.Helper()
	path := filepath.Join(engine.PublicDir(), name)
	if _, err := os.Stat(path); err == nil {
		return path
	}
	cmd := exec.Command("go", "build", "-trimpath", "-o", path, ".")
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "CGO_ENABLED=0")
	if r := engine.Command(t, cmd); r.Code != 0 {
		t.Fatal(r)
	}
	return path
}

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

// A line is one that caplaunch writes with --log-format=json.
type line struct {
	Level, Msg, Hint string
	Code             int
	Capability, Sets []string
}

// lines reads stderr, of which every line has to be strict JSON.
func lines(t testing.TB, r engine.Result) []line {
	t.Helper()
	var all []line
	for text := range strings.Lines(r.Stderr) {
		var l line
		decode(t, text, &l)
		all = append(all, l)
	}
	return all
}

// failure is the one error in lines.
func failure(t testing.TB, r engine.Result) line {
	t.Helper()
	for _, l := range lines(t, r) {
		if l.Level == "error" {
			return l
		}
	}
	t.Errorf("no error: %v", r)
	return line{}
}

// decode reads exactly one JSON value without unknown fields.
func decode(t testing.TB, text string, into any) {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader([]byte(text)))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil || d.More() || !strings.HasSuffix(text, "\n") || strings.Count(text, "\n") != 1 {
		t.Fatalf("not one line of JSON: %v\n%q", err, text)
	}
}

// wantPromise checks that the probe ran as id, which is "uid:gid" or both at once, with exactly caps.
func wantPromise(t testing.TB, r engine.Result, id string, caps uint64, noNewPrivs string) {
	t.Helper()
	m := engine.ParseProbe(r.Stdout)
	id, gid, ok := strings.Cut(id, ":")
	if !ok {
		gid = id
	}
	all, allGroups := strings.TrimSpace(strings.Repeat(id+" ", 4)), strings.TrimSpace(strings.Repeat(gid+" ", 4))
	bounding, _ := strconv.ParseUint(m["CapBnd"], 16, 64)
	want := fmt.Sprintf("P=%x I=%x E=%x B=%x A=%x", caps, caps, caps, bounding, caps)
	if got := engine.Sets(r.Stdout); r.Code != 0 || got != want || m["Uid"] != all || m["Gid"] != allGroups || m["NoNewPrivs"] != noNewPrivs {
		t.Errorf("uid %s: want %s, no_new_privs %s: got %s\n%v", id, want, noNewPrivs, got, r)
	}
}

// wantWidth checks that every line fits a terminal.
func wantWidth(t testing.TB, what, text string) {
	t.Helper()
	for l := range strings.Lines(text) {
		l = strings.TrimSuffix(l, "\n")
		if n := utf8.RuneCountInString(l); n > 80 || strings.HasSuffix(l, " ") {
			t.Errorf("%s: %d columns: %q", what, n, l)
		}
	}
}
