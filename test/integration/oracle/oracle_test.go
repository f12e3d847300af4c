// Package oracle proves the model of internal/ambient against the running kernel: random sequences of credential system
// calls, each ended by a real execve, are made by the model and by the kernel side by side and compared state by state,
// refusals included. Package linux makes them through both of its doors, and a program in C says what it found. Mutants
// prove the proof: model, plan and calls are broken in one place at a time, and each time a test must find it out.
package oracle

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/caplaunch/caplaunch/internal/ambient"
	"github.com/caplaunch/caplaunch/test/unit"
)

var (
	number = flag.Int("n", 6000, "how many random sequences on one thread, in all worlds together")
	doors  = flag.Int("doors", 200, "how many on all threads of a process")
	seed   = flag.Uint64("seed", 0, "seed of the random tests; 0 takes TEST_SEED, or the time")
	only   = flag.Int("seq", -1, "run only the sequence with this number, of each world")
)

// theSeed is -seed, or one taken once.
var theSeed = sync.OnceValue(func() uint64 {
	if *seed == 0 {
		*seed, _ = strconv.ParseUint(os.Getenv("TEST_SEED"), 10, 64)
	}
	if *seed == 0 {
		*seed = uint64(time.Now().UnixNano())
	}
	return *seed
})

func TestMain(m *testing.M) {
	switch {
	case os.Getenv(vmEnv) == "init":
		vmInit()
	case os.Getenv(childEnv) != "":
		child()
	}
	unix.Umask(0o022) // files get the mode that the tests say
	flag.Parse()
	os.Exit(m.Run())
}

// errno is what the kernel answers where a rule forbids a call.
func errno(err error) syscall.Errno {
	switch err {
	case nil:
		return 0
	case notMapped, ambient.RuleUnknownCap, ambient.RuleNoAmbient, ambient.RuleTooManyGroups:
		return unix.EINVAL
	}
	return unix.EPERM
}

// A meeting counts what sequences met, lest they prove nothing.
type meeting map[string]int

// compare makes a sequence and holds what the kernel says against what the model does.
func (g generator) compare(q sequence, through door, met meeting) error {
	records, err := through(q)
	switch {
	case err != nil:
		return err
	case records[0].State != q.Start:
		return fmt.Errorf("another starting state: %w", &ambient.VerifyError{Want: q.Start, Got: records[0].State})
	case len(records) != len(q.Steps)+2:
		return fmt.Errorf("%d records of %d steps", len(records), len(q.Steps))
	}
	now := q.Start
	for i, step := range q.Steps {
		next, rule := g.next(step, now)
		if err := differ(now, next, rule, records[i+1]); err != nil {
			return fmt.Errorf("%w step %d, %v", err, i, step)
		}
		if now = next; rule != nil {
			met[rule.Error()]++
			met["steps refused"]++
		}
	}
	after, rule := now.Execve(q.Exec.File, g.host)
	if rule != nil {
		after = ambient.State{}
		met["execs refused"]++
	}
	if err := differ(now, after, rule, records[len(records)-1]); err != nil {
		return fmt.Errorf("%w execve", err)
	}
	met["sequences"]++
	met["steps"] += len(q.Steps)
	for _, part := range strings.Split(q.Exec.Kind, ",") {
		met[part]++
	}
	for what, is := range map[string]bool{"no_new_privs": now.NoNewPrivs, "noroot": now.Securebits&ambient.NoRoot != 0, "no privilege": q.Exec.File == ambient.File{}} {
		if is {
			met[what]++
		}
	}
	return nil
}

// differ says how the kernel's outcome differs from the model's, if it does.
func differ(was, want ambient.State, rule error, got record) error {
	const disagrees = "the model disagrees with the kernel, before: %+v: %v at"
	switch {
	case errno(rule) != got.Errno:
		return fmt.Errorf(disagrees, was, fmt.Sprintf("%v (%d) here, %v (%d) there", rule, errno(rule), got.Errno, got.Errno))
	case got.State != want:
		return fmt.Errorf(disagrees, was, &ambient.VerifyError{Want: want, Got: got.State})
	}
	return nil
}

// agree runs n random sequences, as many at a time as there are processors.
func agree(t *testing.T, g generator, n int, through door) meeting {
	t.Helper()
	unit.Must(t, g.learn(through))
	numbers := []int{*only}
	if *only < 0 {
		numbers = make([]int, n)
		for i := range numbers {
			numbers[i] = i
		}
	}
	sum := meeting{}
	var mu sync.Mutex
	unit.InParallel(t, numbers, 20000, func(i int) {
		if t.Failed() {
			return
		}
		q, met := g.sequence(rand.New(rand.NewPCG(theSeed(), 1<<32+uint64(i)))), meeting{}
		if err := g.compare(q, through, met); err != nil && !t.Failed() {
			t.Errorf("-seed=%d -seq=%d: %v\n%v", theSeed(), i, err, q)
		} else if *only >= 0 {
			t.Logf("sequence %d:\n%v", i, q)
		}
		mu.Lock()
		defer mu.Unlock()
		for what, n := range met {
			sum[what] += n
		}
	})
	return sum
}

// learn finds out what differs between kernels, from the kernel itself.
func (g *generator) learn(through door) error {
	plain := sequence{Start: g.limit, Exec: g.plain[0]}
	plain.Start.Ambient = 0

	// The securebits for scripts came with Linux 6.14.
	q := plain
	q.Start.Securebits = 1 << 8
	if _, err := through(q); err == nil {
		g.bits |= 0xf00
	}
	// Does an exec with unequal ids clear ambient?
	if ids := mapped(g.ids.UIDs, []uint32{1000, 65532}); len(ids) == 2 {
		q := plain
		q.Start.UID = ambient.IDs{Real: ids[0], Effective: ids[1], Saved: ids[1]}
		q.Start.Inheritable = ambient.SetOf(12)
		q.Start.Ambient = q.Start.Inheritable
		r, err := through(q)
		if err != nil || len(r) != 2 || r[1].Errno != 0 {
			return fmt.Errorf("no answer about the rule for ids: %+v, %w", r, err)
		}
		g.host.OldExecIDs = r[1].State.Ambient == 0
	}
	return nil
}

// release is the kernel's, as uname(1) has it.
func release() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return err.Error()
	}
	return "Linux " + unix.ByteSliceToString(u.Release[:])
}

// inWorld runs n sequences in w and prints what they met.
func inWorld(t *testing.T, w world, n int, through door) {
	w.in(t, func(t *testing.T, g generator) {
		g.few = w.few
		begin := time.Now()
		met := agree(t, g, max(n, 1), through)
		if *only < 0 && n >= 1000 {
			for _, what := range w.mustMeet() {
				if met[what] == 0 {
					t.Errorf("%s: none of what has to be met: %s", w.name, what)
				}
			}
		}
		fmt.Printf("oracle: -seed=%d, %s, %s: %d sequences, %d steps (%d refused), %d execs (%d refused), %.1f s, no disagreement\n",
			theSeed(), w.name, release(), met["sequences"], met["steps"], met["steps refused"], met["sequences"], met["execs refused"], time.Since(begin).Seconds())
	})
}

// mustMeet is what has to be met at least once, lest the random sequences prove nothing.
func (w world) mustMeet() (all []string) {
	rules := []ambient.Rule{
		ambient.RuleInheritableNew, ambient.RuleInheritableBound, ambient.RulePermittedGrows,
		ambient.RuleEffective, ambient.RuleAmbientSecurebit, ambient.RuleAmbientWithin, ambient.RuleNeedsSetPCap,
		ambient.RuleKeepCapsLocked, ambient.RuleUnknownCap,
	}
	if w.noGroups {
		rules = append(rules, ambient.RuleSetGroupsDenied)
	} else {
		rules = append(rules, ambient.RuleNeedsSetGID, ambient.RuleNeedsSetUID)
	}
	if w.nested {
		rules = append(rules, notMapped)
	}
	for _, r := range rules {
		all = append(all, string(r))
	}
	for _, k := range capKinds {
		if k != "none" {
			k += "-v2"
		}
		all = append(all, k)
	}
	return append(all, "execs refused", "no_new_privs", "noroot", "no privilege", "#!", "nosuid", "suid", "sgid", "suid+sgid", "sgid-without-x")
}

// reporter compiles report.c, unless it is there already.
func reporter(t *testing.T, dir string) string {
	if path := os.Getenv(reporterEnv); path != "" {
		return path
	}
	compiler, err := exec.LookPath("musl-gcc") // starts in half the time
	if err != nil {
		compiler = unit.Tool(t, "gcc")
	}
	path := filepath.Join(dir, "report")
	cmd := exec.Command(compiler, "-static", "-Os", "-Wall", "-Wextra", "-Werror", "-o", path, filepath.Join("testdata", "report.c"))
	out, err := cmd.CombinedOutput()
	unit.Need(t, err == nil, "report.c, which cannot be compiled: "+string(out))
	unit.Must(t, os.Chmod(path, 0o755))
	return path
}

func TestModelAgreesAsRoot(t *testing.T) { inWorld(t, machine, *number*60/100, oneThread) }

func TestModelAgreesInAUserNamespace(t *testing.T) { inWorld(t, manyIDs, *number*20/100, oneThread) }

func TestModelAgreesWhereOneIDIsMapped(t *testing.T) { inWorld(t, oneID, *number*15/100, oneThread) }

func TestModelAgreesWhereNoRootIsMapped(t *testing.T) { inWorld(t, noID0, *number*5/100, oneThread) }

func TestModelAgreesThroughAllThreads(t *testing.T) {
	for _, w := range []world{machine, manyIDs} {
		w.few = true
		t.Run(w.name, func(t *testing.T) { inWorld(t, w, *doors/2, allThreads) })
	}
}

// TestMoreGroupsThanNGROUPS_MAXAreRefused has what random sequences meet once in thousands.
func TestMoreGroupsThanNGROUPS_MAXAreRefused(t *testing.T) {
	machine.in(t, func(t *testing.T, g generator) {
		ids := make([]uint32, ambient.MaxGroups+1)
		for i := range ids {
			ids[i] = 10000 + uint32(i)
		}
		unit.Must(t, g.compare(sequence{Start: g.limit, Exec: g.plain[0], Steps: []ambient.Step{
			ambient.SetGroups{Groups: ambient.NewGroups(ids...)},
			ambient.SetGroups{Groups: ambient.NewGroups(ids[1:]...)},
		}}, oneThread, meeting{}))
	})
}
