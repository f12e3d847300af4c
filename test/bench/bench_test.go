//go:build linux

// Package bench measures what a launch costs, beside others and in the same run: a launcher in C that makes the
// same system calls, setpriv and gosu where they are installed, and no launcher at all. The figures are ratios
// of medians to the launcher in C, so that they mean the same on every machine.
//
//	make bench
package bench

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

const floor = "C"

// A launcher is the words in front of the program.
type launcher struct {
	name  string
	words []string
	wall  []time.Duration // from fork to exit, of each round
	cpu   []time.Duration // user and system
}

func BenchmarkLaunch(b *testing.B) {
	if os.Geteuid() != 0 {
		b.Skip("a switch of the user needs root")
	}
	dir, err := os.MkdirTemp("", "bench") // that of b lies in a folder of root alone
	if err == nil {
		err = os.Chmod(dir, 0o755)
	}
	if err != nil {
		b.Fatal(err)
	}
	defer os.RemoveAll(dir)
	build := func(name string, argv ...string) string {
		path := filepath.Join(dir, name)
		cmd := exec.Command(argv[0], append(argv[1:], "-o", path)...)
		if out, err := cmd.CombinedOutput(); err != nil {
			b.Skipf("%v: %v\n%s", argv, err, out)
		}
		return path
	}
	nothing := filepath.Join(dir, "nothing.c")
	if err := os.WriteFile(nothing, []byte("int main(void) { return 0; }\n"), 0o644); err != nil {
		b.Fatal(err)
	}
	program := build("nothing", "gcc", "-O2", "-static", nothing)
	inC := build("claunch", "gcc", "-O2", "-static", "../integration/transparency/testdata/claunch.c")
	caplaunch, err := filepath.Abs("../../bin/caplaunch")
	if err != nil {
		b.Fatal(err)
	}
	if _, err := os.Stat(caplaunch); err != nil {
		b.Skip("make build first: ", err)
	}

	launchers := []*launcher{
		{name: floor, words: []string{inC, "65532", "65532", "1000"}},
		{name: "caplaunch", words: []string{caplaunch, "--caps=net_admin", "--user=65532:65532", "--"}},
		{name: "none"},
	}
	for name, words := range map[string][]string{
		"setpriv": {"--reuid=65532", "--regid=65532", "--clear-groups", "--inh-caps=+net_admin", "--ambient-caps=+net_admin", "--no-new-privs"},
		"gosu":    {"65532:65532"}, // without capabilities, which it cannot keep
	} {
		if path, err := exec.LookPath(name); err == nil {
			launchers = append(launchers, &launcher{name: name, words: append([]string{path}, words...)})
		}
	}
	for b.Loop() {
		for _, l := range launchers {
			argv := append(l.words[:len(l.words):len(l.words)], program)
			cmd := exec.Command(argv[0], argv[1:]...)
			begin := time.Now()
			if out, err := cmd.CombinedOutput(); err != nil {
				b.Fatalf("%v: %v\n%s", argv, err, out)
			}
			l.wall = append(l.wall, time.Since(begin))
			l.cpu = append(l.cpu, cmd.ProcessState.UserTime()+cmd.ProcessState.SystemTime())
		}
	}
	b.ReportMetric(0, "ns/op") // a sum over all of them, which says nothing
	for _, l := range launchers[1:] {
		b.ReportMetric(ratio(l.wall, launchers[0].wall), l.name+"-wall/"+floor)
		b.ReportMetric(ratio(l.cpu, launchers[0].cpu), l.name+"-cpu/"+floor)
	}
}

// ratio is that of the medians.
func ratio(a, b []time.Duration) float64 {
	median := func(d []time.Duration) float64 {
		d = slices.Clone(d)
		slices.Sort(d)
		return float64(d[len(d)/2])
	}
	return median(a) / max(median(b), 1)
}
