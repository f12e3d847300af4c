package programs

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caplaunch/caplaunch/test/integration/engine"
)

// builderSteps are what people do with a file that has capabilities. Each leaves the file /NAME in the image.
const builderSteps = `FROM ` + toolsImage + ` AS stage
COPY probe /probe
RUN setcap cap_net_raw=+ep /probe
FROM ` + toolsImage + `
COPY --from=stage /probe /copy
COPY --from=stage --chown=65532:65532 /probe /chown
COPY capable /context
COPY capable /final
COPY capable /later
RUN setcap cap_net_raw=+ep /final && setcap cap_net_raw=+ep /later && cp -p /final /cp && cp -a /final /archive
RUN chown 65532:65532 /later
COPY caplaunch /caplaunch
`

// keeps is whether security.capability is still there, in the image, after each step. Kaniko is said to lose all but
// "final" and "archive"; it cannot be had without a registry.
var keeps = map[string]map[string]bool{
	"docker classic":  {"copy": false, "chown": false, "context": false, "final": true, "later": false, "cp": false, "archive": true},
	"docker buildkit": {"copy": true, "chown": true, "context": false, "final": true, "later": false, "cp": false, "archive": true},
	"podman build":    {"copy": true, "chown": true, "context": true, "final": true, "later": false, "cp": false, "archive": true},
}

func TestCaplaunchWorksWhateverABuilderKeeps(t *testing.T) {
	engine.RequireRoot(t)
	capable := engine.WithCaps(t, engine.Probe(t), "cap_net_raw=+ep")
	context := engine.Tree(t, map[string]engine.Src{
		"/caplaunch": engine.File(engine.Caplaunch(t)), "/probe": engine.File(engine.Probe(t)),
		"/Dockerfile": engine.Text(builderSteps),
	})
	engine.Must(t, engine.CopyFile(context+"/capable", capable, 0o755))
	engine.Setcap(t, "cap_net_raw=+ep", context+"/capable")
	const image = "caplaunch.test/builders:1"

	docker := func(buildkit bool) func(*testing.T, ...string) engine.Result {
		return func(t *testing.T, argv ...string) engine.Result {
			d := engine.TheDocker(t)
			if argv == nil {
				d.Load(t, engine.ScratchImage(toolsImage, tools(t)))
				return d.Build(t, context, buildkit, "-t", image)
			}
			return d.Run(t, image, []string{"--cap-drop=ALL", "--cap-add=SETUID", "--cap-add=SETGID", "--cap-add=NET_ADMIN"}, argv...)
		}
	}
	for builder, run := range map[string]func(*testing.T, ...string) engine.Result{
		"docker classic": docker(false), "docker buildkit": docker(true),
		"podman build": func(t *testing.T, argv ...string) engine.Result {
			p := engine.ThePodman(t)
			if argv == nil {
				base := filepath.Join(engine.TempDir(t), "tools.tar")
				engine.Must(t, engine.WriteTar(base, tools(t)))
				p.Import(t, base, toolsImage) // a loaded image has no history, which buildah wants
				return p.Build(t, context, "--layers=false", "-t", image)
			}
			return p.Run(t, image, []string{"--cap-drop=ALL", "--cap-add=SETUID,SETGID,NET_ADMIN"}, argv...)
		},
	} {
		t.Run(builder, func(t *testing.T) {
			if r := run(t); r.Code != 0 {
				t.Fatal(r)
			}
			// One container for everything: starting them is what takes the time.
			script := ""
			for step := range keeps[builder] {
				script += fmt.Sprintf(`
echo step=%[1]s; getcap /%[1]s
/caplaunch -c net_admin -u 65532:65532 -- /%[1]s >/dev/null; echo plain=$?
/caplaunch -c net_admin -u 65532:65532 --strip-file-caps -- /%[1]s`, step)
			}
			r := run(t, "sh", "-c", script)
			steps := strings.Split(r.Stdout, "step=")[1:]
			if len(steps) != len(keeps[builder]) {
				t.Fatal(r)
			}
			for _, out := range steps {
				step, out, _ := strings.Cut(out, "\n")
				kept, want := strings.Contains(out, "cap_net_raw=ep"), keeps[builder][step]
				if kept != want {
					t.Errorf("after %q the capabilities are kept: %v, the table says %v", step, kept, want)
				}
				if code := engine.ParseProbe(out)["plain"]; kept && code != "125" || !kept && code != "0" {
					t.Errorf("%s: with file capabilities %v the plain launch ended with %s", step, kept, code)
				}
				wantPromise(t, engine.Result{Stdout: out, Stderr: r.Stderr}, netAdmin)
			}
		})
	}
}
