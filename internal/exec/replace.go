//go:build linux

package exec

import (
	"strconv"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/caplaunch/caplaunch/internal/ambient/linux"
)

// Replace becomes the program, or the copy that Copy made of it, execve(2), with
// argv and env byte for byte. It returns only when that failed, with an *Error.
func (p *Program) Replace(argv, env []string) error {
	err := p.replace(argv, env)
	if err == unix.Errno(0) {
		err = ErrReturned
	}
	return &Error{Path: p.Path, Err: err}
}

func (p *Program) replace(argv, env []string) error {
	if p.copy == 0 {
		// Not a raw call: syscall.Exec gives back the RLIMIT_NOFILE that the Go
		// runtime raised at its start.
		return syscall.Exec(p.Path, argv, env)
	}
	argv = p.argv(argv)
	// execveat needs no /proc. There is only the raw call, without the lock that keeps
	// the runtime from making a thread meanwhile; nothing here asks for one. An Exec
	// of no path fails, and gives the limit back on the way.
	_ = syscall.Exec("", nil, nil)
	var empty [1]byte
	errno := execveat(p.copy, &empty[0], argv, env, unix.AT_EMPTY_PATH)
	if !linux.HasProc() { // a file of that name may be another's
		return errno
	}
	// A handler of binfmt_misc needs a path, and an old seccomp profile may know
	// execve only. What else went wrong goes wrong here too.
	return syscall.Exec("/proc/self/fd/"+strconv.Itoa(p.copy), argv, env)
}

// argv is what the copy is called with: the interpreter of a script as the kernel
// would call it.
func (p *Program) argv(argv []string) []string {
	if prefix := p.prefix(); prefix != nil {
		return append(prefix, argv[min(1, len(argv)):]...)
	}
	return argv
}

// Ask asks the kernel whether execve would get as far as loading the program, and
// runs nothing: AT_EXECVE_CHECK of execveat(2), Linux 6.14. The error is an
// *Error, and nil where an older kernel does not know the question.
func (p *Program) Ask(argv, env []string) error {
	const check = 0x10000 // AT_EXECVE_CHECK
	path, fd, flags := append([]byte(p.Path), 0), unix.AT_FDCWD, check
	if p.copy != 0 {
		path, fd, flags = path[len(path)-1:], p.copy, check|unix.AT_EMPTY_PATH
		argv = p.argv(argv)
	}
	switch errno := execveat(fd, &path[0], argv, env, flags); errno {
	case 0, unix.EINVAL, unix.ENOSYS, unix.EPERM:
		return nil
	default:
		return &Error{Path: p.Path, Err: errno}
	}
}

// execveat is execveat(2).
func execveat(fd int, path *byte, argv, env []string, flags int) unix.Errno {
	argvp, argvErr := syscall.SlicePtrFromStrings(argv)
	envp, envErr := syscall.SlicePtrFromStrings(env)
	if argvErr != nil || envErr != nil {
		return unix.EINVAL
	}
	_, _, errno := unix.RawSyscall6(unix.SYS_EXECVEAT, uintptr(fd), uintptr(unsafe.Pointer(path)),
		uintptr(unsafe.Pointer(&argvp[0])), uintptr(unsafe.Pointer(&envp[0])), uintptr(flags), 0)
	return errno
}
