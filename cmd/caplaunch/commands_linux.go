package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/caplaunch/caplaunch/internal/ambient"
	"github.com/caplaunch/caplaunch/internal/ambient/linux"
	"github.com/caplaunch/caplaunch/internal/exec"
	"github.com/caplaunch/caplaunch/internal/grant"
	"github.com/caplaunch/caplaunch/internal/identity"
	"github.com/caplaunch/caplaunch/internal/origin"
)

func newApp() *app {
	return &app{kernel: linux.Kernel{}, files: identity.Etc, environ: origin.Environ(), stdout: stdout{}, stderr: stderr{},
		handOver: handOver, leave: leave}
}

// stateOf is the state of a process, of this one without a number.
func (a *app) stateOf(number *pid) (ambient.State, error) {
	if number == nil {
		return a.kernel.State()
	}
	pid := int(*number)
	f, err := os.Open("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil && !exists("/proc/self/status") {
		return ambient.State{}, usagef("mount -t proc proc /proc", "process %d cannot be read: there is no /proc", pid)
	}
	if err != nil {
		return ambient.State{}, usagef("the number of a process that is in this PID namespace: ls /proc", "process %d cannot be read: %s", pid, reason(err))
	}
	defer f.Close()
	const most = 1 << 20 // 65,536 groups take 700 kB
	b, err := io.ReadAll(io.LimitReader(f, most))
	if err != nil {
		return ambient.State{}, usagef("again: it may have ended just then", "process %d cannot be read: %s", pid, reason(err))
	}
	s, err := ambient.ParseStatus(string(b))
	if err != nil {
		return s, usagef("Linux 4.10 or newer, with its own /proc", "process %d: %w", pid, err)
	}
	return s, nil
}

// show prints a state.
func (a *app) show(c *showCmd) error {
	s, err := a.stateOf(c.PID)
	if err != nil {
		return err
	}
	out := shown(s)
	if c.PID != nil {
		out.Securebits = nil
	}
	if c.JSON {
		return json.NewEncoder(a.stdout).Encode(out)
	}
	var b strings.Builder
	lines := wrap(describe(s)[0], columns)
	switch {
	case c.PID != nil:
		lines = append(lines, "securebits unknown: only a process itself can read them")
	case len(out.Securebits) == 0:
		lines = append(lines, "securebits none")
	default:
		lines = append(lines, wrap("securebits "+strings.Join(out.Securebits, " "), columns)...)
	}
	fmt.Fprintln(&b, strings.Join(lines, "\n"))
	printSets(&b, nil, s, style{})
	fmt.Fprintln(&b, legend)
	_, err = io.WriteString(a.stdout, b.String())
	return err
}

// check compares a state with an allowlist.
func (a *app) check(c *checkCmd, report *reporter) error {
	allow, sets, err := c.parse()
	if err != nil {
		return err
	}
	s, err := a.stateOf(c.PID)
	if err != nil {
		return err
	}
	host, err := a.kernel.Host()
	if err != nil {
		return err
	}
	err = ambient.CheckAllowed(s, allow.On(host), sets)
	var stray *ambient.UnexpectedCapabilityError
	if err != nil && !errors.As(err, &stray) {
		return err
	}
	hint := ""
	if stray != nil {
		hint = grant.Drop(grant.Detect(a.environ, exists, host), stray.Set())
	}
	if c.JSON {
		out := outcome{OK: err == nil, Allow: allow.On(host).Names(), Sets: sets.Names(), Stray: []shownStray{}, Hint: hint}
		if stray != nil {
			for _, x := range stray.Stray {
				out.Stray = append(out.Stray, shownStray{x.Cap.String(), uint8(x.Cap), x.In.Names()})
			}
		}
		if failed := json.NewEncoder(a.stdout).Encode(out); failed != nil && err == nil {
			return failed // else what was found counts
		}
	}
	if err != nil {
		report.fail(err, hint)
		return &reportedError{err}
	}
	return nil
}

// install copies the running binary to a folder or a path: into a temporary
// file beside it, which then takes its place in one step. What runs from there
// goes on with the old one.
func (a *app) install(c *installCmd) (err error) {
	// Whoever calls a set-uid caplaunch must not write where its owner may.
	now, err := a.kernel.State()
	if err != nil {
		return err
	}
	if err := now.Borrowed(); err != nil {
		return err
	}
	// With a slash behind it the kernel would follow a symlink.
	dest := strings.TrimRight(c.Dest, "/")
	if dest == "" && c.Dest != "" {
		dest = "/"
	}
	if st, err := os.Lstat(dest); err == nil && st.IsDir() {
		dest = filepath.Join(dest, "caplaunch")
	} else if dest != c.Dest && (err != nil || st.Mode()&os.ModeSymlink == 0) {
		return installError(c.Dest, "is no folder", nil)
	}
	switch st, err := os.Lstat(dest); {
	case errors.Is(err, os.ErrNotExist):
	case err != nil:
		return installError(dest, reason(err), err)
	case st.Mode()&os.ModeSymlink != 0:
		return installError(dest, "is a symlink", nil)
	case !st.Mode().IsRegular():
		return installError(dest, "is not a regular file", nil)
	}
	self, err := a.openItself()
	if err != nil {
		return installError(dest, fmt.Sprintf("the running binary cannot be read: %s", reason(err)), err)
	}
	defer self.Close()
	tmp, err := os.CreateTemp(filepath.Dir(dest), ".caplaunch-*")
	if err != nil {
		return installError(dest, fmt.Sprintf("%s: %s", filepath.Dir(dest), reason(err)), err)
	}
	defer func() {
		if err != nil {
			_ = os.Remove(tmp.Name()) // the error that counts is the first
		}
	}()
	if _, err := io.Copy(tmp, self); err != nil {
		return installError(dest, reason(err), err)
	}
	const mode = 0o555
	if err := errors.Join(tmp.Chmod(mode), tmp.Sync(), tmp.Close()); err != nil {
		return installError(dest, reason(err), err)
	}
	// Not over a folder or a symlink that has come since: rename replaces a
	// symlink itself, never what it points to.
	if err := os.Rename(tmp.Name(), dest); err != nil {
		return installError(dest, reason(err), err)
	}
	return nil
}

// openItself opens the running binary; without /proc it is the one that argv[0]
// leads to.
func (a *app) openItself() (*os.File, error) {
	self, err := os.Open("/proc/self/exe")
	if err == nil || len(os.Args) == 0 {
		return self, err
	}
	p, findErr := exec.Find(os.Args[0], exec.SearchPath(a.environ), nil, ambient.Host{})
	if findErr != nil {
		return nil, err
	}
	return os.Open(p.Path())
}

// installError says why not: in words, and err if an error is behind them.
func installError(dest, why string, err error) error {
	hint := "caplaunch install /shared, where /shared is a folder that can be written, such as a volume"
	switch {
	case errors.Is(err, unix.EFBIG):
		hint = "ulimit -f unlimited"
	case errors.Is(err, unix.EMFILE):
		hint = "ulimit -n 1024"
	}
	return usagef(hint, "cannot install to %q: %s", dest, why)
}

// reason is the errno's text, without the temporary path around it.
func reason(err error) string {
	var e syscall.Errno
	if errors.As(err, &e) {
		return e.Error()
	}
	return err.Error()
}

// stderr is where caplaunch's own lines go. An os.File would end the process by
// SIGPIPE when nobody reads them, and neither the launch nor the exit status may
// depend on that.
type stderr struct{}

func (stderr) Write(b []byte) (int, error) { return writeAll(2, b) }

func writeAll(fd int, b []byte) (n int, err error) {
	for n < len(b) {
		m, err := unix.Write(fd, b[n:])
		switch {
		case err == unix.EINTR:
		case err != nil || m <= 0:
			return n, err
		default:
			n += m
		}
	}
	return n, nil
}

// stdout is where the commands print. What cannot be written is an error with a
// hint of its own, and so is a descriptor that was closed: the Go runtime has
// put /dev/null there.
type stdout struct{}

func (s stdout) Write(b []byte) (int, error) {
	if p, err := origin.Received(); err == nil && p.Closed[1] {
		return 0, usagef(stdoutHint, "stdout is closed")
	}
	n, err := writeAll(1, b)
	if err != nil {
		err = usagef(stdoutHint, "stdout cannot be written: %s", reason(err))
	}
	return n, err
}

const stdoutHint = "let stdout be a terminal, a pipe or a file that has room: caplaunch … >/tmp/out"

// colourful reports whether out is a terminal that is not told to be plain.
func colourful(out io.Writer, environ []string) bool {
	if _, ok := out.(stdout); !ok {
		return false
	}
	for _, kv := range environ {
		if v, ok := strings.CutPrefix(kv, "NO_COLOR="); ok && v != "" || kv == "TERM=dumb" {
			return false
		}
	}
	_, err := unix.IoctlGetTermios(1, unix.TCGETS)
	return err == nil
}
