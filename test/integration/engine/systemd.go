package engine

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Systemd is a Debian with systemd as its PID 1, and a user nonroot, 65532: User= wants an entry in passwd. Its file system is forgotten at the end.
type Systemd struct {
	box       *box
	pid       int // of its init, as seen from here
	units     atomic.Int64
	installed sync.Once
}

// TheSystemd boots systemd, once, or skips the test. It has /caplaunch and /probe.
func TheSystemd(t testing.TB) *Systemd {
	t.Helper()
	s, caplaunch, probe := started(t, theSystemd), Caplaunch(t), Probe(t)
	s.installed.Do(func() {
		s.Cp(t, caplaunch, "/caplaunch", 0o755)
		s.Cp(t, probe, "/probe", 0o755)
	})
	return s
}

var theSystemd = sync.OnceValues(func() (*Systemd, error) {
	if err := needs("systemd-nspawn"); err != nil {
		return nil, err
	}
	root, err := debianRoot()
	if err != nil {
		return nil, err
	}
	// All that is written goes to the box's /run, so that many can boot from the one root.
	b, err := newBox("sh", "-c", `set -e
mkdir /run/up /run/work /run/root
mount -t overlay -o "lowerdir=$1,upperdir=/run/up,workdir=/run/work" overlay /run/root
echo nonroot:x:65532:65532:nonroot:/home/nonroot:/bin/sh >>/run/root/etc/passwd
echo nonroot:x:65532: >>/run/root/etc/group
trap exit TERM # no orderly shutdown: nothing of it will be seen again
systemd-nspawn -q -b -D /run/root --register=no --keep-unit --private-network --console=pipe </dev/null &
wait $!`, "sh", root)
	if err != nil {
		return nil, err
	}
	s := &Systemd{box: b}
	err = b.await(60*time.Second, func() error {
		var err error
		if s.pid, err = descendant(b.init.Process.Pid, "systemd"); err != nil {
			return err
		}
		r, err := Output(s.Command("systemctl", "is-system-running"), Timeout)
		switch state := strings.TrimSpace(r.Stdout); state {
		case "running", "degraded":
			return nil
		default:
			return errors.Join(err, fmt.Errorf("systemd is %q", state))
		}
	})
	if err != nil {
		b.stop()
		return nil, fmt.Errorf("systemd: %w", err)
	}
	return s, nil
})

// Command is argv to be run inside, in all namespaces, as root with what nspawn grants.
func (s *Systemd) Command(argv ...string) *exec.Cmd {
	cmd := exec.Command("nsenter", append([]string{"-t", strconv.Itoa(s.pid), "-a", "--"}, argv...)...)
	cmd.Env = cleanEnv("HOME=/root", "TMPDIR=/tmp")
	return cmd
}

func (s *Systemd) Cmd(t testing.TB, argv ...string) Result {
	t.Helper()
	return Command(t, s.Command(argv...))
}

// Path is where a file inside is found from outside.
func (s *Systemd) Path(inside string) string {
	return filepath.Join(fmt.Sprintf("/proc/%d/root", s.pid), inside)
}

// Cp copies a file of this machine to a path inside, with the mode given.
func (s *Systemd) Cp(t testing.TB, src, dst string, mode os.FileMode) {
	t.Helper()
	Must(t, os.MkdirAll(filepath.Dir(s.Path(dst)), 0o755))
	Must(t, CopyFile(s.Path(dst), src, mode))
}

func (s *Systemd) WriteFile(t testing.TB, dst, content string, mode os.FileMode) {
	t.Helper()
	s.Cp(t, Write(t, filepath.Base(dst), content), dst, mode)
}

// WriteUnit puts a unit file in place and makes systemd read it. The unit is stopped and removed after the test.
func (s *Systemd) WriteUnit(t testing.TB, name, text string) {
	t.Helper()
	path := "/run/systemd/system/" + name
	s.WriteFile(t, path, text, 0o644)
	s.Systemctl(t, "daemon-reload")
	t.Cleanup(func() {
		_, _ = Output(s.Command("systemctl", "stop", name), Timeout)
		_, _ = Output(s.Command("systemctl", "reset-failed", name), Timeout)
		_ = os.Remove(s.Path(path))
	})
}

// Systemctl runs systemctl, which must succeed, and gives its output.
func (s *Systemd) Systemctl(t testing.TB, args ...string) string {
	t.Helper()
	r := s.Cmd(t, append([]string{"systemctl"}, args...)...)
	if r.Code != 0 {
		t.Fatalf("systemctl %s: %v\n%s", strings.Join(args, " "), r, s.Journal(t, args[len(args)-1]))
	}
	return r.Stdout
}

// Show gives one property of a unit, as systemctl show does.
func (s *Systemd) Show(t testing.TB, unit, property string) string {
	t.Helper()
	return strings.TrimSpace(s.Systemctl(t, "show", "-P", property, unit))
}

// Journal is what a unit has logged.
func (s *Systemd) Journal(t testing.TB, unit string) string {
	t.Helper()
	return s.Cmd(t, "journalctl", "--no-pager", "-q", "-o", "cat", "-u", unit).Stdout
}

var mainProcess = regexp.MustCompile(`Main processes terminated with: code=(\w+)/status=(\w+)`)

// RunUnit runs argv as a transient service with those properties ("User=65532", "AmbientCapabilities=…") to its
// end. Its output goes to files. Code is the main process's status: also 203 and the like, when systemd could
// not start it.
func (s *Systemd) RunUnit(t testing.TB, properties []string, argv ...string) Result {
	t.Helper()
	unit := fmt.Sprintf("test%d", s.units.Add(1))
	out, errs := "/run/"+unit+".out", "/run/"+unit+".err"
	run := []string{"systemd-run", "--wait", "--collect", "--unit=" + unit}
	for _, p := range append([]string{"StandardOutput=file:" + out, "StandardError=file:" + errs}, properties...) {
		run = append(run, "-p", p)
	}
	told := s.Cmd(t, append(append(run, "--"), argv...)...)
	m := mainProcess.FindStringSubmatch(told.Stderr)
	if m == nil {
		t.Fatalf("systemd-run: %v\n%s", told, s.Journal(t, unit))
	}
	r := Result{Stdout: s.take(out), Stderr: s.take(errs), Code: -1}
	if m[1] == "exited" {
		r.Code, _ = strconv.Atoi(m[2])
	} else {
		r.Code = 128 + int(unix.SignalNum("SIG"+strings.TrimPrefix(m[2], "SIG")))
	}
	return r
}

// take reads a file inside and removes it.
func (s *Systemd) take(inside string) string {
	defer os.Remove(s.Path(inside))
	return Content(s.Path(inside))
}
