//go:build !mips && !mipsle && !mips64 && !mips64le

package origin

import (
	"bytes"
	"context"
	"debug/elf"
	"errors"
	"fmt"
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
)

// These tests start testdata/launcher, a Go program at our entry, and a launcher in C from the same state,
// and compare what a probe in C finds behind each.

const entryFlag = "-E _caplaunch_entry"

var binDir string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		var err error
		if binDir, err = os.MkdirTemp("", "origin"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(binDir)
		return m.Run()
	}())
}

// need skips at home and fails where TEST_REQUIRE says that every tool must be there.
func need(t *testing.T, tool string) string {
	t.Helper()
	path, err := exec.LookPath(tool)
	if err != nil {
		if os.Getenv("TEST_REQUIRE") == "1" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	return path
}

// needRoot skips at home and fails where all must run.
func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		if os.Getenv("TEST_REQUIRE") == "1" {
			t.Fatal("needs root")
		}
		t.Skip("needs root")
	}
}

var helper = sync.OnceValues(func() (string, error) {
	path := filepath.Join(binDir, "helper")
	out, err := exec.Command("gcc", "-O1", "-Wall", "-Werror", "-static", "-o", path, "testdata/helper.c").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("gcc: %w\n%s", err, out)
	}
	return path, nil
})

func helperPath(t *testing.T) string {
	t.Helper()
	need(t, "gcc")
	path, err := helper()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

var builds sync.Map // of func() (string, error), so that parallel tests share one build

// build makes the launcher for an architecture, with the linker flags and further flags of go build.
func build(t *testing.T, arch, ldflags string, flags ...string) string {
	t.Helper()
	key := fmt.Sprint(arch, ldflags, flags)
	once, _ := builds.LoadOrStore(key, sync.OnceValues(func() (string, error) {
		path := filepath.Join(binDir, fmt.Sprintf("launcher-%s-%x", arch, key))
		args := slices.Concat([]string{"build", "-ldflags", ldflags, "-o", path}, flags, []string{"./testdata/launcher"})
		cmd := exec.Command("go", args...)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch)
		if out, err := cmd.CombinedOutput(); err != nil {
			return "", fmt.Errorf("go build: %w\n%s", err, out)
		}
		return path, nil
	}))
	path, err := once.(func() (string, error))()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// withEntry is the launcher that starts at our entry.
func withEntry(t *testing.T) string {
	t.Helper()
	if runtime.GOARCH != "amd64" && runtime.GOARCH != "arm64" {
		t.Skip("no entry on " + runtime.GOARCH)
	}
	return build(t, runtime.GOARCH, entryFlag)
}

// plain are launchers without the entry that run here without an emulator. A kernel for amd64 runs 386 as well, unless
// it was built or booted without.
func plain(t *testing.T) []string {
	t.Helper()
	launchers := []string{build(t, runtime.GOARCH, "-w")}
	if runtime.GOARCH == "amd64" {
		other := build(t, "386", "-w")
		if err := exec.Command(other).Run(); errors.Is(err, syscall.ENOEXEC) {
			t.Log("this kernel runs no 386 program")
		} else {
			launchers = append(launchers, other)
		}
	}
	return launchers
}

// start is the state that a launcher is started from.
type start struct {
	ignored, blocked Signals
	closed           string
	environ          []string // nil: PATH alone
	args             []string // for the probe
}

// behind gives the probe's report from behind a launcher, or what the launcher printed and its status.
func (s start) behind(t *testing.T, launcher ...string) (report string, failure error) {
	t.Helper()
	dir, err := os.MkdirTemp(binDir, "run")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	out := filepath.Join(dir, "out")
	if s.environ == nil {
		s.environ = []string{"PATH=/bin"}
	}
	environ := write(t, s.environ)
	me := helperPath(t)
	args := slices.Concat([]string{"set", fmt.Sprintf("%x", uint64(s.ignored)), fmt.Sprintf("%x", uint64(s.blocked)), s.closed, environ},
		launcher, []string{me, "probe", out}, s.args)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, me, args...)
	cmd.Stdin = strings.NewReader("") // a pipe: /dev/null would look like the runtime's
	printed, failure := cmd.CombinedOutput()
	if failure != nil {
		failure = fmt.Errorf("%w: %s", failure, printed)
	}
	content, err := os.ReadFile(out)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return string(content), failure
}

// write puts an environment into a file for the helper.
func write(t *testing.T, environ []string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "environ")
	if err := os.WriteFile(path, []byte(strings.Join(environ, "\x00")+"\x00"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func (s start) mustReport(t *testing.T, launcher ...string) string {
	t.Helper()
	report, err := s.behind(t, launcher...)
	if err != nil {
		t.Errorf("%+v: %v", s, err)
	}
	return report
}

// same compares the launcher at our entry with the one in C.
func (s start) same(t *testing.T, launcher ...string) {
	t.Helper()
	want := s.mustReport(t, helperPath(t), "exec", "")
	if got := s.mustReport(t, launcher...); got != want {
		t.Errorf("ignored [%v] blocked [%v] closed %q environ %.200q:\n%s", s.ignored, s.blocked, s.closed, s.environ, diff(want, got))
	}
}

func diff(want, got string) string {
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	var b strings.Builder
	for i := range max(len(w), len(g)) {
		left, right := "", ""
		if i < len(w) {
			left = w[i]
		}
		if i < len(g) {
			right = g[i]
		}
		if left != right {
			fmt.Fprintf(&b, "\tin C  %.200s\n\there  %.200s\n", left, right)
		}
	}
	return b.String()
}

const unignorable = Signals(1<<(9-1) | 1<<(19-1)) // KILL and STOP

func random(t *testing.T) *rand.Rand {
	seed := uint64(time.Now().UnixNano())
	if s, err := strconv.ParseUint(os.Getenv("TEST_SEED"), 10, 64); err == nil {
		seed = s
	}
	t.Logf("TEST_SEED=%d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

func TestEachIgnoredSignalReachesTheProgram(t *testing.T) {
	t.Parallel()
	launcher := withEntry(t)
	for signal := 1; signal <= 64; signal++ {
		start{ignored: SignalsOf(signal) &^ unignorable}.same(t, launcher, "0")
	}
}

func TestEachBlockedSignalReachesTheProgram(t *testing.T) {
	t.Parallel()
	launcher := withEntry(t)
	for signal := 1; signal <= 64; signal++ {
		start{blocked: SignalsOf(signal) &^ unignorable}.same(t, launcher, "0")
	}
}

func TestSignalsAndDescriptorsTogetherReachTheProgram(t *testing.T) {
	t.Parallel()
	r, launcher := random(t), withEntry(t)
	start{ignored: ^unignorable, blocked: ^unignorable, closed: "012"}.same(t, launcher, "0")
	for range 30 {
		start{
			ignored: Signals(r.Uint64()) &^ unignorable,
			blocked: Signals(r.Uint64()) &^ unignorable,
			closed:  closedSets[r.IntN(len(closedSets))],
		}.same(t, launcher, "0")
	}
}

var closedSets = []string{"", "0", "1", "2", "01", "02", "12", "012"}

func TestClosedDescriptorsStayClosed(t *testing.T) {
	t.Parallel()
	launcher := withEntry(t)
	for _, closed := range closedSets {
		start{closed: closed}.same(t, launcher, "0")
	}
}

var environments = map[string][]string{
	"duplicates":             {"A=1", "A=2", "B=", "A=1", "A=1"},
	"empty entries":          {"", "A=1", "", "", "B=2", ""},
	"no equals sign":         {"A", "=", "=B", "==", "A=1", "A"},
	"bytes":                  {"\xff\xfe=\x01", "A=\n=b\r", "É=é", strings.Repeat("x", 60_000) + "=" + strings.Repeat("y", 60_000)},
	"malformed limit":        {"GOMEMLIMIT=garbage", "A=1"},
	"no memory":              {"GOMEMLIMIT=1", "GOGC=1"},
	"steering":               {"GODEBUG=inittrace=1,gctrace=1,schedtrace=1", "GOMAXPROCS=1", "GOTRACEBACK=crash", "GOGC=garbage"},
	"twice":                  {"GODEBUG=inittrace=1", "A=1", "GODEBUG=inittrace=1", "GODEBUG=", "GODEBUG"},
	"almost GO":              {"G", "GO", "GO=", "GOC", "GOCOVERDIR=/nowhere", "O=1", "go=1", "XGOGC=1", "GP=1", "G=O", "GOD", ""},
	"last entry is GO":       {"A=1", "GO"},
	"like the settings":      {"GODEBUG=asyncpreemptoff=1", "GOMAXPROCS=1", "GODEBUG=asyncpreemptoff=1"},
	"five thousand":          slices.Repeat([]string{"A=1", "", "GODEBUG=x=1", "B=" + strings.Repeat("b", 50), "C"}, 1000),
	"looks like caplaunch's": {"CAPLAUNCH_CAPS=x", "CAPLAUNCH_CAPS=y"},
}

func TestTheEnvironmentReachesTheProgramByteForByte(t *testing.T) {
	t.Parallel()
	launcher := withEntry(t)
	for name, environ := range environments {
		t.Run(name, func(t *testing.T) {
			start{environ: environ, args: []string{"", "--", "-x", "a b"}}.same(t, launcher, "0")
		})
	}
	start{args: slices.Repeat([]string{""}, 100_000)}.same(t, launcher, "0")
}

func TestVariablesForTheProgramDoNotSteerTheLauncher(t *testing.T) {
	t.Parallel()
	cmd := exec.Command(withEntry(t))
	cmd.Env = []string{"GOMEMLIMIT=garbage", "GOMAXPROCS=2", "GODEBUG=inittrace=1", "A=1"}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	const want = "recorded: true <nil>\n\"GOMEMLIMIT=garbage\"\n\"GOMAXPROCS=2\"\n\"GODEBUG=inittrace=1\"\n\"A=1\"\nGOMAXPROCS: 1\n"
	if err != nil || string(out) != want || stderr.Len() != 0 {
		t.Errorf("%v\n%s%s", err, out, &stderr)
	}
}

func TestFurtherSignalsCanBeIgnored(t *testing.T) {
	t.Parallel()
	launcher := withEntry(t)
	want := start{ignored: SignalsOf(1, 13, 15, 33, 36)}.mustReport(t, helperPath(t), "exec", "")
	if got := (start{ignored: SignalsOf(1, 15)}).mustReport(t, launcher, fmt.Sprintf("%x", uint64(SignalsOf(13, 15, 36, 33)))); got != want {
		t.Error(diff(want, got))
	}
}

func TestAFailedExecCanStillBeReported(t *testing.T) {
	t.Parallel()
	launcher := withEntry(t)
	for _, closed := range []string{"", "0", "01"} {
		_, err := start{ignored: ^unignorable, blocked: ^unignorable, closed: closed}.behind(t, launcher, "0", "/nonexistent")
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != 126 || !strings.Contains(err.Error(), "launcher: no such file or directory") {
			t.Errorf("closed %q: %v", closed, err)
		}
	}
	_, err := start{closed: "2"}.behind(t, launcher, "0", "/nonexistent")
	if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) || exit.ExitCode() != 126 {
		t.Errorf("closed 2: %v", err)
	}
}

func TestAPlainBuildWorksAndSaysThatItRecordedNothing(t *testing.T) {
	t.Parallel()
	for _, launcher := range plain(t) {
		cmd := exec.Command(launcher)
		cmd.Env = []string{"A=1", "A=2", "GOMAXPROCS=1"}
		out, err := cmd.Output()
		if err != nil || !strings.HasPrefix(string(out), "recorded: false <nil>\n") || !strings.Contains(string(out), "\n\"GOMAXPROCS=1\"\n") {
			t.Errorf("%v\n%s", err, out)
		}
		start{ignored: SignalsOf(1, 2), args: []string{"x"}}.same(t, launcher, "0")
		want := start{ignored: SignalsOf(13)}.mustReport(t, helperPath(t), "exec", "")
		if got := (start{}).mustReport(t, launcher, "1000"); got != want {
			t.Error(diff(want, got))
		}
	}
}

// As process 1 of a PID namespace the kernel drops these for a program without handlers.
func TestProcess1IsNotEndedDuringALaunch(t *testing.T) {
	t.Parallel()
	needRoot(t)
	me := helperPath(t)
	for _, launcher := range append(plain(t), withEntry(t)) {
		// What is ignored from the start stays so; without the entry that holds for HUP alone.
		for _, ignored := range []Signals{0, SignalsOf(1)} {
			report := func(launcher ...string) string {
				out := filepath.Join(t.TempDir(), "out")
				args := slices.Concat([]string{"set", fmt.Sprintf("%x", uint64(ignored)), "0", "", "-"}, launcher, []string{me, "probe", out})
				cmd := exec.Command(me, args...)
				cmd.Env = []string{"PATH=/bin"}
				cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID}
				stdin, err := cmd.StdinPipe()
				if err != nil {
					t.Fatal(err)
				}
				stdout, err := cmd.StdoutPipe()
				if err != nil {
					t.Fatal(err)
				}
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				if _, err := stdout.Read(make([]byte, 16)); err == nil { // ready; C does not wait
					for range 20 {
						for _, signal := range []syscall.Signal{1, 2, 3, 15} {
							_ = cmd.Process.Signal(signal)
						}
					}
				}
				stdin.Close()
				if err := cmd.Wait(); err != nil {
					t.Errorf("%s: %v", launcher[0], err)
				}
				text, _ := os.ReadFile(out)
				return string(text)
			}
			if want, got := report(me, "exec", ""), report(launcher, "0"); got != want || got == "" {
				t.Errorf("%s, ignored %x:\n%s", launcher, uint64(ignored), diff(want, got))
			}
		}
	}
}

// Whatever a C launcher can start with, on a small stack that the environment almost fills.
func TestASmallStackIsEnough(t *testing.T) {
	t.Parallel()
	launcher, me := withEntry(t), helperPath(t)
	for _, c := range []struct{ stack, environ int }{{32, 8}, {64, 40}, {96, 60}, {128, 100}, {160, 120}, {256, 125}, {512, 125}} {
		environ := slices.Repeat([]string{"A=" + strings.Repeat("a", 1000-3)}, c.environ)
		limited := func(launcher ...string) (string, error) {
			out := filepath.Join(t.TempDir(), "out")
			cmd := exec.Command("/bin/sh", slices.Concat([]string{"-c", fmt.Sprintf(`ulimit -s %d; exec "$0" "$@"`, c.stack), me, "set", "0", "0", ""},
				[]string{write(t, environ)}, launcher, []string{me, "probe", out})...)
			printed, err := cmd.CombinedOutput()
			text, _ := os.ReadFile(out)
			if err != nil {
				err = fmt.Errorf("%w: %s", err, printed)
			}
			return string(text), err
		}
		want, err := limited(me, "exec", "")
		if err != nil {
			t.Fatalf("in C with %d KiB of stack and %d kB of environment: %v", c.stack, c.environ, err)
		}
		if got, err := limited(launcher, "0"); err != nil || got != want {
			t.Errorf("with %d KiB of stack and %d kB of environment: %v\n%s", c.stack, c.environ, err, diff(want, got))
		}
	}
}

func TestReleaseBuildIsReproducibleStaticAndStartsAtTheEntry(t *testing.T) {
	t.Parallel()
	const ldflags = "-w -buildid= " + entryFlag
	launcher := build(t, runtime.GOARCH, ldflags, "-trimpath")
	again := build(t, runtime.GOARCH, ldflags, "-trimpath", "-p=2")
	one, err := os.ReadFile(launcher)
	if err != nil {
		t.Fatal(err)
	}
	two, err := os.ReadFile(again)
	if err != nil || !bytes.Equal(one, two) {
		t.Errorf("two builds differ: %v", err)
	}
	file, err := elf.NewFile(bytes.NewReader(one))
	if err != nil {
		t.Fatal(err)
	}
	if file.Type != elf.ET_EXEC {
		t.Errorf("not a plain executable: %v", file.Type)
	}
	for _, p := range file.Progs {
		if p.Type == elf.PT_INTERP || p.Type == elf.PT_DYNAMIC {
			t.Errorf("not static: %v", p.Type)
		}
	}
	symbols, err := file.Symbols()
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(symbols, func(s elf.Symbol) bool { return strings.HasPrefix(s.Name, "_caplaunch_entry") })
	if i < 0 || symbols[i].Value != file.Entry {
		t.Errorf("entry at %#x is not ours", file.Entry)
	}
}

// qemu-user does not pass everything through: it keeps handlers for HUP, INT, BUS and SEGV, renumbers the
// signals from 32 on, and rebuilds the environment without duplicates and in an order of its own.
func TestARM64UnderQemu(t *testing.T) {
	t.Parallel()
	const qemu = Signals(0x7fffffff) &^ (1<<0 | 1<<1 | 1<<6 | 1<<10) &^ unignorable
	environ := []string{"GODEBUG=inittrace=1", "GOMEMLIMIT=garbage", "A=1", "B=2", "GOGC=1"}
	sorted := func(report string) string {
		lines := strings.Split(report, "\n")
		slices.Sort(lines)
		return strings.Join(lines, "\n")
	}
	if runtime.GOARCH == "arm64" {
		t.Skip("natively tested")
	}
	emulator := need(t, "qemu-aarch64-static")
	launcher := build(t, "arm64", entryFlag)
	r := random(t)
	for _, closed := range closedSets {
		s := start{ignored: Signals(r.Uint64()) & qemu, blocked: Signals(r.Uint64()) & qemu, closed: closed, environ: environ}
		want, got := sorted(s.mustReport(t, helperPath(t), "exec", "")), sorted(s.mustReport(t, emulator, launcher, "0"))
		if got != want {
			t.Errorf("%+v:\n%s", s, diff(want, got))
		}
	}
}

// One call of the launcher's main thread fails, or reports success and does nothing. Either the program
// finds exactly what it should, or it was not started. The delays that strace brings also make the runtime
// want to preempt the main thread while SIGURG is blocked.
func TestAFaultNeverChangesWhatTheProgramFinds(t *testing.T) {
	t.Parallel()
	strace := need(t, "strace")
	launcher := withEntry(t)
	s := start{ignored: SignalsOf(10, 13, 15), blocked: SignalsOf(12, 15, 23), closed: "0"}
	want := s.mustReport(t, helperPath(t), "exec", "")
	r := random(t)
	started := 0
	for _, call := range []struct {
		name   string
		number int // of the calls that a launch makes, or a few more
	}{{"rt_sigaction", 330}, {"rt_sigprocmask", 30}, {"fcntl", 20}, {"execve", 1}} {
		tries := min(call.number, 20)
		for _, n := range r.Perm(call.number)[:tries] {
			for _, fault := range []string{"retval=0", "error=EPERM"} {
				inject := fmt.Sprintf("inject=%s:%s:when=%d", call.name, fault, n+1)
				report, err := s.behind(t, strace, "-qq", "-b", "execve", "-o", os.DevNull, "-e", inject, launcher, "0")
				if report != "" {
					started++
					if report != want {
						t.Errorf("%s: %v\n%s", inject, err, diff(want, report))
					}
				} else if err == nil {
					t.Errorf("%s: not started, and no failure", inject)
				}
			}
		}
	}
	t.Logf("%d started", started)
}

func TestARefusedQuestionOfTheEntryIsTold(t *testing.T) {
	t.Parallel()
	strace := need(t, "strace")
	launcher := withEntry(t)
	for fault, want := range map[string]string{
		"rt_sigaction:error=EPERM:when=13":  "rt_sigaction of 13: operation not permitted",
		"rt_sigaction:retval=0:when=64":     "rt_sigaction of 64: it reported success but gave no answer",
		"rt_sigprocmask:retval=0:when=1":    "rt_sigprocmask of 0: it reported success but gave no answer",
		"rt_sigprocmask:error=EPERM:when=1": "rt_sigprocmask of 0: operation not permitted",
		"fcntl:error=ENOSYS:when=3":         "fcntl of 1: function not implemented",
		"fcntl:error=EBADF:when=5":          "fcntl of 2: it reported success but gave no answer",
	} {
		out, err := exec.Command(strace, "-qq", "-o", os.DevNull, "-e", "inject="+fault, launcher).Output()
		if err != nil || !strings.HasPrefix(string(out), "recorded: true "+want+"\n") {
			t.Errorf("%s: %v\n%.200s", fault, err, out)
		}
	}
}

// What the entry adds to a start, as a ratio: go test -bench Entry -run '^$'.
func BenchmarkStart(b *testing.B) {
	for name, ldflags := range map[string]string{"entry": entryFlag, "plain": ""} {
		path := filepath.Join(binDir, name)
		cmd := exec.Command("go", "build", "-ldflags", ldflags, "-o", path, "./testdata/launcher")
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			b.Fatal(err, string(out))
		}
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if err := syscallRun(path, "0", "/bin/true"); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func syscallRun(argv ...string) error {
	pid, err := syscall.ForkExec(argv[0], argv, nil)
	if err != nil {
		return err
	}
	_, err = syscall.Wait4(pid, nil, 0, nil)
	return err
}
