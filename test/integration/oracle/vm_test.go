package oracle

import (
	"cmp"
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

	"github.com/caplaunch/caplaunch/test/unit"
)

// Another kernel than the machine's: Debian's for clouds, in a virtual machine
// without hardware support. This test binary is its first process.

// vmEnv is 1 where the virtual machine is wanted, and "init" inside of it.
const vmEnv = "ORACLE_VM"

// vmDone ends what the virtual machine prints.
var vmDone = regexp.MustCompile(`(?m)^oracle-vm: exit (\d+)\r?$`)

// TestDebiansKernelAgreesToo runs the oracle under the kernel of Debian 12, which has the older rule for ids at execve.
func TestDebiansKernelAgreesToo(t *testing.T) {
	n := *number
	switch {
	case os.Getenv(vmEnv) == "1":
	case os.Getenv("TEST_REQUIRE") == "1":
		n /= 10 // emulated, it takes its time
	default:
		t.Skipf("needs %s=1, as make oracle-vm sets it: it takes minutes", vmEnv)
	}
	unit.Root(t)
	for _, tool := range []string{"qemu-system-x86_64", "apt-get", "dpkg-deb", "cpio", "go", "ip", "wg", "dash", "busybox"} {
		unit.Tool(t, tool)
	}
	dir := t.TempDir()
	cache, err := filepath.Abs(filepath.Join(cmp.Or(os.Getenv("TEST_CACHE"), "../../../.cache"), "vm")) // in engine.CacheDir
	unit.Must(t, err)
	unit.Must(t, os.MkdirAll(cache, 0o755))
	begin := time.Now()
	ctx, stop := context.WithTimeout(t.Context(), 50*time.Minute)
	defer stop()
	cmd := exec.CommandContext(ctx, "testdata/vm.sh", cache, dir, reporter(t, dir), fmt.Sprintf("-n=%d", n), fmt.Sprintf("-doors=%d", n/30), fmt.Sprintf("-seed=%d", theSeed()))
	b, err := cmd.CombinedOutput()
	out := strings.ReplaceAll(string(b), "\r", "")
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) && exit.ExitCode() == 9 {
		unit.Need(t, false, "a kernel: "+out)
	}
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
		cmd.Env = []string{"PATH=/", "TMPDIR=/tmp", "TEST_REQUIRE=1", reporterEnv + "=/report", caplaunchEnv + "=/caplaunch386"}
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
		cmd = exec.Command("/bin/sh", "-eu", "/tunnel.sh")
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

// tunnelSays is what testdata/tunnel.sh prints.
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
