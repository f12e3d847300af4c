package faults

import (
	"cmp"
	"debug/elf"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/caplaunch/caplaunch/test/integration/engine"
	"github.com/caplaunch/caplaunch/test/unit"
)

// Faults are injected into the main thread alone, which is the one that plans, verifies and execs: without -f strace
// follows no other. That is enough to make all threads agree on a failure, because Go asks the other threads only after
// the call has succeeded on the first. With -f each thread would count its own calls, and the n-th of one is another
// call than the n-th of the main thread. A lie on the main thread alone is what Verify has to see through; a
// lie to all of them is told by the filters of seccomp_test.go.

// A call is a system call that a launch makes on its main thread.
type call struct {
	name string
	n    int    // the how manieth of that name, from 1 on
	op   string // the call, for prctl with its operation
	line string // as strace shows it
	own  bool   // caplaunch's, not the Go runtime's
	step bool   // it changes credentials
}

// An injection is one fault in one launch, or in one explain.
type injection struct {
	*scenario
	door
	call
	fault string // as strace takes it
}

func (i injection) String() string {
	return fmt.Sprintf("%s %s: %s, call %d: %s", i.door, i.scenario.name, i.op, i.n, i.fault)
}

// A door is the command by which the launch is made.
type door string

const (
	toRun     door = "run"
	toExplain door = "explain"
)

// words is the command line of caplaunch behind strace with options, in the scenario's starting state.
func (d door) words(s *scenario, caplaunch string, options ...string) []string {
	argv := s.argv(caplaunch)
	argv = slices.Insert(argv, 1, string(d))
	return slices.Concat(s.start, []string{"strace"}, options, s.inner, argv)
}

// judge holds the end against the rule. explain prints what would be, or refuses, and never runs the program.
func (d door) judge(s *scenario, e end, more ...string) (outcome, string) {
	if d == toRun {
		return s.judge(e, more...)
	}
	ok := e.Code == 0 && strings.HasPrefix(e.Stdout, "verdict")
	switch {
	case strings.Contains(e.Stdout, "\nNoNewPrivs="):
		return broken, "explain has run the program"
	case e.late:
		return broken, "it does not come to an end"
	case ok && s.code != 0:
		return broken, "explain promises a launch that must be refused"
	case ok:
		return kept, ""
	case strings.HasPrefix(e.Stdout, "error ") && strings.Contains(e.Stdout, "\nhint\n") && e.Stderr == "":
		return refused, ""
	}
	return judge(nil, e)
}

// fails reports whether the call reports an error, rather than a success that it has not had.
func (i injection) fails() bool { return strings.HasPrefix(i.fault, "error=") }

// errorsOf are errors that a call is known for, besides those that every call gets. Not among them is ENOENT of a file
// that is only looked for: it is a lie that cannot be told from the truth.
var errorsOf = map[string]string{
	"execve":       "EACCES ENOENT ENOEXEC E2BIG EAGAIN ENOMEM ETXTBSY",
	"execveat":     "EACCES ENOENT ENOEXEC E2BIG EAGAIN ENOMEM ETXTBSY",
	"setresuid":    "EAGAIN",
	"memfd_create": "EACCES EMFILE",
	"openat":       "EACCES EMFILE EINTR",
	"sendfile":     "ENOSPC EAGAIN EINTR",
	// Where a signal, or a file system in user space, may interrupt.
	"read": "EINTR", "pread64": "EINTR", "close": "EINTR", "newfstatat": "EINTR", "fstat": "EINTR", "statfs": "EINTR", "fstatfs": "EINTR",
	"getxattr": "EINTR", "fgetxattr": "EINTR", "readlinkat": "EINTR", "fcntl": "EINTR", "ioctl": "EINTR", "futex": "EINTR",
	"epoll_pwait": "EINTR", "getrandom": "EINTR", "clone": "EINTR", "clone3": "EINTR",
}

// liesOf are the values that a call returns when it succeeds, besides 0. Descriptor 100 is not open.
var liesOf = map[string]string{
	"prctl": "1 2", "getgroups": "1 2000000000", "read": "1", "pread64": "1", "sendfile": "1 1000000000", "getxattr": "1", "fgetxattr": "1 20",
	"fcntl": "1", "getppid": "1", "openat": "100", "memfd_create": "100", "capset": "1", "setgroups": "1", "setresgid": "1", "setresuid": "1",
}

// waits are calls of the Go runtime after whose success it waits, for ever if that was a lie.
var waits = []string{"clone", "clone3", "futex", "epoll_pwait"}

// probeSignal is by which explain asks whether a signal can be queued.
const probeSignal = "SIGRT_32"

// faults are the ways in which the call is made to fail.
func (c call) faults() []string {
	var list []string
	switch {
	case c.name == "tgkill" && !c.own:
		return nil // how the runtime reaches its own threads: nothing that is promised needs it
	case c.name == "exit_group", c.name == "write":
		return nil // how a refusal ends, and is told
	}
	for _, e := range strings.Fields("EPERM EINVAL ENOSYS EIO " + errorsOf[c.name]) {
		list = append(list, "error="+e)
	}
	if slices.Contains(waits, c.name) {
		return list
	}
	for _, v := range strings.Fields("0 " + liesOf[c.name]) {
		list = append(list, "retval="+v)
	}
	return list
}

// symbols are the functions of a program, by their addresses.
func symbols(t testing.TB, path string) []elf.Symbol {
	t.Helper()
	f, err := elf.Open(path)
	engine.Must(t, err)
	defer f.Close()
	all, err := f.Symbols()
	engine.Must(t, err)
	slices.SortFunc(all, func(a, b elf.Symbol) int { return cmp.Compare(a.Value, b.Value) })
	return all
}

// byRuntime reports whether the Go runtime makes the call at an address, and not caplaunch: for memory, threads, signals
// and the clock by functions of its own, and for its poller by the same function as all others.
func byRuntime(symbols []elf.Symbol, address uint64, name string) bool {
	at, found := slices.BinarySearchFunc(symbols, address, func(s elf.Symbol, a uint64) int { return cmp.Compare(s.Value, a) })
	if !found {
		at--
	}
	return at >= 0 && strings.HasPrefix(symbols[at].Name, "runtime.") || strings.HasPrefix(name, "epoll_") || name == "eventfd2"
}

// steps are the operations that change credentials.
const steps = " capset setgroups setresgid setresuid prctl PR_CAP_AMBIENT_RAISE prctl PR_CAPBSET_DROP prctl PR_SET_KEEPCAPS prctl PR_SET_NO_NEW_PRIVS "

// record is the calls between the execve of caplaunch and that of the program, which is the last of them, or the end.
func (s *scenario) record(t *testing.T, d door, caplaunch string) []call {
	t.Helper()
	trace := traceFile(t)
	if e := run(t, engine.Timeout, d.words(s, caplaunch, "-i", "-o", trace, "-e", "signal=none")...); e.Code != s.code {
		t.Fatalf("%s under strace: %v", s.name, e.Result)
	}
	text := engine.Read(t, trace)
	lines := strings.Split(text, "\n")[1:] // strace counts from behind its own execve
	skipped := 0                           // until caplaunch starts
	if s.inner != nil {
		skipped = slices.IndexFunc(lines, becomesTheProgram) + 1
	}
	if end := slices.IndexFunc(lines[skipped:], becomesTheProgram); end >= 0 {
		lines = lines[:skipped+end+1]
	} else if d == toRun && s.code == 0 {
		t.Fatalf("%s: no execve of the program in\n%s", s.name, text)
	}

	var calls []call
	seen := map[string]int{}
	functions := symbols(t, caplaunch)
	for at, line := range lines {
		behind := at >= skipped
		address, line, _ := strings.Cut(strings.TrimPrefix(line, "["), "] ")
		pc, err := strconv.ParseUint(address, 16, 64)
		name, args, ok := strings.Cut(line, "(")
		if !ok || err != nil {
			continue
		}
		seen[name]++
		c := call{name: name, n: seen[name], op: name, line: line}
		if words := strings.FieldsFunc(args, func(r rune) bool { return strings.ContainsRune(", )", r) }); name == "prctl" {
			c.op = "prctl " + words[0]
			if words[0] == "PR_CAP_AMBIENT" {
				c.op = "prctl " + words[1]
			}
		}
		c.own = !byRuntime(functions, pc, name)
		c.step = strings.Contains(steps, " "+c.op+" ")
		if behind {
			calls = append(calls, c)
		}
	}
	return calls
}

func becomesTheProgram(line string) bool {
	return strings.Contains(line, "execve") && strings.HasSuffix(line, " = 0")
}

// traceFile is a file that strace may write to as any user.
func traceFile(t testing.TB) string {
	t.Helper()
	return unit.Write(t, filepath.Join(engine.TempDir(t), "trace"), "", 0o666)
}

// try makes the launch with the fault in it. The outcome is unreached when the call was not made before the program's
// own start: how often the runtime makes some of them changes.
func (i injection) try(t testing.TB, caplaunch string) (outcome, string, end) {
	trace := traceFile(t)
	defer os.Remove(trace)
	e := run(t, patience, i.door.words(i.scenario, caplaunch, "-o", trace, "-e", "signal=none",
		"-e", "trace="+i.call.name+",execve,execveat", "-e", fmt.Sprintf("inject=%s:%s:when=%d", i.call.name, i.fault, i.n))...)
	text, err := os.ReadFile(trace)
	if err != nil {
		t.Error(err)
	}
	lines := strings.Split(string(text), "\n")
	at := slices.IndexFunc(lines, func(l string) bool { return strings.HasSuffix(l, "(INJECTED)") })
	first := 1
	if i.inner != nil {
		first += slices.IndexFunc(lines[1:], becomesTheProgram) + 1
	}
	started := slices.IndexFunc(lines[first:], becomesTheProgram) + first
	if at < 0 || !e.late && started >= first && at > started {
		return unreached, "", e
	}
	if i.call.name == "tgkill" && at >= 0 && !strings.Contains(lines[at], probeSignal) {
		return unreached, "", e // it was the runtime's: how many threads that reaches changes
	}
	var more []string
	if i.call.name == "close" && !i.own { // the runtime opens a file without close-on-exec, and cannot get rid of it
		more = []string{"descriptors", "*"}
	}
	o, problem := i.door.judge(i.scenario, e, more...)
	switch {
	case o == refused && i.code == 0 && i.step && i.door == toRun && !i.named(e.said()):
		return broken, "the error does not name the step", e
	// explain makes a step on all threads, and the runtime gives up when they disagree, as after a lie to one.
	case o == aborted && i.door == toExplain && !i.fails():
		return aborted, "", e
	// The runtime makes these two as well: for each thread, and to look at the standard descriptors.
	case o == aborted && i.own && i.call.name != "rt_sigprocmask" && i.call.name != "fcntl":
		return broken, "the runtime has the last word", e
	case !i.own && e.Stdout == "" && e.Code != 0 && !e.late:
		return aborted, "", e // the runtime said why, in its own words, or caplaunch did
	}
	return o, problem, e
}

// named reports whether the error says which step failed. After a lie that is another one, or the verification.
func (i injection) named(said string) bool {
	if i.fails() {
		return names(said, i.op)
	}
	return slices.ContainsFunc([]string{
		"the kernel reports another state than planned: ", "capset ", "setgroups ", "setgroups: ", "setresgid ", "setresuid ", "prctl ",
	}, func(prefix string) bool { return strings.HasPrefix(said, prefix) })
}

// names reports whether an error names a call, or the reason for which the kernel refuses it with EINVAL alone.
func names(said, op string) bool {
	isID := op == "setresuid" || op == "setresgid" || op == "setgroups"
	return strings.HasPrefix(said, op+" ") || strings.HasPrefix(said, op+":") || isID && strings.HasSuffix(said, "not mapped in this user namespace")
}

// credentialCalls are those by which caplaunch reads and changes who it is. explain makes no others that matter.
var credentialCalls = []string{"capget", "capset", "getresuid", "getresgid", "getgroups", "setgroups", "setresuid", "setresgid", "prctl", "tgkill", "rt_sigtimedwait"}

// injections are all faults of all scenarios. What happens before main, and the restoring of signals, is the same
// in each of them and made to fail in the first one only. Of the runtime's calls in main, the first ones of a kind stand
// for the rest.
func injections(t *testing.T, caplaunch string) []injection {
	t.Helper()
	const like = 3
	var list []injection
	for number, s := range scenarios(t) {
		for _, d := range []door{toRun, toExplain} {
			started, inMain := false, false // the runtime, and what follows it
			seen := map[string]int{}
			for _, c := range s.record(t, d, caplaunch) {
				started = started || !c.own
				inMain = inMain || started && c.own
				if (number > 0 || d == toExplain) && (!inMain || c.name == "rt_sigaction") {
					continue
				}
				if !strings.Contains(c.op, *calls) || d == toExplain && (!c.own || !slices.Contains(credentialCalls, c.name)) {
					continue
				}
				if !c.own {
					if seen[c.op]++; inMain && seen[c.op] > like {
						continue
					}
				}
				for _, f := range c.faults() {
					if i := (injection{s, d, c, f}); i.fails() || !s.outOfReach(c.op) {
						list = append(list, i)
					}
				}
			}
		}
	}
	return list
}

// turnsARefusal reports whether the injection is a lie about who caplaunch is, or keeps a file from it, in a launch that
// must be refused. Of the capabilities that are asked for one by one, those count that the scenarios are about, and the
// first and last ones.
func (i injection) turnsARefusal() bool {
	about := func(name string) bool { return strings.Contains(i.line, name) }
	one := strings.Contains(i.op, "CAPBSET_READ") || strings.Contains(i.op, "AMBIENT_IS_SET")
	opens := i.call.name == "openat" && i.own && i.fault == "error=EACCES"
	return i.code != 0 && i.door == toRun && (opens || !i.fails() && slices.Contains(credentialCalls, i.call.name)) &&
		(!one || slices.ContainsFunc([]string{"CAP_CHOWN", "CAP_SETGID", "CAP_SETUID", "CAP_SETPCAP", "CAP_NET_ADMIN", "CAP_NET_RAW", "EINVAL"}, about))
}

// One system call of the launch fails, or reports success and does nothing: each of them, at each of its occurrences.
func TestNoSystemCallThatFailsOrLiesBreaksThePromise(t *testing.T) {
	engine.RequireRoot(t)
	engine.Require(t, "strace", "unshare")
	caplaunch := engine.Caplaunch(t)
	list := injections(t, caplaunch)
	unit.Rand(t).Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	if !*all {
		list = fairly(t, list)
	}
	tryAll(t, list, func(i injection) (outcome, string, string, end) {
		o, problem, e := i.try(t, caplaunch)
		return o, problem, i.String() + "\n" + i.line, e
	})
}

// fairly puts one of each credential step and of what could turn a refusal into a launch first, then one of each other
// kind, then the rest: a share of a launch that makes 300 calls of rt_sigaction is not to leave its one setresuid out.
func fairly(t *testing.T, list []injection) []injection {
	var ranks [3][]injection
	seen := map[string]bool{}
	for _, i := range list {
		kind, rank := string(i.door)+i.op+i.fault, 1
		if i.step || i.turnsARefusal() {
			kind, rank = kind+i.scenario.name+i.line, 0
		}
		if seen[kind] {
			rank = 2
		}
		seen[kind] = true
		ranks[rank] = append(ranks[rank], i)
	}
	t.Logf("%d of %d come before all others", len(ranks[0]), len(list))
	return slices.Concat(ranks[:]...)
}
