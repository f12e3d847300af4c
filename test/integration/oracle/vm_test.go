//go:build linux

package oracle

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Another kernel than the machine's: Debian's for clouds, in a virtual machine
// without hardware support. This test binary is its first process.

// vmEnv is 1 where the virtual machine is wanted, and "init" inside of it.
const vmEnv = "ORACLE_VM"

// vmDone ends what the virtual machine prints.
var vmDone = regexp.MustCompile(`(?m)^oracle-vm: exit (\d+)\r?$`)

// TestDebiansKernelAgreesToo runs the oracle under the kernel of Debian 12, which
// has the older rule for ids at execve.
func TestDebiansKernelAgreesToo(t *testing.T) {
	n := *number
	switch {
	case os.Getenv(vmEnv) == "1":
	case os.Getenv("TEST_REQUIRE") == "1":
		n /= 10 // emulated, it takes its time
	default:
		t.Skipf("needs %s=1, as make oracle-vm sets it: it takes minutes", vmEnv)
	}
	if os.Getuid() != 0 {
		unusable(t, "needs root")
	}
	require(t, "qemu-system-x86_64", "apt-get", "dpkg-deb", "cpio", "go")
	vmlinuz, err := debianKernel(cacheDir(t))
	if err != nil {
		unusable(t, "no kernel: %v", err)
	}
	dir := t.TempDir()
	program := filepath.Join(dir, "oracle.test")
	build := exec.Command("go", "test", "-c", "-o", program, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	files := map[string]string{"init": program, "executor": executor(t, dir)}
	for _, b := range [][3]string{{"caplaunch386", "../../../cmd/caplaunch", "386"}, {"status386", "../programs/testdata/status", "386"}, {"bin/caplaunch", "../../../cmd/caplaunch", "amd64"}} {
		files[b[0]] = filepath.Join(dir, filepath.Base(b[0]))
		build := exec.Command("go", "build", "-o", files[b[0]], ".")
		build.Dir, build.Env = b[1], append(os.Environ(), "CGO_ENABLED=0", "GOARCH="+b[2])
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	forWireGuard(t, filepath.Dir(filepath.Dir(vmlinuz)), files)
	begin := time.Now()
	ctx, stop := context.WithTimeout(t.Context(), 50*time.Minute)
	defer stop()
	cmd := exec.CommandContext(ctx, "qemu-system-x86_64", "-machine", "q35,accel=tcg", "-cpu", "max", "-smp", "2", "-m", "1024",
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-serial", "stdio", "-kernel", vmlinuz, "-initrd", initramfs(t, files),
		"-append", fmt.Sprintf("console=ttyS0 quiet panic=-1 no_timer_check %s=init -- -n=%d -doors=%d -seed=%d", vmEnv, n, n/30, theSeed()))
	b, err := cmd.CombinedOutput()
	out := strings.ReplaceAll(string(b), "\r", "")
	end := vmDone.FindStringSubmatch(out)
	if err != nil || end == nil || end[1] != "0" {
		t.Fatalf("%v\n%s", err, out)
	}
	_, figures, ok := strings.Cut(out, "\noracle: ")
	if !ok || !strings.Contains(figures, "no disagreement") {
		t.Fatalf("no figures\n%s", out)
	}
	if running := release(); strings.Contains(figures, running+":") {
		t.Errorf("it is the machine's own kernel, %s", running)
	}
	figures, tunnel, _ := strings.Cut(figures, "\noracle-vm: WireGuard\n")
	if tunnel, _, _ = strings.Cut(tunnel, "\noracle-vm: exit"); tunnel != tunnelSays {
		t.Errorf("two WireGuards of the kernel say\n%s", tunnel)
	}
	figures, launched386, _ := strings.Cut(figures, "\noracle-vm: 386\n")
	for _, line := range []string{
		"arch=386", "Uid=100000 100000 100000 100000", "Gid=200000 200000 200000 200000", "Groups=200000 300000",
		"CapInh=0000008000001000", "CapPrm=0000008000001000", "CapEff=0000008000001000", "CapAmb=0000008000001000", "NoNewPrivs=1",
	} {
		if !strings.Contains("\n"+launched386, "\n"+line+"\n") {
			t.Errorf("a 386 program behind a 386 caplaunch: no %s in\n%s", line, launched386)
		}
	}
	t.Logf("in %.0f s with the boot: %s", time.Since(begin).Seconds(), figures)
}

// vmInit is the first process of the virtual machine. It never returns.
func vmInit() {
	code := 125
	err := errors.Join(
		unix.Mount("proc", "/proc", "proc", 0, ""),
		unix.Mount("dev", "/dev", "devtmpfs", 0, ""),
		unix.Mount("tmp", "/tmp", "tmpfs", 0, "mode=1777"),
		os.WriteFile("/proc/sys/fs/suid_dumpable", []byte("1"), 0),
	)
	if err == nil {
		cmd := exec.Command("/proc/self/exe", append([]string{"-test.v", "-test.timeout=0", "-test.run=^Test(ModelAgrees|MoreGroups|Inspection|NobodyReaches)"}, os.Args[1:]...)...)
		cmd.Env = []string{"PATH=/", "TMPDIR=/tmp", "TEST_REQUIRE=1", executorEnv + "=/executor", caplaunchEnv + "=/caplaunch386"}
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		err = cmd.Run()
		if cmd.ProcessState != nil {
			code = cmd.ProcessState.ExitCode()
		}
		// The machine that starts this one may run no 386 programs.
		fmt.Println("oracle-vm: 386")
		cmd = exec.Command("/caplaunch386", "-c", "net_admin,bpf", "-u", "100000:200000", "--groups=300000", "--", "/status386")
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		err = errors.Join(err, cmd.Run())
		fmt.Println("oracle-vm: WireGuard")
		loadModules()
		cmd = exec.Command("/bin/sh", "-euc", tunnel)
		cmd.Env = []string{"PATH=/sbin:/bin"}
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stdout
		err = errors.Join(err, cmd.Run())
	}
	if err != nil {
		fmt.Println(err)
	}
	fmt.Printf("oracle-vm: exit %d\n", code)
	unix.Sync()
	time.Sleep(time.Second) // for the serial line
	panic(unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF))
}

// cacheDir is engine.CacheDir, see unusable.
func cacheDir(t *testing.T) string {
	dir := os.Getenv("TEST_CACHE")
	if dir == "" {
		dir = filepath.Join("..", "..", "..", ".cache")
	}
	dir, err := filepath.Abs(filepath.Join(dir, "vm"))
	must(t, err)
	must(t, os.MkdirAll(dir, 0o755))
	return dir
}

// debianKernel is the path of the kernel's image, taken out of Debian's package
// once. Nothing is installed.
func debianKernel(dir string) (string, error) {
	run := func(name string, args ...string) (string, error) {
		cmd := exec.Command(name, args...)
		cmd.Dir = dir
		b, err := cmd.CombinedOutput()
		if err != nil {
			err = fmt.Errorf("%s %v: %w: %s", name, args, err, b)
		}
		return string(b), err
	}
	find := func() string {
		images, _ := filepath.Glob(filepath.Join(dir, "boot", "vmlinuz-*-cloud-amd64"))
		modules, _ := filepath.Glob(filepath.Join(dir, "lib/modules/*/kernel/drivers/net/wireguard/wireguard.ko"))
		if len(images) == 0 || len(modules) == 0 {
			return ""
		}
		return images[len(images)-1]
	}
	if image := find(); image != "" {
		return image, nil
	}
	out, err := run("apt-cache", "depends", "--important", "linux-image-cloud-amd64")
	if err != nil {
		return "", err
	}
	name := regexp.MustCompile(`linux-image-[0-9]\S*-cloud-amd64`).FindString(out)
	if name == "" {
		return "", fmt.Errorf("apt knows no linux-image-cloud-amd64: %s", out)
	}
	if _, err := run("apt-get", "-o", "APT::Sandbox::User=root", "download", name); err != nil {
		return "", err
	}
	debs, err := filepath.Glob(filepath.Join(dir, name+"_*.deb"))
	if err != nil || len(debs) == 0 {
		return "", fmt.Errorf("%s was not downloaded", name)
	}
	defer os.Remove(debs[0])
	// Only the image and what WireGuard needs: all modules would be 100 MB.
	tar := exec.Command("sh", "-c", `dpkg-deb --fsys-tarfile "$1" | tar -x --wildcards './boot/vmlinuz-*' '*/drivers/net/wireguard/*.ko' '*/veth.ko' '*/*udp_tunnel.ko' '*/lib/crypto/*.ko' '*/chacha-x86_64.ko' '*/poly1305-x86_64.ko' '*/curve25519-x86_64.ko'`, "sh", debs[0])
	tar.Dir = dir
	if b, err := tar.CombinedOutput(); err != nil && find() == "" {
		return "", fmt.Errorf("%w: %s", err, b)
	}
	if image := find(); image != "" {
		return image, nil
	}
	return "", fmt.Errorf("there is no image in %s", name)
}

// forWireGuard adds the example, the commands in it, and the modules of the kernel.
func forWireGuard(t *testing.T, kernel string, files map[string]string) {
	require(t, "ip", "wg", "dash", "busybox")
	files["bin/up"] = "../../../examples/wireguard/up"
	for name, to := range map[string]string{"ip": "sbin/ip", "wg": "sbin/wg", "dash": "bin/sh", "busybox": "sbin/busybox"} {
		path, err := exec.LookPath(name)
		must(t, err)
		files[to] = path
		needs, _ := exec.Command("ldd", path).Output() // busybox needs nothing
		for _, lib := range regexp.MustCompile(`/\S+`).FindAllString(string(needs), -1) {
			files[lib] = lib
		}
	}
	modules, err := filepath.Glob(kernel + "/lib/modules/*/kernel")
	must(t, err)
	must(t, filepath.WalkDir(modules[len(modules)-1], func(path string, d os.DirEntry, err error) error {
		if filepath.Ext(path) == ".ko" {
			files["modules/"+d.Name()] = path
		}
		return err
	}))
}

// loadModules loads what can be loaded; some need others first.
func loadModules() {
	for more := true; more; {
		more = false
		modules, _ := filepath.Glob("/modules/*.ko")
		for _, name := range modules {
			f, err := os.Open(name)
			if err == nil && unix.FinitModule(int(f.Fd()), "", 0) == nil {
				more = os.Remove(name) == nil
			}
			f.Close()
		}
	}
}

// tunnel sets up two networks with a wire between them, and in each the example as uid 65532. What must fail goes before.
const tunnel = `
busybox --install -s /bin 2>/dev/null || : # not over sh
mkdir -p /etc /run
umask 077
echo app:x:65532:65532::/:/bin/sh >/etc/passwd && chmod 644 /etc/passwd
for n in 1 2; do
	ip netns add n$n
	wg genkey >/key$n
done
ip link add v1 netns n1 type veth peer name v2 netns n2
at() { n=$1; shift; nsenter --net=/run/netns/n$n "$@"; }
for n in 1 2; do
	other=$((3 - n))
	echo "[Interface]
PrivateKey = $(cat /key$n)
ListenPort = 51820
[Peer]
PublicKey = $(wg pubkey </key$other)
AllowedIPs = 10.0.0.$other/32
Endpoint = 192.0.2.$other:51820" >/etc/wg$n.conf
	chown 65532:65532 /etc/wg$n.conf
	at $n ip address add 192.0.2.$n/24 dev v$n
	at $n ip link set v$n up
done
up="up wg0 10.0.0.1/24 /etc/wg1.conf"
echo "# as the user, without caplaunch"; at 1 su -s /bin/sh app -c "$up" || echo $?
echo "# without the grant"; at 1 caplaunch -c setuid,setgid -u 0:0 -- caplaunch -q -c net_admin -u 65532:65532 -- $up 2>/dev/null || echo $?
echo "# as another user"; at 1 caplaunch -c net_admin -u 1000:1000 -- $up || echo $?
at 1 ip link delete wg0
echo "# as it should be"
for n in 1 2; do
	at $n caplaunch -c net_admin -u 65532:65532 -- sh -euc 'grep -E "^(Uid|CapAmb)" /proc/self/status; up "$@"' sh wg0 10.0.0.$n/24 /etc/wg$n.conf
done
at 1 ping -q -c 3 10.0.0.2 | grep -o "[1-3] packets received"
`

// tunnelSays is what it prints.
const tunnelSays = `# as the user, without caplaunch
RTNETLINK answers: Operation not permitted
2
# without the grant
77
# as another user
fopen: Permission denied
1
# as it should be
Uid:	65532	65532	65532	65532
CapAmb:	0000000000001000
Uid:	65532	65532	65532	65532
CapAmb:	0000000000001000
3 packets received`

// initramfs has programs at /, and the few folders and the console that init needs.
func initramfs(t *testing.T, programs map[string]string) string {
	root := t.TempDir()
	for _, dir := range []string{"dev", "proc", "tmp"} {
		must(t, os.Mkdir(filepath.Join(root, dir), 0o755))
	}
	must(t, unix.Mknod(filepath.Join(root, "dev/console"), unix.S_IFCHR|0o600, int(unix.Mkdev(5, 1))))
	for name, path := range programs {
		to := filepath.Join(root, name)
		must(t, os.MkdirAll(filepath.Dir(to), 0o755))
		if out, err := exec.Command("cp", "-L", path, to).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	path := filepath.Join(t.TempDir(), "initramfs")
	pack := exec.Command("sh", "-c", `find . | cpio --quiet -o -H newc >"$1"`, "sh", path)
	pack.Dir = root
	if out, err := pack.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return path
}
