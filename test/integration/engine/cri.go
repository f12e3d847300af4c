package engine

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	core "k8s.io/api/core/v1"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
	"sigs.k8s.io/yaml"
)

// CRI is a containerd of this test process, spoken to as a kubelet does.
type CRI struct {
	box     *box
	socket  string
	logs    string
	runtime cri.RuntimeServiceClient
	images  cri.ImageServiceClient
	pods    atomic.Int64
	loader
}

// Security is a container's securityContext, and what of the pod's counts for it. Without a profile it has RuntimeDefault.
type Security struct {
	core.SecurityContext
	SupplementalGroups []int64 // fsGroup arrives here too
}

// SecurityContext reads fields as YAML, strictly; of one that comes twice the later one counts.
func SecurityContext(t testing.TB, fields ...string) (s Security) {
	t.Helper()
	for _, f := range fields {
		Must(t, yaml.UnmarshalStrict([]byte("{"+f+"}"), &s.SecurityContext))
	}
	return s
}

// TheCRI starts containerd, once, or skips the test.
func TheCRI(t testing.TB) *CRI {
	t.Helper()
	Require(t, "cri")
	c, _ := theCRI()
	return c
}

const pauseImage = "caplaunch.test/pause:1"

var theCRI = sync.OnceValues(func() (*CRI, error) {
	if err := needs("containerd", "ctr", "runc"); err != nil {
		return nil, err
	}
	dir := filepath.Join(PublicDir(), "cri")
	c := &CRI{socket: filepath.Join(dir, "sock"), logs: filepath.Join(dir, "logs")}
	c.loader = loader{load: c.load}
	if err := os.MkdirAll(c.logs, 0o755); err != nil {
		return nil, err
	}
	config := filepath.Join(dir, "config.toml")
	// The score cannot be lowered without SYS_RESOURCE; no pod has a network of its own, so there is no CNI.
	text := fmt.Sprintf(`version = 2
root = %q
state = "/run/containerd"
disabled_plugins = ["io.containerd.internal.v1.opt", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.aufs"]
[grpc]
address = %q
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = %q
restrict_oom_score_adj = true
disable_apparmor = true
[plugins."io.containerd.grpc.v1.cri".cni]
conf_dir = %q
`, filepath.Join(dir, "root"), c.socket, pauseImage, filepath.Join(dir, "cni"))
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return nil, err
	}
	b, err := newBox("containerd", "--config", config)
	if err != nil {
		return nil, err
	}
	c.box = b
	fail := func(err error) (*CRI, error) {
		b.stop()
		return nil, fmt.Errorf("containerd: %w", err)
	}
	conn, err := grpc.NewClient("unix://"+c.socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return fail(err)
	}
	c.runtime, c.images = cri.NewRuntimeServiceClient(conn), cri.NewImageServiceClient(conn)
	err = b.await(30*time.Second, func() error {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_, err := c.runtime.Version(ctx, &cri.VersionRequest{}, grpc.WaitForReady(true))
		return err
	})
	if err != nil {
		return fail(err)
	}
	probe, err := buildC("testdata/probe.c")
	if err != nil {
		return fail(err)
	}
	pause := Image{Name: pauseImage, Files: map[string]Src{"/pause": File(probe)}, Entrypoint: []string{"/pause", "pause"}}
	if err := c.load(pause); err != nil {
		return fail(err)
	}
	return c, nil
})

// load imports an image, and waits until the CRI plugin, which is told by events, knows it.
func (c *CRI) load(img Image) error {
	if err := load(c.ctr("images", "import", "-"), img); err != nil {
		return err
	}
	return c.box.await(10*time.Second, func() error {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		r, err := c.images.ImageStatus(ctx, &cri.ImageStatusRequest{Image: &cri.ImageSpec{Image: criName(img.Name)}})
		if err == nil && r.Image == nil {
			err = fmt.Errorf("image %s is not known yet", img.Name)
		}
		return err
	})
}

// ctr is a ctr command in the namespace that the CRI plugin uses.
func (c *CRI) ctr(args ...string) *exec.Cmd {
	return c.box.command(append([]string{"ctr", "-a", c.socket, "-n", "k8s.io"}, args...)...)
}

// criName is a name as the archive's loader writes it: with a registry.
func criName(name string) string {
	first, _, path := strings.Cut(name, "/")
	switch {
	case !path:
		return "docker.io/library/" + name
	case !strings.ContainsAny(first, ".:"):
		return "docker.io/" + name
	}
	return name
}

// Run runs one container to its end, in a pod of its own that uses the box's network. An empty command is the
// image's entrypoint; env is KEY=VALUE.
func (c *CRI) Run(t testing.TB, image string, sec Security, command, args, env []string) Result {
	t.Helper()
	r, err := c.run(image, sec, command, args, env)
	if err != nil {
		t.Fatalf("CRI: %v", err)
	}
	return r
}

func (c *CRI) run(image string, sec Security, command, args, env []string) (Result, error) {
	ctx, cancel := context.WithTimeout(context.Background(), Timeout)
	defer cancel()
	name := fmt.Sprintf("t%d", c.pods.Add(1))
	logs := filepath.Join(c.logs, name)
	if err := os.Mkdir(logs, 0o755); err != nil {
		return Result{}, err
	}
	namespaces := &cri.NamespaceOption{Network: cri.NamespaceMode_NODE, Pid: cri.NamespaceMode_CONTAINER}
	profile := &cri.SecurityProfile{ProfileType: cri.SecurityProfile_RuntimeDefault}
	if p := sec.SeccompProfile; p != nil && p.Type == core.SeccompProfileTypeUnconfined {
		profile.ProfileType = cri.SecurityProfile_Unconfined
	} else if p != nil && p.Type == core.SeccompProfileTypeLocalhost {
		profile.ProfileType, profile.LocalhostRef = cri.SecurityProfile_Localhost, *p.LocalhostProfile
	}
	is := func(field *bool) bool { return field != nil && *field }
	pod := &cri.PodSandboxConfig{
		Metadata:     &cri.PodSandboxMetadata{Name: name, Uid: name, Namespace: "test"},
		LogDirectory: logs,
		Linux: &cri.LinuxPodSandboxConfig{SecurityContext: &cri.LinuxSandboxSecurityContext{
			NamespaceOptions: namespaces, Seccomp: profile, Privileged: is(sec.Privileged),
			SupplementalGroups: sec.SupplementalGroups,
		}},
	}
	sandbox, err := c.runtime.RunPodSandbox(ctx, &cri.RunPodSandboxRequest{Config: pod})
	if err != nil {
		return Result{}, err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		_, _ = c.runtime.StopPodSandbox(ctx, &cri.StopPodSandboxRequest{PodSandboxId: sandbox.PodSandboxId})
		_, _ = c.runtime.RemovePodSandbox(ctx, &cri.RemovePodSandboxRequest{PodSandboxId: sandbox.PodSandboxId})
	}()

	security := &cri.LinuxContainerSecurityContext{
		Capabilities: &cri.Capability{}, NamespaceOptions: namespaces, Seccomp: profile, Privileged: is(sec.Privileged),
		NoNewPrivs:     sec.AllowPrivilegeEscalation != nil && !*sec.AllowPrivilegeEscalation,
		ReadonlyRootfs: is(sec.ReadOnlyRootFilesystem), SupplementalGroups: sec.SupplementalGroups,
	}
	if c := sec.Capabilities; c != nil {
		for _, name := range c.Add {
			security.Capabilities.AddCapabilities = append(security.Capabilities.AddCapabilities, string(name))
		}
		for _, name := range c.Drop {
			security.Capabilities.DropCapabilities = append(security.Capabilities.DropCapabilities, string(name))
		}
	}
	if sec.RunAsUser != nil {
		security.RunAsUser = &cri.Int64Value{Value: *sec.RunAsUser}
	}
	if sec.RunAsGroup != nil {
		security.RunAsGroup = &cri.Int64Value{Value: *sec.RunAsGroup}
	}
	config := &cri.ContainerConfig{
		Metadata: &cri.ContainerMetadata{Name: "main"},
		Image:    &cri.ImageSpec{Image: criName(image)},
		Command:  command, Args: args, LogPath: "main.log",
		Linux: &cri.LinuxContainerConfig{SecurityContext: security},
	}
	for _, e := range env {
		k, v, _ := strings.Cut(e, "=")
		config.Envs = append(config.Envs, &cri.KeyValue{Key: k, Value: []byte(v)})
	}
	made, err := c.runtime.CreateContainer(ctx, &cri.CreateContainerRequest{
		PodSandboxId: sandbox.PodSandboxId, Config: config, SandboxConfig: pod,
	})
	if err != nil {
		return Result{}, err
	}
	if _, err := c.runtime.StartContainer(ctx, &cri.StartContainerRequest{ContainerId: made.ContainerId}); err != nil {
		return Result{}, err
	}
	for {
		r, err := c.runtime.ContainerStatus(ctx, &cri.ContainerStatusRequest{ContainerId: made.ContainerId})
		if err != nil {
			return Result{}, err
		}
		if r.Status.State == cri.ContainerState_CONTAINER_EXITED {
			data, err := os.ReadFile(filepath.Join(logs, "main.log"))
			stdout, stderr := parseLog(data)
			return Result{stdout, stderr, int(r.Status.ExitCode)}, err
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// parseLog takes a CRI log apart: lines of "TIME STREAM TAG TEXT", where tag P means that the line goes on.
func parseLog(data []byte) (stdout, stderr string) {
	var out, errs strings.Builder
	for line := range bytes.Lines(data) {
		f := bytes.SplitN(bytes.TrimSuffix(line, []byte("\n")), []byte(" "), 4)
		if len(f) != 4 {
			continue
		}
		to := &out
		if string(f[1]) == "stderr" {
			to = &errs
		}
		to.Write(f[3])
		if string(f[2]) == "F" {
			to.WriteByte('\n')
		}
	}
	return out.String(), errs.String()
}
