package transparency

import (
	"fmt"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/caplaunch/caplaunch/test/integration/engine"
)

// The other architectures: 386 where the kernel runs it, arm64 and arm in an emulator, which itself keeps some signals
// and sorts the environment. Only arm64 has an entry: the others launch, but pass on what the Go runtime leaves.
func TestOtherArchitectures(t *testing.T) {
	t.Parallel()
	engine.RequireRoot(t)
	if runtime.GOARCH != "amd64" {
		engine.Unusable(t, "needs amd64, this is %s", runtime.GOARCH)
	}
	// Not HUP, INT, BUS, SEGV, nor those from 32 on.
	const own = 1<<0 | 1<<1 | 1<<6 | 1<<10
	all := fmt.Sprintf("%x", every&0x7fffffff&^own)
	plain := []condition{{}, {
		stage:   []string{"pdeathsig=12", "fds=300", "nice=19", "umask=077", "oom=100", "slack=70000", "setsid", "subreaper", "children"},
		environ: []string{"A=1", "HOME=/x"},
	}}
	whole := append(plain, condition{stage: []string{"ignore=" + all}}, condition{stage: []string{"block=" + all}}, condition{stage: []string{"close=012"}}, condition{stage: []string{"close=1"}},
		condition{
			stage:   []string{"ignore=" + set(13, 15), "block=" + set(10), "close=0", "pdeathsig=12", "fds=300", "limit=7:500:600"},
			environ: []string{"A=1", "GOMEMLIMIT=x", "HOME=/x", "GODEBUG=inittrace=1"},
		})
	for _, arch := range []struct {
		name, emulator string
		conditions     []condition
		flags          []string
	}{{"386", "", plain, nil}, {"arm", "qemu-arm-static", plain, nil}, {"arm64", "qemu-aarch64-static", whole, entry}} {
		l := append(launcher{engine.BuildGo(t, "cmd/caplaunch", arch.name, arch.flags...)}, ask()...)
		if arch.emulator != "" {
			engine.Require(t, arch.emulator)
			path, _ := exec.LookPath(arch.emulator)
			l = append(launcher{path}, l...)
		} else if !engine.Runs(t, l[0]) {
			continue // rather no such test than one that passes
		}
		t.Run(arch.name, func(t *testing.T) {
			for _, c := range arch.conditions {
				c.private = func(r string) string {
					l := strings.Split(r, "\n")
					slices.Sort(l)
					return strings.Join(l, "\n")
				}
				c.same(t, inC(t), l)
			}
		})
	}
}

// entry is what the Makefile gives to the linker where caplaunch has an entry of its own.
var entry = []string{"-ldflags", "-w -E _caplaunch_entry"}
