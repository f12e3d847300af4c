//go:build linux

// Bench measures what a launch costs beside others, all in one run: launchers in C, setpriv, gosu, an empty Go program,
// and no launcher at all. It prints a table, and how the cost grows; with -update it writes both into docs.
//
//	make bench
package main

import (
	"flag"
	"fmt"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

var (
	rounds = flag.Int("rounds", 1000, "launches by each launcher")
	binary = flag.String("bin", "bin/caplaunch", "the caplaunch under measurement")
	gosu   = flag.String("gosu", "", "the gosu under measurement; without it one is built, or the installed one taken")
	update = flag.Bool("update", false, "write what was measured to docs/performance.md and docs/growth.svg")
	growth = flag.Bool("growth", true, "measure the growth too")
)

func main() {
	log.SetFlags(0)
	flag.Parse()
	runtime.LockOSThread() // which is pinned, and gets a mount namespace
	if os.Geteuid() != 0 {
		log.Fatal("a switch of the user needs root")
	}
	b := &bench{}
	defer b.close()
	b.prepare()
	b.run(*rounds, b.launchers...)
	text := map[string]string{"launch": b.versions() + "\n" + b.table() + "\n"}
	fmt.Print(text["launch"])
	if *growth {
		panels := b.growth(max(*rounds/10, 20))
		text["growth"] = growthTable(panels) + "\n"
		fmt.Print(text["growth"])
		if *update {
			must(os.WriteFile("docs/growth.svg", []byte(picture(panels)), 0o644))
		}
	}
	if *update {
		writePage("docs/performance.md", text)
	}
}

// writePage puts each text between the two lines of the page that name it.
func writePage(path string, text map[string]string) {
	page, err := os.ReadFile(path)
	must(err)
	for name, text := range text {
		begin, end := "<!-- make bench: "+name+" -->\n\n", "<!-- end of "+name+" -->"
		before, rest, ok := strings.Cut(string(page), begin)
		_, after, ok2 := strings.Cut(rest, end)
		if !ok || !ok2 {
			log.Fatalf("%s has not the lines %q and %q", path, begin, end)
		}
		page = []byte(before + begin + text + end + after)
	}
	must(os.WriteFile(path, page, 0o644))
}

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

// versions says on what the figures were measured.
func (b *bench) versions() string {
	first := func(argv ...string) string {
		out, _ := exec.Command(argv[0], argv[1:]...).Output()
		line, _, _ := strings.Cut(string(out), "\n")
		return line
	}
	cpu := runtime.GOARCH
	if info, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		if _, model, ok := strings.Cut(string(info), "model name\t: "); ok {
			cpu, _, _ = strings.Cut(model, "\n")
		}
	}
	text := fmt.Sprintf("%s, Linux %s, %s, %s, %s", cpu, first("uname", "-r"), runtime.Version(), first("gcc", "--version"), first("setpriv", "--version"))
	if b.gosu != "" {
		text += ", gosu " + first(b.gosu, "--version")
	}
	return fmt.Sprintf("%s; medians of %d rounds, caplaunch %s.\n", text, *rounds, first("git", "describe", "--always", "--dirty"))
}

// table shows the overhead of each launcher over the bare program.
func (b *bench) table() string {
	var s strings.Builder
	s.WriteString("| launcher | µs | × floor | × setpriv | page faults | system calls | size |\n| --- | --: | --: | --: | --: | --: | --: |\n")
	bare := b.find("no launcher")
	floor := b.find("C without libc")
	setpriv := b.find("setpriv")
	for _, l := range b.launchers {
		if l == bare {
			fmt.Fprintf(&s, "| the program alone | %.0f | | | %d | %d | |\n", us(l.median()), l.faults, l.calls)
			continue
		}
		over := l.median() - bare.median()
		ratio := func(to *launcher) string {
			if to == nil {
				return ""
			}
			return fmt.Sprintf("%.2f", float64(over)/float64(max(to.median()-bare.median(), 1)))
		}
		size := ""
		if st, err := os.Stat(l.words[0]); err == nil {
			size = fmt.Sprint(st.Size())
		}
		fmt.Fprintf(&s, "| %s | %.0f | %s | %s | %d | %d | %s |\n", l.name, us(over), ratio(floor), ratio(setpriv), l.faults-bare.faults, l.calls-bare.calls, size)
	}
	return s.String()
}

// repo is a path in the repository, in which this runs.
func repo(path string) string {
	path, err := filepath.Abs(path)
	must(err)
	return path
}
