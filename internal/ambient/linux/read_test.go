//go:build linux

package linux

import (
	"cmp"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/caplaunch/caplaunch/internal/ambient"
	"github.com/caplaunch/caplaunch/test/unit"
)

// A lie is an answer to some calls in the place of the kernel, value or errno. The buffers stay as they were.
type lie struct {
	name  string
	call  uintptr
	to    func(a [6]uint64) bool // nil: to all
	value int64
	errno syscall.Errno
	want  told
}

// told is what comes of it.
type told struct {
	Errno     syscall.Errno // the read fails with it
	Faked     bool          // the lie is found out
	NoGroups  bool          // it is believed that groups cannot be set
	NoAmbient bool          // and that there is no ambient set
}

// option is what the first arguments are.
func option(options ...uint64) func(a [6]uint64) bool {
	return func(a [6]uint64) bool { return slices.Equal(a[:len(options)], options) }
}

func either(o, other uint64) func(a [6]uint64) bool {
	return func(a [6]uint64) bool { return a[0] == o || a[0] == other }
}

func first(n uint32) func(a [6]uint64) bool {
	return func(a [6]uint64) bool { return uint32(a[0]) == n }
}

const isSet = unix.PR_CAP_AMBIENT_IS_SET

// lies are told to a process with the group 5, in which 12 is inheritable and not permitted, and 13 the other way round.
var lies = []lie{
	{name: "no lie", call: unix.SYS_GETPID},
	{name: "capget does nothing", call: unix.SYS_CAPGET, want: told{Faked: true}},
	{name: "capget fails", call: unix.SYS_CAPGET, errno: unix.EPERM, want: told{Errno: unix.EPERM}},
	{name: "getresuid does nothing", call: sysGetresuid, want: told{Faked: true}},
	{name: "getresuid fails", call: sysGetresuid, errno: unix.EPERM, want: told{Errno: unix.EPERM}},
	{name: "getresgid does nothing", call: sysGetresgid, want: told{Faked: true}},
	{name: "there are no groups", call: sysGetgroups, want: told{Faked: true}},
	{name: "getgroups fails", call: sysGetgroups, errno: unix.EPERM, want: told{Errno: unix.EPERM}},
	{name: "the number of groups is 0", call: sysGetgroups, to: first(0), want: told{Faked: true}},
	{name: "the number of groups is 2", call: sysGetgroups, to: first(0), value: 2, want: told{Faked: true}},
	{name: "the number of groups is too large", call: sysGetgroups, to: first(0), value: ambient.MaxGroups + 1, want: told{Faked: true}},
	{name: "the number of groups is negative", call: sysGetgroups, to: first(0), value: -5000, want: told{Faked: true}},
	{name: "there are fewer groups than they were", call: sysGetgroups, to: first(1), want: told{Faked: true}},
	{name: "the groups are not filled in", call: sysGetgroups, to: first(1), value: 1, want: told{Faked: true}},
	{name: "nothing is bounding", call: unix.SYS_PRCTL, to: option(unix.PR_CAPBSET_READ), want: told{Faked: true}},
	{name: "bounding is odd", call: unix.SYS_PRCTL, to: option(unix.PR_CAPBSET_READ, 3), value: 5, want: told{Faked: true}},
	{name: "bounding is not known", call: unix.SYS_PRCTL, to: option(unix.PR_CAPBSET_READ), errno: unix.EINVAL, want: told{Errno: unix.EINVAL}},
	{name: "bounding ends early", call: unix.SYS_PRCTL, to: option(unix.PR_CAPBSET_READ, 12), errno: unix.EINVAL, want: told{Faked: true}},
	{name: "bounding fails", call: unix.SYS_PRCTL, to: option(unix.PR_CAPBSET_READ, 12), errno: unix.EPERM, want: told{Errno: unix.EPERM}},
	{name: "nothing is ambient", call: unix.SYS_PRCTL, to: option(unix.PR_CAP_AMBIENT), want: told{Faked: true}},
	{name: "ambient is what is not permitted", call: unix.SYS_PRCTL, to: option(unix.PR_CAP_AMBIENT, isSet, 12), value: 1, want: told{Faked: true}},
	{name: "ambient is what is not inheritable", call: unix.SYS_PRCTL, to: option(unix.PR_CAP_AMBIENT, isSet, 13), value: 1, want: told{Faked: true}},
	{name: "ambient is odd", call: unix.SYS_PRCTL, to: option(unix.PR_CAP_AMBIENT, isSet, 13), value: 5, want: told{Faked: true}},
	{name: "ambient ends early", call: unix.SYS_PRCTL, to: option(unix.PR_CAP_AMBIENT, isSet, 12), errno: unix.EINVAL, want: told{Faked: true}},
	{name: "ambient fails", call: unix.SYS_PRCTL, to: option(unix.PR_CAP_AMBIENT, isSet, 12), errno: unix.EPERM, want: told{Errno: unix.EPERM}},
	{name: "there is no ambient set", call: unix.SYS_PRCTL, to: option(unix.PR_CAP_AMBIENT), errno: unix.EINVAL, want: told{NoAmbient: true}},
	{name: "securebits fail", call: unix.SYS_PRCTL, to: option(unix.PR_GET_SECUREBITS), errno: unix.EPERM, want: told{Errno: unix.EPERM}},
	{name: "securebits are not known", call: unix.SYS_PRCTL, to: option(unix.PR_GET_SECUREBITS), errno: unix.EINVAL, want: told{Errno: unix.EINVAL}},
	{name: "neither ambient nor securebits, as in an old gVisor", call: unix.SYS_PRCTL, to: either(unix.PR_CAP_AMBIENT,
		unix.PR_GET_SECUREBITS), errno: unix.EINVAL, want: told{NoAmbient: true}},
	{name: "no_new_privs is odd", call: unix.SYS_PRCTL, to: option(unix.PR_GET_NO_NEW_PRIVS), value: 2, want: told{Faked: true}},
	{name: "no_new_privs fails", call: unix.SYS_PRCTL, to: option(unix.PR_GET_NO_NEW_PRIVS), errno: unix.EPERM, want: told{Errno: unix.EPERM}},
	{name: "the death signal is not filled in", call: unix.SYS_PRCTL, to: option(unix.PR_GET_PDEATHSIG), want: told{Faked: true}},
	{name: "the death signal fails", call: unix.SYS_PRCTL, to: option(unix.PR_GET_PDEATHSIG), errno: unix.EPERM, want: told{Errno: unix.EPERM}},
	{name: "hiding does nothing", call: unix.SYS_PRCTL, to: option(unix.PR_SET_DUMPABLE), want: told{Faked: true}},
	{name: "hiding does nothing, and refuses what is false", call: unix.SYS_PRCTL, to: option(unix.PR_SET_DUMPABLE, 0), want: told{Faked: true}},
	{name: "hiding does nothing, and looks as if it did", call: unix.SYS_PRCTL, to: either(unix.PR_SET_DUMPABLE, unix.PR_GET_DUMPABLE), want: told{Faked: true}},
	{name: "hiding is refused", call: unix.SYS_PRCTL, to: option(unix.PR_SET_DUMPABLE, 0), errno: unix.EPERM, want: told{Errno: unix.EPERM}},
	{name: "hiding fails", call: unix.SYS_PRCTL, to: option(unix.PR_SET_DUMPABLE), errno: unix.EPERM, want: told{Errno: unix.EPERM}},
	{name: "too many groups are taken", call: sysSetgroups, want: told{Faked: true}},
	{name: "setgroups is denied", call: sysSetgroups, errno: unix.EPERM, want: told{NoGroups: true}},
	{name: "setgroups is not there", call: sysSetgroups, errno: unix.ENOSYS, want: told{Errno: unix.ENOSYS}},
}

const lieEnv = "LINUX_TEST_LIE"

func TestMain(m *testing.M) {
	if n, err := strconv.Atoi(os.Getenv(lieEnv)); err == nil {
		lies[n].child()
	}
	os.Exit(m.Run())
}

// TestNoReadBelievesALie answers every call of the reads for the kernel: what is no state of this process is an error.
func TestNoReadBelievesALie(t *testing.T) {
	unit.Root(t) // to have groups and to set them
	for n, l := range lies {
		t.Run(l.name, func(t *testing.T) {
			cmd := exec.Command("/proc/self/exe")
			// A signal would interrupt the call that is being answered.
			cmd.Env = append(os.Environ(), lieEnv+"="+strconv.Itoa(n), "GODEBUG=asyncpreemptoff=1")
			cmd.Stderr = os.Stderr
			b, err := cmd.Output()
			var got told
			if err = errors.Join(err, json.Unmarshal(b, &got)); err != nil || got != l.want {
				t.Errorf("%+v, want %+v, %v", got, l.want, err)
			}
		})
	}
}

// child is the process that is lied to, on its main thread. Another thread answers.
func (l lie) child() {
	runtime.LockOSThread()
	runtime.GOMAXPROCS(2)
	debug.SetGCPercent(-1) // it would wait for the call that waits for an answer
	k := OneThread()
	p := ambient.SetOf(13, ambient.CapSetGID)
	for _, s := range []ambient.Step{
		ambient.SetGroups{Groups: ambient.NewGroups(5)},
		ambient.Capset{Permitted: p, Effective: p, Inheritable: ambient.SetOf(12)},
		ambient.SetNoNewPrivs{}, // which a filter needs
	} {
		if err := k.Do(s); err != nil {
			panic(err)
		}
	}
	truth, _, err := k.StateAndHost()
	if err != nil {
		panic(err)
	}
	l.tell()
	s, h, err := k.StateAndHost()
	if !h.Ambient {
		truth.Securebits = 0
	}
	if err == nil && s != truth {
		panic("another state")
	}
	if _, again := k.State(); err != nil && l.call != sysSetgroups && again == nil {
		panic("it is believed without the host")
	}
	_, deathErr := k.DeathSignal()
	err = cmp.Or(err, deathErr, k.Hide())
	var got told
	if errors.As(err, &got.Errno); err == nil {
		got.NoGroups, got.NoAmbient = !h.SetGroups, !h.Ambient
	}
	got.Faked = errors.Is(err, ErrFaked)
	if err := json.NewEncoder(os.Stdout).Encode(got); err != nil {
		panic(err)
	}
	os.Exit(0)
}

// tell installs a filter on this thread that has l's call answered, seccomp_unotify(2).
func (l lie) tell() {
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS}, // the number of the call
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: uint32(l.call), Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_USER_NOTIF},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	fd, _, e := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_NEW_LISTENER, uintptr(unsafe.Pointer(&prog)))
	if e != 0 {
		panic(e)
	}
	go func() {
		for {
			var asked struct {
				id         uint64
				pid, flags uint32
				nr         int32
				arch       uint32
				ip         uint64
				args       [6]uint64
			}
			if _, _, e := unix.Syscall(unix.SYS_IOCTL, fd, unix.SECCOMP_IOCTL_NOTIF_RECV, uintptr(unsafe.Pointer(&asked))); e != 0 {
				panic(e)
			}
			answer := struct {
				id    uint64
				value int64
				errno int32
				flags uint32
			}{id: asked.id, value: l.value, errno: -int32(l.errno)}
			if l.to != nil && !l.to(asked.args) {
				answer.value, answer.errno, answer.flags = 0, 0, unix.SECCOMP_USER_NOTIF_FLAG_CONTINUE
			}
			if _, _, e := unix.Syscall(unix.SYS_IOCTL, fd, unix.SECCOMP_IOCTL_NOTIF_SEND, uintptr(unsafe.Pointer(&answer))); e != 0 {
				panic(e)
			}
		}
	}()
}

func TestAFileIsReadWhole(t *testing.T) {
	text := strings.Repeat("a line\n", 20_000)
	path := unit.Write(t, filepath.Join(t.TempDir(), "file"), text, 0o644)
	for of, want := range map[string]error{path: nil, path + "2": unix.ENOENT, filepath.Dir(path): unix.EISDIR} {
		if got, err := ReadFile(of); err != want || err == nil && got != text {
			t.Errorf("%s: %d bytes, %v", of, len(got), err)
		}
	}
	if endless, err := ReadFile("/dev/zero"); err != nil || len(endless) < 1<<20 || len(endless) > 2<<20 {
		t.Errorf("%d bytes, %v", len(endless), err)
	}
}
