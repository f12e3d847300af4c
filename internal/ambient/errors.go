package ambient

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/caplaunch/caplaunch/internal/near"
)

// An UnknownCapError is a word that names no capability.
type UnknownCapError struct{ Name string }

// Near is the name that was probably meant, "" when none is near.
func (e *UnknownCapError) Near() string {
	word := strings.TrimPrefix(strings.TrimPrefix(strings.ToLower(e.Name), "cap_"), "cap_")
	word, _, _ = strings.Cut(strings.ReplaceAll(word, "+", "="), "=") // libcap writes cap_net_admin=eip
	if strings.HasPrefix(word, "-") {                                 // -x is to take x away, not a misspelt x
		return ""
	}
	return near.Word(word, table[:]...)
}

func (e *UnknownCapError) Error() string {
	switch near := e.Near(); {
	case strings.Trim(e.Name, "+-0123456789") == "":
		return fmt.Sprintf("%.64q is not a capability number from 0 to %d, written in decimal", e.Name, MaxCap)
	case strings.HasPrefix(strings.ToLower(e.Name), "cap_cap_"):
		return fmt.Sprintf("%.64q says cap_ twice", e.Name)
	case near != "":
		return fmt.Sprintf("%.64q is not a capability (did you mean %s?)", e.Name, near)
	}
	return fmt.Sprintf("%.64q is not a capability", e.Name)
}

// What is wrong with a list, beside its words.
var (
	ErrEmptyList = errors.New("an empty list")
	ErrNone      = errors.New(`"none" stands alone or not at all`)
)

// A Reason says why a capability cannot be given.
type Reason string

// The reasons, in the order in which they are looked for.
const (
	Grantable        Reason = ""
	NotKnown         Reason = "not known to this kernel"
	NotGranted       Reason = "not granted to caplaunch: neither permitted nor in the bounding set"
	OnlyBounding     Reason = "the runtime gave it only to the bounding set, because the container's user is not root"
	RootWithoutRoot  Reason = "in the bounding set, but not permitted: the securebit noroot is set, so being root gives nothing"
	GivenUp          Reason = "in the bounding set, but not permitted: whoever started caplaunch gave it up under no_new_privs"
	NotInheritable   Reason = "permitted, but neither inheritable nor in the bounding set, so it cannot become ambient"
	NoAmbient        Reason = "this kernel has no ambient capabilities (Linux before 4.3, or gVisor before June 2026)"
	KeepCapsIsLocked Reason = "the securebit keep_caps_locked is set, so the change of the uid takes every capability away"
	AmbientIsLocked  Reason = "the securebit no_cap_ambient_raise is set, so nothing can become ambient"
)

// A Miss is a capability that cannot be given, and why.
type Miss struct {
	Cap    Cap
	Reason Reason
}

// Why is the reason, with the Linux version that brought an unknown one.
func (m Miss) Why() string {
	if m.Reason == NotKnown && m.Cap.Since() != "" {
		return string(m.Reason) + ": it came with Linux " + m.Cap.Since()
	}
	return string(m.Reason)
}

// A NotGrantedError names the required capabilities that cannot be given.
type NotGrantedError struct {
	Missing []Miss
	Now     State
}

// Set is the set of those missing.
func (e *NotGrantedError) Set() (s Set) {
	for _, m := range e.Missing {
		s |= SetOf(m.Cap)
	}
	return s
}

// Error says each reason once, with the capabilities that it is about.
func (e *NotGrantedError) Error() string {
	var all []string
	var caps []Set
	for _, m := range e.Missing {
		i := slices.Index(all, m.Why())
		if i < 0 {
			i, all, caps = len(all), append(all, m.Why()), append(caps, 0)
		}
		caps[i] |= SetOf(m.Cap)
	}
	for i, why := range all {
		all[i] = caps[i].String() + " cannot be given: " + why
	}
	return strings.Join(all, "; ")
}

// A Refusal says why the identity asked for cannot be had. RefusedError fills the
// braces in.
type Refusal string

const (
	StartedSetID         Refusal = "caplaunch was started with ids that differ ({now}: real, effective, saved), as a set-uid or set-gid file is: it would hand its privilege to whoever calls it"
	StartedWithFileCaps  Refusal = "caplaunch itself has file capabilities ({missing}, permitted but not ambient, as {now}): it would hand them to whoever calls it"
	RootWithoutUser      Refusal = "started as root, and caplaunch's own --user is missing: who is the program to run as?"
	RootCannotSwitch     Refusal = "started as root without {missing}, so it cannot switch to {user}{withheld}"
	OtherUser            Refusal = "started as another user ({now}), and without {missing} it cannot switch to {user}"
	OtherGroups          Refusal = "started with other groups ({now}, groups {groups now}), and without setgid it cannot switch to {user}, groups {groups}"
	SetGroupsDenied      Refusal = "setgroups is denied here, so the groups cannot be set"
	TooManyGroups        Refusal = "the groups {groups} are more than the kernel takes"
	RootRegains          Refusal = "a root program regains the whole bounding set at execve when no_new_privs is off"
	BoundingNeedsSetPCap Refusal = "--bounding=drop needs setpcap, which is not permitted{withheld}"
)

// A RefusedError says why the program will not, or cannot, run as the user asked for.
type RefusedError struct {
	Why     Refusal
	Now     State
	User    User // who it was to be
	Missing Set  // the capabilities that it would take
}

func (e *RefusedError) Error() string {
	withheld := "" // why a root process has not what was granted to it
	if e.Now.UID.Effective == 0 && e.Now.Bounding.Contains(e.Missing) {
		withheld = ": " + string(GivenUp)
		if e.Now.Securebits&NoRoot != 0 {
			withheld = ": " + string(RootWithoutRoot)
		}
	}
	return strings.NewReplacer("{missing}", e.Missing.String(), "{withheld}", withheld,
		"{now}", fmt.Sprintf("uid %v, gid %v", e.Now.UID, e.Now.GID), "{groups now}", e.Now.Groups.String(),
		"{user}", fmt.Sprintf("uid %d, gid %d", e.User.UID, e.User.GID), "{groups}", e.User.Groups.String(),
	).Replace(string(e.Why))
}

// A FileError says that execve of the program's file would be refused (Err), or end in
// After instead of Want.
type FileError struct {
	File        File
	After, Want State
	Err         error
}

func (e *FileError) Error() string {
	switch f := e.File; {
	case e.Err != nil:
		return fmt.Sprintf("the kernel would refuse to run it (operation not permitted): its file capabilities demand %v, and %v is not in the bounding set", f.Caps.Permitted, f.Caps.Permitted&^e.Want.Bounding)
	case f.Caps != nil:
		return fmt.Sprintf("its file capabilities (%v) clear the ambient set: it would run with permitted %v and its children with nothing", f.Caps.Permitted|f.Caps.Inheritable, e.After.Permitted)
	}
	return fmt.Sprintf("its set-id bits would make it run as uid %d, gid %d", e.After.UID.Effective, e.After.GID.Effective)
}

// A StepError is a step that the kernel refused.
type StepError struct {
	Step Step
	Err  error
}

func (e *StepError) Error() string { return fmt.Sprintf("%v: %v", e.Step, e.Err) }
func (e *StepError) Unwrap() error { return e.Err }

// A VerifyError is a state that the kernel reports and that is not the planned one.
type VerifyError struct{ Want, Got State }

// Error lists in what they differ, as "effective none instead of net_admin".
func (e *VerifyError) Error() string {
	var d []string
	want, got := reflect.ValueOf(e.Want), reflect.ValueOf(e.Got)
	for i := range want.NumField() {
		if a, b := want.Field(i).Interface(), got.Field(i).Interface(); a != b {
			d = append(d, fmt.Sprintf("%s %v instead of %v", strings.ToLower(want.Type().Field(i).Name), b, a))
		}
	}
	return "the kernel reports another state than planned: " + strings.Join(d, ", ")
}
