package main

import (
	"os"

	"golang.org/x/sys/unix"

	"github.com/caplaunch/caplaunch/internal/ambient"
)

// handOver gives the standard descriptors to the new user, so that it can open
// /dev/stdout and /dev/stderr: anonymous pipes always, a terminal when it is
// the container's own. Files, sockets, devices and FIFOs with a name belong to
// somebody else. It is best effort: PROGRAM can write to the descriptors that
// it has in any case.
func handOver(to ambient.State, report *reporter) {
	for fd, name := range []string{"stdin", "stdout", "stderr"} {
		var st unix.Stat_t
		if unix.Fstat(fd, &st) != nil || st.Uid == to.UID.Real || !isOurs(fd, &st) {
			continue
		}
		if err := unix.Fchown(fd, int(to.UID.Real), -1); err == nil {
			report.verbosef("fchown %s to uid %d", name, to.UID.Real)
			continue
		}
		// Without CAP_CHOWN its owner can still open it to others.
		const all = 0o666
		if err := unix.Fchmod(fd, st.Mode&0o7777|all); err != nil {
			report.verbosef("%s stays with uid %d: %v", name, st.Uid, err)
		} else {
			report.verbosef("fchmod %s to 0666", name)
		}
	}
}

// isOurs reports whether nobody else can have a use for who owns fd.
func isOurs(fd int, st *unix.Stat_t) bool {
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFIFO:
		var fs unix.Statfs_t
		return unix.Fstatfs(fd, &fs) == nil && fs.Type == unix.PIPEFS_MAGIC
	case unix.S_IFCHR:
		_, err := unix.IoctlGetTermios(fd, unix.TCGETS)
		return err == nil && os.Getpid() == 1
	}
	return false
}
