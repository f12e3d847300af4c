package engine

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// A Podman is podman with storage of its own, as root or as an unprivileged user.
type Podman struct {
	box          *box
	dir, runroot string
	as, env      []string // in front of a command, and what its environment has besides
	loader
}

// ThePodman is podman as root, or the test is skipped.
func ThePodman(t testing.TB) *Podman {
	t.Helper()
	return started(t, thePodman)
}

// TheRootlessPodman is podman as uid 40000, a user that exists only in a private mount namespace, with
// 65536 subordinate ids from 200000.
func TheRootlessPodman(t testing.TB) *Podman {
	t.Helper()
	return started(t, theRootlessPodman)
}

var (
	thePodman         = sync.OnceValues(func() (*Podman, error) { return newPodman(true) })
	theRootlessPodman = sync.OnceValues(func() (*Podman, error) { return newPodman(false) })
)

// rootlessUID is the user that boxInit makes.
const rootlessUID = 40000

func newPodman(root bool) (*Podman, error) {
	commands, uid := []string{"podman", "crun", "runc", "conmon"}, 0
	p := &Podman{dir: filepath.Join(PublicDir(), "podman"), runroot: "/run/podman"}
	if !root {
		commands, uid = append(commands, "newuidmap", "newgidmap", "setpriv"), rootlessUID
		for _, f := range []string{"/etc/subuid", "/etc/subgid"} {
			if !exists(f) {
				return nil, errors.New("no " + f)
			}
		}
		id := strconv.Itoa(uid)
		p.dir, p.runroot = p.dir+"-rootless", "/run/user/"+id+"/podman"
		p.as = []string{"setpriv", "--reuid", id, "--regid", id, "--clear-groups", "--"}
		p.env = []string{"HOME=/run/caplaunch", "TMPDIR=" + p.dir, "XDG_RUNTIME_DIR=/run/user/" + id}
	}
	err := needs(commands...)
	if err != nil {
		return nil, err
	}
	if p.box, err = theBox(); err != nil {
		return nil, err
	}
	p.loader = loader{load: func() *exec.Cmd { return p.Command("load", "-q") }}
	if err := errors.Join(os.Mkdir(p.dir, 0o755), os.Chown(p.dir, uid, uid)); err != nil {
		return nil, err
	}
	for name, text := range map[string]string{
		// SYS_RESOURCE may be missing: podman's own default raises limits. No cgroup manager runs here.
		"containers.conf": "[containers]\ndefault_ulimits = [\"nofile=1024:1024\", \"nproc=4096:4096\"]\n" +
			"[engine]\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"file\"\n",
		"registries.conf": "unqualified-search-registries = [\"docker.io\"]\nshort-name-mode = \"permissive\"\n",
	} {
		if err := os.WriteFile(filepath.Join(p.dir, name), []byte(text), 0o644); err != nil {
			return nil, err
		}
	}
	if _, err := must(p.Command("info")); err != nil {
		return nil, err
	}
	return p, nil
}

// Command is a podman command with this storage.
func (p *Podman) Command(args ...string) *exec.Cmd { return p.command("podman", args) }

// Buildah runs a buildah command with this storage.
func (p *Podman) Buildah(t testing.TB, args ...string) Result {
	t.Helper()
	return Command(t, p.command("buildah", args))
}

func (p *Podman) command(name string, args []string) *exec.Cmd {
	cmd := p.box.command(slices.Concat(p.as, []string{name, "--root", filepath.Join(p.dir, "root"), "--runroot", p.runroot}, args)...)
	cmd.Dir = "/"
	cmd.Env = append(append(cmd.Env, "CONTAINERS_CONF="+filepath.Join(p.dir, "containers.conf"),
		"CONTAINERS_REGISTRIES_CONF="+filepath.Join(p.dir, "registries.conf")), p.env...)
	return cmd
}

func (p *Podman) Cmd(t testing.TB, args ...string) Result {
	t.Helper()
	return Command(t, p.Command(args...))
}

// Run runs a new container to its end: podman run --rm [ARGS] IMAGE [ARGV]. The network is none, unless args name
// another. With crun cgroups are disabled, unless args choose: not every machine lets podman make them.
func (p *Podman) Run(t testing.TB, image string, args []string, argv ...string) Result {
	t.Helper()
	if line := strings.Join(args, " "); !strings.Contains(line, "--cgroups") && !strings.Contains(line, "runc") {
		args = append([]string{"--cgroups=disabled"}, args...)
	}
	return p.Cmd(t, runArgs(image, args, argv)...)
}

// Build builds the folder: podman build [ARGS] DIR.
func (p *Podman) Build(t testing.TB, dir string, args ...string) Result {
	t.Helper()
	return p.Cmd(t, append(append([]string{"build", "--network=none"}, args...), dir)...)
}

// Import makes an image of a tar archive: podman import.
func (p *Podman) Import(t testing.TB, path, tag string) {
	t.Helper()
	if r := p.Cmd(t, "import", path, tag); r.Code != 0 {
		t.Fatal(r)
	}
}
