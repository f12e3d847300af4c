package release

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caplaunch/caplaunch/test/integration/engine"
)

// What qemu-user calls the platforms. 386 runs by itself where the kernel can.
var emulators = map[string]string{
	"amd64": "", "386": "qemu-i386-static", "arm64": "qemu-aarch64-static", "armv6": "qemu-arm-static", "armv7": "qemu-arm-static",
	"ppc64le": "qemu-ppc64le-static", "riscv64": "qemu-riscv64-static", "s390x": "qemu-s390x-static", "loong64": "qemu-loongarch64-static",
}

// A whole launch on every platform: the real kernel, and the program that caplaunch becomes is this machine's own.
// Ids and groups do not fit into 16 bits.
func TestEveryPlatformLaunches(t *testing.T) {
	engine.RequireRoot(t)
	for name, path := range binaries(t) {
		t.Run(name, func(t *testing.T) {
			emulator, known := emulators[name]
			if !known {
				t.Fatal("no emulator is named for it")
			}
			argv := []string{path}
			if emulator != "" && (name != "386" || !engine.Runs(t, path)) {
				argv = []string{engine.Tool(t, emulator), path}
			}
			said := ok(t, append(argv, "version")...)
			if !strings.Contains(said, "linux/"+strings.Split(name, "v")[0]) && !strings.Contains(said, "linux/"+name) {
				t.Errorf("version: %s", said)
			}
			launch := append(argv, "--caps=net_admin,bpf", "--user=100000:100001", "--groups=100002,100003", "--", "/bin/cat", "/proc/self/status")
			engine.Exec(t, launch...).Ran(t,
				"Uid:\t100000\t100000\t100000\t100000\n", "Gid:\t100001\t100001\t100001\t100001\n", "Groups:\t100001 100002 100003 \n",
				"CapInh:\t0000008000001000\n", "CapPrm:\t0000008000001000\n", "CapEff:\t0000008000001000\n", "CapAmb:\t0000008000001000\n", "NoNewPrivs:\t1\n")
			if r := engine.Exec(t, append(argv, "--caps=99", "--user=100000:100001", "--", "/bin/true")...); r.Code == 0 || !strings.Contains(r.Stderr, "caplaunch: error: ") {
				t.Errorf("a capability that no kernel knows: %v", r)
			}
		})
	}
}

// Where there is no Linux, caplaunch explains; that it builds is all that can be seen here.
func TestItBuildsForOtherSystems(t *testing.T) {
	ok(t, "make", "-C", engine.Root, "others")
	for _, name := range []string{"darwin/arm64", "freebsd/amd64", "windows/amd64"} {
		if fi, err := os.Stat(filepath.Join(engine.Root, ".cache/others", name)); err != nil || fi.Size() < 1<<20 {
			t.Errorf("%s: %v", name, err)
		}
	}
}
