package transparency

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/caplaunch/caplaunch/test/integration/engine"
	"github.com/caplaunch/caplaunch/test/unit"
)

func TestNothingAtAllIsDifferent(t *testing.T) {
	t.Parallel()
	has(t, condition{}.invisible(t), "status Uid 65532 65532 65532 65532", "status CapAmb 0000000000001000", "status Threads 1", "pid as started")
}

func TestEachSignalStaysIgnoredOrBlocked(t *testing.T) {
	engine.Begin(t)
	all := fmt.Sprintf("%x", every)
	for stage, line := range map[string]string{"ignore": "ignored", "block": "blocked"} {
		for _, n := range ignorable() {
			found := condition{stage: []string{stage + "=" + set(n)}}.same(t, inC(t), caplaunch(t))
			has(t, found, fmt.Sprintf("%s %016s\n", line, set(n)))
		}
		has(t, condition{stage: []string{stage + "=" + all}}.invisible(t), line+" "+all)
	}
	has(t, condition{stage: []string{"block=" + all, "ignore=" + all, "close=012"}}.invisible(t), "blocked "+all, "ignored "+all)
}

// They stay closed, and nothing of a refusal goes anywhere else.
func TestClosedDescriptorsStayClosed(t *testing.T) {
	t.Parallel()
	for _, closed := range []string{"", "0", "1", "2", "01", "02", "12", "012"} {
		c := condition{stage: []string{"close=" + closed}}
		has(t, c.invisible(t), fmt.Sprintf("fds %d\n", 3-len(closed)))

		all := fmt.Sprintf("%x", every)
		r := engine.Exec(t, slices.Concat([]string{engine.Starter(t, "stage"), "block=" + all, "ignore=" + all}, c.stage, []string{"--"}, caplaunch(t), []string{"/none"})...)
		if strings.Contains(closed, "2") {
			r.Stderr += engine.ErrorPrefix + "not heard by anybody\n" + engine.HintPrefix + "not heard by anybody\n" // there must be no other
		}
		engine.Refused(t, r, 127)
	}
}

func TestEnvironmentPassesByteForByte(t *testing.T) {
	t.Parallel()
	thousands := []string{}
	for i := range 1000 {
		thousands = append(thousands, "A=1", "", fmt.Sprintf("B%d=%s", i, strings.Repeat("b", i%60)), "no equals sign", "=C")
	}
	for name, environ := range map[string][]string{
		"five thousand":  thousands,
		"bytes":          {"\xff\xfe=\x01", "A=\n=b\r", "É=é", "=", "==", "", "A"},
		"no HOME":        {"A=1"},
		"three HOMEs":    {"HOME=/a", "USER=a", "A=1", "HOME=/b", "LOGNAME=a", "HOME", "USER", "HOME=/c", "USER=b"},
		"near CAPLAUNCH": {"CAPLAUNCH", "CAPLAUNCHX=1", "caplaunch_caps=1", "XCAPLAUNCH_CAPS=1", "=CAPLAUNCH_CAPS=1"},
		"Go's":           {"GODEBUG=inittrace=1,schedtrace=1", "GOMAXPROCS=7", "GOMEMLIMIT=garbage", "GOGC=garbage", "GOTRACEBACK=crash", "GODEBUG=", "GOMAXPROCS=7"},
		"no memory":      {"GOMEMLIMIT=1", "GOGC=1"},
		"coverage":       {"GOCOVERDIR=/nonexistent", "GORACE=x", "LD_PRELOAD=/nonexistent"},
		"nothing":        {},
	} {
		t.Run(name, func(t *testing.T) {
			found := condition{environ: environ}.invisible(t)
			has(t, found, fmt.Sprintf("envc %d\n", strings.Count(found, "\nenv ")))
			if name == "nothing" {
				has(t, found, "envc 1\n") // HOME
			}
		})
	}
	// The variables of flags are caplaunch's own, each entry of them. Others that are empty are nobody's.
	engine.RequireRoot(t)
	c := condition{environ: []string{"CAPLAUNCH_QUIET=", "A=1", "CAPLAUNCH_QUIET=", "CAPLAUNCH_", "CAPLAUNCH_OTHER"}, already: true}
	has(t, c.same(t, inC(t), caplaunch(t)), "env \"A=1\"\nenv \"CAPLAUNCH_\"\nenv \"CAPLAUNCH_OTHER\"\nenvc 3\n")
	c.already = false
	has(t, c.same(t, inC(t), caplaunch(t)), "env \"CAPLAUNCH_OTHER\"\nenv \"HOME=/\"\nenvc 4\n")
}

func TestArgumentsPassByteForByte(t *testing.T) {
	t.Parallel()
	args := []string{"", "--", "-h", "--user=0", "\xff\x01\n", "a b", strings.Repeat("x", 100_000)}
	has(t, condition{args: args}.invisible(t), "argc 10\n")
	has(t, condition{args: slices.Repeat([]string{""}, 20_000)}.invisible(t), "argc 20003\n")
}

func TestThousandDescriptorsPass(t *testing.T) {
	t.Parallel()
	found := condition{stage: []string{"fds=1000"}}.invisible(t)
	has(t, found, "fds 503\n") // half of them are close-on-exec
	// The limit is lower than what is open, and there are gaps.
	found = condition{stage: []string{"fds=1000", "limit=7:20:30"}}.invisible(t)
	has(t, found, "fds 503\n", "rlimit nofile 20 30\n")
}

// The runtime raises the soft limit of descriptors, and needs some room for memory and threads.
var limits = []string{
	"limit=0:1000:2000", "limit=1:1000000:2000000", "limit=2:500000000:600000000", "limit=3:1000000:2000000", // cpu, fsize, data, stack
	"limit=4:0:1000", "limit=5:1000000:2000000", "limit=6:2000:3000", "limit=7:100:200", // core, rss, nproc, nofile
	"limit=8:4096:8192", "limit=9:2000000000:3000000000", "limit=10:5:6", "limit=11:100:200", // memlock, as, locks, sigpending
	"limit=12:1000:2000", "limit=13:0:0", "limit=14:0:0", "limit=15:1000000:2000000", // msgqueue, nice, rtprio, rttime
}

func TestEachLimitPasses(t *testing.T) {
	t.Parallel()
	has(t, condition{stage: limits}.invisible(t), "rlimit nofile 100 200\n", "rlimit as 2000000000 3000000000\n", "rlimit rttime 1000000 2000000\n")
	for _, extreme := range []string{"4:0:0", "8:0:0", "10:0:0", "12:0:0", "7:8:8", "7:20000:20000", "3:200000:200000"} {
		condition{stage: []string{"limit=" + extreme}}.invisible(t)
	}
}

func TestSchedulingPasses(t *testing.T) {
	t.Parallel()
	for stage, line := range map[string]string{
		"nice=19":              "nice 19\n",
		"nice=-5":              "nice -5\n",
		"schedule=3:19:0:0":    "sched 0 policy 3 flags 0 ", // SCHED_BATCH
		"schedule=5:0:0:0":     "sched 0 policy 5 ",         // SCHED_IDLE
		"schedule=0:19:0:1":    "sched 0 policy 0 flags 1 ", // reset on fork
		"affinity=1":           "affinity 32 1 0\n",
		"ioprio=24576":         "ioprio 24576\n", // idle
		"ioprio=16389":         "ioprio 16389\n", // best effort 5
		"oom=500":              "oom_score_adj \"500\\x0a\"",
		"slack=123456":         "timerslack 123456\n",
		"umask=077":            "umask 077\n",
		"personality=40000":    "personality 40000\n",   // ADDR_NO_RANDOMIZE: all addresses are compared too
		"personality=6000000":  "personality 6000000\n", // WHOLE_SECONDS, STICKY_TIMEOUTS
		"pdeathsig=12":         "pdeathsig 12\n",
		"pdeathsig=64":         "pdeathsig 64\n",
		"setsid":               "sid self\n",
		"setpgid":              "pgid self\n",
		"subreaper":            "subreaper 1\n",
		"thp":                  "thp_disable 1\n",
		"coredump=0x7f":        "coredump_filter \"0000007f",
		"timers":               "itimer0 runs 1 interval 5.000007\n",
		"gone":                 "getcwd \"ENOENT\"",
		"cd=/proc/self/fdinfo": "getcwd ",
		"children":             "dead child yes status 7\n",
		"keyring":              "keyring_session ",
		"undumpable":           "dumpable 1\n", // execve sets it again
		fmt.Sprintf("unshare=%x", unix.CLONE_NEWUTS|unix.CLONE_NEWIPC|unix.CLONE_NEWNET|unix.CLONE_NEWNS): "namespace uts ",
		fmt.Sprintf("unshare=%x", unix.CLONE_NEWTIME):                                                     "namespace time ",
	} {
		t.Run(strings.ReplaceAll(stage, "/", "_"), func(t *testing.T) {
			c := condition{stage: []string{stage}}
			switch {
			case stage == "keyring" || strings.HasPrefix(stage, "unshare"):
				// Each start makes one of its own: it is another one than ours, and that is all.
				c.private = func(r string) string { return digits(r, "namespace", "keyring_session") }
			case strings.HasPrefix(stage, "cd="):
				c.private = func(r string) string { return digits(r, "cwd", "getcwd") }
			case stage == "gone":
				c.private = func(r string) string { return regexp.MustCompile(`(?m)^cwd .*$`).ReplaceAllString(r, "") }
			}
			if strings.HasPrefix(stage, "nice=-") || strings.HasPrefix(stage, "unshare") {
				has(t, c.same(t, inC(t), caplaunch(t)), line) // needs what root has
				return
			}
			has(t, c.invisible(t), line)
		})
	}
}

// All of it together, and a random choice, would find what depends on each other.
func TestConditionsTogetherPass(t *testing.T) {
	engine.Begin(t)
	r := unit.Rand(t)
	for range 30 {
		closed := []string{"", "0", "1", "2", "01", "02", "12", "012"}[r.IntN(8)]
		condition{stage: []string{fmt.Sprintf("ignore=%x", r.Uint64()&every), fmt.Sprintf("block=%x", r.Uint64()&every), "close=" + closed}}.same(t, inC(t), caplaunch(t))
	}
	lock := unit.Write(t, filepath.Join(engine.TempDir(t), "locked"), strings.Repeat("\x00", 100), 0o666)
	stage := []string{
		"nice=19", "schedule=3:19:0:0", "affinity=1", "ioprio=16389", "oom=300", "coredump=0x3f", "slack=77777", "umask=013", "personality=40000",
		"pdeathsig=10", "setsid", "subreaper", "thp", "timers", "lock=" + lock, "children", "fds=300", "limit=1:1000000:1000000", "limit=4:0:0",
		"limit=7:500:600", "limit=11:100:100", "block=" + set(1, 2, 15, 17, 34, 64), "ignore=" + set(3, 10, 13, 15, 40), "close=0",
	}
	c := condition{stage: stage, environ: []string{"", "A=1", "A=1", "GOMEMLIMIT=x", "B"}}
	has(t, c.invisible(t), "lock POSIX  ADVISORY  WRITE self ", "pdeathsig 10\n", "dead child yes status 7\n")
}

// A real-time program has a launcher that runs in real time.
func TestRealTimePasses(t *testing.T) {
	engine.Begin(t)
	for policy, flags := range map[int]int{1: 0, 2: 1} { // SCHED_FIFO, SCHED_RR with reset on fork
		c := condition{stage: []string{fmt.Sprintf("schedule=%d:0:5:%d", policy, flags)}}
		p := newPlace(t)
		_, err := c.behind(t, p, direct)
		p.close()
		if err != nil {
			engine.Unusable(t, "no real-time scheduling here: %v", err)
		}
		has(t, c.same(t, inC(t), caplaunch(t)), fmt.Sprintf("sched 0 policy %d flags %d ", policy, flags))
	}
}

// The terminal, its session and its foreground group are the program's as they were the launcher's.
func TestTerminalPasses(t *testing.T) {
	t.Parallel()
	c := condition{change: func(cmd *exec.Cmd) {
		_, tty := engine.Terminal(t)
		cmd.Stdin, cmd.Stdout = tty, tty
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	}}
	has(t, c.invisible(t), "terminal yes\n", "window 33 77\n", "foreground self\n", "terminal_session self\n", "sid self\n")
	c.stage = []string{"close=12"}
	has(t, c.invisible(t), "terminal yes\n", "fds 1\n")
}

// A signal that is blocked and pending reaches the runtime, which takes some out of the mask at its start: the
// documented exception. What the runtime leaves alone stays pending; the others never do worse than end caplaunch.
func TestBlockedAndPendingIsTheExceptionThatIsDocumented(t *testing.T) {
	engine.Begin(t)
	p := newPlace(t)
	defer p.close()
	for _, n := range ignorable() {
		for _, how := range []string{"pend", "pend-thread"} {
			c := condition{stage: []string{"block=" + set(n), fmt.Sprintf("%s=%d", how, n)}}
			want, err := c.behind(t, p, inC(t))
			engine.Must(t, err)
			has(t, want, fmt.Sprintf("pending %016s\n", set(n)))
			got, err := c.behind(t, p, caplaunch(t))
			same := err == nil && got == want
			if same == slices.Contains(taken, n) {
				t.Errorf("%s %d: kept %v\n%v\n%s", how, n, same, err, diff(want, got))
			}
		}
	}
}

// taken are the signals that the runtime takes out of the mask at its start, runtime/sigtab_linux_generic.go.
var taken = []int{1, 2, 3, 4, 5, 6, 7, 8, 11, 15, 16, 17, 27, 31, 32, 33, 34}

// digits masks the numbers in the lines that begin so.
func digits(report string, keys ...string) string {
	lines := strings.Split(report, "\n")
	for i, l := range lines {
		if slices.ContainsFunc(keys, func(k string) bool { return strings.HasPrefix(l, k+" ") }) {
			lines[i] = numbers.ReplaceAllString(l, "N")
		}
	}
	return strings.Join(lines, "\n")
}

var numbers = regexp.MustCompile(`[0-9]+`)

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
