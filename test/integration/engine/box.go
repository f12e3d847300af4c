package engine

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// A box is a set of namespaces (mount, PID, network, IPC) with a /run of its own and an init in it. When the init
// ends, the kernel kills everything inside and drops every mount; and the init is killed when this test process
// dies, whatever it dies of. Nothing of an engine can be left behind.
type box struct {
	init *exec.Cmd
	log  *os.File // what the daemon says
	done chan struct{}
}

// boxInit sets the box up and runs "$@" in it. As PID 1 it reaps whatever is orphaned.
const boxInit = `set -e
mount -t proc proc /proc
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/lock
ip link set lo up
# crun takes cgroup v1 or v2, but no mixture: where both are mounted, it gets to see v1.
umount /sys/fs/cgroup/unified 2>/dev/null || true
cp /etc/passwd /etc/group /run/
printf 'caplaunch:x:40000:40000::/run/caplaunch:/bin/sh\n' >>/run/passwd
printf 'caplaunch:x:40000:\n' >>/run/group
printf 'caplaunch:200000:65536\n' >/run/subid
mount --bind /run/passwd /etc/passwd
mount --bind /run/group /etc/group
for f in /etc/subuid /etc/subgid; do
	[ ! -e $f ] || mount --bind /run/subid $f
done
mkdir -m 755 /run/user
install -d -m 700 -o 40000 -g 40000 /run/caplaunch /run/user/40000
"$@" <&- &
p=$!
trap 'kill -TERM $p' TERM
echo ready >&3
exec 3>&-
set +e
while kill -0 $p 2>/dev/null; do wait $p; done
`

// newBox starts a box with one long-running command in it. That command should end on SIGTERM.
func newBox(command ...string) (*box, error) {
	if err := needs("sh", "mount", "ip", "nsenter", "install"); err != nil {
		return nil, err
	}
	ready, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer ready.Close()
	log, err := os.CreateTemp(PublicDir(), "log")
	if err != nil {
		return nil, err
	}
	b := &box{log: log, done: make(chan struct{})}
	b.init = exec.Command("sh", append([]string{"-c", boxInit, "init"}, command...)...)
	b.init.Env = cleanEnv()
	b.init.Stdout, b.init.Stderr = b.log, b.log
	b.init.ExtraFiles = []*os.File{w}
	b.init.SysProcAttr = &syscall.SysProcAttr{
		Pdeathsig:    syscall.SIGKILL,
		Setsid:       true,
		Cloneflags:   syscall.CLONE_NEWPID | syscall.CLONE_NEWNET | syscall.CLONE_NEWIPC,
		Unshareflags: syscall.CLONE_NEWNS, // this one also makes all mounts private
	}
	err = fromKeeper(b.init.Start)
	w.Close()
	if err != nil {
		return nil, fmt.Errorf("no namespaces: %w", err)
	}
	go func() {
		_ = b.init.Wait()
		close(b.done)
	}()
	_ = ready.SetReadDeadline(time.Now().Add(20 * time.Second))
	if n, _ := ready.Read(make([]byte, 8)); n == 0 {
		b.stop()
		return nil, fmt.Errorf("namespaces cannot be set up: %s", b.said())
	}
	onCleanup(b.stop)
	return b, nil
}

// stop asks the command in the box to end, and ends the box if it does not.
func (b *box) stop() {
	_ = b.init.Process.Signal(syscall.SIGTERM)
	select {
	case <-b.done:
	case <-time.After(10 * time.Second):
		_ = b.init.Process.Kill()
		<-b.done
	}
}

// said is the end of what the daemon said.
func (b *box) said() string {
	log := Content(b.log.Name())
	return log[max(0, len(log)-4000):]
}

// command is argv to be run inside the box.
func (b *box) command(argv ...string) *exec.Cmd {
	args := []string{"-t", strconv.Itoa(b.init.Process.Pid), "-m", "-p", "-n", "-i", "--"}
	cmd := exec.Command("nsenter", append(args, argv...)...)
	cmd.Env = cleanEnv()
	return cmd
}

// await calls try until it succeeds, the box dies, or the time is up.
func (b *box) await(limit time.Duration, try func() error) error {
	deadline := time.Now().Add(limit)
	for {
		err := try()
		if err == nil {
			return nil
		}
		select {
		case <-b.done:
			return fmt.Errorf("it ended while starting: %s", b.said())
		case <-time.After(30 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("not ready after %v: %w: %s", limit, err, b.said())
		}
	}
}

// theBox is the box for engines without a daemon.
var theBox = sync.OnceValues(func() (*box, error) {
	return newBox("sleep", "infinity")
})

// Box is argv to be run as root in namespaces (mount, PID, network, IPC) that are shared by this test process's
// Podman, runc and Box commands and seen by nothing else: a place to change networks and mounts. /run and the
// loopback device are its own; processes left in it end with the tests.
func Box(t testing.TB, argv ...string) *exec.Cmd {
	t.Helper()
	b, err := theBox()
	if err != nil {
		Unusable(t, "%v", err)
	}
	return b.command(argv...)
}

// cleanEnv is an environment in which nothing of this machine's setup can be seen.
func cleanEnv(extra ...string) []string {
	return append([]string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"HOME=/run", "LANG=C.UTF-8", "TMPDIR=" + PublicDir(),
	}, extra...)
}

// fromKeeper calls f on a thread that lives as long as the process: a parent-death signal is sent when the thread
// that started the child ends.
func fromKeeper(f func() error) error {
	err := make(chan error)
	keeper() <- func() { err <- f() }
	return <-err
}

var keeper = sync.OnceValue(func() chan func() {
	jobs := make(chan func())
	go func() {
		runtime.LockOSThread()
		for job := range jobs {
			job()
		}
	}()
	return jobs
})

// descendant finds the process below pid, in this process's PID namespace, whose name is comm.
func descendant(pid int, comm string) (int, error) {
	dir := fmt.Sprintf("/proc/%d", pid)
	if strings.TrimSpace(Content(dir+"/comm")) == comm {
		return pid, nil
	}
	for child := range strings.FieldsSeq(Content(fmt.Sprintf("%s/task/%d/children", dir, pid))) {
		n, _ := strconv.Atoi(child)
		if found, err := descendant(n, comm); err == nil {
			return found, nil
		}
	}
	return 0, errors.New("no process " + comm)
}

// GuestRoot is a root file system of LXC and nspawn: caplaunch, the probe, a user app, 65532, and what nspawn wants to find.
func GuestRoot(t testing.TB) string {
	t.Helper()
	busybox := Tool(t, "busybox")
	return Tree(t, map[string]Src{
		"/caplaunch": File(Caplaunch(t)), "/probe": File(Probe(t)), "/proc": Dir(0o755), "/dev": Dir(0o755), "/sys": Dir(0o755),
		"/tmp": Dir(0o755), "/run": Dir(0o755), "/etc/os-release": Text("ID=test\n"), "/usr/bin": Dir(0o755),
		"/etc/passwd": Text("root:x:0:0::/:/bin/sh\napp:x:65532:65532::/:/bin/sh\n"), "/etc/group": Text("app:x:65532:\n"),
		// nspawn asks the container's own getent.
		"/bin/sh": File(busybox), "/usr/bin/getent": {Content: "#!/bin/sh\ncase $1 in passwd) while read -r l; do case $l in $2:*) echo \"$l\" ;; esac; done </etc/passwd ;; *) echo \"$2\" ;; esac\n", Mode: 0o755},
	})
}

// LXC runs argv in a container of LXC that has the root and those lines of configuration.
func LXC(t testing.TB, root, keys string, argv ...string) Result {
	t.Helper()
	Require(t, "lxc-execute")
	config := "lxc.rootfs.path = dir:" + root + "\nlxc.net.0.type = none\nlxc.apparmor.profile = unconfined\n" + keys
	path := Write(t, "config", config)
	return Exec(t, slices.Concat([]string{"lxc-execute", "-P", TempDir(t), "-n", "words", "-f", path, "-o", "none", "--"}, argv)...)
}

// Nspawn runs argv in a container of systemd-nspawn that has the root and those flags.
func Nspawn(t testing.TB, root string, flags []string, argv ...string) Result {
	t.Helper()
	Require(t, "systemd-nspawn")
	return Command(t, Box(t, slices.Concat([]string{"systemd-nspawn", "-q", "-D", root, "--register=no", "--keep-unit", "--private-network", "--pipe"}, flags, argv)...))
}

// Mounting is sh in a mount namespace of its own that runs script, and then what follows.
func Mounting(script string) []string {
	return []string{"unshare", "--mount", "sh", "-ec", script + "\n" + `exec "$@"`, "sh"}
}

// Accounts is Mounting, of a passwd and a group over those of the machine.
func Accounts(t testing.TB, passwd, group string) []string {
	t.Helper()
	etc := Tree(t, map[string]Src{"/passwd": Text(passwd), "/group": Text(group)})
	return Mounting(fmt.Sprintf("mount --bind %[1]s/passwd /etc/passwd\nmount --bind %[1]s/group /etc/group", etc))
}
