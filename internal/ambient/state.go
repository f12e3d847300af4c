package ambient

import (
	"encoding/binary"
	"slices"
)

// A State is all of a process that capabilities(7), credentials(7) and
// no_new_privs make up. It is one comparable value, so that verifying is ==.
type State struct {
	Permitted, Inheritable, Effective, Bounding, Ambient Set
	Securebits                                           Securebits
	UID, GID                                             IDs
	Groups                                               Groups
	NoNewPrivs                                           bool
}

// IDs are the real, effective and saved ids of credentials(7). The file
// system id always follows the effective one here.
type IDs struct{ Real, Effective, Saved uint32 }

// Same is the IDs that are all id.
func Same(id uint32) IDs { return IDs{id, id, id} }

// anyRoot reports whether one of the ids is 0.
func (i IDs) anyRoot() bool { return i.Real == 0 || i.Effective == 0 || i.Saved == 0 }

// has reports whether id is one of the three.
func (i IDs) has(id uint32) bool { return id == i.Real || id == i.Effective || id == i.Saved }

// Securebits are the flags of PR_GET_SECUREBITS, prctl(2).
type Securebits uint32

// The securebits of capabilities(7). KeepCaps is also what PR_SET_KEEPCAPS
// sets.
const (
	NoRoot                  Securebits = 1 << iota // uid 0 gets nothing at execve
	NoRootLocked                                   // …
	NoSetuidFixup                                  // id changes leave the sets alone
	NoSetuidFixupLocked                            // …
	KeepCaps                                       // permitted survives leaving uid 0
	KeepCapsLocked                                 // KeepCaps cannot be changed
	NoCapAmbientRaise                              // nothing can be raised into ambient
	NoCapAmbientRaiseLocked                        // …
	securebitsEnd
)

var securebitNames = [...]string{"noroot", "noroot_locked", "no_setuid_fixup", "no_setuid_fixup_locked",
	"keep_caps", "keep_caps_locked", "no_cap_ambient_raise", "no_cap_ambient_raise_locked"}

// Names lists the names of the bits that are set, in the order of their
// values.
func (b Securebits) Names() []string {
	names := []string{}
	for i, n := range securebitNames {
		if b&(1<<i) != 0 {
			names = append(names, n)
		}
	}
	return names
}

// Groups are supplementary group ids, kept sorted, without duplicates and in
// four bytes each, which makes them comparable. The zero value is no groups.
type Groups string

// MaxGroups is NGROUPS_MAX, the most that setgroups(2) takes.
const MaxGroups = 65536

// NewGroups is the set of ids. The slice is not changed.
func NewGroups(ids ...uint32) Groups {
	ids = slices.Clone(ids)
	slices.Sort(ids)
	ids = slices.Compact(ids)
	b := make([]byte, 0, 4*len(ids))
	for _, id := range ids {
		b = binary.BigEndian.AppendUint32(b, id)
	}
	return Groups(b)
}

// IDs lists the ids in ascending order.
func (g Groups) IDs() []uint32 {
	ids := make([]uint32, 0, len(g)/4)
	for ; len(g) >= 4; g = g[4:] {
		ids = append(ids, uint32(g[0])<<24|uint32(g[1])<<16|uint32(g[2])<<8|uint32(g[3]))
	}
	return ids
}

// Len is the number of ids.
func (g Groups) Len() int { return len(g) / 4 }

// Has reports whether id is among them.
func (g Groups) Has(id uint32) bool {
	_, found := slices.BinarySearch(g.IDs(), id)
	return found
}

// With is g and id.
func (g Groups) With(id uint32) Groups { return NewGroups(append(g.IDs(), id)...) }

// Without is g less id.
func (g Groups) Without(id uint32) Groups {
	return NewGroups(slices.DeleteFunc(g.IDs(), func(have uint32) bool { return have == id })...)
}

// A Host is what holds for every process in one place: what the kernel knows
// and what the user namespace maps. The zero Host knows no capability.
type Host struct {
	Known     Set   // bits 0 to cap_last_cap
	Ambient   bool  // PR_CAP_AMBIENT exists (Linux 4.3)
	SetGroups bool  // setgroups(2) is not denied, user_namespaces(7)
	Nested    bool  // not the initial user namespace
	UIDs      IDMap // nil where it could not be read: then every id counts as mapped
	GIDs      IDMap

	// OldExecIDs: execve(2) compares the new effective ids with the real ones
	// to tell whether they change, as Linux before 6.16 does, and not with the
	// effective ones and the groups. No plan depends on it (its ids are all
	// equal, and it refuses a set-gid file either way), so nobody has to find
	// it out but the oracle.
	OldExecIDs bool
}

// An IDMap lists the ids of a user namespace that are mapped, as in
// /proc/PID/uid_map, user_namespaces(7).
type IDMap []IDRange

// An IDRange is Count mapped ids from First on.
type IDRange struct{ First, Count uint32 }

// Has reports whether id is mapped. A nil map maps every id.
func (m IDMap) Has(id uint32) bool {
	return m == nil || slices.ContainsFunc(m, func(r IDRange) bool { return id >= r.First && id-r.First < r.Count })
}
