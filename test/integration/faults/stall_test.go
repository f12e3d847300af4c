package faults

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/caplaunch/caplaunch/test/integration/engine"
)

// A thread that no signal reaches would make the Go runtime wait for ever. The handler that ends this is in assembly, so
// it has to be seen on every architecture that has one.
func TestAStallIsToldOnEveryArchitecture(t *testing.T) {
	engine.RequireRoot(t)
	engine.Require(t, "strace")
	for arch, emulator := range map[string]string{"amd64": "", "arm64": "qemu-aarch64-static", "arm": "qemu-arm-static", "riscv64": "qemu-riscv64-static"} {
		t.Run(arch, func(t *testing.T) {
			var words []string
			if arch != runtime.GOARCH {
				if emulator == "" {
					engine.Unusable(t, "there is no emulator for %s here", arch)
				}
				engine.Require(t, emulator)
				words = append(words, emulator)
			}
			path := filepath.Join(engine.TempDir(t), "caplaunch")
			build := exec.Command("go", "build", "-ldflags", "-w -E _caplaunch_entry", "-o", path, "./cmd/caplaunch")
			build.Dir, build.Env = engine.Root, append(os.Environ(), "CGO_ENABLED=0", "GOARCH="+arch)
			if r := engine.Command(t, build); r.Code != 0 {
				t.Fatal(r)
			}
			words = append(words, path, "-c", "net_admin", "-u", "65532:65532", "--", probe(t))
			if e := run(t, patience, words...); e.Code != 0 || e.Stdout == "" {
				t.Fatalf("without a fault: %v", e.Result)
			}
			argv := append([]string{"strace", "-f", "-o", "/dev/null", "-e", "inject=tgkill:error=EPERM:when=3+"}, words...)
			e := run(t, 3*patience, argv...)
			if e.late || e.Code != 125 || e.Stdout != "" || !strings.HasSuffix(e.said(), " did not succeed on every thread: does a filter refuse it, tgkill or getpid?") {
				t.Errorf("%v", e.Result)
			}
		})
	}
}
