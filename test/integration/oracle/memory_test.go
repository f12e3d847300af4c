package oracle

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/caplaunch/caplaunch/internal/ambient"
	"github.com/caplaunch/caplaunch/internal/ambient/linux"
	"github.com/caplaunch/caplaunch/test/unit"
)

// caplaunchEnv is the launcher to attack, where there is no Go to build it.
const caplaunchEnv = "ORACLE_CAPLAUNCH"

// TestNobodyReachesTheMemoryOfALaunch stops a launch at each system call of its main thread. A process of the new user,
// which has nothing, then tries to open the memory of each thread: until the execve some still have what was granted.
// The virtual machine has fs.suid_dumpable=1, by which a change of ids opens what was closed.
func TestNobodyReachesTheMemoryOfALaunch(t *testing.T) {
	unit.Root(t)
	caplaunch := os.Getenv(caplaunchEnv)
	if caplaunch == "" {
		caplaunch = filepath.Join(unit.Folder(t), "caplaunch")
		build := exec.Command(unit.Tool(t, "go"), "build", "-o", caplaunch, ".")
		build.Dir, build.Env = "../../../cmd/caplaunch", append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	for _, c := range []struct {
		command string
		user    int
		then    int // how often the memory of the program is opened, at least
	}{{"run", 1000, 1}, {"run", 0, 1}, {"explain", 1000, 0}} {
		stops, launch, program := spy(t, c.user, caplaunch, c.command, fmt.Sprintf("--user=%d:%[1]d", c.user), "--", caplaunch, "version")
		if launch > 0 || program < c.then || stops < 100 {
			t.Errorf("%s as %d: of %d stops %d had the memory of the launch open, %d that of the program", c.command, c.user, stops, launch, program)
		}
	}
}

// spy runs a launch to its end. It counts the stops, and those at which the attack succeeded, before the execve and after.
func spy(t *testing.T, user int, argv ...string) (stops, launch, program int) {
	t.Helper()
	runtime.LockOSThread() // the tracer is this thread
	defer runtime.UnlockOSThread()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Ptrace: true}
	unit.Must(t, cmd.Start())
	pid := cmd.Process.Pid
	victims, opened := make(chan int), make(chan bool)
	defer close(victims)
	go attack(uintptr(user), victims, opened)
	count := &launch
	var status syscall.WaitStatus
	if _, err := syscall.Wait4(pid, &status, syscall.WALL, nil); err != nil || !status.Stopped() {
		t.Fatal(err, status)
	}
	unit.Must(t, syscall.PtraceSetOptions(pid, syscall.PTRACE_O_TRACESYSGOOD|syscall.PTRACE_O_TRACEEXEC))
	for deliver := 0; ; {
		unit.Must(t, syscall.PtraceSyscall(pid, deliver))
		if _, err := syscall.Wait4(pid, &status, syscall.WALL, nil); err != nil {
			t.Fatal(err)
		}
		deliver = 0
		switch signal := status.StopSignal(); {
		case status.Exited() || status.Signaled():
			if status.ExitStatus() != 0 {
				t.Errorf("%q ended with %#x", argv, status)
			}
			return stops, launch, program
		case signal == syscall.SIGTRAP: // an execve
			count = &program
		case signal != syscall.SIGTRAP|0x80:
			deliver = int(signal)
		default:
			stops++
			if victims <- pid; <-opened {
				*count++
			}
		}
	}
}

// attack becomes the new user, on a thread of its own, and tells of each process whether it opened the memory of a thread.
func attack(user uintptr, victims <-chan int, opened chan<- bool) {
	runtime.LockOSThread() // it ends with the goroutine
	for _, number := range []uintptr{unix.SYS_SETRESGID, unix.SYS_SETRESUID} {
		if _, _, e := unix.RawSyscall(number, user, user, user); e != 0 {
			panic(e)
		}
	}
	if err := linux.OneThread().Do(ambient.Capset{}); err != nil {
		panic(err)
	}
	for pid := range victims {
		any := false
		threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", pid))
		for _, thread := range threads {
			if fd, err := unix.Open(thread+"/mem", unix.O_RDWR|unix.O_CLOEXEC, 0); err == nil {
				any = true
				unix.Close(fd)
			}
		}
		opened <- any
	}
}
