// Testrun runs "go test -json" over one or more modules and says how it went in a way that cannot be misread:
//
//	testrun DIR [FLAGS and PATTERNS of go test] [-- DIR …]…
//
// Failures are shown as they happen, skips with their reasons at the end, and the last line is always
// "N passed, N failed, N skipped". It counts leaf tests: subtests, and tests without any. What failed outside of
// a test (a package that does not build, a TestMain, a crash) counts as one failure. It exits 1 when anything failed, or
// when a group ran no test at all.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"
)

func main() { os.Exit(run(os.Args[1:], os.Stdout)) }

func run(args []string, w io.Writer) int {
	var sum report
	start := time.Now()
	for _, g := range groups(args) {
		if err := sum.test(g, w); err != nil {
			fmt.Fprintf(w, "FAIL %s: %v\n", strings.Join(g, " "), err)
			sum.failed++
		}
	}
	return sum.print(w, time.Since(start))
}

// groups splits args at "--".
func groups(args []string) [][]string {
	var all [][]string
	for len(args) > 0 {
		i := slices.Index(args, "--")
		if i < 0 {
			return append(all, args)
		}
		if i > 0 {
			all = append(all, args[:i])
		}
		args = args[i+1:]
	}
	return all
}

type report struct {
	passed, failed int
	skips          []skip
	failures       []string
}

type skip struct{ name, reason string }

func (r *report) test(group []string, w io.Writer) error {
	cmd := exec.Command("go", append([]string{"test", "-json"}, group[1:]...)...)
	cmd.Dir = group[0]
	cmd.Stderr = w // go's own words: a bad flag, a pattern that matches nothing
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	before := *r
	ran, err := r.read(out, w)
	_, _ = io.Copy(io.Discard, out)
	exit := cmd.Wait()
	switch {
	case err != nil:
		return errors.Join(err, exit)
	case exit != nil && r.failed == before.failed:
		return exit // something failed that no event told of
	case ran == 0 && r.failed == before.failed:
		return errors.New("no test ran")
	}
	return nil
}

// event is a line of test2json, or of a build (go help buildjson).
type event struct {
	Action, Package, Test, ImportPath, Output string
	Elapsed                                   float64
}

type testcase struct {
	output []string
	result string // pass, fail, skip, or "" while it runs
	parent bool
	failed bool // for a parent: one of its subtests failed
}

type pkg struct {
	tests  map[string]*testcase
	order  []string
	output []string
}

// read counts the tests of one go test, and shows its failures. It returns how many leaf tests there were.
func (r *report) read(in io.Reader, w io.Writer) (ran int, err error) {
	pkgs := map[string]*pkg{}
	sc := bufio.NewScanner(in)
	sc.Buffer(nil, 64<<20)
	for sc.Scan() {
		var e event
		if err := json.Unmarshal(sc.Bytes(), &e); err != nil {
			fmt.Fprintln(w, sc.Text())
			continue
		}
		if e.Action == "build-output" {
			io.WriteString(w, e.Output)
			continue
		}
		if e.Package == "" {
			continue
		}
		p := pkgs[e.Package]
		if p == nil {
			p = &pkg{tests: map[string]*testcase{}}
			pkgs[e.Package] = p
		}
		if e.Test != "" {
			p.event(e)
			if e.Action == "fail" {
				c := p.tests[e.Test]
				fmt.Fprintf(w, "--- FAIL %s %s (%.2fs)\n%s", e.Package, e.Test, e.Elapsed, indent(c.output))
			}
			continue
		}
		switch e.Action {
		case "output":
			p.output = append(p.output, e.Output)
		case "pass", "fail", "skip":
			ran += r.finish(e, p, w)
			delete(pkgs, e.Package)
		}
	}
	for name, p := range pkgs { // go test itself was killed
		ran += r.finish(event{Action: "fail", Package: name}, p, w)
	}
	return ran, sc.Err()
}

func (p *pkg) event(e event) {
	c := p.tests[e.Test]
	if c == nil {
		c = &testcase{}
		p.tests[e.Test] = c
		p.order = append(p.order, e.Test)
		if i := strings.LastIndexByte(e.Test, '/'); i > 0 {
			// A subtest's own name may have slashes: the nearest test that is known is the parent.
			for name := e.Test[:i]; ; name = name[:i] {
				if parent := p.tests[name]; parent != nil {
					parent.parent = true
					break
				}
				if i = strings.LastIndexByte(name, '/'); i < 0 {
					break
				}
			}
		}
	}
	switch e.Action {
	case "output":
		if !frame(e.Output) {
			c.output = append(c.output, e.Output)
		}
	case "pass", "fail", "skip":
		c.result = e.Action
	}
}

// frame tells the lines that go test puts around a test's own output.
func frame(line string) bool {
	line = strings.TrimLeft(line, " ")
	for _, p := range []string{"=== RUN", "=== PAUSE", "=== CONT", "=== NAME", "--- PASS", "--- FAIL", "--- SKIP"} {
		if strings.HasPrefix(line, p) {
			return true
		}
	}
	return false
}

// finish counts a package's tests when it is done.
func (r *report) finish(e event, p *pkg, w io.Writer) (ran int) {
	failed := r.failed
	for _, name := range p.order {
		c := p.tests[name]
		if c.result == "fail" || c.result == "" {
			for i, ch := range name {
				if parent := p.tests[name[:i]]; ch == '/' && parent != nil {
					parent.failed = true
				}
			}
		}
	}
	for _, name := range p.order {
		c := p.tests[name]
		full := e.Package + " " + name
		if c.parent && (c.failed || c.result == "pass") {
			continue // its subtests say it
		}
		ran++
		switch c.result {
		case "pass":
			r.passed++
		case "skip":
			r.skips = append(r.skips, skip{full, reason(c.output)})
		case "fail":
			r.fail(full)
		default:
			r.fail(full + " (did not finish)")
			fmt.Fprintf(w, "--- FAIL %s: did not finish\n%s", full, indent(c.output))
		}
	}
	if e.Action == "fail" && r.failed == failed {
		r.fail(e.Package)
	}
	state := map[string]string{"pass": "ok  ", "fail": "FAIL", "skip": "none"}[e.Action]
	fmt.Fprintf(w, "%s %s (%.1fs, %d tests)\n", state, e.Package, e.Elapsed, ran)
	if e.Action == "fail" {
		io.WriteString(w, indent(p.output))
	}
	return ran
}

func (r *report) fail(name string) {
	r.failed++
	r.failures = append(r.failures, name)
}

// reason is what a skipped test said, on one line.
func reason(output []string) string {
	if s := strings.Join(strings.Fields(strings.Join(output, " ")), " "); s != "" {
		return s
	}
	return "no reason given"
}

func indent(lines []string) string {
	var b strings.Builder
	for _, l := range lines {
		b.WriteString("    " + strings.TrimRight(l, "\n") + "\n")
	}
	return b.String()
}

// print is the end of the output, and the exit status.
func (r *report) print(w io.Writer, took time.Duration) int {
	fmt.Fprintln(w)
	for _, s := range r.skips {
		fmt.Fprintf(w, "skipped: %s: %s\n", s.name, s.reason)
	}
	for _, f := range r.failures {
		fmt.Fprintf(w, "failed: %s\n", f)
	}
	if r.passed+r.failed == 0 {
		fmt.Fprintln(w, "failed: no test ran")
		r.failed++
	}
	fmt.Fprintf(w, "took %v\n", took.Round(100*time.Millisecond))
	fmt.Fprintf(w, "%d passed, %d failed, %d skipped\n", r.passed, r.failed, len(r.skips))
	if r.failed > 0 {
		return 1
	}
	return 0
}
