package ambient

import (
	"strconv"
	"strings"
)

// A Cap is the number of a capability, as in capabilities(7): bit Cap of a
// kernel mask. Valid numbers are 0 to MaxCap.
type Cap uint8

// MaxCap is the highest number that fits the kernel's 64-bit masks. Which
// ones a kernel knows, it has to be asked.
const MaxCap Cap = 63

// The capabilities that caplaunch itself speaks of.
const (
	CapKill              Cap = 5
	CapSetGID            Cap = 6
	CapSetUID            Cap = 7
	CapSetPCap           Cap = 8
	CapNetBindService    Cap = 10
	CapNetRaw            Cap = 13
	CapPerfmon           Cap = 38
	CapBPF               Cap = 39
	CapCheckpointRestore Cap = 40
)

// table holds the names of capabilities(7) in the order of their numbers,
// with the Linux version that brought those younger than 2.6.25, the first
// with 64-bit masks.
var table = [...]struct{ name, since string }{
	{"chown", ""}, {"dac_override", ""}, {"dac_read_search", ""}, {"fowner", ""},
	{"fsetid", ""}, {"kill", ""}, {"setgid", ""}, {"setuid", ""},
	{"setpcap", ""}, {"linux_immutable", ""}, {"net_bind_service", ""}, {"net_broadcast", ""},
	{"net_admin", ""}, {"net_raw", ""}, {"ipc_lock", ""}, {"ipc_owner", ""},
	{"sys_module", ""}, {"sys_rawio", ""}, {"sys_chroot", ""}, {"sys_ptrace", ""},
	{"sys_pacct", ""}, {"sys_admin", ""}, {"sys_boot", ""}, {"sys_nice", ""},
	{"sys_resource", ""}, {"sys_time", ""}, {"sys_tty_config", ""}, {"mknod", ""},
	{"lease", ""}, {"audit_write", ""}, {"audit_control", ""}, {"setfcap", ""},
	{"mac_override", ""}, {"mac_admin", ""}, {"syslog", "2.6.37"}, {"wake_alarm", "3.0"},
	{"block_suspend", "3.5"}, {"audit_read", "3.16"}, {"perfmon", "5.8"}, {"bpf", "5.8"},
	{"checkpoint_restore", "5.9"},
}

// Named reports how many capabilities, counted from 0, this binary has names
// for.
func Named() int { return len(table) }

// String is the name in lower case without "cap_", or the number of a
// capability that is newer than this binary.
func (c Cap) String() string {
	if int(c) < len(table) {
		return table[c].name
	}
	return strconv.Itoa(int(c))
}

// Since is the Linux version that brought the capability, or "" when that is
// older than every kernel that can run this binary, or not known.
func (c Cap) Since() string {
	if int(c) < len(table) {
		return table[c].since
	}
	return ""
}

// ParseCap reads a name in any case, with or without "cap_", or a number from
// 0 to 63 in decimal. The error is an *UnknownCapError.
func ParseCap(s string) (Cap, error) {
	name := strings.ToLower(s)
	if len(name) != len(s) { // the Kelvin sign is no k
		return 0, &UnknownCapError{Name: s}
	}
	if n, err := strconv.ParseUint(name, 10, 8); err == nil && n <= uint64(MaxCap) && strconv.FormatUint(n, 10) == name {
		return Cap(n), nil
	}
	for c := range table {
		if table[c].name == strings.TrimPrefix(name, "cap_") {
			return Cap(c), nil
		}
	}
	return 0, &UnknownCapError{Name: s}
}
