package release

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/caplaunch/caplaunch/test/integration/engine"
)

const (
	registry = "127.0.0.1:5000"
	image    = registry + "/caplaunch:1"
)

// crane is the tool that is pinned beside the release's own.
func crane(t testing.TB) string {
	return strings.TrimSpace(ok(t, "go", "-C", filepath.Join(engine.Root, "packaging"), "tool", "-n", "crane"))
}

// beside is a command in the network of dockerd, where the loopback device is dockerd's own.
func beside(d *engine.Docker, argv ...string) *exec.Cmd {
	return exec.Command("nsenter", append([]string{d.Network(), "--"}, argv...)...)
}

// serve starts a registry on dockerd's loopback device, and pushes the image to it by "make push".
func serve(t *testing.T, d *engine.Docker) {
	engine.Background(t, beside(d, crane(t), "registry", "serve", "--address", registry))
	var r engine.Result
	if !engine.Await(func() bool {
		r = engine.Command(t, beside(d, "make", "-s", "-C", engine.Root, "push", "IMAGE="+image))
		return r.Code == 0
	}) {
		t.Fatal(r)
	}
}

// The image is pushed to a registry, and a Dockerfile takes the binary from there.
func TestTheImageIsForCopyFrom(t *testing.T) {
	d := engine.TheDocker(t)
	dist(t)
	serve(t, d)
	digest := engine.Command(t, beside(d, "make", "-s", "-C", engine.Root, "digest", "IMAGE="+image)).Ran(t)
	if !strings.Contains(engine.Read(t, filepath.Join(dist(t), "image/index.json")), strings.TrimPrefix(strings.TrimSpace(digest.Stdout), "digest=")) {
		t.Errorf("pushed is not what was made: %v", digest)
	}
	d.Cmd(t, "pull", "-q", image).Ran(t) // or an older one under this name would be taken
	context := engine.Tree(t, map[string]engine.Src{"/Dockerfile": engine.Text(
		"FROM scratch\nCOPY --from=" + image + " /caplaunch /caplaunch\nENTRYPOINT [\"/caplaunch\"]\n")})
	for _, buildkit := range []bool{false, true} {
		name := fmt.Sprintf("copied:%v", buildkit)
		d.MustBuild(t, context, buildkit, name)
		d.Run(t, name, nil, "version").Ran(t, "linux/amd64")
		grant := []string{"--cap-drop=ALL", "--cap-add=SETUID", "--cap-add=SETGID", "--cap-add=NET_RAW", "--read-only", "--security-opt=no-new-privileges"}
		d.Run(t, name, grant, "-c", "net_raw", "-u", "65532:65532", "--", "/caplaunch", "show").Ran(t, "net_raw")
	}
	d.Run(t, image, nil, "version").Ran(t)
	var config []struct {
		Config struct {
			User   string
			Labels map[string]string
		}
		RootFS struct{ Layers []string }
	}
	engine.Must(t, json.Unmarshal([]byte(d.Cmd(t, "image", "inspect", image).Stdout), &config))
	if c := config[0]; c.Config.User != "65532:65532" || len(c.RootFS.Layers) != 1 || c.Config.Labels["org.opencontainers.image.revision"] != info(t, binaries(t)["amd64"])["vcs.revision"] {
		t.Errorf("%+v", config)
	}
}

// The index has every platform, and in each image /caplaunch, root's and 0755, is alone.
func TestTheImageIsForEveryPlatform(t *testing.T) {
	engine.Require(t, "skopeo", "umoci")
	source := "oci:" + filepath.Join(dist(t), "image")
	for name, path := range binaries(t) {
		args := []string{"skopeo", "--override-os=linux", "--override-arch=" + info(t, path)["GOARCH"]}
		if _, variant, arm := strings.Cut(name, "armv"); arm {
			args = append(args, "--override-variant=v"+variant)
		}
		to := filepath.Join(engine.TempDir(t), "one")
		ok(t, slices.Concat(args, []string{"copy", "-q", source, "oci:" + to + ":one"})...)
		ok(t, "umoci", "raw", "unpack", "--rootless", "--image", to+":one", to+"-root")
		if files := ok(t, "find", to+"-root", "-mindepth", "1", "-printf", "%P %m\n"); files != "caplaunch 755\n" {
			t.Errorf("%s: %s", name, files)
		}
		ok(t, "cmp", path, to+"-root/caplaunch")
	}
}
