//go:build linux && !386 && !arm

package linux

import "golang.org/x/sys/unix"

const (
	sysGetgroups = unix.SYS_GETGROUPS
	sysSetgroups = unix.SYS_SETGROUPS
	sysGetresuid = unix.SYS_GETRESUID
	sysGetresgid = unix.SYS_GETRESGID
	sysSetresuid = unix.SYS_SETRESUID
	sysSetresgid = unix.SYS_SETRESGID
)
