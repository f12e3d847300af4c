//go:build linux

package linux

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/caplaunch/caplaunch/internal/ambient"
)

// A LimitError is a resource limit that leaves no room for a launch.
type LimitError struct {
	Limit string
	Value uint64
}

func (e *LimitError) Error() string {
	return fmt.Sprintf("%s is %d: no signal can be queued, by which every thread changes its credentials", e.Limit, e.Value)
}

// ExitStatus is 125.
func (*LimitError) ExitStatus() int { return ambient.ExitFailure }

// Hint says how to raise the limit.
func (*LimitError) Hint() string {
	return "ulimit -i 1024 (docker run --ulimit=sigpending=1024, systemd LimitSIGPENDING=1024)"
}

// Host asks what the kernel knows, and reads what the user namespace maps where
// there is a /proc. The error is a *ReadError or a *LimitError.
func (Kernel) Host() (ambient.Host, error) {
	h := ambient.Host{SetGroups: true}
	// The other threads are reached by a queued signal each. When it cannot be
	// queued, the Go runtime waits for them forever.
	const threads = 8
	var limit unix.Rlimit
	err := unix.Getrlimit(unix.RLIMIT_SIGPENDING, &limit)
	if err == nil && limit.Cur < threads {
		return h, &LimitError{"RLIMIT_SIGPENDING", limit.Cur}
	}
	if _, h.Known, err = readBounding(); err != nil {
		return h, err
	}
	if _, h.Ambient, err = readAmbient(h.Known); err != nil {
		return h, err
	}
	h.UIDs, h.GIDs = readMap("/proc/self/uid_map"), readMap("/proc/self/gid_map")
	// The initial user namespace maps the whole range to itself.
	h.Nested = h.UIDs != nil && (len(h.UIDs) != 1 || h.UIDs[0] != ambient.IDRange{First: 0, Count: 1<<32 - 1})
	if text, err := readFile("/proc/self/setgroups"); err == nil && strings.TrimSpace(text) == "deny" {
		h.SetGroups = false
	}
	return h, nil
}

// readMap reads a map of user_namespaces(7), or nil when that cannot be had: a
// map that is not known refuses nothing, the kernel will.
func readMap(path string) ambient.IDMap {
	text, err := readFile(path)
	if err != nil {
		return nil
	}
	m := ambient.IDMap{}
	for line := range strings.Lines(text) {
		var r ambient.IDRange
		var outside uint32
		if n, err := fmt.Sscan(line, &r.First, &outside, &r.Count); n != 3 || err != nil {
			return nil
		}
		m = append(m, r)
	}
	return m
}

// readFile is os.ReadFile without the runtime's poller, which wants two more
// descriptors and ends the process when there are none.
func readFile(path string) (string, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	var all []byte
	for buf := make([]byte, 4096); ; {
		switch n, err := unix.Read(fd, buf); {
		case err == unix.EINTR:
		case err != nil || n <= 0:
			return string(all), err
		default:
			all = append(all, buf[:n]...)
		}
	}
}
