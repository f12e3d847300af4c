package transparency

import (
	"flag"
	"fmt"
	"math/bits"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/caplaunch/caplaunch/test/integration/engine"
)

var update = flag.Bool("update", false, "write the table that was measured to docs/transparency.md")

// A column is a launcher that changes to uid 65532, and keeps NET_ADMIN where it can.
type column struct {
	name string
	argv launcher
}

func columns(t testing.TB) []column {
	engine.Require(t, "gosu", "setpriv")
	var all []column
	// Debian has no package of it: measured where somebody has put one into PATH.
	if path, err := exec.LookPath(suExec); err == nil {
		all = append(all, column{suExec, launcher{path, user + ":" + user}})
	} else if *update {
		t.Fatalf("the table has a column for it: %v", err)
	}
	return append(all, []column{
		{"gosu", launcher{"/usr/sbin/gosu", user + ":" + user}},
		{"setpriv", launcher{"/usr/bin/setpriv", "--reuid=" + user, "--regid=" + user, "--clear-groups", "--no-new-privs", "--inh-caps=+net_admin", "--ambient-caps=+net_admin"}},
		{"launcher in C", inC(t)},
		{"caplaunch", caplaunch(t)},
	}...)
}

const suExec = "su-exec"

// withoutSuExec is a table without its first column of that name, if this
// machine has not measured it.
func withoutSuExec(table string) string {
	if _, err := exec.LookPath(suExec); err == nil {
		return table
	}
	var b strings.Builder
	for line := range strings.Lines(table) {
		if cells := strings.SplitN(line, "|", 4); len(cells) == 4 {
			line = cells[0] + "|" + cells[1] + "|" + cells[3]
		}
		b.WriteString(line)
	}
	return b.String()
}

// A row is one thing that a program can find, from a condition in which it shows.
type row struct {
	what    string
	from    condition
	differs func(direct, behind string) string // "" when it does not; behind is never ""
	reason  string                             // for what caplaunch changes
}

// mask reads a line of the mirror that is a set of signals.
func mask(report, key string) uint64 {
	_, rest, _ := strings.Cut("\n"+report, "\n"+key+" ")
	line, _, _ := strings.Cut(rest, "\n")
	n, _ := strconv.ParseUint(line, 16, 64)
	return n
}

// lost counts the signals that are missing in a set.
func lost(key, what string) func(direct, behind string) string {
	return func(direct, behind string) string {
		want, got := mask(direct, key), mask(behind, key)
		switch missing := bits.OnesCount64(want &^ got); {
		case want == got:
			return ""
		case missing == 0:
			return "more are " + key
		default:
			return fmt.Sprintf("%d of %d %s", missing, bits.OnesCount64(want), what)
		}
	}
}

// lines compares the lines that begin so, and says what there is instead in words.
func lines(words func(behind []string) string, keys ...string) func(direct, behind string) string {
	pick := func(report string) []string {
		var found []string
		for line := range strings.SplitSeq(report, "\n") {
			for _, k := range keys {
				if strings.HasPrefix(line, k) {
					found = append(found, line)
				}
			}
		}
		return found
	}
	return func(direct, behind string) string {
		if want, got := pick(direct), pick(behind); strings.Join(want, "\n") != strings.Join(got, "\n") {
			return words(got)
		}
		return ""
	}
}

func says(s string) func([]string) string { return func([]string) string { return s } }

func value(prefix string) func([]string) string {
	return func(l []string) string { return strings.TrimPrefix(strings.Join(l, ", "), prefix) }
}

// identity is what a launcher is asked to change.
var identity = []string{
	"status Uid", "status Gid", "status Groups", "status Cap", "status NoNewPrivs", "no_new_privs", "auxv 11", "auxv 12", "auxv 13", "auxv 14",
	"keyring_session",
} // without one of its own, a process has the user's

// mentioned is what has a row of its own.
var mentioned = append([]string{"ignored", "blocked", "pending", "status Sig", "status Shd", "fd ", "fds ", "env ", "envc ", "rlimit nofile", "pdeathsig"}, identity...)

func rows() []row {
	plain := []string{"PATH=/bin", "HOME=/root", "USER=root", "LOGNAME=root"}
	return []row{
		{what: "ignored signals, all 62", from: condition{stage: []string{fmt.Sprintf("ignore=%x", every)}}, differs: lost("ignored", "are default again")},
		{what: "blocked signals, all 62", from: condition{stage: []string{fmt.Sprintf("block=%x", every)}}, differs: lost("blocked", "are unblocked")},
		{what: "blocked and pending: SIGUSR1", from: condition{stage: []string{"block=" + set(10), "pend=10"}}, differs: lost("pending", "is lost")},
		{
			what: "blocked and pending: SIGTERM", from: condition{stage: []string{"block=" + set(15), "pend=15"}}, differs: lost("pending", "is lost"),
			reason: "The Go runtime takes HUP, INT, QUIT, ILL, TRAP, ABRT, BUS, FPE, SEGV, TERM, STKFLT, CHLD, PROF, SYS and 32 to 34 out of the mask before any code of ours runs; one that is pending then has its effect at once. All others stay pending.",
		},
		{what: "descriptors 0 to 2 closed", from: condition{stage: []string{"close=012"}}, differs: lines(says("/dev/null instead"), "fd ")},
		{what: "300 open descriptors", from: condition{stage: []string{"fds=300"}}, differs: lines(says("others"), "fd ", "fds ")},
		{what: "repeated and empty variables", from: condition{environ: append([]string{"A=1", "", "A=2", "B", "A=1", ""}, plain[1])}, differs: lines(says("dropped"), "env \"A", "env \"B", "env \"\"")},
		{what: "`GOMEMLIMIT=garbage` for the program", from: condition{environ: append([]string{"GOMEMLIMIT=garbage"}, plain[1])}, differs: lines(says("lost"), "env \"GO")},
		{what: "`GODEBUG=inittrace=1` for the program", from: condition{environ: append([]string{"GODEBUG=inittrace=1"}, plain[1])}, differs: lines(says("obeyed: lines on stderr"), "fd 2 ")},
		{
			what: "HOME, USER, LOGNAME of root", from: condition{environ: plain}, differs: lines(variables, "env \"HOME", "env \"USER", "env \"LOGNAME"),
			reason: "Those of the new user, as login(1) sets them; `--keep-env` leaves them alone.",
		},
		{what: "RLIMIT_NOFILE 500, hard 600", from: condition{stage: []string{"limit=7:500:600"}}, differs: lines(value("rlimit nofile "), "rlimit nofile")},
		{
			what: "RLIMIT_AS 50 MB", from: condition{stage: []string{"limit=9:50000000:50000000"}}, differs: lines(says("another"), "rlimit as"),
			reason: "The Go runtime reserves more than that, and ends with its own message and status 2.",
		},
		{what: "parent-death signal", from: condition{stage: []string{"pdeathsig=12"}}, differs: lines(says("lost"), "pdeathsig ")},
		{what: "all the rest, at its default", from: condition{environ: plain}, differs: others},
		{what: "all the rest, changed", from: condition{environ: plain, stage: []string{
			"nice=19", "schedule=3:19:0:0", "affinity=1", "ioprio=16389", "oom=300", "coredump=0x3f",
			"slack=77777", "umask=013", "personality=40000", "setsid", "subreaper", "thp", "timers", "children", "cd=/", "limit=1:1000000:1000000", "limit=4:0:0",
			"limit=11:100:100", "limit=8:4096:8192",
		}}, differs: others},
	}
}

// variables says what became of HOME, USER and LOGNAME.
func variables(l []string) string {
	return "`" + strings.ReplaceAll(strings.ReplaceAll(strings.Join(l, " "), "env ", ""), "\"", "") + "`"
}

// others names the first words of all lines without a row that differ.
func others(direct, behind string) string {
	var names []string
	seen := map[string]bool{}
	for _, line := range only(behind, direct) {
		// With fixed addresses, these tell how long HOME is.
		skip := strings.HasPrefix(line, "stack ") || strings.HasPrefix(line, "auxv ") && strings.Contains(line, " at ")
		for _, m := range mentioned {
			skip = skip || strings.HasPrefix(line, m)
		}
		if key, _, _ := strings.Cut(line, " "); !skip && !seen[key] {
			seen[key] = true
			names = append(names, key)
		}
	}
	return strings.Join(names, ", ")
}

// stdio is a row of its own: owner and mode of a pipe on stdout after the launch.
func stdio(t testing.TB, l launcher) string {
	t.Helper()
	p := newPlace(t)
	defer p.close()
	before := owner(t, p.other)
	if r := engine.Command(t, onStdout(l, p.other, engine.Probe(t), "mirror", p.out)); r.Code != 0 {
		t.Fatal(r)
	}
	if after := owner(t, p.other); after != before {
		return after
	}
	return ""
}

const begin, end = "<!-- measured: go test ./transparency -run Table -update -->\n", "<!-- end -->\n"

// table measures everything.
func table(t testing.TB) string {
	cols := columns(t)
	var b strings.Builder
	b.WriteString("| found by the program |")
	for _, c := range cols {
		b.WriteString(" " + c.name + " |")
	}
	b.WriteString("\n| --- |" + strings.Repeat(" --- |", len(cols)) + "\n")
	var reasons []string
	line := func(what, reason string, cell func(l launcher) string) {
		fmt.Fprintf(&b, "| %s |", what)
		for _, c := range cols {
			said := cell(c.argv)
			if c.name == "caplaunch" && said != "" {
				if reason == "" {
					t.Errorf("%s: caplaunch's %q has no reason", what, said)
				}
				reasons = append(reasons, reason)
				said += fmt.Sprintf(" (%d)", len(reasons))
			}
			b.WriteString(strings.TrimRight(" "+said, " ") + " |")
		}
		b.WriteString("\n")
	}
	p := newPlace(t)
	defer p.close()
	for _, r := range rows() {
		want, err := r.from.behind(t, p, direct)
		if err != nil {
			t.Fatalf("%s: %v", r.what, err)
		}
		line(r.what, r.reason, func(l launcher) string {
			got, err := r.from.behind(t, p, l)
			if err != nil {
				return "does not start"
			}
			return r.differs(want, got)
		})
	}
	line("owner and mode of a pipe on stdout", "So that `/dev/stdout` can be opened for writing, see below; `--stdio=keep` leaves it alone.", func(l launcher) string { return stdio(t, l) })
	b.WriteString("\n")
	for i, r := range reasons {
		fmt.Fprintf(&b, "(%d) %s\n", i+1, r)
		if i < len(reasons)-1 {
			b.WriteString("\n")
		}
	}
	return b.String()
}

func TestTableInTheDocumentationIsWhatIsMeasured(t *testing.T) {
	engine.RequireRoot(t)
	path := filepath.Join(engine.Root, "docs", "transparency.md")
	data, err := os.ReadFile(path)
	engine.Must(t, err)
	before, rest, ok1 := strings.Cut(string(data), begin)
	old, after, ok2 := strings.Cut(rest, end)
	if !ok1 || !ok2 {
		t.Fatalf("%s has no place for the table", path)
	}
	now := "\n" + table(t) + "\n"
	if *update {
		engine.Must(t, os.WriteFile(path, []byte(before+begin+now+end+after), 0o644))
		return
	}
	if old = withoutSuExec(old); old != now {
		t.Errorf("%s is not what is measured (-update writes it):\n%s", path, diff(old, now))
	}
}
