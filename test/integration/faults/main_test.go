// Package faults starts programs through caplaunch while one thing after the other goes wrong: a system call that
// fails, a kernel that lies, limits that leave no room. The rule is always the same: the program finds exactly what
// was promised, or it never ran and one error with a hint says why.
//
//	go test ./faults                         -share faults of each kind, which the seed chooses
//	go test ./faults -timeout 2h -args -all  everything
package faults

import (
	"errors"
	"flag"
	"fmt"
	"maps"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/caplaunch/caplaunch/test/integration/engine"
	"github.com/caplaunch/caplaunch/test/unit"
)

var (
	all   = flag.Bool("all", false, "inject every fault, not a random share")
	share = flag.Int("share", 4000, "how many faults of a kind are injected without -all")
	calls = flag.String("calls", "", "inject only into calls whose name contains this")
)

func TestMain(m *testing.M) { engine.Main(m) }

func probe(t testing.TB) string { return engine.Probe(t, engine.OutOfTheWay...) }

func starter(t testing.TB, name string) string { return engine.Starter(t, name, engine.OutOfTheWay...) }

func capstart(t testing.TB) string { return starter(t, "capstart") }

// An end is what became of a launch.
type end struct {
	engine.Result
	late bool // it had to be killed
}

// patience is for a launch that takes 50 ms on an idle machine, and a few seconds when it stalls and a busy one.
const patience = 20 * time.Second

// run runs argv to its end.
func run(t testing.TB, limit time.Duration, argv ...string) end {
	t.Helper()
	return finish(t, limit, exec.Command(argv[0], argv[1:]...))
}

// finish runs cmd to its end, in a process group of its own that is killed when the time is up.
func finish(t testing.TB, limit time.Duration, cmd *exec.Cmd) end {
	t.Helper()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	r, err := engine.Output(cmd, limit)
	e := end{r, errors.Is(err, engine.ErrLate)}
	if e.late {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	} else if err != nil && !errors.Is(err, exec.ErrWaitDelay) {
		t.Errorf("%.300q: %v", cmd.Args, err)
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

// credentials is the promise to the program of a user with a group of the same number.
func credentials(id int, groups string, caps uint64) engine.Promise {
	return engine.Promised(strconv.Itoa(id), caps).With("Groups", groups)
}

// changing are the keys that say nothing of a launch: they differ each time; or belong to whoever runs the tests and may
// renice them; or are those of a copy in memory, which is named by how it was executed and, when its ACL could not be
// understood, unreadable; or the filter's, which Seccomp shows.
var changing = []string{"pid", "ppid", "pgid", "sid", "namespace mnt", "nice", "autogroup", "comm", "execfn", "dumpable", "seccomp", "speculation0", "speculation1", "speculation2"}

// judge holds the end against the rule: what the program must find, by an engine.Promise. The problem is "" unless the
// outcome is broken.
func judge(p engine.Promise, e end) (o outcome, problem string) {
	lines := strings.Split(strings.TrimRight(e.Stderr, "\n"), "\n")
	told := slices.DeleteFunc(slices.Clone(lines), func(l string) bool { return !strings.HasPrefix(l, engine.ErrorPrefix) })
	at := slices.IndexFunc(lines, func(l string) bool { return strings.HasPrefix(l, engine.ErrorPrefix) })
	switch {
	case e.Stdout != "" && len(told) > 0:
		return broken, "the program ran, and caplaunch says that it did not"
	case e.Stdout != "":
		if diff := p.Broken(e.Stdout); diff != "" {
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
	case !slices.Contains([]int{77, 78, 125, 126, 127}, e.Code):
		return broken, "nothing ran, and the exit status is that of no refusal"
	case len(told) != 1 || len(told[0]) == len(engine.ErrorPrefix):
		return broken, fmt.Sprintf("%d errors on stderr instead of one", len(told))
	case at+1 == len(lines) || !strings.HasPrefix(lines[at+1], engine.HintPrefix) || len(lines[at+1]) < len(engine.HintPrefix)+8:
		return broken, "the error has no hint"
	}
	return refused, ""
}

// said is the one error of a launch that was refused.
func (e end) said() string {
	for l := range strings.Lines(e.Stderr) {
		if s, ok := strings.CutPrefix(l, engine.ErrorPrefix); ok {
			return strings.TrimSpace(s)
		}
	}
	return ""
}

// tryAll tries each of the items, or as many as -share says, and counts how they ended. All of them take half an hour.
func tryAll[T any](t *testing.T, items []T, try func(T) (o outcome, problem, what string, e end)) {
	t.Helper()
	if !*all {
		items = items[:min(len(items), *share)]
	}
	var lock sync.Mutex
	count, bad := map[outcome]int{}, map[string][]string{} // by problem, so that one fault of the product is one failure
	unit.InParallel(t, items, 2000, func(item T) {
		o, problem, what, e := try(item)
		lock.Lock()
		defer lock.Unlock()
		if count[o]++; o == broken {
			bad[problem] = append(bad[problem], fmt.Sprintf("%s\nexit %d, stdout %.100q, stderr\n%.1000s", what, e.Code, e.Stdout, e.Stderr))
		}
	})
	for _, problem := range slices.Sorted(maps.Keys(bad)) {
		cases := bad[problem]
		t.Errorf("%s: %d times; among them\n%s", problem, len(cases), strings.Join(cases[:min(len(cases), 3)], "\n"))
	}
	t.Log(count)
}
