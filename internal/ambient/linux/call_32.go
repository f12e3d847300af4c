//go:build linux && (386 || arm)

package linux

import "golang.org/x/sys/unix"

// The plain calls take 16-bit ids here: uid 100000 would become 34464.
const (
	sysGetgroups = unix.SYS_GETGROUPS32
	sysSetgroups = unix.SYS_SETGROUPS32
	sysGetresuid = unix.SYS_GETRESUID32
	sysGetresgid = unix.SYS_GETRESGID32
	sysSetresuid = unix.SYS_SETRESUID32
	sysSetresgid = unix.SYS_SETRESGID32
)
