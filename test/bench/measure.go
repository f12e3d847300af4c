//go:build linux

package main

import (
	"fmt"
	"log"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A launcher is the words in front of the program, and what was measured.
type launcher struct {
	name   string
	words  []string
	env    []string
	args   []string        // of the program
	wall   []time.Duration // from fork to exit, of each round
	faults int             // page faults of one launch, the program's included
	calls  int             // system calls, the same; 0 without strace
}

func (l *launcher) median() time.Duration {
	d := slices.Sorted(slices.Values(l.wall))
	return d[len(d)/2]
}

func us(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

type bench struct {
	dir, program string
	gosu         string // "" without one
	launchers    []*launcher
}

func (b *bench) close() { _ = os.RemoveAll(b.dir) }

func (b *bench) find(name string) *launcher {
	i := slices.IndexFunc(b.launchers, func(l *launcher) bool { return l.name == name })
	if i < 0 {
		return nil
	}
	return b.launchers[i]
}

// prepare builds what is measured, into a folder that every user may enter, and pins this thread to one CPU, which its
// children inherit.
func (b *bench) prepare() {
	var err error
	b.dir, err = os.MkdirTemp("", "bench")
	must(err)
	must(os.Chmod(b.dir, 0o755))
	command := func(env []string, argv ...string) {
		cmd := exec.Command(argv[0], argv[1:]...)
		cmd.Env = append(os.Environ(), env...)
		if out, err := cmd.CombinedOutput(); err != nil {
			log.Fatalf("%v: %v\n%s", argv, err, out)
		}
	}
	at := func(name string) string { return filepath.Join(b.dir, name) }
	floor := []string{"gcc", "-O2", "-static", "-nostdlib", "-ffreestanding", "-fno-stack-protector", "-s", "test/bench/testdata/floor.c", "-o"}
	command(nil, append(floor, at("floor"))...)
	command(nil, append(floor, at("nothing"), "-DNOTHING")...)
	command(nil, "gcc", "-O2", "-static", "-DMAIN=claunch", "-o", at("claunch"), "test/integration/testdata/start.c")
	must(os.WriteFile(at("empty.go"), []byte("package main\n\nfunc main() {}\n"), 0o644))
	for name, source := range map[string]string{"empty": at("empty.go"), "kong": "./test/bench/testdata/kong"} {
		command([]string{"CGO_ENABLED=0"}, "go", "build", "-trimpath", "-ldflags=-w", "-o", at("linked"), source)
		command(nil, "cp", at("linked"), at(name))
	}
	command(nil, "cp", *binary, at("caplaunch"))
	b.program = at("nothing")

	flags := []string{"--caps=net_admin", "--user=65532:65532", "--"}
	b.launchers = []*launcher{
		{name: "no launcher"},
		{name: "C without libc", words: []string{at("floor"), "65532", "65532", "1000"}},
		{name: "C, static glibc", words: []string{at("claunch"), "65532", "65532", "1000"}},
		{name: "setpriv", words: []string{"setpriv", "--reuid=65532", "--regid=65532", "--clear-groups", "--inh-caps=+net_admin", "--ambient-caps=+net_admin", "--no-new-privs"}},
		{name: "an empty Go program, which launches nothing", words: []string{at("empty")}},
		{name: "the same with two flags read by kong", words: append([]string{at("kong")}, flags...)},
	}
	if b.buildGosu(); b.gosu != "" {
		b.launchers = append(b.launchers, &launcher{name: "gosu, which keeps no capability", words: []string{b.gosu, "65532:65532"}})
	}
	b.launchers = append(b.launchers,
		&launcher{name: "caplaunch", words: append([]string{at("caplaunch")}, flags...)},
		&launcher{name: "caplaunch, as the Go linker left it", words: append([]string{repo(*binary)}, flags...)})
	for _, l := range b.launchers {
		if len(l.words) > 0 {
			path, err := exec.LookPath(l.words[0])
			must(err)
			l.words[0] = path
		}
		b.calls(l)
	}
	var cpus unix.CPUSet
	must(unix.SchedGetaffinity(0, &cpus))
	for cpu := 1023; cpu >= 0; cpu-- {
		if cpus.IsSet(cpu) {
			cpus.Zero()
			cpus.Set(cpu)
			must(unix.SchedSetaffinity(0, &cpus))
			// Where this is allowed, what else runs on the machine interrupts the launches less. A real-time
			// policy would let the threads of gosu wait for each other for ever.
			_ = unix.Setpriority(unix.PRIO_PROCESS, 0, -20)
			break
		}
	}
}

// buildGosu builds gosu by the same Go as caplaunch, where it is not named, or takes the one that is installed.
func (b *bench) buildGosu() {
	if *gosu != "" {
		b.gosu = repo(*gosu)
		return
	}
	cmd := exec.Command("go", "install", "-trimpath", "-ldflags=-w", "github.com/tianon/gosu@1.19")
	cmd.Env = append(os.Environ(), "GOBIN="+b.dir, "CGO_ENABLED=0", "GOFLAGS=")
	if cmd.Run() == nil {
		b.gosu = filepath.Join(b.dir, "gosu")
	} else if path, err := exec.LookPath("gosu"); err == nil {
		b.gosu = path
	}
}

func (b *bench) argv(l *launcher) []string {
	return slices.Concat(l.words, []string{b.program}, l.args)
}

// run makes launches by all of them in turn, in another order each round.
func (b *bench) run(rounds int, all ...*launcher) {
	null, err := os.OpenFile("/dev/null", os.O_RDWR, 0)
	must(err)
	defer null.Close()
	files := []uintptr{null.Fd(), null.Fd(), 2}
	for round := range rounds + 3 { // the first fill the caches
		for _, i := range rand.Perm(len(all)) {
			l, argv := all[i], b.argv(all[i])
			attr := &syscall.ProcAttr{Env: append(os.Environ(), l.env...), Files: files}
			begin := time.Now()
			pid, err := syscall.ForkExec(argv[0], argv, attr)
			must(err)
			var status syscall.WaitStatus
			var usage syscall.Rusage
			_, err = syscall.Wait4(pid, &status, 0, &usage)
			took := time.Since(begin)
			must(err)
			if status != 0 {
				log.Fatalf("%s ended with %d", argv[0], status)
			}
			if round >= 3 {
				l.wall, l.faults = append(l.wall, took), int(usage.Minflt)
			}
		}
	}
}

var total = regexp.MustCompile(`(?m)^\s*(\d+)\s+total$`)

// calls counts the system calls of one launch, by strace. Those by which threads wait come and go.
func (b *bench) calls(l *launcher) {
	argv := append([]string{"-f", "-qq", "-c", "-U", "calls,name", "-e", "trace=!futex,nanosleep", "--"}, b.argv(l)...)
	out, err := exec.Command("strace", argv...).CombinedOutput()
	if m := total.FindSubmatch(out); m != nil {
		l.calls, _ = strconv.Atoi(string(m[1]))
	} else {
		log.Printf("no system calls counted of %s: %v: %s", l.name, err, out)
	}
}

// A panel is one way to grow: the overhead of some launchers at each size, of the fastest launch. A long one is
// interrupted more often than a short one, which would look like growth.
type panel struct {
	title  string
	sizes  []int
	series []series
}

type series struct {
	name string
	ms   []float64
}

// growth measures launches that have more to carry.
func (b *bench) growth(rounds int) (panels []panel) {
	const app = "app:x:65532:65532::/home/app:/bin/false\n"
	byName := map[string][]string{
		"setpriv":   {"--reuid=app", "--regid=65532", "--clear-groups", "--inh-caps=+net_admin", "--ambient-caps=+net_admin", "--no-new-privs"},
		"gosu":      {"app"},
		"caplaunch": {"--caps=net_admin", "--user=app", "--"},
	}
	panels = append(panels,
		b.panel("arguments of the program", []int{1, 1000, 2000, 4000}, rounds, func(l *launcher, size int) {
			l.args = make([]string, size)
			for i := range l.args {
				l.args[i] = "argument"
			}
		}),
		b.panel("GOMAXPROCS in the environment", []int{1, 64, 128, 256}, rounds, func(l *launcher, size int) {
			l.env = []string{"GOMAXPROCS=" + strconv.Itoa(size)}
		}))
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil { // of this thread alone
		log.Printf("no passwd of another length: %v", err)
		return panels
	}
	must(unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
	panels = append(panels, b.panel("lines of /etc/passwd, the user in the last", []int{10, 10_000, 50_000, 100_000}, rounds, func(l *launcher, size int) {
		name, _, _ := strings.Cut(l.name, ",")
		if words := byName[name]; words != nil {
			l.words = append(l.words[:1:1], words...)
		}
	}, func(size int) func() {
		var text strings.Builder
		for i := range size - 1 {
			fmt.Fprintf(&text, "user%d:x:%d:%[2]d::/home/user%[1]d:/bin/false\n", i, 100_000+i)
		}
		path := filepath.Join(b.dir, "passwd")
		must(os.WriteFile(path, []byte(text.String()+app), 0o644))
		must(unix.Mount(path, "/etc/passwd", "", unix.MS_BIND, ""))
		return func() { must(unix.Unmount("/etc/passwd", 0)) }
	}))
	return panels
}

// panel measures one way to grow; set makes a launch larger, and around the machine.
func (b *bench) panel(title string, sizes []int, rounds int, set func(*launcher, int), around ...func(int) func()) panel {
	p := panel{title: title, sizes: sizes}
	for _, size := range sizes {
		undo := func() {}
		for _, f := range around {
			undo = f(size)
		}
		var all []*launcher
		for _, l := range b.launchers {
			if name, _, _ := strings.Cut(l.name, ","); name == "no launcher" || name == "setpriv" || name == "gosu" || l.name == "caplaunch" {
				c := &launcher{name: l.name, words: l.words}
				set(c, size)
				all = append(all, c)
			}
		}
		b.run(rounds, all...)
		for i, l := range all[1:] {
			if len(p.series) == i {
				name, _, _ := strings.Cut(l.name, ",")
				p.series = append(p.series, series{name: name})
			}
			p.series[i].ms = append(p.series[i].ms, us(slices.Min(l.wall)-slices.Min(all[0].wall))/1000)
		}
		undo()
	}
	return p
}
