package release

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caplaunch/caplaunch/test/integration/engine"
)

const (
	registry = "127.0.0.1:5000"
	image    = registry + "/caplaunch:1"
)

// crane is the tool that is pinned beside the release's own.
func crane(t testing.TB) string {
	t.Helper()
	return strings.TrimSpace(ok(t, "go", "-C", filepath.Join(engine.Root, "packaging"), "tool", "-n", "crane"))
}

// beside is a command in the network of dockerd, where the loopback device is dockerd's own.
func beside(t testing.TB, d *engine.Docker, argv ...string) *exec.Cmd {
	t.Helper()
	socket := d.Command().Args[2]
	pid, _, _ := strings.Cut(ok(t, "pgrep", "-f", "^dockerd .*"+regexp.QuoteMeta(socket)), "\n")
	return exec.Command("nsenter", append([]string{"-t", pid, "-n", "--"}, argv...)...)
}

// serve starts a registry on dockerd's loopback device, and pushes the image to it by "make push".
func serve(t *testing.T, d *engine.Docker) {
	t.Helper()
	engine.Background(t, beside(t, d, crane(t), "registry", "serve", "--address", registry))
	var r engine.Result
	for range 100 {
		if r = engine.Command(t, beside(t, d, "make", "-s", "-C", engine.Root, "push", "IMAGE="+image)); r.Code == 0 {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Fatal(r)
}

// The image is pushed to a registry, and a Dockerfile takes the binary from there.
func TestTheImageIsForCopyFrom(t *testing.T) {
	d := engine.TheDocker(t)
	dist(t)
	serve(t, d)
	if digest := engine.Command(t, beside(t, d, "make", "-s", "-C", engine.Root, "digest", "IMAGE="+image)); digest.Code != 0 || !strings.Contains(indexOf(t), strings.TrimPrefix(strings.TrimSpace(digest.Stdout), "digest=")) {
		t.Errorf("pushed is not what was made: %v", digest)
	}
	if r := d.Cmd(t, "pull", "-q", image); r.Code != 0 { // or an older one under this name would be taken
		t.Fatal(r)
	}
	context := engine.Tree(t, map[string]engine.Src{"/Dockerfile": engine.Text(
		"FROM scratch\nCOPY --from=" + image + " /caplaunch /caplaunch\nENTRYPOINT [\"/caplaunch\"]\n")})
	for _, buildkit := range []bool{false, true} {
		name := fmt.Sprintf("copied:%v", buildkit)
		d.MustBuild(t, context, buildkit, name)
		if r := d.Run(t, name, nil, "version"); r.Code != 0 || !strings.Contains(r.Stdout, "linux/amd64") {
			t.Errorf("BuildKit %v: %v", buildkit, r)
		}
		grant := []string{"--cap-drop=ALL", "--cap-add=SETUID", "--cap-add=SETGID", "--cap-add=NET_RAW", "--read-only", "--security-opt=no-new-privileges"}
		if r := d.Run(t, name, grant, "-c", "net_raw", "-u", "65532:65532", "--", "/caplaunch", "show"); r.Code != 0 || !strings.Contains(r.Stdout, "net_raw") {
			t.Errorf("BuildKit %v: a launch: %v", buildkit, r)
		}
	}
	if r := d.Run(t, image, nil, "version"); r.Code != 0 {
		t.Errorf("the image itself: %v", r)
	}
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

func indexOf(t testing.TB) string {
	t.Helper()
	content := engine.Read(t, filepath.Join(dist(t), "image/index.json"))
	return content
}

// The index has every platform, and in each image /caplaunch, root's and 0755, is alone.
func TestTheImageIsForEveryPlatform(t *testing.T) {
	engine.Require(t, "skopeo", "umoci")
	source := "oci:" + filepath.Join(dist(t), "image")
	want := map[string]string{}
	for name, path := range binaries(t) {
		want[name] = path
	}
	for name, path := range want {
		args := []string{"skopeo", "--override-os=linux", "--override-arch=" + info(t, path)["GOARCH"]}
		if _, variant, arm := strings.Cut(name, "armv"); arm {
			args = append(args, "--override-variant=v"+variant)
		}
		to := filepath.Join(engine.TempDir(t), "one")
		ok(t, slices.Concat(args, []string{"copy", "-q", source, "oci:" + to + ":one"})...)
		ok(t, "umoci", "raw", "unpack", "--rootless", "--image", to+":one", to+"-root")
		files := ok(t, "find", to+"-root", "-mindepth", "1", "-printf", "%P %m\n")
		if files != "caplaunch 755\n" {
			t.Errorf("%s: %s", name, files)
		}
		ok(t, "cmp", path, to+"-root/caplaunch")
	}
}
