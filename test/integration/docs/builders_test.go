package docs

import (
	"fmt"
	"strings"
	"testing"

	"github.com/caplaunch/caplaunch/test/integration/engine"
)

// A place has files, and runs a shell script beside them.
type place func(t *testing.T, script string) engine.Result

// says of a program what is left of its capabilities and what caplaunch does with it. As a copy it runs in any case.
func (run place) says(t *testing.T, program string) string {
	t.Helper()
	r := run(t, fmt.Sprintf(`getcap %[1]s; /caplaunch -c net_admin -u 65532:65532 -- %[1]s >/dev/null; echo plain=$?
exec /caplaunch -c net_admin -u 65532:65532 --strip-file-caps -- %[1]s`, program))
	engine.Promised("65532", engine.NetAdmin).Want(t, r)
	said, want := "lost: runs", "0"
	if strings.Contains(r.Stdout, " cap_net_raw=") {
		said, want = "kept: 125", "125"
	}
	if code := engine.ParseProbe(r.Stdout)["plain"]; code != want {
		t.Errorf("%s, and it ended with %s", said, code)
	}
	return said
}

const toolsImage, built = "caplaunch.test/tools:1", "caplaunch.test/builders:1"

// steps are what people do with a file that has capabilities. Each leaves the file /NAME in the image.
var steps = [][2]string{
	{"copy", "`COPY --from=stage`"},
	{"chown", "`COPY --from=stage --chown`"},
	{"context", "`COPY` from the context"},
	{"final", "`RUN setcap` in the final stage"},
	{"later", "`chown` in a later `RUN`"},
}

const dockerfile = `FROM ` + toolsImage + ` AS stage
COPY probe /probe
RUN setcap cap_net_raw=+ep /probe
FROM ` + toolsImage + `
COPY --from=stage /probe /copy
COPY --from=stage --chown=65532:65532 /probe /chown
COPY capable /context
COPY probe /final
COPY probe /later
RUN setcap cap_net_raw=+ep /final && setcap cap_net_raw=+ep /later
RUN chown 65532:65532 /later
COPY caplaunch /caplaunch
`

// The table of docs/engines.md on builders.
func TestBuilders(t *testing.T) {
	engine.RequireRoot(t)
	capable := engine.WithCaps(t, engine.Probe(t), "cap_net_raw=+ep")
	context := engine.Tree(t, map[string]engine.Src{
		"/caplaunch": engine.File(engine.Caplaunch(t)), "/probe": engine.File(engine.Probe(t)), "/Dockerfile": engine.Text(dockerfile),
	})
	engine.Do(t, "cp", "-a", capable, context+"/capable")
	d, p := engine.TheDocker(t), engine.ThePodman(t)
	d.Load(t, engine.ScratchImage(toolsImage, engine.Tools(t)))
	p.Import(t, engine.Tar(t, engine.Tools(t)), toolsImage) // a loaded image has no history, which buildah wants
	flags := []string{"--cap-drop=ALL", "--cap-add=SETUID", "--cap-add=SETGID", "--cap-add=NET_ADMIN", "--entrypoint=sh"}
	docker := func(t *testing.T, script string) engine.Result { return d.Run(t, built, flags, "-c", script) }
	podman := func(t *testing.T, script string) engine.Result { return p.Run(t, built, flags, "-c", script) }
	builders := []struct {
		name  string
		build func() engine.Result
		run   place
	}{
		{"Docker's classic builder", func() engine.Result { return d.Build(t, context, false, "-t", built) }, docker},
		{"BuildKit of Docker " + version(t, "docker.io"), func() engine.Result { return d.Build(t, context, true, "-t", built) }, docker},
		{"buildah " + version(t, "buildah"), func() engine.Result { return p.Buildah(t, "bud", "--layers=false", "-t", built, context) }, podman},
		{"podman build " + version(t, "podman"), func() engine.Result { return p.Build(t, context, "--layers=false", "-t", built) }, podman},
	}
	table := "| step |"
	lines := make([]string, len(steps))
	for _, b := range builders {
		if r := b.build(); r.Code != 0 {
			t.Fatal(b.name, r)
		}
		table += " " + b.name + " |"
		for i, step := range steps {
			lines[i] += " " + b.run.says(t, "/"+step[0]) + " |"
		}
	}
	table += "\n" + strings.Repeat("| --- ", 1+len(builders)) + "|\n"
	for i, step := range steps {
		table += "| " + step[1] + " |" + lines[i] + "\n"
	}
	if !t.Failed() {
		part(t, "builders", table)
	}
}
