package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// The runtime's poller takes two descriptors, and the process ends when there are
// none: nothing on the way of a launch, or of its refusal, may start it. (The
// runtime itself does where stdin, stdout or stderr is non-blocking.)
func TestNothingStartsThePoller(t *testing.T) {
	strace, err := exec.LookPath("strace")
	if err != nil || os.Geteuid() != 0 {
		if os.Getenv("CAPLAUNCH_TEST_REQUIRE") == "1" {
			t.Fatal("needs root and strace")
		}
		t.Skip("needs root and strace")
	}
	dir := t.TempDir()
	capable, script, locked := filepath.Join(dir, "capable"), filepath.Join(dir, "script"), filepath.Join(dir, "locked")
	for path, text := range map[string]string{script: "#!/not/here\n", locked: "#!/bin/sh\n"} {
		if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile("/bin/true")
	if err == nil {
		err = os.WriteFile(capable, b, 0o755)
	}
	if err == nil {
		err = unix.Setxattr(capable, "security.capability", []byte{1, 0, 0, 2, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, 0) // cap_net_raw=ep
	}
	if err != nil {
		t.Fatal(err)
	}
	binary := built(t)
	for _, line := range []string{
		"-u 0:0 -- /bin/true", "-u 0:0 -c chown -- " + capable, "-u 0:0 --strip-file-caps -- " + capable, "-u 0:0 -- " + script, "-u 0:0 -- " + dir, "-u 0:0 -- nothere",
		"-u 65532:65532 -- " + locked, "-u nosuchuser -- /bin/true", "-u nobody --keep-groups -- /bin/true", "-u 1234567 -- /bin/true", "-c 63 -u 0:0 -- /bin/true", "-- /bin/true",
		"--allow=none -u 0:0 -- /bin/true", "-u 0:0 -v -- /bin/true", "-o all -u 0:0 --bounding=try -- /bin/true", "explain -u 0:0 -- /bin/true", "explain -u 0:0 -- " + capable,
		"check --allow=all", "check --allow=none", "show", "show 1", "version",
	} {
		null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		out, err := os.Create(filepath.Join(t.TempDir(), "out"))
		if err != nil {
			t.Fatal(err)
		}
		calls := filepath.Join(t.TempDir(), "calls")
		// Through files, for a pipe of package os is non-blocking.
		cmd := exec.Command(strace, append([]string{"-f", "-qqq", "-o", calls, "-b", "execve", "-e", "trace=epoll_create1,eventfd2", "-e", "signal=none", binary}, strings.Fields(line)...)...)
		cmd.Stdin, cmd.Stdout, cmd.Stderr = null, out, out
		_ = cmd.Run()
		if b, err := os.ReadFile(calls); err != nil || len(b) > 0 {
			t.Errorf("%s: %v\n%s", line, err, b)
		}
		for _, limit := range []int{6, 7, 8} {
			cmd := exec.Command("/bin/sh", append([]string{"-c", fmt.Sprintf(`ulimit -n %d; exec "$0" "$@"`, limit), binary}, strings.Fields(line)...)...)
			cmd.Stdin, cmd.Stdout, cmd.Stderr = null, out, out
			_ = cmd.Run()
		}
		if b, err := os.ReadFile(out.Name()); err != nil || strings.Contains(string(b), "runtime:") {
			t.Errorf("%s: %v\n%.300s", line, err, b)
		}
		null.Close()
		out.Close()
	}
}
