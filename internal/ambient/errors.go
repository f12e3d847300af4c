package ambient

import (
	"fmt"
	"io/fs"
	"strings"

	"github.com/caplaunch/caplaunch/internal/near"
)

// An UnknownCapError is a word that names no capability.
type UnknownCapError struct{ Name string }

// Near is the name that was probably meant, "" when none is near.
func (e *UnknownCapError) Near() string {
	word := strings.TrimPrefix(strings.TrimPrefix(strings.ToLower(e.Name), "cap_"), "cap_")
	word, _, _ = strings.Cut(word, "=") // the text form of libcap: cap_net_admin=eip
	word, _, _ = strings.Cut(word, "+")
	if e.isNumber() || strings.HasPrefix(word, "-") { // -x is to take x away, not a misspelt x
		return ""
	}
	names := make([]string, len(table))
	begins := []string{}
	for c := range table {
		names[c] = table[c].name
		if len(word) > 2 && strings.HasPrefix(names[c], word) {
			begins = append(begins, names[c])
		}
	}
	if len(begins) == 1 {
		return begins[0]
	}
	return near.Word(word, names...)
}

func (e *UnknownCapError) isNumber() bool {
	return e.Name != "" && strings.Trim(e.Name, "+-0123456789") == ""
}

func (e *UnknownCapError) Error() string {
	near, lower := e.Near(), strings.ToLower(e.Name)
	switch {
	case e.isNumber():
		return fmt.Sprintf("%q is not a capability number from 0 to %d, written in decimal", e.Name, MaxCap)
	case strings.HasPrefix(lower, "cap_cap_"):
		return fmt.Sprintf("%q says cap_ twice", e.Name)
	case near != "" && strings.ContainsAny(e.Name, "=+"):
		return fmt.Sprintf("%q: a list has names alone, caplaunch makes the sets", e.Name)
	case near != "":
		return fmt.Sprintf("%q is not a capability (did you mean %s?)", e.Name, near)
	}
	return fmt.Sprintf("%.64q is not a capability", e.Name)
}

// A ListError is a list of capabilities without a word in it, or one that says
// "none" and more.
type ListError struct {
	List string
	None bool
}

func (e *ListError) Error() string {
	if e.None {
		return fmt.Sprintf(`"none" stands alone or not at all, not in %.64q`, e.List)
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

var reasonSentences = [...]string{
	Grantable:        "it can be given",
	NotKnown:         "not known to this kernel",
	NotGranted:       "not granted to caplaunch: neither permitted nor in the bounding set",
	OnlyBounding:     "the runtime gave it only to the bounding set, because the container's user is not root",
	RootWithoutRoot:  "in the bounding set, but not permitted: the securebit noroot is set, so being root gives nothing",
	GivenUp:          "in the bounding set, but not permitted: whoever started caplaunch gave it up under no_new_privs",
	NotInheritable:   "permitted, but neither inheritable nor in the bounding set, so it cannot become ambient",
	NoAmbient:        "this kernel has no ambient capabilities (Linux before 4.3, or gVisor before June 2026)",
	KeepCapsIsLocked: "the securebit keep_caps_locked is set, so the change of the uid takes every capability away",
	AmbientIsLocked:  "the securebit no_cap_ambient_raise is set, so nothing can become ambient",
}

func (r Reason) String() string { return reasonSentences[r] }

// A Miss is a capability that cannot be given, and why.
type Miss struct {
	Cap    Cap
	Reason Reason
}

// Why is the sentence for it; of an unknown one it names the Linux version that
// brought it.
func (m Miss) Why() string {
	if m.Reason == NotKnown && m.Cap.Since() != "" {
		return "not known to this kernel: it came with Linux " + m.Cap.Since()
	}
	return m.Reason.String()
}

// A NotGrantedError names the required capabilities that cannot be given.
type NotGrantedError struct {
	Missing []Miss
	Now     State
}

// Set is the set of those missing.
func (e *NotGrantedError) Set() Set {
	var s Set
	for _, m := range e.Missing {
		s |= SetOf(m.Cap)
	}
	return s
}

// Error says each sentence once, with the capabilities that it is about.
func (e *NotGrantedError) Error() string {
	var why []string
	caps := map[string]Set{}
	for _, m := range e.Missing {
		s := m.Why()
		if m.Reason == OnlyBounding {
			s += fmt.Sprintf(" (uid %d)", e.Now.UID.Effective)
		}
		if caps[s] == 0 {
			why = append(why, s)
		}
		caps[s] |= SetOf(m.Cap)
	}
	for i, s := range why {
		why[i] = caps[s].Some() + " cannot be given: " + s
	}
	return strings.Join(why, "; ")
}

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
	TooManyGroups                           // more than NGROUPS_MAX
	RootRegains                             // execve would fill the sets of uid 0 again
	BoundingNeedsSetPCap                    // the bounding set cannot be cut
)

// A RefusedError says why caplaunch will not, or cannot, run the program as the
// user asked for.
type RefusedError struct {
	Why     Refusal
	Now     State
	User    User // who it was to be
	Missing Set  // the capabilities that it would take
}

func (e *RefusedError) Error() string {
	who := fmt.Sprintf("uid %v, gid %v", e.Now.UID, e.Now.GID)
	switch e.Why {
	case StartedSetID:
		return fmt.Sprintf("caplaunch was started with ids that differ (real, effective, saved uid %d,%d,%d; gid %d,%d,%d), as a set-uid or set-gid file is: it would hand its privilege to whoever calls it",
			e.Now.UID.Real, e.Now.UID.Effective, e.Now.UID.Saved, e.Now.GID.Real, e.Now.GID.Effective, e.Now.GID.Saved)
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
		return "setgroups is denied in this user namespace, so the groups cannot be set"
	case TooManyGroups:
		return fmt.Sprintf("%d groups, and the kernel takes %d", e.User.Groups.Len(), MaxGroups)
	case RootRegains:
		return "a root program regains the whole bounding set at execve when no_new_privs is off"
	case BoundingNeedsSetPCap:
		return "--bounding=drop needs setpcap, which is not permitted" + e.withheld()
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
		return ": " + RootWithoutRoot.String()
	}
	return ": " + GivenUp.String()
}

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
		return fmt.Sprintf("the kernel would refuse to run it (operation not permitted): its file capabilities demand %v, and %v is not in the bounding set", f.Caps.Permitted, f.Caps.Permitted&^e.Want.Bounding)
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

// A DeniedError is a call that a rule of the model forbids; it is
// fs.ErrPermission.
type DeniedError struct {
	Call string
	Rule Rule
}

func (e *DeniedError) Error() string { return e.Call + ": " + string(e.Rule) }

// Is makes errors.Is(err, fs.ErrPermission) true.
func (*DeniedError) Is(target error) bool { return target == fs.ErrPermission }

// A StepError is a step that failed, on the Sim or on the kernel.
type StepError struct {
	Step Step
	Err  error
}

func (e *StepError) Error() string { return fmt.Sprintf("%v: %v", e.Step, e.Err) }
func (e *StepError) Unwrap() error { return e.Err }

// A VerifyError is a state that the kernel reports after all steps succeeded,
// and that is not the planned one.
type VerifyError struct{ Want, Got State }

// Error lists in what they differ, as "effective none instead of net_admin".
func (e *VerifyError) Error() string {
	var d []string
	add := func(name string, want, got any) {
		if want != got {
			d = append(d, fmt.Sprintf("%s %v instead of %v", name, got, want))
		}
	}
	a, b := e.Want, e.Got
	add("uid", a.UID, b.UID)
	add("gid", a.GID, b.GID)
	add("groups", a.Groups, b.Groups)
	add("permitted", a.Permitted, b.Permitted)
	add("inheritable", a.Inheritable, b.Inheritable)
	add("effective", a.Effective, b.Effective)
	add("bounding", a.Bounding, b.Bounding)
	add("ambient", a.Ambient, b.Ambient)
	add("securebits", strings.Join(a.Securebits.Names(), ","), strings.Join(b.Securebits.Names(), ","))
	add("no_new_privs", a.NoNewPrivs, b.NoNewPrivs)
	return "the kernel reports another state than planned: " + strings.Join(d, ", ")
}
