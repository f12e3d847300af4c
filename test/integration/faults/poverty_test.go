package faults

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/caplaunch/caplaunch/test/integration/engine"
)

// A hardship is a place with too little of something.
type hardship struct {
	name  string
	start []string       // words in front of caplaunch
	argv  []string       // of caplaunch; nil is launch
	keep  engine.Promise // what the program finds, nil when it must not run
	says  string         // a part of the error, or of the hint, when it does not
	may   []outcome      // what else is allowed
}

// poor is a user that nobody else is, so that its processes can be counted.
const poor = 64321

// launch is a command line of caplaunch that gives net_admin to the poor user.
func launch(t testing.TB) []string {
	return []string{engine.Caplaunch(t), "-c", "net_admin", "-u", fmt.Sprintf("%d:%d", poor, poor), "--", probe(t), "all"}
}

// copied is launch, of a program that has to be copied.
func copied(t testing.TB) []string {
	argv := slices.Insert(launch(t), 1, "--strip-file-caps")
	argv[len(argv)-2] = privileged(t)
	return argv
}

// thePoor is what launch promises.
func thePoor() engine.Promise { return credentials(poor, strconv.Itoa(poor), netAdmin) }

// endure makes the launch and holds its end against the rule.
func (h hardship) endure(t *testing.T) {
	t.Helper()
	if h.argv == nil {
		h.argv = launch(t)
	}
	h.judge(t, run(t, 30*time.Second, append(h.start[:len(h.start):len(h.start)], h.argv...)...))
}

func (h hardship) judge(t *testing.T, e end) {
	t.Helper()
	o, problem := judge(h.keep, e)
	switch {
	case o == broken:
		t.Errorf("%s\n%.2000v", problem, e.Result)
	case slices.Contains(h.may, o):
	case h.keep != nil && o != kept, h.keep == nil && o != refused:
		t.Errorf("%v\n%.2000v", o, e.Result)
	}
	if o == refused && !strings.Contains(e.Stderr, h.says) {
		t.Errorf("%q is not told\n%.2000v", h.says, e.Result)
	}
	t.Logf("%v %.200s", o, e.said())
}

func endureAll(t *testing.T, list []hardship) {
	for _, h := range list {
		t.Run(h.name, func(t *testing.T) { h.endure(t) })
	}
}

// limited is a start under resource limits, hard and soft.
func limited(limits ...string) []string {
	words := []string{"prlimit"}
	for _, l := range limits {
		name, n, _ := strings.Cut(l, "=")
		words = append(words, fmt.Sprintf("--%s=%s:%s", name, n, n))
	}
	return words
}

// Resource limits: the promise with the limits as they were, or a refusal that names the limit.
func TestLimitsAreKeptOrNamed(t *testing.T) {
	engine.RequireRoot(t)
	engine.Require(t, "prlimit", "gcc")
	capable := []string{"-u", "65532:65532", "--", privileged(t), "all"}
	stripped := append([]string{engine.Caplaunch(t), "--strip-file-caps"}, capable...)
	list := []hardship{
		{name: "no process allowed to a user who has none", start: limited("nproc=0"), keep: thePoor().With("rlimit nproc", "0 0")},
		{name: "no address space for the Go runtime", start: limited("as=100000000"), may: []outcome{aborted}},
		{name: "too little address space for the Go runtime", start: limited("as=1200000000"), may: []outcome{aborted}},
		{name: "address space enough for the Go runtime", start: limited("as=1300000000"), keep: thePoor().With("rlimit as", "1300000000 1300000000")},
		{name: "a small stack", start: limited("stack=65536"), keep: thePoor().With("rlimit stack", "65536 65536")},
		{name: "no file may be written", start: limited("fsize=0"), keep: thePoor().With("rlimit fsize", "0 0")},
		{name: "no file may be written, and a copy is needed", start: limited("fsize=0"), argv: stripped, says: "RLIMIT_FSIZE"},
		{
			name: "no core, no locked memory, no queues, no priority", start: limited("core=0", "memlock=0", "msgqueue=0", "nice=0", "rtprio=0", "locks=0"),
			keep: thePoor().With("rlimit memlock", "0 0", "rlimit msgqueue", "0 0"),
		},
	}
	for n := 3; n <= 10; n++ {
		few, limit := limited(fmt.Sprintf("nofile=%d", n)), fmt.Sprintf("%d %d", n, n)
		list = append(list, hardship{
			name: fmt.Sprintf("%d descriptors", n), start: few,
			keep: thePoor().With("rlimit nofile", limit), may: []outcome{refused}, says: "too many open files",
		}, hardship{
			name: fmt.Sprintf("%d descriptors, and a copy is needed", n), start: few, argv: stripped,
			keep: credentials(65532, "65532", 0).With("rlimit nofile", limit), may: []outcome{refused}, says: "too many open files",
		})
		if n > 4 {
			list = append(list, hardship{name: fmt.Sprintf("%d descriptors, and a copy is not allowed", n), start: few, argv: append([]string{engine.Caplaunch(t), "-c", "net_admin"}, capable...), says: "file"})
		}
	}
	endureAll(t, list)
}

// A cgroup that allows fewer tasks than the Go runtime starts: it says so, and the program never runs.
func TestTooFewTasksEndBeforeTheProgram(t *testing.T) {
	engine.RequireRoot(t)
	group := pidsCgroup(t)
	for most := 1; most <= 10; most++ {
		t.Run(fmt.Sprintf("pids.max %d", most), func(t *testing.T) {
			engine.Must(t, os.WriteFile(filepath.Join(group, "pids.max"), []byte(strconv.Itoa(most)), 0o644))
			h := hardship{start: []string{"sh", "-ec", `echo $$ >"$1"; shift; exec "$@"`, "sh", filepath.Join(group, "cgroup.procs")}, keep: thePoor()}
			if most < 8 {
				h.may = []outcome{refused, aborted}
			}
			h.endure(t)
		})
	}
}

// pidsCgroup is a new cgroup that limits tasks.
func pidsCgroup(t *testing.T) string {
	t.Helper()
	var err error
	for _, root := range []string{"/sys/fs/cgroup/pids", "/sys/fs/cgroup"} {
		group := filepath.Join(root, fmt.Sprintf("caplaunch-test-%d", os.Getpid()))
		if err = os.Mkdir(group, 0o755); err != nil {
			continue
		}
		t.Cleanup(func() { _ = os.Remove(group) })
		if _, err = os.Stat(filepath.Join(group, "pids.max")); err == nil {
			return group
		}
	}
	engine.Unusable(t, "no cgroup with pids.max can be made: %v", err)
	return ""
}

// Files that are not there, or not what they should be.
func TestALaunchNeedsNoFileButTheProgram(t *testing.T) {
	engine.RequireRoot(t)
	engine.Require(t, "unshare")
	bare := map[string]engine.Src{"/caplaunch": engine.File(engine.Caplaunch(t)), "/probe": engine.File(probe(t))}
	inside := []string{"/caplaunch", "-c", "net_admin", "-u", fmt.Sprintf("%d:%d", poor, poor), "--", "/probe", "all"}
	root := func(options ...string) []string {
		return slices.Concat([]string{capstart(t), "-R", engine.Tree(t, bare)}, options, []string{"--"})
	}
	readOnly := engine.Tree(t, bare)
	fifo := filepath.Join(engine.TempDir(t), "fifo")
	engine.Must(t, syscall.Mkfifo(fifo, 0o644))
	over := func(what, passwd string) []string { return engine.Mounting("mount --bind " + passwd + " " + what) }
	endureAll(t, []hardship{
		{name: "a root with caplaunch and the program and nothing else", start: root(), argv: inside, keep: thePoor().With("proc", "0", "cwd", "/")},
		{
			name: "a read-only root", start: append(engine.Mounting(fmt.Sprintf("mount --bind %[1]s %[1]s\nmount -o remount,bind,ro %[1]s", readOnly)), capstart(t), "-R", readOnly, "--"),
			argv: inside, keep: thePoor(),
		},
		{
			name: "a full /tmp", start: engine.Mounting("mount -t tmpfs -o size=4k,mode=1777 none /var/tmp\ncat /dev/zero >/var/tmp/full 2>/dev/null || true\nmount --bind /var/tmp /dev/shm"),
			argv: copied(t), keep: thePoor(),
		},
		{name: "no /proc", start: engine.Mounting("umount -l /proc"), keep: thePoor().With("proc", "0")},
		{name: "no /dev", start: engine.Mounting("mount -t tmpfs none /dev"), keep: thePoor()},
		{name: "no /dev, and a copy is needed", start: engine.Mounting("mount -t tmpfs none /dev\numount -l /proc"), argv: copied(t), keep: thePoor()},
		// The Go runtime puts /dev/null on what is closed, and gives up without one.
		{name: "no /dev/null for a closed stdin", start: root("-C", "0"), argv: inside, may: []outcome{aborted}},
		{name: "no /dev/null for a closed stderr", start: root("-C", "2"), argv: inside, may: []outcome{aborted}},

		{name: "a passwd that is a FIFO, and a number", start: over("/etc/passwd", fifo), keep: thePoor(), may: []outcome{refused}},
		{name: "a passwd that is /dev/zero, and a number", start: over("/etc/passwd", "/dev/zero"), keep: thePoor(), may: []outcome{refused}},
	})
}

// Many or no words: of arguments, of the environment, of groups.
func TestQuantitiesAreKeptOrRefused(t *testing.T) {
	engine.RequireRoot(t)
	engine.Require(t, "unshare")
	from := func(groups string) []string { return []string{capstart(t), "-G", groups, "--"} }
	var ids, members strings.Builder
	for id := range 1 << 16 {
		fmt.Fprintf(&ids, "%d ", id+1)
		fmt.Fprintf(&members, "g%[1]d:x:%[1]d:faults\n", id+1)
	}
	most := strings.TrimSpace(ids.String())
	// One argument holds 128 KiB at most.
	var flags []string
	for list := range slices.Chunk(strings.Fields(most), 10000) {
		flags = append(flags, "--groups="+strings.Join(list, ","))
	}
	own := func(flags ...string) []string {
		return slices.Concat([]string{engine.Caplaunch(t), "-c", "net_admin"}, flags, []string{"--", probe(t), "all"})
	}
	there := []string{engine.Caplaunch(t), "-u", "65532:65532", "--", "./probe"}
	inFolder := func(script string) []string {
		return []string{"sh", "-ec", `cd "$1"; shift; ` + script + `; exec "$@"`, "sh", engine.TempDir(t)}
	}
	const entry = "faults:x:65536:65536::/:/bin/sh\n"
	endureAll(t, []hardship{
		{name: "no arguments at all, not even a name", start: []string{starter(t, "noargs")}, argv: []string{engine.Caplaunch(t)}, says: "--"},
		{name: "65,536 groups received and kept", start: from("1-65536"), argv: own("-u", "65536:65536", "--keep-groups"), keep: credentials(65536, most, netAdmin)},
		{name: "65,536 groups received and dropped", start: from("1-65536"), keep: thePoor()},
		{name: "65,537 groups, with the primary one", start: from("1-65536"), argv: own("-u", "65537:65537", "--keep-groups"), says: "hint: caplaunch --groups="},
		{name: "65,536 groups asked for", argv: own(append(flags, "-u", "65536:65536")...), keep: credentials(65536, most, netAdmin)},
		{name: "65,537 groups asked for", argv: own(append(flags, "--groups=65537", "-u", "65536:65536")...), says: "more groups than the kernel takes"},
		{name: "65,536 groups of a name", start: engine.Accounts(t, entry, members.String()), argv: own("-u", "faults"), keep: credentials(65536, most, netAdmin)},
		{
			name: "65,537 groups of a name", start: engine.Accounts(t, entry, members.String()+"one:x:65537:faults\n"), argv: own("-u", "faults"),
			says: "more than the kernel takes",
		},
		{name: "a working directory that is deleted", start: inFolder(`rmdir "$PWD"`), keep: thePoor().With("cwd", "")},
		{name: "a working directory that is deleted, and a program in it", start: inFolder(`rmdir "$PWD"`), argv: there, says: "./probe"},
		{name: "a working directory that the user may not enter", start: inFolder("chmod 0 ."), keep: thePoor()},
		{
			name: "a working directory that the user may not enter, and a program in it", start: inFolder("cp " + probe(t) + " probe; chmod 0 ."),
			argv: there, says: "may not search",
		},
	})
}

// An environment of 100,000 entries reaches the program.
func TestAHundredThousandVariablesReachTheProgram(t *testing.T) {
	engine.RequireRoot(t)
	const many = 100000
	env := make([]string, many)
	for i := range env {
		env[i] = fmt.Sprintf("V%d=", i)
	}
	argv := launch(t)
	argv[len(argv)-1] = "env"
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = env
	e := finish(t, engine.Timeout, cmd)
	hardship{keep: engine.Promise{"envc": strconv.Itoa(many + 1), "env99999": "V99999=", "env100000": "HOME=/"}}.judge(t, e)
}
