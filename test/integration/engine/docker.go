package engine

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// A Docker is a dockerd of this test process, with a network of its own that leads nowhere.
type Docker struct {
	box    *box
	socket string
	loader
}

// TheDocker starts dockerd, once, or skips the test.
func TheDocker(t testing.TB) *Docker {
	t.Helper()
	return started(t, theDocker)
}

// TheRemappedDocker is a second dockerd, in whose containers root is an unprivileged user of the machine.
func TheRemappedDocker(t testing.TB) *Docker {
	t.Helper()
	return started(t, func() (*Docker, error) { return newDocker("docker-remapped", "--userns-remap=caplaunch") })
}

var theDocker = sync.OnceValues(func() (*Docker, error) {
	gvisor := filepath.Join(PublicDir(), "gvisor") // a test that wants one puts it there
	return newDocker("docker", "--add-runtime=crun=/usr/bin/crun", "--add-runtime=gvisor="+gvisor, "--add-runtime=gvisor-old="+gvisor+"-old")
})

func newDocker(name string, flags ...string) (*Docker, error) {
	if err := needs("dockerd", "/usr/bin/docker"); err != nil {
		return nil, err
	}
	dir, err := slot(name)
	if err != nil {
		return nil, err
	}
	data := filepath.Join(dir, "data")
	if !overlayWorks(dir) {
		data = filepath.Join(PublicDir(), name+"-data")
	}
	d := &Docker{socket: filepath.Join(PublicDir(), name+".sock")}
	d.loader = loader{has: d.has, load: func() *exec.Cmd { return d.Command("load", "-q") }}
	// iptables is off: there is nowhere to route to. The bridge is there because BuildKit insists on it.
	d.box, err = newBox(append([]string{
		"dockerd", "--data-root", data, "--exec-root", "/run/docker",
		"--pidfile", "/run/docker.pid", "-H", "unix://" + d.socket, "--exec-opt", "native.cgroupdriver=cgroupfs",
		"--iptables=false", "--ip6tables=false", "--ip-masq=false", "--bip=192.0.2.1/24",
	}, flags...)...)
	if err != nil {
		return nil, err
	}
	err = d.box.await(30*time.Second, func() error {
		_, err := must(d.Command("version"))
		return err
	})
	if err != nil {
		d.box.stop()
		return nil, fmt.Errorf("dockerd: %w", err)
	}
	// What a killed run left behind, and images that have been replaced; but what today's builds can reuse stays.
	_, _ = must(d.Command("container", "prune", "-f"))
	_, _ = must(d.Command("image", "prune", "-f", "--filter", "until=24h"))
	return d, nil
}

// Command is a docker command that talks to this daemon.
func (d *Docker) Command(args ...string) *exec.Cmd {
	cmd := exec.Command("/usr/bin/docker", append([]string{"-H", "unix://" + d.socket}, args...)...)
	cmd.Env = cleanEnv("DOCKER_CONFIG=" + filepath.Join(PublicDir(), "docker-config"))
	return cmd
}

// Network is nsenter's option for the network in which the daemon publishes ports.
func (d *Docker) Network() string {
	return fmt.Sprintf("--net=/proc/%d/ns/net", d.box.init.Process.Pid)
}

func (d *Docker) Cmd(t testing.TB, args ...string) Result {
	t.Helper()
	return Command(t, d.Command(args...))
}

// Run runs a new container to its end: docker run --rm [ARGS] IMAGE [ARGV]. The network is none, unless args name
// another.
func (d *Docker) Run(t testing.TB, image string, args []string, argv ...string) Result {
	t.Helper()
	return d.Cmd(t, runArgs(image, args, argv)...)
}

// Build builds the folder: docker build [ARGS] DIR, by BuildKit or by the classic builder.
func (d *Docker) Build(t testing.TB, dir string, buildkit bool, args ...string) Result {
	t.Helper()
	cmd := d.Command(append(append([]string{"build"}, args...), dir)...)
	cmd.Env = append(cmd.Env, "DOCKER_BUILDKIT=0")
	if buildkit {
		cmd.Env = append(cmd.Env, "DOCKER_BUILDKIT=1", "BUILDKIT_PROGRESS=plain")
	}
	return Command(t, cmd)
}

// MustBuild builds the folder with that tag, and fails the test when it cannot be built.
func (d *Docker) MustBuild(t testing.TB, dir string, buildkit bool, tag string, args ...string) {
	t.Helper()
	if r := d.Build(t, dir, buildkit, append(args, "-t", tag)...); r.Code != 0 {
		t.Fatalf("docker build (BuildKit %v) of %s: %v", buildkit, dir, r)
	}
}

func (d *Docker) has(name, id string) bool {
	r, err := Output(d.Command("image", "inspect", "-f", "{{.Id}}", name), Timeout)
	return err == nil && r.Code == 0 && strings.TrimSpace(r.Stdout) == id
}

// overlayWorks tells whether containers' file systems can be kept in dir.
func overlayWorks(dir string) bool {
	b, err := theBox()
	if err != nil {
		return false
	}
	r, err := Output(b.command("sh", "-ec", `d=$(mktemp -d "$1/overlay.XXXXXX")
mkdir "$d/l" "$d/u" "$d/w" "$d/m"
mount -t overlay -o "lowerdir=$d/l,upperdir=$d/u,workdir=$d/w" overlay "$d/m" && umount "$d/m" && ok=0 || ok=1
rm -rf "$d"
exit $ok`, "sh", dir), Timeout)
	return err == nil && r.Code == 0
}

// runArgs are the arguments that docker and podman share.
func runArgs(image string, args, argv []string) []string {
	run := []string{"run", "--rm"}
	if !strings.Contains(" "+strings.Join(args, " "), " --net") {
		run = append(run, "--network=none")
	}
	return append(append(append(run, args...), image), argv...)
}

// A loader gives images to an engine, each once.
type loader struct {
	mu   sync.Mutex
	done map[string]string // name to what it was made of
	has  func(name, id string) bool
	load func() *exec.Cmd // of an archive on stdin
}

// Load gives the engine an image, unless it has it already, and returns its name.
func (l *loader) Load(t testing.TB, img Image) string {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	parts := fmt.Sprint(img)
	if l.done[img.Name] == parts {
		return img.Name
	}
	image := img.build(t)
	id, err := image.ConfigName()
	Must(t, err)
	if l.has == nil || !l.has(img.Name, id.String()) {
		tag, err := name.NewTag(img.Name)
		Must(t, err)
		path := filepath.Join(TempDir(t), "image.tar")
		Must(t, tarball.WriteToFile(path, tag, image))
		cmd := l.load()
		cmd.Stdin, err = os.Open(path)
		Must(t, err)
		_, err = must(cmd)
		Must(t, err)
	}
	if l.done == nil {
		l.done = map[string]string{}
	}
	l.done[img.Name] = parts
	return img.Name
}
