package transparency

import (
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/caplaunch/caplaunch/test/integration/engine"
)

// The other architectures: 386 where the kernel runs it, arm64 and arm in an emulator, which itself keeps some signals
// and sorts the environment.
func TestOtherArchitectures(t *testing.T) {
	t.Parallel()
	engine.RequireRoot(t)
	amd64(t)
	// Where it does not run there is no such test, rather than one that passes.
	if path := build(t, "386", true); engine.Runs(t, path) {
		t.Run("386", func(t *testing.T) {
			l := append(launcher{path}, ask()...)
			all := fmt.Sprintf("%x", every)
			for _, c := range []condition{
				{}, {stage: []string{"ignore=" + all}}, {stage: []string{"block=" + all}}, {stage: []string{"close=012"}}, {stage: []string{"close=1"}},
				{stage: []string{"ignore=" + set(13, 15, 64), "block=" + set(10, 33), "close=0", "pdeathsig=12", "fds=300", "nice=3", "umask=077", "oom=100", "slack=70000", "setsid", "subreaper", "timers", "children", "limit=7:100:200"},
					environ: []string{"", "A=1", "A=1", "GOMEMLIMIT=x", "B", "HOME=/x"}},
			} {
				c.same(t, inC(t), l)
			}
		})
	}
	for arch, emulator := range map[string]string{"arm64": "qemu-aarch64-static", "arm": "qemu-arm-static"} {
		t.Run(arch, func(t *testing.T) { emulated(t, arch, emulator) })
	}
}

func emulated(t *testing.T, arch, emulator string) {
	engine.Require(t, emulator)
	path, _ := exec.LookPath(emulator)
	l := slices.Concat(launcher{path, build(t, arch, true)}, ask())
	// Not HUP, INT, BUS, SEGV, nor those from 32 on.
	const own = 1<<0 | 1<<1 | 1<<6 | 1<<10
	all := fmt.Sprintf("%x", every&0x7fffffff&^own)
	for _, c := range []condition{
		{}, {stage: []string{"ignore=" + all}}, {stage: []string{"block=" + all}}, {stage: []string{"close=012"}}, {stage: []string{"close=1"}},
		{stage: []string{"ignore=" + set(13, 15), "block=" + set(10), "close=0", "pdeathsig=12", "fds=300", "limit=7:500:600", "nice=3", "umask=077", "oom=100", "slack=70000", "setsid", "subreaper", "children"},
			environ: []string{"A=1", "GOMEMLIMIT=x", "HOME=/x", "GODEBUG=inittrace=1"}},
	} {
		c.private = func(r string) string {
			l := strings.Split(r, "\n")
			slices.Sort(l)
			return strings.Join(l, "\n")
		}
		c.same(t, inC(t), l)
	}
}
