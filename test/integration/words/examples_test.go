package words

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/caplaunch/caplaunch/test/integration/engine"
)

// what the relay says when it can mark packets: it has NET_ADMIN.
const works = "relay: 127.0.0.1:51820 -> 127.0.0.1:51821, mark 51820, uid 65532\n"

func example(t testing.TB, path string) string {
	t.Helper()
	return engine.Read(t, filepath.Join(engine.Root, "examples", path))
}

// runs starts a container that goes on, and waits for what it says.
func runs(t testing.TB, d *engine.Docker, args ...string) {
	t.Helper()
	id := background(t, d, args...)
	if !engine.Await(func() bool { return d.Cmd(t, "logs", id).Stdout == works }) {
		t.Errorf("%q: %v", args, d.Cmd(t, "logs", id))
	}
}

// The compose file is what compose takes, its keys are what explain prints, and
// the flags that they stand for run the relay.
func TestComposeExample(t *testing.T) {
	s := load(t, filepath.Join(engine.Root, "examples/compose"), example(t, "compose/compose.yaml"))
	flags := dockerFlags(s)
	text := "services:\n  x:\n    image: x\n"
	for l := range strings.Lines(grantFor(t, "compose", want{flags: "--caps=net_admin --user=65532:65532"})) {
		text += "    " + l
	}
	for _, f := range dockerFlags(load(t, t.TempDir(), text)) {
		if !slices.Contains(flags, f) {
			t.Errorf("explain prints %s too; the example has %q", f, flags)
		}
	}
	if _, err := os.Stat(filepath.Join(s.Build.Context, s.Build.Dockerfile)); err != nil {
		t.Error(err)
	}
	if want := filepath.Join(engine.Root, "Dockerfile.example"); filepath.Join(s.Build.Context, s.Build.Dockerfile) != want {
		t.Errorf("%+v, want %s", s.Build, want)
	}
	d := engine.TheDocker(t)
	img := d.Load(t, image(t))
	command := []string{img, "/caplaunch", "--caps=net_admin", "--user=65532:65532", "--", "/relay", "127.0.0.1:51820", "127.0.0.1:51821"}
	runs(t, d, append(flags, command...)...)
	// The variable does what its comment says.
	if r := d.Cmd(t, slices.Concat([]string{"run", "--rm", "--cap-add=SYS_ADMIN"}, flags, command)...); r.Code != 78 {
		t.Errorf("with one more: %v", r)
	}
}

// The Dockerfile is built and run as its comment says.
func TestDistrolessExample(t *testing.T) {
	d := engine.TheDocker(t)
	d.Load(t, engine.Distroless("nonroot"))
	text := example(t, "distroless/Dockerfile")
	dir := engine.Tree(t, map[string]engine.Src{"/Dockerfile": engine.Text(text), "/caplaunch": engine.File(engine.Caplaunch(t)), "/relay": engine.File(relay(t))})
	d.MustBuild(t, dir, false, "caplaunch.test/distroless:1")
	_, line, _ := strings.Cut(text, "docker run ")
	line, _, _ = strings.Cut(line, " relay\n")
	args := strings.Fields(strings.NewReplacer("\\\n#", "").Replace(line))
	runs(t, d, append(args, "caplaunch.test/distroless:1")...)
}
