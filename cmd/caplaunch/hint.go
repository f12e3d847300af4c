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
		return grant.Drop(l.place, stray.Set())
	case errors.As(err, &refused):
		return l.identityHint(refused)
	case errors.As(err, &lookup):
		return l.lookupHint(lookup)
	case errors.As(err, &file):
		return l.fileHint(file)
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
		if u.UID != 0 {
			g.Caps |= ambient.SetOf(ambient.CapSetUID)
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
	return g
}

// grantHint is about required capabilities that cannot be given. What the
// kernel lacks no runtime can grant.
func (l *launch) grantHint(e *ambient.NotGrantedError) string {
	switch m := e.Missing[0]; m.Reason {
	case ambient.NotKnown:
		where := "another kernel"
		if v := m.Cap.Since(); v != "" {
			where = "Linux " + v + " or newer"
		}
		return fmt.Sprintf("caplaunch --optional-caps=%v in place of --caps, if PROGRAM can do without; else run it on %s", m.Cap, where)
	case ambient.NoAmbient:
		return "docker run --runtime=runc, or another runtime than this gVisor; a kernel of its own has to be Linux 4.3 or newer"
	case ambient.KeepCapsIsLocked, ambient.AmbientIsLocked, ambient.RootWithoutRoot:
		bits := strings.Join(e.Now.Securebits.Names(), " ")
		if l.place == grant.Systemd {
			return "SecureBits= (empty: now it sets " + bits + ")"
		}
		return "start caplaunch without the securebits " + bits + " (setpriv --securebits, capsh --secbits, systemd's SecureBits= set them)"
	case ambient.OnlyBounding:
		switch u := l.req.User; {
		case l.place == grant.Namespace:
			return l.asRoot().Line(l.place)
		case l.place == grant.Systemd && (u == nil || u.UID == e.Now.UID.Effective && u.GID == e.Now.GID.Effective):
			return grant.Ambient(e.Set())
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

// asRoot is the grant for a launch that starts as root, to become who was asked
// for or else who it is now.
func (l *launch) asRoot() grant.Grant {
	g := l.grant()
	if l.req.User == nil {
		g.UID, g.GID = l.now.UID.Effective, l.now.GID.Effective
	}
	g.Root = true
	g.Caps |= ambient.SetOf(ambient.CapSetUID, ambient.CapSetGID)
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
		return "caplaunch --user=65532:65532, or caplaunch --user=0:0 to stay root"
	case ambient.StartedSetID, ambient.StartedWithFileCaps:
		mend, path := "chmod 0755 ", ownPath()
		if e.Why == ambient.StartedWithFileCaps {
			mend = "setcap -r "
		}
		return mend + path + " (the runtime has to grant the capabilities, not the file)"
	case ambient.BoundingNeedsSetPCap:
		if e.Now.UID.Effective != 0 {
			return l.startAsRoot()
		}
		return l.grant().Line(l.place)
	case ambient.RootCannotSwitch:
		return l.grant().Line(l.place)
	case ambient.OtherUser:
		return fmt.Sprintf("%s (or caplaunch --non-root=keep to run as uid %v)", l.startAsRoot(), e.Now.UID)
	case ambient.OtherGroups:
		switch {
		case u.GID != e.Now.GID.Effective:
			return l.groupHint(u)
		case l.req.Groups == nil && !l.req.KeepGroups && (u.GID == 0 || !e.Now.Groups.Has(0)):
			return "caplaunch --keep-groups"
		}
		return l.startAsRoot()
	case ambient.UnmappedGroups:
		return fmt.Sprintf("caplaunch --groups=%d in place of --keep-groups, or the ids that are needed and mapped", u.GID)
	case ambient.TooManyGroups:
		return fmt.Sprintf("caplaunch --groups=%d in place of --keep-groups, or the ids that are needed", u.GID)
	case ambient.SetGroupsDenied, ambient.Unmapped:
		id := l.mappedID()
		return fmt.Sprintf("caplaunch --user=%d:%d --keep-groups, which is mapped here; or map uid %d and gid %d (podman run --userns, /etc/subuid and /etc/subgid)", id, id, u.UID, u.GID)
	case ambient.RootRegains:
		return "caplaunch --bounding=drop, or without --allow-new-privs"
	}
	return helpHint
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

// mappedID is an id that the user namespace maps, as a user and as a group.
func (l *launch) mappedID() uint32 {
	for _, id := range []uint32{65532, 1000, 1} {
		if l.host.UIDs.Has(id) && l.host.GIDs.Has(id) && l.host.SetGroups {
			return id
		}
	}
	return l.now.UID.Effective
}

// lookupHint is about a user or a group that no file explains.
func (l *launch) lookupHint(e *identity.LookupError) string {
	switch {
	case e.Why == identity.NoGroup:
		return fmt.Sprintf("caplaunch --user=%s:%s", e.Name.Text, e.Name.Text)
	case e.Why == identity.TooManyOf:
		return fmt.Sprintf("caplaunch --groups=%d, or the ids that it needs", l.req.User.GID)
	case e.Group && l.flags.Groups != nil && l.req.User != nil:
		return fmt.Sprintf("caplaunch --groups=%d: numbers need no file", l.req.User.GID)
	case e.Group && l.flags.User != nil:
		user, _, _ := strings.Cut(*l.flags.User, ":")
		return fmt.Sprintf("caplaunch --user=%s:65532: numbers need no file", user)
	}
	return "caplaunch --user=65532:65532: numbers need no file"
}

// ownPath is the path of this binary, for a shell.
func ownPath() string {
	path, err := os.Executable()
	if err != nil {
		path = os.Args[0]
	}
	return strings.TrimSpace(quoteAll([]string{path}))
}

// fileHint is about a program whose file would break the promise.
func (l *launch) fileHint(e *ambient.FileError) string {
	mend := "setcap -r"
	if e.File.Caps == nil {
		mend = "chmod ug-s"
	}
	return fmt.Sprintf("caplaunch --strip-file-caps, or %s %s in the image", mend, strings.TrimSpace(quoteAll([]string{l.privileged})))
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
