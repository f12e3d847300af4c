package ambient

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
)

// A State is all that capabilities(7), credentials(7) and no_new_privs say of a
// process, as one comparable value, so that verifying is ==.
type State struct {
	Permitted, Inheritable, Effective, Bounding, Ambient Set
	Securebits                                           Securebits
	UID, GID                                             IDs
	Groups                                               Groups
	NoNewPrivs                                           bool
}

// A Host is what holds for every process in one place.
type Host struct {
	Known     Set  // bits 0 to cap_last_cap
	Ambient   bool // PR_CAP_AMBIENT exists (Linux 4.3)
	SetGroups bool // setgroups(2) is not denied, user_namespaces(7)

	// OldExecIDs: an id is changed by execve(2) when it differs from the real one, as
	// before Linux 6.17. No plan depends on it.
	OldExecIDs bool
}

// IDs are those of credentials(7). The file system id follows the effective one here.
type IDs struct{ Real, Effective, Saved uint32 }

// Same is the IDs that are all id.
func Same(id uint32) IDs { return IDs{id, id, id} }

func (i IDs) has(id uint32) bool { return id == i.Real || id == i.Effective || id == i.Saved }
func (i IDs) hasAll(to IDs) bool { return i.has(to.Real) && i.has(to.Effective) && i.has(to.Saved) }

// String is the one id when all three are equal, else real,effective,saved.
func (i IDs) String() string {
	if i == Same(i.Real) {
		return fmt.Sprint(i.Real)
	}
	return fmt.Sprintf("%d,%d,%d", i.Real, i.Effective, i.Saved)
}

// Securebits are the flags of PR_GET_SECUREBITS, prctl(2).
type Securebits uint32

// The securebits of capabilities(7) that bear on a launch. KeepCaps is also
// what PR_SET_KEEPCAPS sets.
const (
	NoRoot            Securebits = 1 << 0 // uid 0 gets nothing at execve
	NoSetuidFixup     Securebits = 1 << 2 // id changes leave the sets alone
	KeepCaps          Securebits = 1 << 4 // permitted survives leaving uid 0
	KeepCapsLocked    Securebits = 1 << 5 // KeepCaps cannot be changed
	NoCapAmbientRaise Securebits = 1 << 6 // nothing can be raised into ambient
)

// securebitNames are in the order of the values. Each second bit locks the one
// before it. The last four came with Linux 6.14.
var securebitNames = [...]string{
	"noroot", "noroot_locked", "no_setuid_fixup", "no_setuid_fixup_locked",
	"keep_caps", "keep_caps_locked", "no_cap_ambient_raise", "no_cap_ambient_raise_locked",
	"exec_restrict_file", "exec_restrict_file_locked", "exec_deny_interactive", "exec_deny_interactive_locked",
}

// Names lists the bits that are set, those newer than this binary in hex.
func (b Securebits) Names() []string {
	return bitNames(Set(b), func(i Cap) string {
		if int(i) < len(securebitNames) {
			return securebitNames[i]
		}
		return fmt.Sprintf("%#x", uint32(1)<<i)
	})
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
	var b []byte
	for _, id := range slices.Compact(ids) {
		b = binary.BigEndian.AppendUint32(b, id)
	}
	return Groups(b)
}

// IDs lists the ids in ascending order.
func (g Groups) IDs() []uint32 {
	ids := make([]uint32, g.Len())
	for i := range ids {
		ids[i] = binary.BigEndian.Uint32([]byte(g[4*i : 4*i+4]))
	}
	return ids
}

func (g Groups) Len() int                   { return len(g) / 4 }
func (g Groups) Has(id uint32) bool         { return slices.Contains(g.IDs(), id) }
func (g Groups) With(more ...uint32) Groups { return NewGroups(append(g.IDs(), more...)...) }

// Without is g less those of other.
func (g Groups) Without(other Groups) Groups {
	drop := other.IDs()
	return NewGroups(slices.DeleteFunc(g.IDs(), func(id uint32) bool {
		_, found := slices.BinarySearch(drop, id)
		return found
	})...)
}

// List joins the ids with commas, as --groups takes them; no groups are "".
func (g Groups) List() string {
	return strings.Trim(strings.ReplaceAll(fmt.Sprint(g.IDs()), " ", ","), "[]")
}

// String is List with at most a dozen ids, for people; no groups are "none".
func (g Groups) String() string {
	const most = 12
	switch n := g.Len(); {
	case n == 0:
		return "none"
	case n > most:
		return fmt.Sprintf("%s,… (%d in all)", g[:4*most].List(), n)
	}
	return g.List()
}
