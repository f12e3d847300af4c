//go:build linux

package launch

import (
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// environment is the program's. A new user has HOME, USER and LOGNAME of its
// own, login(1), in the place of those that are missing or the starting user's;
// what somebody else has set stays.
func (l *Launch) environment() []string {
	if l.KeepEnv || l.Plan.AfterSteps.UID == l.Now.UID {
		return l.Environ
	}
	start, user := l.Answer.Start, l.Answer.New
	startName, startHome := start.Name, start.Home
	if startName == "" && l.Now.UID.Real == 0 {
		startName = "root"
	}
	home := user.Home
	if home == "" {
		home = "/"
	}
	env := l.Environ
	env = setVariable(env, "HOME", home, func(was string) bool {
		return was == "" || was == startHome || startHome == "" && (was == "/root" || was == "/")
	})
	for _, key := range []string{"USER", "LOGNAME"} {
		env = setVariable(env, key, user.Name, func(was string) bool { return was == "" || was == startName })
	}
	return env
}

// setVariable is env with key set to value, or without it where value is "". A first
// value that is not stale stays.
func setVariable(env []string, key, value string, stale func(string) bool) []string {
	out, found := make([]string, 0, len(env)+1), false
	for _, kv := range env {
		was, isKey := strings.CutPrefix(kv, key+"=")
		if isKey && !found && !stale(was) {
			return env
		}
		if isKey && (found || value == "") {
			found = true
			continue
		}
		if isKey {
			found, kv = true, key+"="+value
		}
		out = append(out, kv)
	}
	if !found && value != "" {
		out = append(out, key+"="+value)
	}
	return out
}

// handOver lets the new user open /dev/stdin, /dev/stdout and /dev/stderr where
// these are anonymous pipes, or the terminal of a session that caplaunch leads.
// Files, sockets, other devices and FIFOs with a name belong to somebody else. It
// is tried once: the program can use the descriptors that it has in any case.
func (l *Launch) handOver() {
	for fd, name := range []string{"stdin", "stdout", "stderr"} {
		var st unix.Stat_t
		if unix.Fstat(fd, &st) != nil || st.Uid == l.Plan.AfterSteps.UID.Real {
			continue
		}
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFIFO:
			l.openPipe(fd, name, &st)
		case unix.S_IFCHR:
			l.giveTerminal(fd, name, &st)
		default:
			l.Say("%s is not handed over: a file or a socket", name)
		}
	}
}

// openPipe lets the new user open a pipe in the direction that the descriptor has
// and no other, so that a write end never becomes readable.
func (l *Launch) openPipe(fd int, name string, st *unix.Stat_t) {
	var fs unix.Statfs_t
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	if err != nil || unix.Fstatfs(fd, &fs) != nil || fs.Type != unix.PIPEFS_MAGIC {
		l.Say("%s is not handed over: a FIFO with a name", name)
		return
	}
	const read, write = 4, 2
	l.chmod(fd, name, st, map[int]uint32{unix.O_RDONLY: read, unix.O_WRONLY: write, unix.O_RDWR: read | write}[flags&unix.O_ACCMODE])
}

// giveTerminal makes the new user the owner of the controlling terminal of the
// session that caplaunch leads, as login(1) does. Another session's terminal is not
// its to give, nor are the devices /dev/tty and /dev/ptmx, which all use.
func (l *Launch) giveTerminal(fd int, name string, st *unix.Stat_t) {
	session, _ := unix.IoctlGetInt(fd, unix.TIOCGSID) // 0 of what is no terminal
	shared := uint64(st.Rdev) == unix.Mkdev(5, 0) || uint64(st.Rdev) == unix.Mkdev(5, 2)
	if session != os.Getpid() || shared {
		l.Say("%s is not handed over: not the terminal of a session that caplaunch leads", name)
		return
	}
	if err := unix.Fchown(fd, int(l.Plan.AfterSteps.UID.Real), -1); err == nil {
		l.Say("fchown %s to uid %d", name, l.Plan.AfterSteps.UID.Real)
		return
	}
	const readWrite = 6
	l.chmod(fd, name, st, readWrite) // without CAP_CHOWN
}

// chmod adds permissions for the class that the new user is in: the group, or
// others.
func (l *Launch) chmod(fd int, name string, st *unix.Stat_t, bits uint32) {
	if l.Plan.AfterSteps.Groups.Has(st.Gid) { // its primary group is one of them
		bits <<= 3
	}
	mode := st.Mode&0o7777 | bits
	if err := unix.Fchmod(fd, mode); err != nil {
		l.Say("%s is not handed over: %v", name, err)
		return
	}
	l.Say("fchmod %s to %04o", name, mode)
}
