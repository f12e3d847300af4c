//go:build linux

package oracle

import (
	"bufio"
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/caplaunch/caplaunch/internal/ambient"
)

var (
	number = flag.Int("n", 6000, "how many random sequences by executor.c, in all worlds together")
	doors  = flag.Int("doors", 200, "how many through each door of package linux")
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

// passedFlags are what a test hands on to itself.
func passedFlags() []string {
	return []string{fmt.Sprintf("-n=%d", *number), fmt.Sprintf("-doors=%d", *doors), fmt.Sprintf("-seed=%d", theSeed()), fmt.Sprintf("-seq=%d", *only)}
}

func TestMain(m *testing.M) {
	switch {
	case os.Getenv(vmEnv) == "init":
		vmInit()
	case os.Getenv(goChildEnv) != "":
		goChild(door(os.Getenv(goChildEnv)))
	}
	unix.Umask(0o022) // files get the mode that the tests say
	flag.Parse()
	os.Exit(m.Run())
}

// figures are what a test counted.
type figures struct {
	Sequences int
	Met       map[string]int // steps, refusals by rule, execs by what is special about them
	Seconds   float64
	Kernel    string // its release, and which rule for ids it has
}

func (f *figures) met(what string, n int) {
	if f.Met == nil {
		f.Met = map[string]int{}
	}
	f.Met[what] += n
}

func (f *figures) add(g figures) {
	f.Sequences += g.Sequences
	for what, n := range g.Met {
		f.met(what, n)
	}
}

func (f figures) String() string {
	return fmt.Sprintf("%s: %d sequences, %d steps (%d refused), %d execs (%d refused), %.1f s, no disagreement",
		f.Kernel, f.Sequences, f.Met["steps"], f.Met["steps refused"], f.Sequences, f.Met["execs refused"], f.Seconds)
}

// table is what the sequences met, by kind.
func (f figures) table() string {
	var b strings.Builder
	for _, what := range slices.Sorted(maps.Keys(f.Met)) {
		fmt.Fprintf(&b, "  %7d %s\n", f.Met[what], what)
	}
	return b.String()
}

// count adds one sequence that came out as the Sim said.
func (f *figures) count(q sequence, end ambient.State, refusedBy []error, execRefused error) {
	f.Sequences++
	f.met("steps", len(q.Steps))
	f.met("steps refused", len(refusedBy))
	for _, r := range refusedBy {
		f.met("refusals: "+r.Error(), 1)
	}
	if execRefused != nil {
		f.met("execs refused", 1)
		f.met("refusals: execve: "+execRefused.Error(), 1)
	}
	kind := strings.Split(q.Exec.Kind, ",")
	for label, is := range map[string]bool{
		"as uid 0":                      end.UID.Real == 0 || end.UID.Effective == 0,
		"with no_new_privs":             end.NoNewPrivs,
		"with SECBIT_NOROOT":            end.Securebits&ambient.NoRoot != 0,
		"by #!":                         strings.Contains(q.Exec.Kind, ",#!"),
		"on a nosuid mount":             strings.Contains(q.Exec.Kind, ",nosuid"),
		"programs of outside":           strings.Contains(q.Exec.Kind, ",made outside"),
		"without privilege":             q.Exec.File == ambient.File{},
		"file capabilities: " + kind[0]: true,
		"set-id: " + kind[1]:            kind[1] != "",
	} {
		if is {
			f.met("execs: "+label, 1)
		}
	}
}

// A backend is a kernel's side: it makes sequences and returns the records of
// each.
type backend interface {
	run([]sequence) ([][]record, error)
	close()
}

// executorBackend is executor.c.
type executorBackend struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
	err bytes.Buffer
}

func startExecutor(path string) (*executorBackend, error) {
	e := &executorBackend{cmd: exec.Command(path, "serve")}
	e.cmd.Env = []string{}
	e.cmd.Stderr = &e.err
	var err error
	if e.in, err = e.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := e.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	e.out = bufio.NewReaderSize(out, 1<<16)
	return e, e.cmd.Start()
}

func (e *executorBackend) close() {
	e.in.Close()
	_ = e.cmd.Wait()
}

func (e *executorBackend) run(batch []sequence) ([][]record, error) {
	var b []byte
	for _, q := range batch {
		b = putRequest(b, q)
	}
	// Written from aside: the answers come while the requests still go.
	wrote := make(chan error, 1)
	go func() {
		_, err := e.in.Write(b)
		wrote <- err
	}()
	var all [][]record
	for range batch {
		records, err := readAnswer(e.out)
		if err != nil {
			e.in.Close()
			return nil, errors.Join(fmt.Errorf("executor: %w: %s", err, e.err.String()), <-wrote)
		}
		all = append(all, records)
	}
	return all, <-wrote
}

// errno is what the kernel answers where a rule forbids a call.
func errno(err error) unix.Errno {
	switch err {
	case nil:
		return 0
	case notMapped, ambient.RuleUnknownCap, ambient.RuleNoAmbient, ambient.RuleTooManyGroups:
		return unix.EINVAL
	}
	return unix.EPERM
}

// compare holds the records of a sequence against what the model says, and counts
// it where they agree. The error is the test's own: it proves nothing about the model.
func (g generator) compare(q sequence, records []record, f *figures) (disagreement string, err error) {
	if len(records) == 0 || records[0].Kind != started {
		return "", fmt.Errorf("the starting state could not be taken up: %+v", records)
	}
	if got := records[0].State; got != q.Start {
		return "", fmt.Errorf("another starting state: %w", &ambient.VerifyError{Want: q.Start, Got: got})
	}
	now, rules := q.Start, []error{}
	records = records[1:]
	for i, step := range q.Steps {
		if len(records) == 0 || records[0].Kind != stepped {
			return "", fmt.Errorf("step %d has no record: %+v", i, records)
		}
		next, err := g.next(step, now)
		if d := differ(now, next, err, records[0]); d != "" {
			return fmt.Sprintf("step %d, %v: %s", i, step, d), nil
		}
		if err != nil {
			rules = append(rules, err)
		}
		now, records = next, records[1:]
	}
	if len(records) != 2 || records[0].Kind != refused && records[0].Kind != became || records[1].Kind != ended || records[1].Errno != 0 {
		return "", fmt.Errorf("the exec has no record: %+v", records)
	}
	after, err := now.Execve(q.Exec.File, g.host)
	if d := differ(now, after, err, records[0]); d != "" {
		return "execve: " + d, nil
	}
	f.count(q, now, rules, err)
	return "", nil
}

// differ says how the kernel's outcome differs from the model's, if it does.
func differ(was, want ambient.State, err error, got record) string {
	switch {
	case errno(err) != unix.Errno(got.Errno):
		return fmt.Sprintf("the model says %v (%d), the kernel %v (%d); before: %+v", err, errno(err), unix.Errno(got.Errno), got.Errno, was)
	case got.State != want:
		return fmt.Sprintf("%v; before: %+v", &ambient.VerifyError{Want: want, Got: got.State}, was)
	}
	return ""
}

// agree runs n random sequences on as many backends as there are processors.
func agree(t *testing.T, p place, n int, start func() (backend, error)) figures {
	t.Helper()
	begin := time.Now()
	must(t, p.learn(start))
	const batch = 64
	first, last := 0, n
	if *only >= 0 {
		first, last = *only, *only+1
	}
	var (
		mu     sync.Mutex
		next   = first
		sum    figures
		wg     sync.WaitGroup
		failed bool
	)
	fail := func(format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		if !failed {
			t.Errorf(format, args...)
		}
		failed = true
	}
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			b, err := start()
			if err != nil {
				fail("%v", err)
				return
			}
			defer b.close()
			var mine figures
			for {
				mu.Lock()
				from, to := next, min(next+batch, last)
				next = to
				stop := failed
				mu.Unlock()
				if from == to || stop {
					break
				}
				var all []sequence
				for i := from; i < to; i++ {
					all = append(all, p.gen.sequence(rand.New(rand.NewPCG(theSeed(), 1<<32+uint64(i)))))
				}
				if *only >= 0 {
					t.Logf("sequence %d:\n%v", *only, all[0])
				}
				answers, err := b.run(all)
				if err != nil {
					fail("sequences %d to %d: %v", from, to, err)
					return
				}
				for i, q := range all {
					d, err := p.gen.compare(q, answers[i], &mine)
					switch {
					case err != nil:
						fail("-seed=%d -seq=%d: %v\n%v", theSeed(), from+i, err, q)
						return
					case d != "":
						fail("the model disagrees with the kernel, -seed=%d -seq=%d: %s\n%v", theSeed(), from+i, d, q)
						return
					}
				}
			}
			mu.Lock()
			defer mu.Unlock()
			sum.add(mine)
		})
	}
	wg.Wait()
	sum.Seconds, sum.Kernel = time.Since(begin).Seconds(), release()
	if p.gen.host.OldExecIDs {
		sum.Kernel += ", execve by the real ids"
	}
	return sum
}

// learn finds out what differs between kernels, from the kernel itself.
func (p *place) learn(start func() (backend, error)) error {
	b, err := start()
	if err != nil {
		return err
	}
	defer b.close()
	ask := func(q sequence) ([]record, error) {
		all, err := b.run([]sequence{q})
		if err != nil {
			return nil, err
		}
		return all[0], nil
	}
	plain := sequence{Start: p.gen.limit, Exec: p.gen.plain[0]}
	plain.Start.Ambient = 0

	// The securebits for scripts came with Linux 6.14.
	q := plain
	q.Start.Securebits = 1 << 8
	r, err := ask(q)
	if err != nil {
		return err
	}
	if r[0].Kind == started {
		p.gen.bits |= 0xf00
	}
	// Does an exec with unequal ids clear ambient?
	if ids := mapped(p.gen.ids.UIDs, []uint32{1000, 65532}); len(ids) == 2 {
		q := plain
		q.Start.UID = ambient.IDs{Real: ids[0], Effective: ids[1], Saved: ids[1]}
		q.Start.Inheritable = ambient.SetOf(12)
		q.Start.Ambient = q.Start.Inheritable
		r, err := ask(q)
		if err != nil {
			return err
		}
		if len(r) != 3 || r[1].Kind != became {
			return fmt.Errorf("no answer about the rule for ids: %+v", r)
		}
		p.gen.host.OldExecIDs = r[1].State.Ambient == 0
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

// inWorld runs n sequences in w, by whatever start starts, and prints what they met.
func inWorld(t *testing.T, w world, by string, n int, start func(place) (backend, error)) {
	w.in(t, func(t *testing.T, p place) {
		p.gen.few = by != "executor.c"
		f := agree(t, p, max(n, 1), func() (backend, error) { return start(p) })
		f.enough(t, w)
		fmt.Printf("oracle: -seed=%d, %s, %s: %v\n%s", theSeed(), by, w.name, f, f.table())
	})
}

// enough holds the figures against what must have been met at least once, lest
// the random sequences prove nothing.
func (f figures) enough(t *testing.T, w world) {
	t.Helper()
	if *only >= 0 || f.Sequences < 1000 {
		return
	}
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
	wanted := []string{"execs refused"}
	for _, r := range rules {
		wanted = append(wanted, "refusals: "+string(r))
	}
	for _, k := range []string{"with no_new_privs", "with SECBIT_NOROOT", "by #!", "on a nosuid mount", "without privilege", "set-id: suid", "set-id: sgid", "set-id: suid+sgid", "set-id: sgid-without-x"} {
		wanted = append(wanted, "execs: "+k)
	}
	for _, k := range capKinds {
		if k != "none" {
			k += "-v2"
		}
		wanted = append(wanted, "execs: file capabilities: "+k)
	}
	for _, what := range wanted {
		if f.Met[what] == 0 {
			t.Errorf("%s: none of what has to be met: %s", w.name, what)
		}
	}
}

// executor compiles executor.c, unless there is one already.
func executor(t *testing.T, dir string) string {
	if path := os.Getenv(executorEnv); path != "" {
		return path
	}
	compiler, err := exec.LookPath("musl-gcc") // starts in half the time
	if err != nil {
		if compiler, err = exec.LookPath("gcc"); err != nil {
			unusable(t, "no C compiler: %v", err)
		}
	}
	path := filepath.Join(dir, "executor")
	cmd := exec.Command(compiler, "-static", "-Os", "-Wall", "-Wextra", "-Werror", "-o", path, filepath.Join("testdata", "executor.c"))
	if out, err := cmd.CombinedOutput(); err != nil {
		unusable(t, "executor.c cannot be compiled: %v\n%s", err, out)
	}
	must(t, os.Chmod(path, 0o755))
	return path
}

// byExecutor runs a share of -n by executor.c.
func byExecutor(t *testing.T, w world, percent int) {
	inWorld(t, w, "executor.c", *number*percent/100, func(p place) (backend, error) { return startExecutor(p.executor) })
}

func TestModelAgreesAsRoot(t *testing.T)              { byExecutor(t, machine, 60) }
func TestModelAgreesInAUserNamespace(t *testing.T)    { byExecutor(t, manyIDs, 20) }
func TestModelAgreesWhereOneIDIsMapped(t *testing.T)  { byExecutor(t, oneID, 15) }
func TestModelAgreesWhereNoRootIsMapped(t *testing.T) { byExecutor(t, noID0, 5) }
