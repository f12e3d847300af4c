//go:build linux

package exec

import (
	"runtime"
	"strconv"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Replace becomes the target, execve(2), with argv and env byte for byte. It
// returns only when that failed, with an errno for Explain; one of 0 says that
// the kernel reported success and did nothing.
func Replace(t Target, argv, env []string) error {
	if !t.Held() {
		// Not a raw call: syscall.Exec gives back the RLIMIT_NOFILE that the Go
		// runtime raised at its start.
		return syscall.Exec(t.program.Path(), argv, env)
	}
	if t.prefix != nil {
		argv = append(t.prefix[:len(t.prefix):len(t.prefix)], argv[min(1, len(argv)):]...)
	}
	// execveat needs no /proc, but there is only the raw call. So the limit is
	// given back by an Exec of no path, which the kernel answers with ENOENT.
	if err := syscall.Exec("", nil, nil); err == nil || err == unix.Errno(0) {
		return unix.Errno(0)
	}
	errno := execveat(t.fd, argv, env)
	switch errno {
	case unix.ENOENT, unix.ENOSYS, unix.EPERM:
		// A handler of binfmt_misc needs a path, and an old seccomp profile may
		// know execve only.
		if err := syscall.Exec("/proc/self/fd/"+strconv.Itoa(t.fd), argv, env); err != unix.ENOENT {
			return err
		}
	}
	return errno
}

// execveat is execveat(2) of the descriptor itself, AT_EMPTY_PATH.
func execveat(fd int, argv, env []string) unix.Errno {
	argvp, err := syscall.SlicePtrFromStrings(argv)
	if err != nil {
		return unix.EINVAL
	}
	envp, err := syscall.SlicePtrFromStrings(env)
	if err != nil {
		return unix.EINVAL
	}
	var path [1]byte
	_, _, errno := unix.RawSyscall6(unix.SYS_EXECVEAT, uintptr(fd), uintptr(unsafe.Pointer(&path[0])),
		uintptr(unsafe.Pointer(&argvp[0])), uintptr(unsafe.Pointer(&envp[0])), unix.AT_EMPTY_PATH, 0)
	runtime.KeepAlive(argvp)
	runtime.KeepAlive(envp)
	return errno
}
