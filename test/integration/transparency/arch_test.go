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

// The other architecture that has an entry, in an emulator, which itself keeps some signals and sorts the environment.
func TestOtherArchitectures(t *testing.T) {
	engine.Begin(t)
	if runtime.GOARCH != "amd64" {
		engine.Unusable(t, "needs amd64, this is %s", runtime.GOARCH)
	}
	const emulator = "qemu-aarch64-static"
	engine.Require(t, emulator)
	// Not HUP, INT, BUS, SEGV, nor those from 32 on.
	const own = 1<<0 | 1<<1 | 1<<6 | 1<<10
	all := fmt.Sprintf("%x", every&0x7fffffff&^own)
	path, _ := exec.LookPath(emulator)
	arm64 := append(launcher{path, engine.BuildGo(t, "cmd/caplaunch", "arm64", entry...)}, ask()...)
	for _, c := range []condition{
		{},
		{
			stage:   []string{"pdeathsig=12", "fds=300", "nice=19", "umask=077", "oom=100", "slack=70000", "setsid", "subreaper", "children"},
			environ: []string{"A=1", "HOME=/x"},
		},
		{stage: []string{"ignore=" + all}},
		{stage: []string{"block=" + all}},
		{stage: []string{"close=012"}},
		{stage: []string{"close=1"}},
		{
			stage:   []string{"ignore=" + set(13, 15), "block=" + set(10), "close=0", "pdeathsig=12", "fds=300", "limit=7:500:600"},
			environ: []string{"A=1", "GOMEMLIMIT=x", "HOME=/x", "GODEBUG=inittrace=1"},
		},
	} {
		c.private = func(r string) string { return strings.Join(slices.Sorted(strings.SplitSeq(r, "\n")), "\n") }
		c.same(t, inC(t), arm64)
	}
}

// entry is what the Makefile gives to the linker where caplaunch has an entry of its own.
var entry = []string{"-ldflags", "-w -E _caplaunch_entry"}
