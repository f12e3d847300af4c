// Package kubernetes runs caplaunch in pods of a real node: kube-apiserver, kubelet, containerd and runc, built from
// their modules. There is no scheduler and no controller; the tests do what these would.
package kubernetes

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

var (
	update = flag.Bool("update", false, "write docs/kubernetes.md as measured")

	root, _ = filepath.Abs("../..")
	cache   = filepath.Join(root, ".cache/kubernetes")
	bin     = filepath.Join(cache, "bin")

	// run is the node's folder, made anew for each run and removed after it.
	run = os.Getenv("NODE_FOLDER")
	// missing is why there is no node.
	missing string
	// hidden are folders that a node has empty: sockets, network namespaces and notes of CNI cannot be told to be elsewhere.
	hidden = []string{"/run", "/var/lib", "/var/log"}
)

// TestMain starts itself again as process 1 of the namespaces that are the node: the tests run in there, beside the
// node's daemons, and the kernel ends all of it with process 1. No other process sees the node's ports, mounts and
// interfaces.
func TestMain(m *testing.M) {
	flag.Parse()
	if run != "" {
		if err := start(); err != nil {
			log.Fatalf("the node does not start: %v\n%s", err, lastLines())
		}
		code := m.Run()
		if names := unread(); code == 0 && len(names) > 0 {
			log.Fatalf("no test applied these examples: %q", names)
		}
		os.Exit(code)
	}
	if missing = lacks(); missing != "" {
		os.Exit(m.Run())
	}
	code, err := outside()
	if err != nil {
		log.Fatal(err)
	}
	os.Exit(code)
}

// lacks says what this machine does not have.
func lacks() string {
	if os.Geteuid() != 0 {
		return "root is needed"
	}
	for _, name := range []string{"/usr/lib/cni/bridge", "/usr/include/seccomp.h", "/usr/bin/pkg-config", "/usr/bin/gcc", "/bin/busybox"} {
		if _, err := os.Stat(name); err != nil {
			return "test/integration/setup.sh installs what is missing: " + err.Error()
		}
	}
	for _, d := range hidden {
		if strings.HasPrefix(root, d+"/") {
			return "the repository is in " + d + ", of which a node has its own"
		}
	}
	var s syscall.Statfs_t
	if _, err := os.Stat(bin + "/kubectl"); err != nil && syscall.Statfs(root, &s) == nil && s.Bavail*uint64(s.Bsize) < 6<<30 {
		return "6 GB of disk are needed for the build"
	}
	return ""
}

// outside builds the programs, runs the node and clears up after it.
func outside() (int, error) {
	for _, args := range [][]string{{"make", "-s", "-C", root, "build"}, {"./build.sh", bin}} {
		build := exec.Command(args[0], args[1:]...)
		build.Stdout, build.Stderr = os.Stderr, os.Stderr
		if err := build.Run(); err != nil {
			return 0, fmt.Errorf("%v: %w", args, err)
		}
	}
	// What a run that was killed has left goes too.
	left, _ := filepath.Glob(cache + "/run-*")
	for _, old := range left {
		pid, _ := strconv.Atoi(strings.TrimPrefix(filepath.Base(old), "run-"))
		if syscall.Kill(pid, 0) == syscall.ESRCH {
			clear(old)
		}
	}
	run := filepath.Join(cache, "run-"+strconv.Itoa(os.Getpid()))
	if err := os.Mkdir(run, 0o755); err != nil {
		return 0, err
	}
	defer clear(run)
	runtime.LockOSThread() // Pdeathsig is about the thread
	node := exec.Command("/proc/self/exe", os.Args[1:]...)
	node.Env = append(os.Environ(), "NODE_FOLDER="+run, "HOME="+run, "KUBECONFIG="+run+"/admin.kubeconfig",
		"PATH="+bin+":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
	node.Stdout, node.Stderr = os.Stdout, os.Stderr
	node.SysProcAttr = &syscall.SysProcAttr{
		Pdeathsig:  syscall.SIGKILL,
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWNET | syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC,
	}
	err := node.Run()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		return max(exit.ExitCode(), 1), nil
	}
	return 0, err
}

// clear removes a node's folder and its cgroups, when it has ended.
func clear(run string) {
	for _, c := range cgroups() {
		var folders []string
		filepath.WalkDir(cgroup(c, run), func(path string, d os.DirEntry, err error) error {
			folders = append(folders, path)
			return nil
		})
		for _, path := range slices.Backward(folders) { // cgroups can be removed, their files cannot
			os.Remove(path)
		}
	}
	os.RemoveAll(run)
}

// cgroup is the folder of a node in a hierarchy.
func cgroup(hierarchy, run string) string {
	return filepath.Join(hierarchy, "caplaunch-"+filepath.Base(run))
}

// cgroups are the roots of the hierarchies: one for each controller, or one for all.
func cgroups() []string {
	const unified = "/sys/fs/cgroup/cgroup.procs"
	found, _ := filepath.Glob("/sys/fs/cgroup/*/cgroup.procs")
	if _, err := os.Stat(unified); err == nil {
		found = []string{unified}
	}
	for i := range found {
		found[i] = filepath.Dir(found[i])
	}
	return found
}

// start makes the namespaces a machine, and starts the daemons in it.
func start() error {
	if err := mounts(); err != nil {
		return err
	}
	for _, line := range []string{
		"hostname node0",
		"ip link set lo up",
		// A node's address may not be loopback.
		"ip link add node0 type bridge", "ip addr add 192.0.2.1/24 dev node0", "ip link set node0 up",
	} {
		args := strings.Fields(line)
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w: %s", line, err, out)
		}
	}
	for _, c := range cgroups() {
		own := cgroup(c, run)
		if err := os.Mkdir(own, 0o755); err != nil {
			return err
		}
		for _, f := range []string{"cpuset.cpus", "cpuset.mems"} { // in version 1 they start empty
			if data, err := os.ReadFile(filepath.Join(c, f)); err == nil {
				os.WriteFile(filepath.Join(own, f), data, 0o644)
			}
		}
	}
	if err := configure(); err != nil {
		return err
	}

	images := map[string]image{
		"pause":           {map[string]string{"bin/sleep": "/bin/busybox"}, map[string]any{"Entrypoint": []string{"/bin/sleep", "infinity"}}},
		"caplaunch":       {map[string]string{"caplaunch": root + "/bin/caplaunch"}, map[string]any{"User": "65532:65532"}},
		"relay":           {map[string]string{"relay": bin + "/relay"}, map[string]any{"User": "65532:65532", "Entrypoint": []string{"/relay"}}},
		"library/busybox": {map[string]string{}, map[string]any{"Env": []string{"PATH=/bin"}}},
	}
	for _, name := range []string{"busybox", "sh", "cat", "id", "kill", "sleep", "true", "grep", "ls"} {
		images["library/busybox"].files["bin/"+name] = "/bin/busybox"
	}
	tagged := map[string]image{}
	for name, img := range images {
		tagged[name+":1"] = img
	}
	go func() { log.Fatal(serve("127.0.0.1:5000", tagged)) }()
	if err := daemon("etcd", "--data-dir="+run+"/etcd", "--unsafe-no-fsync"); err != nil {
		return err
	}
	if err := daemon("containerd", "--config="+run+"/containerd.toml"); err != nil {
		return err
	}
	if err := daemon("kube-apiserver", "--etcd-servers=http://127.0.0.1:2379", "--bind-address=127.0.0.1",
		"--advertise-address=192.0.2.1", "--endpoint-reconciler-type=none", "--service-cluster-ip-range=203.0.113.0/24",
		"--cert-dir="+run+"/certs", "--token-auth-file="+run+"/tokens", "--authorization-mode=Node,RBAC",
		"--disable-admission-plugins=ServiceAccount", "--service-account-issuer=https://kubernetes.default.svc",
		"--service-account-key-file="+run+"/sa.key", "--service-account-signing-key-file="+run+"/sa.key",
		"--allow-privileged=true", "--kubelet-preferred-address-types=InternalIP"); err != nil {
		return err
	}
	if err := until("the API server is ready", func() bool {
		out, _ := exec.Command("kubectl", "get", "--raw=/readyz").Output()
		return string(out) == "ok"
	}); err != nil {
		return err
	}
	if err := daemon("kubelet", "--config="+run+"/kubelet.yaml", "--kubeconfig="+run+"/node.kubeconfig",
		"--root-dir="+run+"/kubelet", "--cert-dir="+run+"/certs", "--hostname-override=node0", "--node-ip=192.0.2.1"); err != nil {
		return err
	}
	return until("the node is ready", func() bool {
		return exec.Command("kubectl", "wait", "--for=condition=Ready", "node/node0", "--timeout=10s").Run() == nil
	})
}

func mounts() error {
	var failed error
	mount := func(source, target, fs string, flags uintptr) {
		if err := syscall.Mount(source, target, fs, flags, ""); err != nil && failed == nil {
			failed = fmt.Errorf("mount on %s: %w", target, err)
		}
	}
	mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE)
	mount("", "/", "", syscall.MS_REC|syscall.MS_SHARED) // a volume has to reach the pods
	mount("proc", "/proc", "proc", 0)
	for _, d := range hidden {
		mount("tmpfs", d, "tmpfs", 0)
	}
	// The kubelet would set these for the whole machine; here it finds them set.
	// They cover a part of proc, and pods in a user namespace may mount one only where a whole one is in sight.
	os.Mkdir(run+"/proc", 0o755)
	mount("proc", run+"/proc", "proc", 0)
	for name, value := range map[string]string{"vm/overcommit_memory": "1", "kernel/panic": "10", "kernel/panic_on_oops": "1"} {
		file := "/run/" + filepath.Base(name)
		os.WriteFile(file, []byte(value+"\n"), 0o644)
		mount(file, "/proc/sys/"+name, "", syscall.MS_BIND)
	}
	return failed
}

func configure() error {
	write := func(name, text string) error {
		name = filepath.Join(run, name)
		return errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, []byte(text), 0o600))
	}
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return err
	}
	errs := []error{
		write("hosts/_default/hosts.toml", "[host.\"http://127.0.0.1:5000\"]\n  capabilities = [\"pull\", \"resolve\"]\n"),
		write("tokens", "admin,admin,1,system:masters\nnode,system:node:node0,2,system:nodes\n"),
		write("sa.key", string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}))),
	}
	for _, user := range []string{"admin", "node"} {
		errs = append(errs, write(user+".kubeconfig", `{apiVersion: v1, kind: Config, current-context: x,
 clusters: [{name: c, cluster: {server: "https://127.0.0.1:6443", insecure-skip-tls-verify: true}}],
 users: [{name: u, user: {token: `+user+`}}], contexts: [{name: x, context: {cluster: c, user: u}}]}`))
	}
	node, _ := filepath.Abs("node")
	for _, name := range []string{"containerd.toml", "kubelet.yaml"} {
		text, err := os.ReadFile("node/" + name)
		errs = append(errs, err, write(name, strings.NewReplacer("@RUN@", run, "@BIN@", bin, "@NODE@", node,
			"@CGROUP@", filepath.Base(cgroup("", run))).Replace(string(text))))
	}
	return errors.Join(errs...)
}

// daemon starts a program that ends with the node.
func daemon(name string, args ...string) error {
	out, err := os.Create(filepath.Join(run, name+".log"))
	if err != nil {
		return err
	}
	cmd := exec.Command(name, args...)
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		return err
	}
	go func() {
		err := cmd.Wait()
		log.Fatalf("%s ended: %v\n%s", name, err, lastLines())
	}()
	return nil
}

// patience is for a machine that is busy with other things; nothing waits that long for a pass.
const patience = 5 * time.Minute

func until(what string, done func() bool) error {
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if done() {
			return nil
		}
	}
	return fmt.Errorf("waited %v until %s", patience, what)
}

func lastLines() string {
	logs, _ := filepath.Glob(run + "/*.log")
	out, _ := exec.Command("tail", append([]string{"-n", "20"}, logs...)...).Output()
	return string(out)
}
