package ambient

import (
	"fmt"
	"io/fs"
	"strings"

	"github.com/caplaunch/caplaunch/internal/near"
)

// The exit statuses of spec and README: 77 and 78 are EX_NOPERM and EX_CONFIG
// of sysexits.h, 125 is what docker run and env(1) use for their own failures.
const (
	ExitNotGranted = 77
	ExitUnexpected = 78
	ExitFailure    = 125
)

// An UnknownCapError is a word that names no capability.
type UnknownCapError struct {
	Name    string
	Near    string // the nearest name, "" when none is near
	Doubled bool   // it says "cap_" twice
	Number  bool   // it is a number, but not one from 0 to 63
}

func newUnknownCapError(s string) *UnknownCapError {
	e := &UnknownCapError{Name: s}
	name := strings.ToLower(s)
	e.Number = name != "" && strings.Trim(name, "+-0123456789") == ""
	name = strings.TrimPrefix(name, "cap_")
	if rest, ok := strings.CutPrefix(name, "cap_"); ok {
		if c, err := ParseCap(rest); err == nil {
			e.Near, e.Doubled = c.String(), true
			return e
		}
	}
	if !e.Number && !strings.HasPrefix(name, "-") { // -x is to take x away, not a misspelt x
		names := make([]string, len(table))
		for c := range table {
			names[c] = table[c].name
		}
		e.Near = near.Word(name, names...)
	}
	return e
}

func (e *UnknownCapError) Error() string {
	switch {
	case e.Doubled:
		return fmt.Sprintf("%q says cap_ twice", e.Name)
	case e.Number:
		return fmt.Sprintf("%q is not a capability number from 0 to %d, written in decimal", e.Name, MaxCap)
	case e.Near != "":
		return fmt.Sprintf("%q is not a capability (did you mean %s?)", e.Name, e.Near)
	}
	return fmt.Sprintf("%q is not a capability", e.Name)
}

// A ListError is a list of capabilities without a word in it, or one that says
// "none" and more.
type ListError struct {
	List string
	None bool
}

func (e *ListError) Error() string {
	if e.None {
		return fmt.Sprintf(`"none" stands alone or not at all, not in %q`, e.List)
	}
	return "an empty list of capabilities"
}

// A Reason says why a capability cannot be given.
type Reason uint8

// The reasons, in the order in which they are looked for.
const (
	Grantable        Reason = iota
	NotKnown                // above cap_last_cap
	NotGranted              // neither permitted nor in the bounding set
	OnlyBounding            // in the bounding set of a process that is not root
	RootWithoutRoot         // in the bounding set of a root that the securebit noroot disowns
	GivenUp                 // in the bounding set of a root that gave it up under no_new_privs
	NotInheritable          // permitted, but neither inheritable nor in the bounding set
	NoAmbient               // the kernel has no ambient set
	KeepCapsIsLocked        // the uid change clears permitted
	AmbientIsLocked         // nothing can be raised into ambient
)

// Sentence says the reason for one or several capabilities with the same one.
func (r Reason) Sentence(now State, host Host) string {
	where := ""
	if host.Nested {
		where = " in this user namespace"
	}
	switch r {
	case NotKnown:
		return "not known to this kernel"
	case NotGranted:
		return "not granted to caplaunch" + where + ": neither permitted nor in the bounding set"
	case OnlyBounding:
		return fmt.Sprintf("the runtime gave it only to the bounding set%s, because the container's user is not root (uid %d)", where, now.UID.Effective)
	case RootWithoutRoot:
		return "in the bounding set, but not permitted: the securebit noroot is set, so being root gives nothing"
	case GivenUp:
		return "in the bounding set, but not permitted: whoever started caplaunch gave it up under no_new_privs"
	case NotInheritable:
		return "permitted, but neither inheritable nor in the bounding set, so it cannot become ambient"
	case NoAmbient:
		return "this kernel has no ambient capabilities (Linux before 4.3, or a gVisor without them)"
	case KeepCapsIsLocked:
		return "the securebit keep_caps_locked is set, so the change of the uid takes every capability away"
	case AmbientIsLocked:
		return "the securebit no_cap_ambient_raise is set, so nothing can become ambient"
	}
	return "it can be given"
}

// Why is the sentence for one capability; of an unknown one it names the kernel
// version that brought it.
func (m Miss) Why(now State, host Host) string {
	if m.Reason == NotKnown && m.Cap.Since() != "" {
		return "not known to this kernel: it came with Linux " + m.Cap.Since()
	}
	return m.Reason.Sentence(now, host)
}

// A NotGrantedError names the required capabilities that cannot be given.
type NotGrantedError struct {
	Missing []Miss
	Now     State
	Host    Host
}

// Set is the set of those missing.
func (e *NotGrantedError) Set() Set {
	var s Set
	for _, m := range e.Missing {
		s |= SetOf(m.Cap)
	}
	return s
}

func (e *NotGrantedError) Error() string {
	var why []string         // each sentence once, in order
	caps := map[string]Set{} // and whom it is about
	for _, m := range e.Missing {
		s := m.Why(e.Now, e.Host)
		if caps[s] == 0 {
			why = append(why, s)
		}
		caps[s] |= SetOf(m.Cap)
	}
	var parts []string
	for _, s := range why {
		parts = append(parts, fmt.Sprintf("%v cannot be given: %s", caps[s], s))
	}
	return strings.Join(parts, "; ")
}

// ExitStatus is 77.
func (*NotGrantedError) ExitStatus() int { return ExitNotGranted }

// A Refusal says why the identity asked for cannot be had.
type Refusal uint8

// The refusals.
const (
	StartedSetID         Refusal = iota + 1 // caplaunch itself is set-uid or set-gid
	StartedWithFileCaps                     // caplaunch itself has file capabilities
	RootWithoutUser                         // root, and no user named
	RootCannotSwitch                        // root without setuid or setgid
	OtherUser                               // another non-root user, unable to switch
	OtherGroups                             // the same user with another group or groups, unable to switch
	SetGroupsDenied                         // the user namespace denies setgroups
	Unmapped                                // an id is not mapped in the user namespace
	UnmappedGroups                          // groups to be kept are not mapped there
	TooManyGroups                           // more than NGROUPS_MAX
	RootRegains                             // execve would fill the sets of uid 0 again
	BoundingNeedsSetPCap                    // the bounding set cannot be cut
)

// A RefusedError says why caplaunch will not, or cannot, run the program as the
// user asked for.
type RefusedError struct {
	Why     Refusal
	Now     State
	User    User
	Missing Set   // the capabilities that it would take
	Err     error // the rule that the Sim met, if any
}

func (e *RefusedError) Error() string {
	who := fmt.Sprintf("uid %v, gid %v", e.Now.UID, e.Now.GID)
	switch e.Why {
	case StartedSetID:
		return fmt.Sprintf("caplaunch was started with ids that differ (real uid %d, effective %d; real gid %d, effective %d), as a set-uid or set-gid file is: it would hand its privilege to whoever calls it",
			e.Now.UID.Real, e.Now.UID.Effective, e.Now.GID.Real, e.Now.GID.Effective)
	case StartedWithFileCaps:
		return fmt.Sprintf("caplaunch itself has file capabilities (%v, permitted but not ambient, as uid %v): it would hand them to whoever calls it", e.Missing, e.Now.UID)
	case RootWithoutUser:
		return "started as root, and caplaunch's own --user is missing: who is the program to run as?"
	case RootCannotSwitch:
		return fmt.Sprintf("started as root without %v, so it cannot switch to uid %d, gid %d%s", e.Missing, e.User.UID, e.User.GID, e.withheld())
	case OtherUser:
		return fmt.Sprintf("started as another user (%s), and without %v it cannot switch to uid %d, gid %d", who, e.Missing, e.User.UID, e.User.GID)
	case OtherGroups:
		return fmt.Sprintf("started with other groups (%s, groups %v), and without setgid it cannot switch to gid %d, groups %v", who, e.Now.Groups, e.User.GID, e.User.Groups)
	case SetGroupsDenied:
		return "setgroups is denied in this user namespace (/proc/self/setgroups says deny), so the groups cannot be set"
	case Unmapped:
		if e.Err != nil { // of setgroups: the two ids are looked at before any step
			return fmt.Sprintf("one of the groups %v is not mapped in this user namespace", e.User.Groups)
		}
		return fmt.Sprintf("uid %d or gid %d is not mapped in this user namespace", e.User.UID, e.User.GID)
	case UnmappedGroups:
		return "the groups received are not all mapped in this user namespace (they show as 65534), so they cannot be kept"
	case TooManyGroups:
		return fmt.Sprintf("%d groups, and the kernel takes %d", e.User.Groups.Len(), MaxGroups)
	case RootRegains:
		return "a root program regains the whole bounding set at execve when no_new_privs is off"
	case BoundingNeedsSetPCap:
		if why := e.withheld(); why != "" {
			return "--bounding=drop needs setpcap" + why
		}
		return "--bounding=drop needs setpcap, which was not granted"
	}
	return "refused"
}

// withheld says why a root process has not what was granted to it: "" when it
// was not.
func (e *RefusedError) withheld() string {
	switch {
	case e.Now.UID.Effective != 0 || !e.Now.Bounding.Contains(e.Missing):
		return ""
	case e.Now.Securebits&NoRoot != 0:
		return ": " + RootWithoutRoot.Sentence(e.Now, Host{})
	}
	return ": " + GivenUp.Sentence(e.Now, Host{})
}

func (e *RefusedError) Unwrap() error { return e.Err }

// ExitStatus is 125.
func (*RefusedError) ExitStatus() int { return ExitFailure }

// A FileError says that the program's own file would break the promise:
// execve would refuse it (Err), or end in After instead of Want.
type FileError struct {
	File        File
	Given       Set
	After, Want State
	Err         error
}

func (e *FileError) Error() string {
	switch f := e.File; {
	case e.Err != nil && f.Caps != nil:
		return fmt.Sprintf("the kernel would refuse to run it (operation not permitted): its file capabilities demand %v, and of these %v cannot be had", f.Caps.Permitted, f.Caps.Permitted&^e.Given)
	case e.Err != nil:
		return e.Err.Error()
	case f.Caps != nil:
		return fmt.Sprintf("its file capabilities (%v) clear the ambient set: it would run with permitted %v and its children with nothing", f.Caps.Permitted|f.Caps.Inheritable, e.After.Permitted)
	case e.After.UID != e.Want.UID:
		return fmt.Sprintf("its set-uid bit would make it run as uid %d", e.After.UID.Effective)
	case e.After.GID != e.Want.GID:
		return fmt.Sprintf("its set-gid bit would make it run as gid %d", e.After.GID.Effective)
	}
	return fmt.Sprintf("it would run with permitted %v instead of %v", e.After.Permitted, e.Want.Permitted)
}

func (e *FileError) Unwrap() error { return e.Err }

// ExitStatus is 125.
func (*FileError) ExitStatus() int { return ExitFailure }

// A DeniedError is a call that a rule of the model forbids; it is
// fs.ErrPermission.
type DeniedError struct {
	Op   string
	Rule Rule
}

func (e *DeniedError) Error() string { return e.Op + ": " + string(e.Rule) }

// Is makes errors.Is(err, fs.ErrPermission) true.
func (*DeniedError) Is(target error) bool { return target == fs.ErrPermission }

// A StepError is a step that failed, on the Sim or on the kernel.
type StepError struct {
	Step Step
	Err  error
}

func (e *StepError) Error() string { return fmt.Sprintf("%v: %v", e.Step, e.Err) }
func (e *StepError) Unwrap() error { return e.Err }

// ExitStatus is 125.
func (*StepError) ExitStatus() int { return ExitFailure }

// A VerifyError is a state that the kernel reports after all steps succeeded,
// and that is not the planned one.
type VerifyError struct{ Want, Got State }

func (e *VerifyError) Error() string {
	return "the kernel reports another state than planned: " + strings.Join(Diff(e.Want, e.Got), ", ")
}

// ExitStatus is 125.
func (*VerifyError) ExitStatus() int { return ExitFailure }

// Diff lists in what b differs from a, as "effective net_admin instead of
// none".
func Diff(a, b State) []string {
	var d []string
	add := func(name string, was, is any) {
		if was != is {
			d = append(d, fmt.Sprintf("%s %v instead of %v", name, is, was))
		}
	}
	add("uid", a.UID, b.UID)
	add("gid", a.GID, b.GID)
	add("groups", a.Groups, b.Groups)
	add("permitted", a.Permitted, b.Permitted)
	add("inheritable", a.Inheritable, b.Inheritable)
	add("effective", a.Effective, b.Effective)
	add("bounding", a.Bounding, b.Bounding)
	add("ambient", a.Ambient, b.Ambient)
	add("securebits", a.Securebits, b.Securebits)
	add("no_new_privs", a.NoNewPrivs, b.NoNewPrivs)
	return d
}
