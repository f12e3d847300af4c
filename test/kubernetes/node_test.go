// Package kubernetes runs caplaunch in pods of a real node: kube-apiserver, kubelet, containerd and runc, built from
// their modules. There is no scheduler and no controller; the tests do what these would.
package kubernetes

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
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

	// missing is why there is no node.
	missing string
)

// TestMain starts itself again as process 1 of the namespaces that are the node: the tests run in there, beside the
// node's daemons, and the kernel ends all of it with process 1. No other process sees the node's ports, mounts and
// interfaces.
func TestMain(m *testing.M) {
	flag.Parse()
	if os.Getenv("RUN") != "" {
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
	for _, name := range []string{"/usr/lib/cni/bridge", "/usr/include/seccomp.h", "/usr/bin/pkg-config", "/usr/bin/gcc", "/bin/busybox", "/usr/bin/openssl"} {
		if _, err := os.Stat(name); err != nil {
			return "test/integration/setup.sh installs what is missing: " + err.Error()
		}
	}
	for _, d := range []string{"/run/", "/var/lib/", "/var/log/"} {
		if strings.HasPrefix(root, d) {
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
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	node := exec.Command("node/start.sh", append([]string{self}, os.Args[1:]...)...)
	node.Env = append(os.Environ(), "RUN="+run, "BIN="+bin, "REPO="+root, "HOME="+run, "KUBECONFIG="+run+"/admin.kubeconfig",
		"PATH="+bin+":"+os.Getenv("PATH"))
	node.Stdout, node.Stderr = os.Stdout, os.Stderr
	node.SysProcAttr = &syscall.SysProcAttr{
		Pdeathsig:  syscall.SIGKILL,
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWNET | syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC,
	}
	err = node.Run()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		return max(exit.ExitCode(), 1), nil
	}
	return 0, err
}

// clear removes a node's folder and its cgroups, when it has ended.
func clear(run string) {
	_ = exec.Command("find", "/sys/fs/cgroup", "-depth", "-type", "d", "-path", "*/caplaunch-"+filepath.Base(run)+"*", "-delete").Run()
	os.RemoveAll(run)
}

// patience is for a machine that is busy with other things; nothing waits that long for a pass.
const patience = 5 * time.Minute

// until waits. If it is in vain, it shows the details as they are by then.
func until(t *testing.T, what string, done func() bool, details ...any) {
	t.Helper()
	for end := time.Now().Add(patience); !done(); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(end) {
			shown, _ := json.Marshal(details)
			t.Fatalf("waited %v until %s: %s", patience, what, shown)
		}
	}
}
