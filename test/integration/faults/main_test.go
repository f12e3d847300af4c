// Package faults starts programs through caplaunch while one thing after the other goes wrong: a system call that
// fails, a kernel that lies, limits that leave no room. The rule is always the same: the program finds exactly what
// was promised, or it never ran and one error with a hint says why.
//
//	go test ./faults                   a share, in an order that a seed settles; CAPLAUNCH_TEST_SEED=N repeats it
//	go test ./faults -timeout 2h -all  everything
package faults

import (
	"context"
	"flag"
	"fmt"
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
	"syscall"
	"testing"
	"time"

	"github.com/caplaunch/caplaunch/test/integration/engine"
)

var (
	all  = flag.Bool("all", os.Getenv("CAPLAUNCH_TEST_ALL") == "1", "inject every fault, not a random share")
	jobs = flag.Int("jobs", runtime.NumCPU(), "launches at the same time")
)

// share is how long a test that has more faults than it can inject goes on without -all.
const share = 25 * time.Second

func TestMain(m *testing.M) { engine.Main(m) }

// random is seeded by CAPLAUNCH_TEST_SEED, or by the clock.
func random(t testing.TB) *rand.Rand {
	seed := uint64(time.Now().UnixNano())
	if s, err := strconv.ParseUint(os.Getenv("CAPLAUNCH_TEST_SEED"), 10, 64); err == nil {
		seed = s
	}
	t.Logf("CAPLAUNCH_TEST_SEED=%d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// outOfTheWay is where the C programs around caplaunch are linked to, so that a seccomp filter can tell their calls
// from caplaunch's, whose code lies below.
const outOfTheWay = "0x10000000"

var linkedOutOfTheWay = []string{"-no-pie", "-Wl,-Ttext-segment=" + outOfTheWay}

func probe(t testing.TB) string    { return engine.BuildC(t, "probe", linkedOutOfTheWay...) }
func capstart(t testing.TB) string { return engine.BuildC(t, "capstart", linkedOutOfTheWay...) }

// helper compiles testdata/NAME.c.
func helper(t testing.TB, name string) string {
	t.Helper()
	engine.Require(t, "gcc")
	build, _ := helpers.LoadOrStore(name, sync.OnceValues(func() (string, error) {
		path := filepath.Join(engine.PublicDir(), name)
		flags := append(linkedOutOfTheWay, "-static", "-O2", "-Wall", "-Werror", "-DBASE="+outOfTheWay, "-o", path, "testdata/"+name+".c")
		if out, err := exec.Command("gcc", flags...).CombinedOutput(); err != nil {
			return "", fmt.Errorf("%w\n%s", err, out)
		}
		return path, nil
	}))
	path, err := build.(func() (string, error))()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

var helpers sync.Map // of func() (string, error)

// An end is what became of a launch.
type end struct {
	engine.Result
	late bool // it had to be killed
}

// patience is for a launch that takes 50 ms on an idle machine, and a few seconds when it stalls and a busy one.
const patience = 20 * time.Second

// run runs argv to its end, in a process group of its own that is killed when the time is up.
func run(t testing.TB, limit time.Duration, argv ...string) end {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	e := finish(t, cmd)
	e.late = ctx.Err() != nil
	return e
}

// finish runs cmd to its end.
func finish(t testing.TB, cmd *exec.Cmd) end {
	t.Helper()
	var stdout, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.WaitDelay = time.Second
	if err := cmd.Start(); err != nil {
		t.Errorf("%.300q: %v", cmd.Args, err)
		return end{}
	}
	_ = cmd.Wait()
	e := end{Result: engine.Result{Stdout: stdout.String(), Stderr: stderr.String()}}
	ws := cmd.ProcessState.Sys().(syscall.WaitStatus)
	if e.Code = ws.ExitStatus(); ws.Signaled() {
		e.Code = 128 + int(ws.Signal())
	}
	return e
}

// An outcome is how a launch ended, as far as the rule is concerned.
type outcome int

const (
	broken    outcome = iota // the third outcome, that there must not be
	kept                     // the program ran and found exactly the promise
	refused                  // it never ran, and caplaunch said why
	aborted                  // it never ran, and the Go runtime ended before anybody could say why
	unreached                // the call that was to fail was not made this time
)

func (o outcome) String() string {
	return [...]string{"broke the promise", "ended in the promise", "refused", "runtime aborted", "not reached"}[o]
}

// A promise is what the program must find, by the keys that probe prints.
type promise map[string]string

// credentials is the promise to the program of a user with a group of the same number.
func credentials(id int, groups, caps string) promise {
	same := strings.TrimSpace(strings.Repeat(strconv.Itoa(id)+" ", 4))
	set := strings.Repeat("0", 16-len(caps)) + caps
	return promise{
		"Uid": same, "Gid": same, "Groups": groups,
		"CapInh": set, "CapPrm": set, "CapEff": set, "CapAmb": set,
		"NoNewPrivs": "1", "securebits": "0", "AT_SECURE": "0",
	}
}

// with is the promise and more of it: keys and values.
func (p promise) with(more ...string) promise {
	q := maps.Clone(p)
	for i := 0; i < len(more); i += 2 {
		q[more[i]] = more[i+1]
	}
	return q
}

// changing are the keys that say nothing of a launch: they differ each time; or belong to whoever runs the tests and may
// renice them; or are those of a copy in memory, which is named by how it was executed and, when its ACL could not be
// understood, unreadable.
var changing = []string{"pid", "ppid", "pgid", "sid", "ns_mnt", "nice", "comm", "execfn", "dumpable"}

// broken says how the output of probe differs from the promise, "" for not at all.
func (p promise) broken(stdout string) string {
	got := engine.ParseProbe(stdout)
	var diff []string
	for _, key := range slices.Sorted(maps.Keys(p)) {
		is, ok := got[key]
		if (!ok || is != p[key]) && !slices.Contains(changing, key) {
			diff = append(diff, fmt.Sprintf("%s is %.200q instead of %.200q", key, is, p[key]))
		}
	}
	return strings.Join(diff, ", ")
}

// judge holds the end against the rule. The problem is "" unless the outcome is broken.
func (p promise) judge(e end) (o outcome, problem string) {
	lines := strings.Split(strings.TrimRight(e.Stderr, "\n"), "\n")
	told := slices.DeleteFunc(slices.Clone(lines), func(l string) bool { return !strings.HasPrefix(l, errorPrefix) })
	at := slices.IndexFunc(lines, func(l string) bool { return strings.HasPrefix(l, errorPrefix) })
	switch {
	case e.Stdout != "" && len(told) > 0:
		return broken, "the program ran, and caplaunch says that it did not"
	case e.Stdout != "":
		if diff := p.broken(e.Stdout); diff != "" {
			return broken, "the program runs in another state: " + diff
		}
		if e.Code != 0 || e.late {
			return broken, "the program did not end well"
		}
		return kept, ""
	case e.late:
		return broken, "it does not come to an end"
	case e.Code >= 128 || e.Code == 2:
		return aborted, ""
	case !slices.Contains([]int{77, 125, 126, 127}, e.Code):
		return broken, "nothing ran, and the exit status is that of no refusal"
	case len(told) != 1 || len(told[0]) == len(errorPrefix):
		return broken, fmt.Sprintf("%d errors on stderr instead of one", len(told))
	case at+1 == len(lines) || !strings.HasPrefix(lines[at+1], hintPrefix) || len(lines[at+1]) < len(hintPrefix)+8:
		return broken, "the error has no hint"
	}
	return refused, ""
}

// mayAbort reports whether the Go runtime may end in its own words when the call fails: it asks for memory, and looks
// at the standard descriptors, before it has read its settings; and it blocks all signals around a clone.
func mayAbort(name string) bool {
	return slices.Contains([]string{"mmap", "fcntl", "rt_sigprocmask"}, name)
}

// soon is a strace option that brings the launch's deadline forward, from five minutes to ten seconds: struct itimerspec of
// 64 bits, little-endian.
var soon = "inject=timer_settime:poke_enter=@arg3=" + strings.Repeat("00", 16) + "0a" + strings.Repeat("00", 15) + ":when=1"

const (
	errorPrefix = "caplaunch: error: "
	hintPrefix  = "caplaunch: hint: "
)

// said is the one error of a launch that was refused.
func (e end) said() string {
	for l := range strings.Lines(e.Stderr) {
		if s, ok := strings.CutPrefix(l, errorPrefix); ok {
			return strings.TrimSpace(s)
		}
	}
	return ""
}

// A tally counts outcomes.
type tally struct {
	sync.Mutex
	count map[outcome]int
	calls map[outcome]map[string]int // which calls led to it
	bad   map[string][]string        // by problem, so that one fault of the product is one failure
}

func newTally() *tally {
	return &tally{count: map[outcome]int{}, calls: map[outcome]map[string]int{}, bad: map[string][]string{}}
}

func (c *tally) add(o outcome, call string) {
	c.Lock()
	defer c.Unlock()
	c.count[o]++
	if c.calls[o] == nil {
		c.calls[o] = map[string]int{}
	}
	c.calls[o][call]++
}

// fail notes a launch that broke the rule. what says which one it was, e how it ended.
func (c *tally) fail(problem, what string, e end) {
	c.Lock()
	defer c.Unlock()
	c.bad[problem] = append(c.bad[problem], fmt.Sprintf("%s\nexit %d, stdout %.100q, stderr\n%.1000s", what, e.Code, e.Stdout, e.Stderr))
}

// report fails the test for each kind of problem, and prints the counts.
func (c *tally) report(t *testing.T, what string) {
	t.Helper()
	for _, problem := range slices.Sorted(maps.Keys(c.bad)) {
		cases := c.bad[problem]
		t.Errorf("%s: %d times; among them\n%s", problem, len(cases), strings.Join(cases[:min(len(cases), 3)], "\n"))
	}
	injected := 0
	for o, n := range c.count {
		if o != unreached {
			injected += n
		}
	}
	line := fmt.Sprintf("%s: %d injected", what, injected)
	for o := broken; o <= unreached; o++ {
		if n := c.count[o]; n > 0 || o == kept || o == refused || o == aborted {
			line += fmt.Sprintf(", %d %v", n, o)
		}
	}
	for _, call := range slices.Sorted(maps.Keys(c.calls[aborted])) {
		t.Logf("%v: %s (%d)", aborted, call, c.calls[aborted][call])
	}
	t.Log(line)
	fmt.Println(line)
}

// inParallel calls f with each of the items, -jobs at a time, until the time is up; 0 is no limit.
func inParallel[T any](limit time.Duration, items []T, f func(T)) {
	var wg sync.WaitGroup
	next := make(chan T)
	for range max(1, *jobs) {
		wg.Go(func() {
			for item := range next {
				f(item)
			}
		})
	}
	deadline := time.Now().Add(limit)
	for _, item := range items {
		if limit > 0 && time.Now().After(deadline) {
			break
		}
		next <- item
	}
	close(next)
	wg.Wait()
}
