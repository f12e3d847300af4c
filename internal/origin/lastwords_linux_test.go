//go:build amd64 || arm64 || 386 || arm || riscv64

package origin

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

// lastWordsOf runs argv, which must exit with status 125 and these as its last words.
func lastWordsOf(t *testing.T, want string, argv ...string) {
	t.Helper()
	cmd := exec.Command(argv[0], argv[1:]...)
	time.AfterFunc(30*time.Second, func() { _ = cmd.Process.Kill() })
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != lastStatus || !strings.HasSuffix(string(out), want) {
		t.Errorf("%v: %v\n%.3000s", argv, err, out)
	}
}

func TestAProcessThatItsRuntimeEndsHasItsLastWords(t *testing.T) {
	t.Parallel()
	for arch, emulator := range map[string]string{"amd64": "", "386": "", "arm64": "qemu-aarch64-static", "arm": "qemu-arm-static", "riscv64": "qemu-riscv64-static"} {
		t.Run(arch, func(t *testing.T) {
			t.Parallel()
			var argv []string
			if arch != runtime.GOARCH && emulator != "" {
				argv = append(argv, need(t, emulator))
			}
			argv = append(argv, buildProgram(t, "die", arch, entryFlag))
			if err := exec.Command(argv[0], append(argv[1:len(argv):len(argv)], "none")...).Run(); errors.Is(err, syscall.ENOEXEC) {
				t.Logf("nothing runs %s here", arch)
				return
			} else if err != nil {
				t.Fatal(err)
			}
			for _, end := range []string{"panic", "nil", "deadlock", "stack", "signal 6", "loop"} {
				if end == "signal 6" && arch == "riscv64" && emulator != "" {
					continue // the runtime's stack trace out of a signal handler faults in this emulator
				}
				t.Run(end, func(t *testing.T) {
					lastWordsOf(t, "these are the last words\n", append(argv[:len(argv):len(argv)], strings.Fields(end)...)...)
				})
			}
		})
	}
}

// An ignored signal stays ignored meanwhile, and yet a runtime that ends by it has last words.
func TestIgnoredSignalsOfOursLeaveTheLastWords(t *testing.T) {
	t.Parallel()
	die := buildProgram(t, "die", runtime.GOARCH, entryFlag)
	environ := filepath.Join(t.TempDir(), "environ")
	if err := os.WriteFile(environ, []byte("PATH=/bin\x00"), 0o600); err != nil {
		t.Fatal(err)
	}
	behind := []string{helperPath(t), "set", fmt.Sprintf("%x", uint64(set(int(syscall.SIGABRT), sigExpiry))), "0", "", environ}
	lastWordsOf(t, "these are the last words\n", append(behind, die, "panic")...)
	for _, signal := range []string{"6", "34"} {
		argv := append(behind[:len(behind):len(behind)], die, "signal", signal)
		if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%.2000s", signal, err, out)
		}
	}
}

// The deadline is brought forward to one second, because nobody has the five minutes.
func TestAProcessThatWaitsForEverHasItsLastWords(t *testing.T) {
	t.Parallel()
	if runtime.GOARCH != "amd64" && runtime.GOARCH != "arm64" && runtime.GOARCH != "riscv64" {
		t.Skip("the struct below is that of 64 bits")
	}
	soon := strings.Repeat("00", 16) + "01" + strings.Repeat("00", 15) // struct itimerspec, little-endian
	traced := []string{need(t, "strace"), "-o", "/dev/null", "-e", "inject=timer_settime:poke_enter=@arg3=" + soon + ":when=1"}
	die := buildProgram(t, "die", runtime.GOARCH, entryFlag)
	lastWordsOf(t, "these are the last words\n", append(traced, die, "sleep")...)
	// A thread that was only said to be there, before there is any Go code.
	lastWordsOf(t, startWords, append(traced, "-e", "inject=clone:retval=0:when=1", die, "sleep")...)
}

func TestAFilterThatForbidsHandlersIsToldAtTheEntry(t *testing.T) {
	t.Parallel()
	lastWordsOf(t, startWords, need(t, "strace"), "-o", "/dev/null", "-e", "inject=rt_sigaction:error=EPERM:when=65+", buildProgram(t, "die", runtime.GOARCH, entryFlag), "none")
}
