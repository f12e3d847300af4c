// Package transparency proves that a program cannot tell caplaunch from a launcher written in C, nor from no launcher
// at all: it starts a probe, the mirror of testdata/probe.c, from many conditions, behind each, and compares what the probe found.
// The same is then done where it matters, in systemd and in Docker.
package transparency

import (
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/caplaunch/caplaunch/test/integration/engine"
)

func TestMain(m *testing.M) {
	// What this process was handed itself is none of the programs' business.
	_ = unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC)
	engine.Main(m)
}

// A launcher is the words in front of the program.
type launcher []string

// The launch that is compared: to uid 65532 with NET_ADMIN and nothing else.
const (
	user     = "65532"
	netAdmin = "1000"
)

func caplaunch(t testing.TB, flags ...string) launcher {
	t.Helper()
	return slices.Concat(launcher{engine.Caplaunch(t)}, ask(flags...))
}

// ask is what follows the path of caplaunch.
func ask(flags ...string) launcher {
	return slices.Concat(launcher{"--caps=net_admin", "--user=" + user + ":" + user}, flags, launcher{"--"})
}

func inC(t testing.TB) launcher {
	t.Helper()
	return launcher{engine.Starter(t, "claunch"), user, user, netAdmin}
}

// direct is no launcher at all. It makes sense for a process that has the ids and capabilities already.
var direct = launcher{}

// already are capstart's options for a process that caplaunch has nothing to change of.
var already = []string{"-u", user, "-g", user, "-G", user, "-i", netAdmin, "-a", netAdmin, "-n"}

// A condition is what a launcher is started from.
type condition struct {
	stage   []string            // words of the starter "stage"
	environ []string            // nil: PATH and HOME
	args    []string            // further ones, of the mirror
	already bool                // the process is what it should become
	change  func(*exec.Cmd)     // before the start
	private func(string) string // of what the mirror found, for comparison
}

// A place is what does not differ from start to start: the file that the mirror writes to, and what is open.
type place struct {
	out                          string
	stdin, stdout, stderr, other *os.File
}

// newPlace has a pipe, a socket and a file on the standard descriptors: /dev/null would look like the runtime's.
func newPlace(t testing.TB) *place {
	t.Helper()
	dir := engine.TempDir(t)
	engine.Must(t, os.Chmod(dir, 0o777))
	p := &place{out: filepath.Join(dir, "out")}
	var err error
	p.stdin, p.other, err = os.Pipe()
	engine.Must(t, err)
	s, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	engine.Must(t, err)
	p.stdout = os.NewFile(uintptr(s), "socket")
	p.stderr, err = os.OpenFile(filepath.Join(dir, "stderr"), os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	engine.Must(t, err)
	return p
}

func (p *place) close() {
	for _, f := range []*os.File{p.stdin, p.stdout, p.stderr, p.other} {
		f.Close()
	}
}

// behind gives what the mirror found behind a launcher. The error tells that it was not reached, and how.
func (c condition) behind(t testing.TB, p *place, l launcher) (report string, err error) {
	t.Helper()
	if err := os.Remove(p.out); err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	engine.Must(t, p.stderr.Truncate(0))
	_, err = p.stderr.Seek(0, io.SeekStart) // the mirror sees the offset, too
	engine.Must(t, err)
	words := c.stage
	if c.environ != nil {
		file := p.out + ".env"
		engine.Must(t, os.WriteFile(file, []byte(strings.Join(append(slices.Clone(c.environ), ""), "\x00")), 0o644))
		words = append([]string{"env=" + file}, words...)
	}
	argv := slices.Concat([]string{engine.Starter(t, "stage")}, words, []string{"--"}, l, []string{engine.Probe(t), "mirror", p.out}, c.args)
	if c.already {
		argv = from(t, already, argv)
	}
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = []string{"PATH=/usr/bin:/bin", "HOME=/root"}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = p.stdin, p.stdout, p.stderr
	if c.change != nil {
		c.change(cmd)
	}
	r := engine.Command(t, cmd)
	if report = engine.Content(p.out); report == "" || r.Code != 0 {
		return "", fmt.Errorf("exit status %d: %s", r.Code, engine.Content(p.stderr.Name()))
	}
	// Same process, same parent: the pid that was started is the program's.
	for key, want := range map[string]int{"pid": cmd.Process.Pid, "ppid": os.Getpid()} {
		line := fmt.Sprintf("\n%s %d\n", key, want)
		if !strings.Contains(report, line) {
			t.Errorf("%v: %s is not %d", l, key, want)
		}
		report = strings.Replace(report, line, "\n"+key+" as started\n", 1)
	}
	report = digits(report, "autogroup") // each session has another number
	if c.private != nil {
		report = c.private(report)
	}
	return report, nil
}

// same compares what the mirror finds behind launchers with what it finds behind the first.
func (c condition) same(t testing.TB, reference launcher, others ...launcher) string {
	t.Helper()
	p := newPlace(t)
	defer p.close()
	want, err := c.behind(t, p, reference)
	if err != nil {
		t.Errorf("%v: %v: %v", c.stage, reference, err)
		return ""
	}
	for _, l := range others {
		got, err := c.behind(t, p, l)
		equal(t, fmt.Sprint(c.stage, " behind ", l), want, got, err)
	}
	return want
}

// invisible is same, for caplaunch: with a switch of the user against the launcher in C, and without one against no
// launcher too. It returns what the mirror found behind a switch.
func (c condition) invisible(t testing.TB) string {
	t.Helper()
	engine.RequireRoot(t)
	c.already = false
	found := c.same(t, inC(t), caplaunch(t))
	c.already = true
	c.same(t, direct, inC(t), caplaunch(t))
	return found
}

// equal compares what was found behind one launcher with what is wanted.
func equal(t testing.TB, what, want, got string, err error) {
	t.Helper()
	if err != nil {
		t.Errorf("%s: %v", what, err)
	} else if got != want {
		t.Errorf("%s:\n%s", what, diff(want, got))
	}
}

// has checks that a condition reached the program: a test in which nothing happened proves nothing.
func has(t testing.TB, report string, lines ...string) {
	t.Helper()
	for _, l := range lines {
		if !strings.Contains("\n"+report, "\n"+l) {
			t.Errorf("the condition did not hold: no %q in\n%.400s", l, report)
		}
	}
}

// diff lists the lines that are in one report only.
func diff(want, got string) string {
	return fmt.Sprintf("\twant %.3000q\n\tgot  %.3000q\n\t(or the same lines in another order or number)", only(want, got), only(got, want))
}

// only are the lines of a that are not in b.
func only(a, b string) []string {
	there := strings.Split(b, "\n")
	return slices.DeleteFunc(strings.Split(a, "\n"), func(line string) bool { return slices.Contains(there, line) })
}

// set is a set of signals as the kernel lays it out, in hex.
func set(signals ...int) string {
	var s uint64
	for _, n := range signals {
		s |= 1 << (n - 1)
	}
	return strconv.FormatUint(s, 16)
}

// every signal that can be ignored or blocked.
const every = ^uint64(1<<(9-1) | 1<<(19-1))

func ignorable() []int {
	var all []int
	for n := 1; n <= 64; n++ {
		if every>>(n-1)&1 == 1 {
			all = append(all, n)
		}
	}
	return all
}
