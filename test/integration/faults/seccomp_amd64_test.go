package faults

import (
	"strconv"

	"golang.org/x/sys/unix"
)

// moreDenials are calls that other architectures do not have, or by another name.
var moreDenials = []denial{
	{name: "newfstatat", filter: strconv.Itoa(unix.SYS_NEWFSTATAT)},
	{name: "readlink", filter: strconv.Itoa(unix.SYS_READLINK)},
	{name: "arch_prctl", filter: strconv.Itoa(unix.SYS_ARCH_PRCTL), startOfRuntime: true},
}
