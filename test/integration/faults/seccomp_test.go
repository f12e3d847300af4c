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

	"golang.org/x/sys/unix"

	"github.com/caplaunch/caplaunch/test/integration/engine"
	"github.com/caplaunch/caplaunch/test/unit"
)

// A denial is a system call that a seccomp filter answers for the kernel, always and on every thread.
type denial struct {
	name           string // as the error says it
	filter         string // number, and the arguments by which one operation is told from another
	step           bool
	startOfRuntime bool // the Go runtime needs it at its own start
	unneeded       bool // signals and timers: a launch must do without
}

// denials are the calls that a launch makes by itself, each of which a container's seccomp profile may forbid.
func denials() []denial {
	prctl := func(name string, args ...int) denial {
		d := denial{name: "prctl " + name, filter: strconv.Itoa(unix.SYS_PRCTL)}
		for _, a := range args {
			d.filter += "," + strconv.Itoa(a)
		}
		d.step = strings.Contains(steps, " "+d.name+" ")
		return d
	}
	list := []denial{
		prctl("PR_CAPBSET_READ", unix.PR_CAPBSET_READ), prctl("PR_CAPBSET_DROP", unix.PR_CAPBSET_DROP),
		prctl("PR_CAP_AMBIENT_RAISE", unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_RAISE),
		prctl("PR_CAP_AMBIENT_IS_SET", unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_IS_SET), prctl("PR_CAP_AMBIENT", unix.PR_CAP_AMBIENT),
		prctl("PR_SET_KEEPCAPS", unix.PR_SET_KEEPCAPS), prctl("PR_GET_SECUREBITS", unix.PR_GET_SECUREBITS),
		prctl("PR_GET_NO_NEW_PRIVS", unix.PR_GET_NO_NEW_PRIVS), prctl("PR_SET_NO_NEW_PRIVS", unix.PR_SET_NO_NEW_PRIVS),
		prctl("PR_GET_PDEATHSIG", unix.PR_GET_PDEATHSIG), prctl("PR_SET_PDEATHSIG", unix.PR_SET_PDEATHSIG), prctl(""),
	}
	for kind, calls := range map[denial]map[string]int{
		{step: true}: {"capset": unix.SYS_CAPSET, "setgroups": unix.SYS_SETGROUPS, "setresgid": unix.SYS_SETRESGID, "setresuid": unix.SYS_SETRESUID},
		{}: {
			"capget": unix.SYS_CAPGET, "getresuid": unix.SYS_GETRESUID, "getresgid": unix.SYS_GETRESGID, "getgroups": unix.SYS_GETGROUPS,
			"memfd_create": unix.SYS_MEMFD_CREATE, "execveat": unix.SYS_EXECVEAT, "execve": unix.SYS_EXECVE, "sendfile": unix.SYS_SENDFILE,
			"fchown": unix.SYS_FCHOWN, "fchmod": unix.SYS_FCHMOD, "ioctl": unix.SYS_IOCTL, "close": unix.SYS_CLOSE,
			"openat": unix.SYS_OPENAT, "read": unix.SYS_READ, "pread64": unix.SYS_PREAD64, "readlinkat": unix.SYS_READLINKAT,
			"faccessat2": unix.SYS_FACCESSAT2, "fstat": unix.SYS_FSTAT, "statfs": unix.SYS_STATFS, "fstatfs": unix.SYS_FSTATFS,
			"getxattr": unix.SYS_GETXATTR, "fgetxattr": unix.SYS_FGETXATTR, "getcwd": unix.SYS_GETCWD, "getppid": unix.SYS_GETPPID,
			"prlimit64": unix.SYS_PRLIMIT64, "geteuid": unix.SYS_GETEUID, "kill": unix.SYS_KILL,
		},
		{startOfRuntime: true}: {
			"fcntl": unix.SYS_FCNTL, "mmap": unix.SYS_MMAP, "munmap": unix.SYS_MUNMAP, "madvise": unix.SYS_MADVISE, "clone": unix.SYS_CLONE, "futex": unix.SYS_FUTEX,
			"rt_sigaction": unix.SYS_RT_SIGACTION, "rt_sigprocmask": unix.SYS_RT_SIGPROCMASK, "sigaltstack": unix.SYS_SIGALTSTACK,
			"epoll_create1": unix.SYS_EPOLL_CREATE1, "epoll_ctl": unix.SYS_EPOLL_CTL, "epoll_pwait": unix.SYS_EPOLL_PWAIT,
			"eventfd2": unix.SYS_EVENTFD2, "sched_getaffinity": unix.SYS_SCHED_GETAFFINITY, "sched_yield": unix.SYS_SCHED_YIELD,
			"nanosleep": unix.SYS_NANOSLEEP, "getpid": unix.SYS_GETPID, "gettid": unix.SYS_GETTID, "getrandom": unix.SYS_GETRANDOM,
		},
		{unneeded: true}: {
			"tgkill": unix.SYS_TGKILL, "timer_create": unix.SYS_TIMER_CREATE, "timer_settime": unix.SYS_TIMER_SETTIME, "setitimer": unix.SYS_SETITIMER,
			"rt_sigqueueinfo": unix.SYS_RT_SIGQUEUEINFO, "rt_tgsigqueueinfo": unix.SYS_RT_TGSIGQUEUEINFO, "rt_sigtimedwait": unix.SYS_RT_SIGTIMEDWAIT,
		},
	} {
		for name, nr := range calls {
			kind.name, kind.filter = name, strconv.Itoa(nr)
			list = append(list, kind)
		}
	}
	slices.SortFunc(list, func(a, b denial) int { return strings.Compare(a.name+a.filter, b.name+b.filter) })
	return list
}

// answers are what the filter says: errors, and 0, the success that was none.
var answers = []syscall.Errno{unix.EPERM, unix.EINVAL, unix.ENOSYS, unix.EIO, unix.EACCES, unix.ENODATA, unix.EOPNOTSUPP, 0}

// A seccomp filter answers for one call: the program finds the promise, or never runs.
func TestNoCallThatASeccompFilterAnswersBreaksThePromise(t *testing.T) {
	engine.RequireRoot(t)
	engine.Require(t, "unshare")
	caplaunch, deny := engine.Caplaunch(t), starter(t, "deny")
	type filtered struct {
		*scenario
		denial
		answer syscall.Errno
	}
	var list []filtered
	for number, s := range scenarios(t) {
		for _, d := range denials() {
			if d.startOfRuntime && number > 0 || !strings.Contains(d.name, *calls) {
				continue
			}
			for _, answer := range answers {
				// The runtime waits for ever for what was only said to be there.
				waits := d.name == "clone" || d.name == "futex"
				if answer != 0 || !waits && !s.outOfReach(d.name) {
					list = append(list, filtered{s, d, answer})
				}
			}
		}
	}
	unit.Rand(t).Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	tryAll(t, list, func(f filtered) (outcome, string, string, end) {
		behind := slices.Concat([]string{deny, strconv.Itoa(int(f.answer)), f.filter, "--"}, f.start, f.inner)
		what := fmt.Sprintf("%s answers %d (%v)", f.denial.name, int(f.answer), f.answer)
		e := run(t, patience, append(behind, f.argv(caplaunch)...)...)
		promise := []string{"Seccomp", "2"} // the program inherits the filter
		if f.denial.name == "close" {       // the Go runtime opens a file without close-on-exec, and cannot get rid of it
			promise = append(promise, "descriptors", "*")
		}
		o, problem := f.judge(e, promise...)
		switch said := e.said(); {
		case f.unneeded && f.code == 0 && o != kept && o != broken:
			o, problem = broken, "a launch needs what nobody has to allow"
		case o == aborted && !f.startOfRuntime:
			o, problem = broken, "the runtime has the last word"
		case f.startOfRuntime && e.Stdout == "" && e.Code != 0 && !e.late:
			o, problem = aborted, "" // the runtime said why, in its own words, or caplaunch did
		case o == refused && f.code == 0 && f.step && f.answer != 0 && !names(said, f.denial.name):
			o, problem = broken, "the error does not name the step"
		}
		return o, problem, f.scenario.name + ": " + what, e
	})
}

// mutant is caplaunch, built as always, but for one piece of text in a file of its source.
func mutant(t *testing.T, file, was, is string) string {
	t.Helper()
	path := filepath.Join(engine.Root, file)
	text := engine.Read(t, path)
	if strings.Count(text, was) != 1 {
		t.Fatalf("%q is not in %s once: this test has to follow the source", was, file)
	}
	changed := map[string]string{path: strings.Replace(text, was, is, 1)}
	built := filepath.Join(engine.TempDir(t), "caplaunch")
	cmd := exec.Command("make", "-C", engine.Root, "build", "BIN="+built)
	cmd.Env = append(os.Environ(), "GOFLAGS="+engine.Overlay(t, changed))
	if r := engine.Command(t, cmd); r.Code != 0 {
		t.Fatal(r)
	}
	return built
}

// These tests can fail: a caplaunch that believes what the calls return, and does not verify, starts programs in
// the wrong state, and that is seen.
func TestTheseFaultsWouldBeNoticed(t *testing.T) {
	engine.RequireRoot(t)
	engine.Require(t, "unshare", "make")
	gullible := mutant(t, "internal/launch/launch.go", "err = ambient.Verify(l.Kernel, l.Plan); err != nil", "err = error(nil); err != nil")
	lies := map[string]string{ // and the scenario in which one must show
		"setresgid":                  "root becomes a user with capabilities",
		"setresuid":                  "root becomes a user with capabilities",
		"prctl PR_CAP_AMBIENT_RAISE": "root becomes a user with capabilities",
		"prctl PR_SET_NO_NEW_PRIVS":  "root becomes a user with capabilities",
		"prctl PR_CAPBSET_DROP":      "the bounding set is cut",
		"capset":                     "a user keeps some of its ambient capabilities",
	}
	for _, s := range scenarios(t) {
		for _, d := range denials() {
			if lies[d.name] != s.name {
				continue
			}
			argv := slices.Concat([]string{starter(t, "deny"), "0", d.filter, "--"}, s.start, s.inner, s.argv(gullible))
			e := run(t, engine.Timeout, argv...)
			if o, problem := s.judge(e, "Seccomp", "2"); o != broken || !strings.HasPrefix(problem, "the program runs in another state: ") {
				t.Errorf("%s: a lie about %s is not noticed: %v %s %v", s.name, d.name, o, problem, e.Result)
			}
			delete(lies, d.name)
		}
	}
	if len(lies) > 0 {
		t.Errorf("not told: %v", lies)
	}
}
