//go:build linux

package oracle

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

var (
	allMutants  = flag.Bool("all", false, "try all mutants, not a share that the seed chooses")
	someMutants = flag.Int("mutants", 24, "how many mutants to try without -all")
	oneMutant   = flag.String("mutant", "", "try only the mutants with this in their names")
)

// A judge is what has to find a mutant out.
type judge struct {
	dir  string // of the package, in test/integration
	run  string // the test
	n    int    // of the oracle
	root bool
	says string // when it has found one; to fail for another reason is no proof
}

const (
	disagrees = `the model disagrees with the kernel`
	// A Kernel that is wrong can already fail to take up the starting state.
	wrongKernel = disagrees + `|starting state|panic: thread \d+: |not enough to start with|reading the state back|psx_syscall result differs|results differ between threads|no answer about the rule for ids`
)

var (
	asRoot   = judge{".", "^TestModelAgreesWithKernelAsRoot$", 20000, true, disagrees}
	inUserNS = judge{".", "^TestModelAgreesWithKernelInAUserNamespace$", 5000, false, disagrees}
	whereOne = judge{".", "^TestModelAgreesWithKernelWhereOneIDIsMapped$", 3000, false, disagrees}
	goKernel = judge{".", "^TestModelAgreesWithLinuxKernelAsRoot$", 2000, true, wrongKernel}
	property = judge{"../../../internal/ambient", "^Test", 0, false, `(?m)^--- FAIL: `}
	// It meets NGROUPS_MAX in every sequence.
	manyGroups = judge{".", "^TestMoreGroupsThanNGROUPS_MAXAreRefused$", 0, true, disagrees}
)

// A mutant breaks one rule: in file, old becomes mutated.
type mutant struct {
	name         string
	by           judge
	file         string
	old, mutated string
}

const (
	rules  = "rules.go"
	sim    = "sim.go"
	plan   = "plan.go"
	allow  = "allow.go"
	kernel = "linux/kernel.go"
	read   = "linux/read.go"
)

var mutants = []mutant{
	{"capset: setpcap lets inheritable grow no more", asRoot, rules, "!s.Effective.Has(CapSetPCap) && !(s.Inheritable | s.Permitted).Contains(i)", "!(s.Inheritable | s.Permitted).Contains(i)"},
	{"capset: setpcap counts where it is only permitted", asRoot, rules, "!s.Effective.Has(CapSetPCap) && !(s.Inheritable", "!s.Permitted.Has(CapSetPCap) && !(s.Inheritable"},
	{"capset: inheritable grows out of nothing", asRoot, rules, "case !s.Effective.Has(CapSetPCap) && !(s.Inheritable | s.Permitted).Contains(i):", "case false:"},
	{"capset: inheritable leaves the bounding set", asRoot, rules, "case !(s.Inheritable | s.Bounding).Contains(i):", "case false:"},
	{"capset: inheritable outside of bounding cannot stay", asRoot, rules, "!(s.Inheritable | s.Bounding).Contains(i)", "!s.Bounding.Contains(i)"},
	{"capset: permitted grows", asRoot, rules, "case !s.Permitted.Contains(p):", "case false:"},
	{"capset: effective within the old permitted", asRoot, rules, "case !p.Contains(e):", "case !s.Permitted.Contains(e):"},
	{"capset: ambient stays without permitted", asRoot, rules, "s.Ambient &= p & i", "s.Ambient &= i"},
	{"capset: ambient stays without inheritable", asRoot, rules, "s.Ambient &= p & i", "s.Ambient &= p"},
	{"ambient: it takes no inheritable", asRoot, rules, "case !(s.Permitted & s.Inheritable).Has(c):", "case !s.Permitted.Has(c):"},
	{"ambient: it takes no permitted", asRoot, rules, "case !(s.Permitted & s.Inheritable).Has(c):", "case !s.Inheritable.Has(c):"},
	{"ambient: it takes effective", asRoot, rules, "case !(s.Permitted & s.Inheritable).Has(c):", "case !(s.Effective & s.Inheritable).Has(c):"},
	{"ambient: no securebit forbids it", asRoot, rules, "case s.Securebits&NoCapAmbientRaise != 0:", "case false:"},
	{"ambient: the lock forbids it as well", asRoot, rules, "s.Securebits&NoCapAmbientRaise != 0", "s.Securebits&(NoCapAmbientRaise|NoCapAmbientRaiseLocked) != 0"},
	{"bounding: anybody drops", asRoot, rules, "if !s.Effective.Has(CapSetPCap) {", "if false {"},
	{"bounding: setpcap only permitted is enough", asRoot, rules, "if !s.Effective.Has(CapSetPCap) {", "if !s.Permitted.Has(CapSetPCap) {"},
	{"bounding: inheritable shrinks with it", asRoot, rules, "s.Bounding &^= SetOf(c)", "s.Bounding &^= SetOf(c)\n\ts.Inheritable &= s.Bounding"},
	{"keepcaps: it has no lock", asRoot, rules, "if s.Securebits&KeepCapsLocked != 0 {", "if false {"},
	{"keepcaps: it cannot be taken back", asRoot, rules, "s.Securebits &^= KeepCaps\n\tif on", "if on"},
	{"setgroups: anybody may", asRoot, rules, "case !s.Effective.Has(CapSetGID):", "case false:"},
	{"setgroups: there is no NGROUPS_MAX", manyGroups, rules, "case g.Len() > MaxGroups:", "case false:"},
	{"setresgid: anybody may", asRoot, rules, "if !s.Effective.Has(CapSetGID) && !(", "if false && !("},
	{"setresgid: always takes setgid", asRoot, rules, "if !s.Effective.Has(CapSetGID) && !(s.GID.has(to.Real) && s.GID.has(to.Effective) && s.GID.has(to.Saved)) {", "if !s.Effective.Has(CapSetGID) {"},
	{"setresuid: anybody may", asRoot, rules, "if !s.Effective.Has(CapSetUID) && !(", "if false && !("},
	{"setresuid: the saved id is free", asRoot, rules, " && s.UID.has(to.Saved)) {", ") {"},
	{"setresuid: no_setuid_fixup does nothing", asRoot, rules, "if s.Securebits&NoSetuidFixup != 0 {", "if false {"},
	{"setresuid: only the real id 0 counts", asRoot, rules, "if was.anyRoot() && !to.anyRoot() {", "if was.Real == 0 && to.Real != 0 {"},
	{"setresuid: keepcaps does nothing", asRoot, rules, "if s.Securebits&KeepCaps == 0 {", "if true {"},
	{"setresuid: permitted is kept by itself", asRoot, rules, "if s.Securebits&KeepCaps == 0 {", "if false {"},
	{"setresuid: keepcaps keeps ambient", asRoot, rules, "s.Permitted, s.Effective = 0, 0\n\t\t}\n\t\ts.Ambient = 0\n", "s.Permitted, s.Effective = 0, 0\n\t\t\ts.Ambient = 0\n\t\t}\n"},
	{"setresuid: effective survives leaving 0", asRoot, rules, "if was.Effective == 0 && to.Effective != 0 {", "if false {"},
	{"setresuid: becoming 0 fills nothing", asRoot, rules, "if was.Effective != 0 && to.Effective == 0 {", "if false {"},
	{"setresuid: becoming 0 fills only the empty", asRoot, rules, "if was.Effective != 0 && to.Effective == 0 {", "if was.Effective != 0 && to.Effective == 0 && s.Effective == 0 {"},
	{"no_new_privs: it does not stick", asRoot, rules, "s.NoNewPrivs = true", "s.NoNewPrivs = s.NoNewPrivs"},
	{"execve: set-id counts under no_new_privs", asRoot, rules, "if !s.NoNewPrivs {", "if true {"},
	{"execve: bounding does not limit the file", asRoot, rules, "f.Caps.Permitted&s.Bounding |", "f.Caps.Permitted |"},
	{"execve: permitted limits the file", asRoot, rules, "f.Caps.Permitted&s.Bounding |", "f.Caps.Permitted&s.Bounding&s.Permitted |"},
	{"execve: the file's inheritable is enough", asRoot, rules, "f.Caps.Inheritable&s.Inheritable", "f.Caps.Inheritable"},
	{"execve: inheritable files are bounded", asRoot, rules, "f.Caps.Inheritable&s.Inheritable", "f.Caps.Inheritable&s.Inheritable&s.Bounding"},
	{"execve: what cannot be had is refused without the effective bit", asRoot, rules, "if f.Caps.Effective && !n.Permitted.Contains", "if !n.Permitted.Contains"},
	{"execve: what cannot be had is not refused", asRoot, rules, "if f.Caps.Effective && !n.Permitted.Contains", "if false && !n.Permitted.Contains"},
	{"execve: no_new_privs spares from the refusal", asRoot, rules, "if f.Caps.Effective && !n.Permitted.Contains", "if f.Caps.Effective && !s.NoNewPrivs && !n.Permitted.Contains"},
	{"execve: root is spared from the refusal", asRoot, rules, "if f.Caps.Effective && !n.Permitted.Contains", "if f.Caps.Effective && n.UID.Effective != 0 && !n.Permitted.Contains"},
	{"execve: set-uid root with file capabilities gets all", asRoot, rules, "mixed := f.Caps != nil && n.UID.Effective == 0 && n.UID.Real != 0", "mixed := false"},
	{"execve: noroot does nothing", asRoot, rules, "if s.Securebits&NoRoot == 0 && !mixed {", "if !mixed {"},
	{"execve: the real id 0 is not root", asRoot, rules, "if n.UID.Effective == 0 || n.UID.Real == 0 {", "if n.UID.Effective == 0 {"},
	{"execve: root gets nothing inheritable", asRoot, rules, "n.Permitted = s.Bounding | s.Inheritable", "n.Permitted = s.Bounding"},
	{"execve: the effective id 0 does not fill effective", asRoot, rules, "\t\tif n.UID.Effective == 0 {\n\t\t\tfullEffective = true", "\t\tif false {\n\t\t\tfullEffective = true"},
	{"execve: one's own group changes the id", asRoot, rules, " && !s.Groups.Has(n.GID.Effective)\n", "\n"},
	{"execve: a set-gid bit changes no id", asRoot, rules, " ||\n\t\tn.GID.Effective != s.GID.Effective && !s.Groups.Has(n.GID.Effective)\n", "\n"},
	{"execve: root regains under no_new_privs", asRoot, rules, "\t\tn.Permitted &= s.Permitted\n", ""},
	{"execve: unequal ids survive a gain under no_new_privs", asRoot, rules, "\t\tn.UID.Effective, n.GID.Effective = n.UID.Real, n.GID.Real\n", ""},
	{"execve: the saved ids stay", asRoot, rules, "\tn.UID.Saved, n.GID.Saved = n.UID.Effective, n.GID.Effective\n", ""},
	{"execve: ambient survives file capabilities", asRoot, rules, "if f.Caps != nil || idChanged {", "if idChanged {"},
	{"execve: ambient survives only empty file capabilities", asRoot, rules, "if f.Caps != nil || idChanged {", "if f.Caps != nil && *f.Caps != (FileCaps{}) || idChanged {"},
	{"execve: ambient survives set-id", asRoot, rules, "if f.Caps != nil || idChanged {", "if f.Caps != nil {"},
	{"execve: ambient is not permitted", asRoot, rules, "\tn.Permitted |= n.Ambient\n", ""},
	{"execve: ambient is not effective", asRoot, rules, "n.Effective = n.Ambient\n", "n.Effective = 0\n"},
	{"execve: effective stays", asRoot, rules, "n.Effective = n.Ambient\n", "n.Effective &= n.Permitted\n"},
	{"execve: the file's effective bit does nothing", asRoot, rules, "fullEffective = f.Caps.Effective", "fullEffective = false"},
	{"execve: keepcaps survives", asRoot, rules, "\tn.Securebits &^= KeepCaps\n\treturn n, nil", "\treturn n, nil"},
	{"execve: there is no old rule for ids", property, rules, "if oldIDs {", "if false {"},
	{"execve: the old rule for ids has no gid", property, rules, "n.UID.Effective != s.UID.Real || n.GID.Effective != s.GID.Real", "n.UID.Effective != s.UID.Real"},
	{"execve: the old rule for ids holds everywhere", asRoot, rules, "if oldIDs {", "if true {"},

	{"Sim: capset refuses what the kernel does not know", asRoot, sim, "p&s.On.Known, i&s.On.Known, e&s.On.Known", "p, i, e"},
	{"Sim: unknown capabilities are refused as not permitted", asRoot, sim, "case !s.On.Known.Has(c):", "case false:"},
	{"Sim: unknown capabilities leave the bounding set", asRoot, sim, "if err == nil && !s.On.Known.Has(c) {", "if false {"},
	{"Sim: setgroups is never denied", whereOne, sim, "if !s.On.SetGroups {", "if false {"},
	{"Sim: groups need no map", inUserNS, sim, "if err == nil && s.On.GIDs != nil {", "if false {"},
	{"Sim: groups are looked up in the uid map", inUserNS, sim, "if !s.On.GIDs.Has(id) {", "if !s.On.UIDs.Has(id) {"},
	{"Sim: gids need no map", inUserNS, sim, "if m := s.On.GIDs; !m.Has(to.Real) || !m.Has(to.Effective) || !m.Has(to.Saved) {", "if false {"},
	{"Sim: the saved uid needs no map", inUserNS, sim, "if m := s.On.UIDs; !m.Has(to.Real) || !m.Has(to.Effective) || !m.Has(to.Saved) {", "if m := s.On.UIDs; !m.Has(to.Real) || !m.Has(to.Effective) {"},

	{"plan: effective is not filled first", property, plan, "\tadd(Capset{Permitted: now.Permitted, Inheritable: now.Inheritable, Effective: now.Permitted})\n", ""},
	{"plan: keepcaps is forgotten", property, plan, "\t\t\tadd(SetKeepCaps{true})\n", ""},
	{"plan: keepcaps is always set", property, plan, "if p.Given != 0 && leavesRoot(now, user) && now.Securebits&KeepCaps == 0 {", "if true {"},
	{"plan: groups stay", property, plan, "\t\tadd(SetGroups{user.Groups})\n", ""},
	{"plan: the uid goes first", property, plan, "\t\t// Groups first:", "\t\tadd(SetResUID{Same(user.UID)})\n\t\t// Groups first:"},
	{"plan: the gid stays", property, plan, "\t\tadd(SetResGID{Same(user.GID)})\n", ""},
	{"plan: a saved uid 0 is left behind", property, plan, "add(SetResUID{Same(user.UID)})", "add(SetResUID{IDs{user.UID, user.UID, now.UID.Saved}})"},
	{"plan: permitted is not trimmed", property, plan, "add(Capset{Permitted: p.Given, Inheritable: p.Given, Effective: p.Given})", "add(Capset{Permitted: sim.Now.Permitted, Inheritable: p.Given, Effective: p.Given})"},
	{"plan: inheritable is not set", property, plan, "add(Capset{Permitted: p.Given, Inheritable: p.Given, Effective: p.Given})", "add(Capset{Permitted: p.Given, Inheritable: sim.Now.Inheritable & p.Given, Effective: p.Given})"},
	{"plan: nothing is raised into ambient", property, plan, "\t\tadd(RaiseAmbient{c})\n", "\t\t_ = c\n"},
	{"plan: keepcaps is left on", property, plan, "\t\tadd(SetKeepCaps{false})\n", ""},
	{"plan: no_new_privs is forgotten", property, plan, "\t\tadd(SetNoNewPrivs{})\n", ""},
	{"plan: no_new_privs whatever was asked", property, plan, "if !req.AllowNewPrivs {\n\t\tadd", "if true {\n\t\tadd"},
	{"plan: bounding is not dropped", property, plan, "\t\t\tadd(DropBounding{c})\n", "\t\t\t_ = c\n"},
	{"plan: bounding loses what is given", property, plan, "(now.Bounding &^ p.Given).All()", "now.Bounding.All()"},
	{"plan: steps that change nothing stay", property, plan, "if sim.Now != was || setsGroups {", "if sim.Now != was || setsGroups || true {"},
	{"plan: a root that regains is accepted", property, plan, "case after != want:", "case after.UID != want.UID:"},
	{"plan: a file that breaks the promise is accepted", property, plan, "case after != want:", "case after.Permitted != want.Permitted:"},
	{"plan: an exec that is refused is accepted", property, plan, "\tcase err != nil:\n\t\treturn p, &FileError{", "\tcase false:\n\t\treturn p, &FileError{"},
	{"plan: keepcaps is lost at exec", property, plan, "\twant.Securebits &^= KeepCaps\n", ""},
	{"plan: Apply goes on after a failure", property, plan, "\t\t\treturn &StepError{Step: s, Err: err}\n", "\t\t\tcontinue\n"},
	{"plan: Verify believes", property, plan, "if got != p.AfterSteps {", "if false {"},
	{"plan: Verify looks at the sets alone", property, plan, "if got != p.AfterSteps {", "if got.Permitted != p.AfterSteps.Permitted || got.Ambient != p.AfterSteps.Ambient {"},
	{"plan: what is missing is granted", property, plan, "\tif refused.Missing != nil {\n\t\treturn 0, nil, refused\n\t}\n", ""},
	{"plan: what is optional is always given", property, plan, "if r == Grantable {\n\t\t\tgiven", "if true {\n\t\t\tgiven"},
	{"plan: what is optional is never given", property, plan, "if r == Grantable {\n\t\t\tgiven", "if r == Grantable && false {\n\t\t\tgiven"},
	{"plan: skipping is not told", property, plan, "skipped = append(skipped, Miss{c, r})", "_ = r"},
	{"plan: unknown capabilities are granted", property, plan, "case !host.Known.Has(c):", "case false:"},
	{"plan: permitted without bounding is granted", property, plan, "case !now.Inheritable.Has(c) && !now.Bounding.Has(c):", "case false:"},
	{"plan: keep_caps_locked is overlooked", property, plan, "case leavesRoot && now.Securebits&(KeepCapsLocked|KeepCaps) == KeepCapsLocked:", "case false:"},
	{"plan: no_cap_ambient_raise is overlooked", property, plan, "case now.Securebits&NoCapAmbientRaise != 0 && (leavesRoot || !now.Ambient.Has(c)):", "case false:"},
	{"plan: a kernel without ambient is overlooked", property, plan, "case !host.Ambient:", "case false:"},
	{"plan: a set-uid start is accepted", property, plan, "case s.UID != Same(s.UID.Real) || s.GID != Same(s.GID.Real):", "case s.GID != Same(s.GID.Real):"},
	{"plan: a set-gid start is accepted", property, plan, "case s.UID != Same(s.UID.Real) || s.GID != Same(s.GID.Real):", "case s.UID != Same(s.UID.Real):"},
	{"plan: a start with file capabilities is accepted", property, plan, "case s.UID != Same(0) && !s.Ambient.Contains(s.Permitted):", "case false:"},
	{"plan: root needs no user", property, plan, "case req.User == nil && root:", "case false:"},
	{"plan: the primary group is not among the groups", property, plan, "want.Groups = want.Groups.With(want.GID)\n", "\n"},
	{"plan: kept groups keep gid 0", property, plan, "want.Groups = now.Groups.Without(0)", "want.Groups = now.Groups"},
	{"plan: other groups need no switch", property, plan, " && want.Groups == stay.Groups.With(stay.GID) {", " {"},
	{"plan: unable to switch is kept unasked", property, plan, "case req.KeepNonRoot:", "case true:"},
	{"plan: the allowlist is not looked at", property, plan, "\tif req.Allow == nil && !req.Strict {\n", "\tif true {\n"},
	{"plan: strict allows what was not asked for", property, plan, "allow |= req.Required.On(host) | req.Optional.On(host)", "allow |= now.Permitted"},
	{"plan: strict always allows setuid and setgid", property, plan, "if now.UID.Effective == 0 {\n\t\t\tallow", "if true {\n\t\t\tallow"},
	{"plan: strict never allows setpcap", property, plan, "if req.DropBounding {\n\t\t\tallow", "if false {\n\t\t\tallow"},
	{"allow: only permitted is looked at", property, allow, "\t\tif m&(1<<i) != 0 {\n\t\t\tstray", "\t\tif i == 0 {\n\t\t\tstray"},

	{"kernel: capset swaps permitted and inheritable", goKernel, kernel, "Permitted: uint32(p), Inheritable: uint32(i)}", "Permitted: uint32(i), Inheritable: uint32(p)}"},
	{"kernel: capset loses the upper half", goKernel, kernel, "Effective: uint32(e >> 32), ", ""},
	{"kernel: ambient is lowered", goKernel, kernel, "unix.PR_CAP_AMBIENT_RAISE, uintptr(c)", "unix.PR_CAP_AMBIENT_LOWER, uintptr(c)"},
	{"kernel: setresgid leaves the saved id", goKernel, kernel, "uintptr(to.Real), uintptr(to.Effective), uintptr(to.Saved))\n}\n\n// SetResUID", "uintptr(to.Real), uintptr(to.Effective), ^uintptr(0))\n}\n\n// SetResUID"},
	{"kernel: setresuid is not called", goKernel, kernel, `return all("setresuid", sysSetresuid, uintptr(to.Real), uintptr(to.Effective), uintptr(to.Saved))`, "return nil"},
	{"kernel: keepcaps is always on", goKernel, kernel, "\tvar v uintptr\n\tif on {", "\tv := uintptr(1)\n\tif on {"},
	{"kernel: setgroups empties", goKernel, kernel, `all("setgroups", sysSetgroups, uintptr(len(ids)),`, `all("setgroups", sysSetgroups, 0,`},
	{"kernel: one thread is changed", goKernel, kernel, "if _, _, e := psx.Syscall3(nr, a, b, c); e != 0 {", "if _, _, e := unix.RawSyscall(nr, a, b, c); e != 0 {"},
	{"kernel: the effective set is read as permitted", goKernel, read, "s.Permitted = join(data[0].Permitted, data[1].Permitted)", "s.Permitted = join(data[0].Effective, data[1].Effective)"},
	{"kernel: the highest capability is not read", goKernel, read, "for c := range known.All() {", "for c := range (known &^ ambient.SetOf(40)).All() {"},
	{"kernel: no_new_privs is not read", goKernel, read, "raised, nnp\n", "raised, false\n\t_ = nnp\n"},
	{"kernel: securebits are not read", goKernel, read, "s.Securebits = ambient.Securebits(bits)", "_ = bits"},
}

// try builds the judge with the mutant and reports whether it fails.
func (m mutant) try(ctx context.Context, dir string, executor string) (caught bool, out string, err error) {
	source, err := filepath.Abs(filepath.Join("../../../internal/ambient", m.file))
	if err != nil {
		return false, "", err
	}
	text, err := os.ReadFile(source)
	if err != nil {
		return false, "", err
	}
	text = bytes.Replace(text, []byte(m.old), []byte(m.mutated), 1)
	changed, overlay, binary := filepath.Join(dir, "mutant.go"), filepath.Join(dir, "overlay.json"), filepath.Join(dir, "mutant.test")
	b, err := json.Marshal(map[string]any{"Replace": map[string]string{source: changed}})
	if err != nil {
		return false, "", err
	}
	if err := os.WriteFile(changed, text, 0o644); err != nil {
		return false, "", err
	}
	if err := os.WriteFile(overlay, b, 0o644); err != nil {
		return false, "", err
	}
	build := exec.CommandContext(ctx, "go", "test", "-c", "-vet=off", "-overlay="+overlay, "-o", binary, ".")
	build.Dir = m.by.dir
	if out, err := build.CombinedOutput(); err != nil {
		return false, string(out), fmt.Errorf("it does not build: %w", err)
	}
	args := []string{"-test.run=" + m.by.run, "-test.v=true", "-test.timeout=2m", "-seed=1"}
	if m.by.n > 0 {
		args = append(args, fmt.Sprintf("-n=%d", m.by.n), "-raw")
	}
	run := exec.CommandContext(ctx, binary, args...)
	run.Dir = m.by.dir
	run.Env = append(os.Environ(), executorEnv+"="+executor, "TEST_REQUIRE=1")
	b, err = run.CombinedOutput()
	if run.ProcessState == nil {
		return false, "", err
	}
	out = string(b)
	switch {
	case strings.Contains(out, "\npanic: test timed out"):
		return false, out, fmt.Errorf("it took too long")
	case err != nil && regexp.MustCompile(m.by.says).MatchString(out):
		return true, out, nil
	case err != nil:
		return false, out, err
	case !strings.Contains(out, "--- PASS"):
		return false, out, fmt.Errorf("no test ran")
	}
	return false, out, nil
}

// TestEveryMutantIsFoundOut breaks the rules one at a time: a mutant that the
// oracle or the properties pass is a test that is missing.
func TestEveryMutantIsFoundOut(t *testing.T) {
	if os.Getenv(insideEnv) != "" {
		t.Skip("inside")
	}
	if _, err := exec.LookPath("go"); err != nil {
		unusable(t, "%v", err)
	}
	texts := map[string]string{}
	names := map[string]bool{}
	for _, m := range mutants {
		if texts[m.file] == "" {
			b, err := os.ReadFile(filepath.Join("../../../internal/ambient", m.file))
			must(t, err)
			texts[m.file] = string(b)
		}
		if n := strings.Count(texts[m.file], m.old); n != 1 {
			t.Errorf("%s: what it breaks is %d times in %s: %s", m.name, n, m.file, m.old)
		}
		if m.old == m.mutated || names[m.name] {
			t.Errorf("%s: no mutant", m.name)
		}
		names[m.name] = true
	}
	if t.Failed() {
		return
	}
	chosen := slices.Clone(mutants)
	if !*allMutants && *oneMutant == "" {
		r := rand.New(rand.NewPCG(theSeed(), 3))
		r.Shuffle(len(chosen), func(i, j int) { chosen[i], chosen[j] = chosen[j], chosen[i] })
		chosen = chosen[:min(*someMutants, len(chosen))]
	}
	chosen = slices.DeleteFunc(chosen, func(m mutant) bool {
		return !strings.Contains(m.name, *oneMutant) || m.by.root && os.Getuid() != 0
	})
	begin := time.Now()
	dir := publicDir(t)
	path := executor(t, dir)
	var mu sync.Mutex
	caught := map[string]int{}
	work := make(chan mutant)
	var wg sync.WaitGroup
	for i := range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			dir := filepath.Join(dir, fmt.Sprint(i))
			if err := os.Mkdir(dir, 0o755); err != nil {
				t.Error(err)
			}
			for m := range work {
				found, out, err := m.try(t.Context(), dir, path)
				switch {
				case err != nil:
					t.Errorf("%s: %v\n%s", m.name, err, out)
				case !found:
					t.Errorf("%s lives: %s passes it\n%s", m.name, m.by.run, out)
				default:
					mu.Lock()
					caught[m.by.run]++
					mu.Unlock()
					t.Logf("caught: %s, by %s", m.name, m.by.run)
				}
			}
		})
	}
	for _, m := range chosen {
		work <- m
	}
	close(work)
	wg.Wait()
	t.Logf("-seed=%d: %d of %d mutants in %.1f s", theSeed(), len(chosen), len(mutants), time.Since(begin).Seconds())
	for _, by := range slices.Sorted(maps.Keys(caught)) {
		t.Logf("%d caught by %s", caught[by], by)
	}
}
