package words

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/caplaunch/caplaunch/test/integration/engine"
)

// The Dockerfile is built and run as its comment says.
func TestDistrolessExample(t *testing.T) {
	d := engine.TheDocker(t)
	d.Load(t, engine.Distroless("nonroot"))
	text := engine.Read(t, filepath.Join(engine.Root, "examples/distroless/Dockerfile"))
	dir := engine.Tree(t, map[string]engine.Src{"/Dockerfile": engine.Text(text), "/caplaunch": engine.File(engine.Caplaunch(t)), "/relay": engine.File(engine.BuildGo(t, "examples/relay", ""))})
	d.MustBuild(t, dir, false, "caplaunch.test/distroless:1")
	_, line, _ := strings.Cut(text, "docker run ")
	line, _, _ = strings.Cut(line, " relay\n")
	id := background(t, d, append(strings.Fields(strings.ReplaceAll(line, "\\\n#", "")), "caplaunch.test/distroless:1")...)
	const works = "relay: 127.0.0.1:51820 -> 127.0.0.1:51821, mark 51820, uid 65532\n"
	if !engine.Await(func() bool { return d.Cmd(t, "logs", id).Stdout == works }) {
		t.Error(d.Cmd(t, "logs", id))
	}
}
