package words

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	core "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

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

// The manifest is what the API takes, its securityContexts are what explain
// prints, and both containers do their work under them.
func TestKubernetesExample(t *testing.T) {
	var pod core.Pod
	engine.Must(t, yaml.UnmarshalStrict([]byte(example(t, "kubernetes/relay.yaml")), &pod))
	if len(pod.Spec.InitContainers) != 1 || len(pod.Spec.Containers) != 1 || pod.Kind != "Pod" {
		t.Fatalf("%+v", pod)
	}
	first, main := pod.Spec.InitContainers[0], pod.Spec.Containers[0]
	var printed core.Container
	text := grantFor(t, "kubernetes", want{flags: "--caps=net_admin --user=65532:65532"})
	engine.Must(t, yaml.UnmarshalStrict([]byte(text), &printed))
	yes := true
	printed.SecurityContext.ReadOnlyRootFilesystem = &yes
	a, _ := yaml.Marshal(printed.SecurityContext)
	b, _ := yaml.Marshal(main.SecurityContext)
	if string(a) != string(b) {
		t.Errorf("the example has\n%sexplain prints\n%s", b, a)
	}

	c := engine.TheCRI(t)
	img := c.Load(t, image(t))
	sec := security(t, first.SecurityContext)
	sec.ReadOnlyRootFilesystem = nil // the folder stands for the volume
	if r := c.Run(t, img, sec, first.Command, first.Args, nil); r.Code != 0 || r.Stdout+r.Stderr != "" {
		t.Errorf("the init container: %v", r)
	}
	// On its volume, and with the probe for the relay, which would go on.
	command := slices.Clone(main.Command)
	command[0] = strings.Replace(command[0], "/shared/", "/shared.d/", 1)
	r := c.Run(t, img, security(t, main.SecurityContext), command, []string{"/probe"}, nil)
	engine.Promised("65532", engine.NetAdmin).Want(t, r)
	r = c.Run(t, img, security(t, main.SecurityContext), command, []string{"/relay", "127.0.0.1:99999", "x"}, nil)
	if r.Code != 1 || !strings.Contains(r.Stderr, "relay: ") {
		t.Errorf("the relay is not what runs: %v", r)
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
