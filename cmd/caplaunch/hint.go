package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/caplaunch/caplaunch/internal/ambient"
	"github.com/caplaunch/caplaunch/internal/grant"
	"github.com/caplaunch/caplaunch/internal/identity"
)

// hint says what to change so that err does not come again: something to
// paste, in the words of the place that l runs in.
func (l *launch) hint(err error) string {
	var (
		usage   *usageError
		hinted  interface{ Hint() string }
		missing *ambient.NotGrantedError
		stray   *ambient.UnexpectedCapabilityError
		refused *ambient.RefusedError
		lookup  *identity.LookupError
		file    *ambient.FileError
	)
	switch {
	case errors.As(err, &usage):
		return usage.hint
	case errors.As(err, &missing):
		return l.grantHint(missing)
	case errors.As(err, &stray):
		return l.strayHint(stray)
	case errors.As(err, &refused):
		return l.identityHint(refused)
	case errors.As(err, &lookup):
		return l.lookupHint(lookup)
	case errors.As(err, &file):
		return l.fileHint()
	case errors.As(err, &hinted) && hinted.Hint() != "":
		return hinted.Hint()
	}
	return l.callHint()
}

// grant is the smallest grant for the launch.
func (l *launch) grant() grant.Grant {
	g := grant.Grant{Caps: l.req.Required.Set | l.req.Optional.Set, NewPrivs: l.req.AllowNewPrivs}
	if l.req.Required.All {
		g.Caps |= l.host.Known
	}
	if u := l.req.User; u != nil {
		g.Root, g.UID, g.GID = true, u.UID, u.GID
		g.Caps |= ambient.SetOf(ambient.CapSetGID)
		if u.UID != 0 || l.req.UserErr != nil {
			g.Caps |= ambient.SetOf(ambient.CapSetUID)
		}
		if u.UID == 0 && l.req.AllowNewPrivs && l.req.UserErr == nil {
			g.Caps |= ambient.SetOf(ambient.CapSetPCap) // --bounding=drop has to come with it
		}
	}
	if l.req.User == nil && l.now.UID.Effective == 0 {
		// Root has to name somebody, and will then have to switch.
		g.Root = true
		g.Caps |= ambient.SetOf(ambient.CapSetUID, ambient.CapSetGID)
	}
	if l.req.DropBounding {
		g.Caps |= ambient.SetOf(ambient.CapSetPCap)
	}
	g.Caps &= ambient.UpTo(ambient.Cap(ambient.Named() - 1)) // no runtime takes a number
	return g
}

// strayHint is about more than was allowed. What the launch itself is there for,
// or needs, the allowlist has to name; taking it away would only be refused
// later.
func (l *launch) strayHint(e *ambient.UnexpectedCapabilityError) string {
	wanted := l.grant().Caps
	unlimited := l.req
	unlimited.Allow, unlimited.Strict = nil, false
	if p, err := ambient.NewPlan(unlimited, l.now, l.host); err == nil && !p.Switched {
		wanted &^= ambient.SetOf(ambient.CapSetUID, ambient.CapSetGID) &^ p.Given
	}
	var hints []string
	if needed := e.Set() & wanted; needed != 0 {
		hints = append(hints, source("allow")+"="+(e.Allow|needed).String())
	}
	if rest := e.Set() &^ wanted; rest != 0 {
		hints = append(hints, grant.Drop(l.place, rest))
	}
	return strings.Join(hints, "; and ")
}

// grantHint is about required capabilities that cannot be given. What the
// kernel lacks no runtime can grant.
func (l *launch) grantHint(e *ambient.NotGrantedError) string {
	switch m := e.Missing[0]; m.Reason {
	case ambient.NotKnown:
		return l.unknownHint(e)
	case ambient.NoAmbient:
		return "docker run --runtime=runc, or another runtime than this gVisor; a kernel of its own has to be Linux 4.3 or newer"
	case ambient.KeepCapsIsLocked, ambient.AmbientIsLocked, ambient.RootWithoutRoot:
		return l.securebitsHint()
	case ambient.GivenUp:
		return givenUpHint
	case ambient.OnlyBounding:
		switch u := l.req.User; {
		case l.place == grant.Namespace:
			return l.asRoot().Line(l.place)
		case l.place == grant.Systemd && (u == nil || u.UID == e.Now.UID.Effective && u.GID == e.Now.GID.Effective):
			// In the place of the line that is there: all that was asked for and can be had.
			return grant.Ambient(e.Now.Bounding & (l.req.Required.On(l.host) | l.req.Optional.Set))
		}
		return l.startAsRoot()
	case ambient.NotGranted:
		// Podman and systemd make it ambient for such a user; the others cannot.
		if e.Now.UID.Effective != 0 && l.req.User == nil && (l.place == grant.Docker || l.place == grant.Kubernetes) {
			return l.startAsRoot()
		}
	}
	return l.grant().Line(l.place)
}

// unknownHint is about capabilities of which the kernel does not know at least
// one: those become optional.
func (l *launch) unknownHint(e *ambient.NotGrantedError) string {
	var unknown ambient.Set
	where := "another kernel"
	for _, m := range e.Missing {
		if m.Reason == ambient.NotKnown {
			unknown |= ambient.SetOf(m.Cap)
			if v := m.Cap.Since(); v != "" {
				where = "Linux " + v + " or newer"
			}
		}
	}
	flags := fmt.Sprintf("--optional-caps=%v in place of --caps", l.req.Optional.Set|unknown)
	if rest := l.req.Required.Set &^ unknown; rest != 0 {
		flags = fmt.Sprintf("--caps=%v --optional-caps=%v", rest, l.req.Optional.Set|unknown)
	}
	return fmt.Sprintf("caplaunch %s, if PROGRAM can do without; else run it on %s", flags, where)
}

// securebitsHint is about securebits that whoever started caplaunch has set.
func (l *launch) securebitsHint() string {
	bits := strings.Join(l.now.Securebits.Names(), " ")
	if l.place == grant.Systemd {
		return "SecureBits= (empty: now it sets " + bits + ")"
	}
	return "start caplaunch without the securebits " + bits + " (setpriv --securebits, capsh --secbits, systemd's SecureBits= set them)"
}

const givenUpHint = "start caplaunch itself first, not behind a program that gives capabilities up and sets no_new_privs (setpriv, capsh)"

// asRoot is the grant for a launch that starts as root, to become who was asked
// for or else who it is now.
func (l *launch) asRoot() grant.Grant {
	g := l.grant()
	if l.req.User == nil {
		g.UID, g.GID = l.now.UID.Effective, l.now.GID.Effective
	}
	g.Root = true
	g.Caps |= ambient.SetOf(ambient.CapSetGID)
	if g.UID != 0 {
		g.Caps |= ambient.SetOf(ambient.CapSetUID)
	}
	return g
}

// startAsRoot says how to start as root.
func (l *launch) startAsRoot() string {
	g, who := l.asRoot(), ""
	if l.req.User == nil {
		who = fmt.Sprintf(" with caplaunch --user=%d:%d", g.UID, g.GID)
		if rest := l.now.Groups.Without(g.GID); rest.Len() > 0 && l.req.Groups == nil && !l.req.KeepGroups {
			who += " --groups=" + joinIDs(rest)
		}
	}
	line := g.Line(l.place)
	if run := l.place.String() + " run "; who != "" && !strings.Contains(who, "--groups") && strings.HasPrefix(line, run) {
		// One line to paste: the variable is what the flag in the image would be.
		return fmt.Sprintf("%s--env=CAPLAUNCH_USER=%d:%d %s (or write%s before -- in the ENTRYPOINT)", run, g.UID, g.GID, line[len(run):], strings.TrimPrefix(who, " with"))
	}
	return fmt.Sprintf("start as root and let caplaunch switch%s: %s", who, line)
}

// joinIDs lists all ids, as --groups takes them.
func joinIDs(g ambient.Groups) string {
	var words []string
	for _, id := range g.IDs() {
		words = append(words, fmt.Sprint(id))
	}
	return strings.Join(words, ",")
}

func (l *launch) identityHint(e *ambient.RefusedError) string {
	switch u := e.User; e.Why {
	case ambient.RootWithoutUser:
		if uid, gid := mapped(l.host.UIDs, 0, l.host.SetGroups), mapped(l.host.GIDs, 0, l.host.SetGroups); uid != 0 || gid != 0 {
			return fmt.Sprintf("caplaunch --user=%d:%d, or caplaunch --user=0:0 to stay root", uid, gid)
		}
		if !l.host.GIDs.Has(0) {
			return grant.Grant{}.Line(grant.Namespace) + " (no gid is mapped here)"
		}
		return "caplaunch --user=0:0 to stay root: this user namespace has nobody else"
	case ambient.StartedSetID, ambient.StartedWithFileCaps:
		mend := "chmod 0755 "
		if e.Why == ambient.StartedWithFileCaps {
			mend = "setcap -r "
		} else if st, err := os.Stat(ownPath()); err == nil && st.Mode()&(os.ModeSetuid|os.ModeSetgid) == 0 {
			return "take the set-uid or set-gid bit from the program that starts caplaunch, or let it change its real, effective and saved ids alike (setresuid, setresgid)"
		}
		return mend + shellWord(ownPath()) + " (the runtime has to grant the capabilities, not the file)"
	case ambient.BoundingNeedsSetPCap:
		if e.Now.UID.Effective != 0 && (l.req.User != nil || l.place != grant.Podman && l.place != grant.Systemd) {
			return l.startAsRoot()
		}
		return l.withheldHint(e)
	case ambient.RootCannotSwitch:
		return l.withheldHint(e)
	case ambient.OtherUser:
		return fmt.Sprintf("%s (or caplaunch --non-root=keep to run as uid %v)", l.startAsRoot(), e.Now.UID)
	case ambient.OtherGroups:
		switch {
		case u.GID != e.Now.GID.Effective:
			hint := l.groupHint(u)
			others := e.Now.Groups.Without(e.Now.GID.Effective).Without(u.GID).Without(0)
			if others.Len() > 0 && others.With(u.GID) != u.Groups && l.req.Groups == nil && !l.req.KeepGroups {
				hint += ", and caplaunch --keep-groups" // those stay
			}
			return hint
		case l.req.Groups == nil && !l.req.KeepGroups && (u.GID == 0 || !e.Now.Groups.Has(0)):
			return "caplaunch --keep-groups"
		}
		return l.startAsRoot()
	case ambient.UnmappedGroups:
		return fmt.Sprintf("caplaunch --groups=%d in place of --keep-groups, or the ids that are needed and mapped", u.GID)
	case ambient.TooManyGroups:
		instead := ""
		if l.req.KeepGroups {
			instead = " in place of --keep-groups"
		}
		return fmt.Sprintf("caplaunch --groups=%d%s, or the ids that are needed", u.GID, instead)
	case ambient.SetGroupsDenied, ambient.Unmapped:
		if e.Now.UID.Effective == 0 && !l.host.GIDs.Has(e.Now.GID.Effective) {
			return grant.Grant{}.Line(grant.Namespace) + " (no gid is mapped here)"
		}
		if e.Why == ambient.Unmapped && l.host.UIDs.Has(u.UID) && l.host.GIDs.Has(u.GID) {
			var has []uint32
			for _, id := range u.Groups.IDs() {
				if l.host.GIDs.Has(id) {
					has = append(has, id)
				}
			}
			return fmt.Sprintf("caplaunch --groups=%s, which are mapped here; or map the others (/etc/subgid)", joinIDs(ambient.NewGroups(has...)))
		}
		if !l.host.UIDs.Has(e.Now.UID.Effective) || !l.host.GIDs.Has(e.Now.GID.Effective) {
			return fmt.Sprintf("caplaunch without --user, to run as it is: no id can be had here; or map uid %d and gid %d", u.UID, u.GID)
		}
		uid := mapped(l.host.UIDs, e.Now.UID.Effective, l.host.SetGroups)
		gid := mapped(l.host.GIDs, e.Now.GID.Effective, l.host.SetGroups)
		hint := fmt.Sprintf("caplaunch --user=%d:%d", uid, gid)
		if !l.host.SetGroups {
			hint += " --keep-groups"
		}
		if l.req.Groups != nil {
			hint += " in place of --user and --groups"
		}
		if e.Why == ambient.SetGroupsDenied {
			return hint + ", which sets none; or another user namespace, that allows setgroups (podman unshare, newgidmap)"
		}
		return hint + fmt.Sprintf(", which is mapped here; or map uid %d and gid %d (podman run --userns, /etc/subuid and /etc/subgid)", u.UID, u.GID)
	case ambient.RootRegains:
		return "caplaunch --bounding=drop, or without --allow-new-privs"
	}
	return slip{command: "run"}.help()
}

// withheldHint is about root without a capability that the launch itself needs:
// not granted, unless it is in the bounding set.
func (l *launch) withheldHint(e *ambient.RefusedError) string {
	switch {
	case e.Now.UID.Effective != 0 || !e.Now.Bounding.Contains(e.Missing):
		return l.grant().Line(l.place)
	case e.Now.Securebits&ambient.NoRoot != 0:
		return l.securebitsHint()
	}
	return givenUpHint
}

// groupHint says how to start with the group of u.
func (l *launch) groupHint(u ambient.User) string {
	switch l.place {
	case grant.Docker, grant.Podman:
		return fmt.Sprintf("%v run --user=%d:%d", l.place, u.UID, u.GID)
	case grant.Kubernetes:
		return fmt.Sprintf("securityContext: {runAsUser: %d, runAsGroup: %d}", u.UID, u.GID)
	case grant.Systemd:
		return fmt.Sprintf("Group=%d", u.GID)
	case grant.Namespace:
		return l.grant().Line(l.place)
	}
	return fmt.Sprintf("docker or podman run --user=%d:%d; kubernetes: securityContext: {runAsUser: %d, runAsGroup: %d}; systemd: Group=%d", u.UID, u.GID, u.UID, u.GID, u.GID)
}

// mapped is an id that the map has: one to switch to, if that can be done, or
// else the present one.
func mapped(m ambient.IDMap, now uint32, canSwitch bool) uint32 {
	for _, id := range []uint32{65532, 1000, 1} {
		if m.Has(id) && canSwitch {
			return id
		}
	}
	return now
}

// lookupHint is about a user or a group that no file explains.
func (l *launch) lookupHint(e *identity.LookupError) string {
	switch {
	case e.Why == identity.NoGroup:
		return fmt.Sprintf("caplaunch --user=%s:%s", e.Name.Text, e.Name.Text)
	case e.Why == identity.Malformed && !e.Group && e.Path == identity.Etc.Group: // one of those that it is a member of
		return fmt.Sprintf("caplaunch --user=%s:%d, without the other groups; or mend that line", e.Name.Text, l.req.User.GID)
	case e.Why == identity.TooManyOf:
		return fmt.Sprintf("caplaunch --groups=%d, or the ids that it needs", l.req.User.GID)
	case e.Group && l.flags.Groups != nil && (l.flags.User == nil || !strings.HasSuffix(*l.flags.User, ":"+e.Name.Text)):
		if rest := l.otherGroups(e); rest != "" {
			return fmt.Sprintf("caplaunch --groups=%s, or with the number of %s: numbers need no file", rest, shellWord(e.Name.Text))
		}
		gid := l.now.GID.Effective
		if l.req.User != nil {
			gid = l.req.User.GID
		}
		if gid == 0 && (l.req.User == nil || l.req.User.UID != 0) {
			gid = 65532 // nobody asked for the group of root
		}
		return fmt.Sprintf("caplaunch --groups=%d: numbers need no file", gid)
	case e.Group && l.flags.User != nil:
		user, _, _ := strings.Cut(*l.flags.User, ":")
		return fmt.Sprintf("caplaunch --user=%s:65532: numbers need no file", shellWord(user))
	}
	return "caplaunch --user=65532:65532: numbers need no file"
}

// otherGroups are those of --groups that can be had although e cannot.
func (l *launch) otherGroups(e *identity.LookupError) string {
	names, _ := identity.ParseGroups(l.flags.Groups...)
	var rest []string
	for _, n := range names {
		if n.Numeric || n.Text != e.Name.Text && e.Why != identity.NoFile && e.Why != identity.Unreadable {
			rest = append(rest, n.Text)
		}
	}
	if rest == nil {
		return ""
	}
	return shellWord(strings.Join(rest, ","))
}

// ownPath is the path of this binary.
func ownPath() string {
	path, err := os.Executable()
	if err != nil {
		path = os.Args[0]
	}
	return path
}

// fileHint is about a program whose file would break the promise.
func (l *launch) fileHint() string {
	if !l.copyable {
		return l.mend + " in the image"
	}
	return "caplaunch --strip-file-caps, or " + l.mend + " in the image"
}

// callHint is about a call that the kernel refused although its rules allow it.
func (l *launch) callHint() string {
	switch l.place {
	case grant.Docker, grant.Podman:
		return fmt.Sprintf("%v run --security-opt=seccomp=unconfined (if a seccomp profile forbids it)", l.place)
	case grant.Kubernetes:
		return "securityContext: {seccompProfile: {type: Unconfined}} (if a seccomp profile forbids it)"
	case grant.Systemd:
		return "SystemCallFilter= (empty, if a filter of the unit forbids it)"
	}
	return "a seccomp filter or a security module forbids it: start caplaunch without"
}
