package ambient

import (
	"iter"
	"math/bits"
	"slices"
	"strconv"
	"strings"
)

// A Cap is the number of a capability, as in capabilities(7): bit Cap of a
// kernel mask. Valid numbers are 0 to MaxCap.
type Cap uint8

// MaxCap is the highest number that fits the kernel's masks.
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

// table holds the names of capabilities(7) in the order of their numbers.
var table = [...]string{
	"chown", "dac_override", "dac_read_search", "fowner", "fsetid", "kill", "setgid", "setuid",
	"setpcap", "linux_immutable", "net_bind_service", "net_broadcast", "net_admin", "net_raw", "ipc_lock", "ipc_owner",
	"sys_module", "sys_rawio", "sys_chroot", "sys_ptrace", "sys_pacct", "sys_admin", "sys_boot", "sys_nice",
	"sys_resource", "sys_time", "sys_tty_config", "mknod", "lease", "audit_write", "audit_control", "setfcap",
	"mac_override", "mac_admin", "syslog", "wake_alarm", "block_suspend", "audit_read", "perfmon", "bpf", "checkpoint_restore",
}

// NamedCaps are those that this binary has names for.
const NamedCaps Set = 1<<len(table) - 1

// String is the name in lower case without "cap_", or the number of a
// capability that is newer than this binary.
func (c Cap) String() string {
	if int(c) < len(table) {
		return table[c]
	}
	return strconv.Itoa(int(c))
}

// Since is the Linux version that brought the capability, "" for those older than
// 2.6.25, the first with 64-bit masks, and for unknown ones.
func (c Cap) Since() string {
	return map[Cap]string{34: "2.6.37", 35: "3.0", 36: "3.5", 37: "3.16", 38: "5.8", 39: "5.8", 40: "5.9"}[c]
}

// ParseCap reads a name in any case, with or without "cap_", or a number from
// 0 to 63 in decimal. The error is an *UnknownCapError.
func ParseCap(s string) (Cap, error) {
	lower := strings.ToLower(s)
	i := slices.Index(table[:], strings.TrimPrefix(lower, "cap_"))
	if i < 0 || len(lower) != len(s) { // the Kelvin sign is no k
		i, _ = strconv.Atoi(s)
		if i < 0 || i > int(MaxCap) || s != strconv.Itoa(i) {
			return 0, &UnknownCapError{Name: s}
		}
	}
	return Cap(i), nil
}

// A Set is a set of capabilities: bit i is capability i, as in the masks of
// /proc/PID/status. The zero value is the empty set.
type Set uint64

// SetOf is the set of the given capabilities, which must not exceed MaxCap.
func SetOf(caps ...Cap) (s Set) {
	for _, c := range caps {
		s |= 1 << c
	}
	return s
}

// Has reports whether c is in s, Contains whether all of sub is.
func (s Set) Has(c Cap) bool        { return s>>c&1 == 1 }
func (s Set) Contains(sub Set) bool { return sub&^s == 0 }

// All yields the capabilities of s in the order of their numbers.
func (s Set) All() iter.Seq[Cap] {
	return func(yield func(Cap) bool) {
		for ; s != 0; s &= s - 1 {
			if !yield(Cap(bits.TrailingZeros64(uint64(s)))) {
				return
			}
		}
	}
}

// Names lists the names of s in the order of their numbers.
func (s Set) Names() []string { return bitNames(s, Cap.String) }

// bitNames is also for the names of other masks than sets.
func bitNames(s Set, name func(bit Cap) string) []string {
	list := []string{}
	for bit := range s.All() {
		list = append(list, name(bit))
	}
	return list
}

// String joins the names with commas, as --caps takes them; none are "none".
func (s Set) String() string {
	if s == 0 {
		return "none"
	}
	return strings.Join(s.Names(), ",")
}

// A List is what a list of capabilities on the command line asks for.
type List struct {
	Set Set
	All bool // "all" was among them
}

// Resolve is the set that the list means on this host.
func (l List) Resolve(h Host) Set {
	if l.All {
		return l.Set | h.Known
	}
	return l.Set
}

// ParseList reads lists of capabilities: names and numbers as ParseCap takes
// them, "all", or "none" alone. A list without a single word is ErrEmptyList: an
// unset variable must not pass for a decision.
func ParseList(lists ...string) (l List, err error) {
	words, none := Fields(strings.Join(lists, ",")), false
	for _, w := range words {
		switch strings.ToLower(w) {
		case "all":
			l.All = true
		case "none":
			none = true
		default:
			c, err := ParseCap(w)
			if err != nil {
				return List{}, err
			}
			l.Set |= SetOf(c)
		}
	}
	switch {
	case len(words) == 0 && len(lists) > 0:
		return List{}, ErrEmptyList
	case none && len(words) > 1:
		return List{}, ErrNone
	}
	return l, nil
}

// Fields splits a list at commas and white space.
func Fields(list string) []string {
	return strings.FieldsFunc(list, func(r rune) bool { return strings.ContainsRune(", \t\n\r\v\f", r) })
}
