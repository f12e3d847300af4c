package main

import (
	"errors"
	"fmt"
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
		return lookupHint(lookup)
	case errors.As(err, &file):
		return l.fileHint(file)
	case errors.As(err, &hinted):
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
		g := l.grant()
		who := ""
		if l.req.User == nil {
			g.UID, g.GID = e.Now.UID.Effective, e.Now.UID.Effective
			who = fmt.Sprintf(" with caplaunch --user=%d:%d", g.UID, g.GID)
		}
		if l.place == grant.Namespace {
			return g.Line(l.place)
		}
		g.Root = true
		g.Caps |= ambient.SetOf(ambient.CapSetUID, ambient.CapSetGID)
		return fmt.Sprintf("start as root and let caplaunch switch%s: %s", who, g.Line(l.place))
	}
	return l.grant().Line(l.place)
}

func (l *launch) identityHint(e *ambient.RefusedError) string {
	switch u := e.User; e.Why {
	case ambient.RootWithoutUser:
		return "caplaunch --user=65532:65532 (or --user=0:0 to stay root)"
	case ambient.StartedSetID, ambient.StartedWithFileCaps:
		return "setcap -r and chmod 0755 on the caplaunch binary: the runtime has to grant the capabilities, not the file"
	case ambient.RootCannotSwitch, ambient.BoundingNeedsSetPCap:
		return l.grant().Line(l.place)
	case ambient.OtherUser:
		return fmt.Sprintf("start as root and let caplaunch switch: %s (or caplaunch --non-root=keep to run as uid %v)", l.grant().Line(l.place), e.Now.UID)
	case ambient.OtherGroups:
		if u.GID == e.Now.GID.Effective {
			return "caplaunch --keep-groups"
		}
		return l.groupHint(u)
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

func lookupHint(e *identity.LookupError) string {
	switch {
	case e.Why == identity.NoGroup:
		return fmt.Sprintf("caplaunch --user=%s:%s", e.Name.Text, e.Name.Text)
	case e.Why == identity.Malformed:
		return fmt.Sprintf("caplaunch --user=65532:65532, or mend line %d of %s: numbers need no file", e.Line, e.Path)
	case e.Why == identity.TooManyOf:
		return "caplaunch --groups=LIST, with the groups that it needs"
	}
	return "caplaunch --user=65532:65532: numbers need no file"
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
		return fmt.Sprintf("%v run --security-opt=seccomp=unconfined, if a seccomp profile forbids it", l.place)
	case grant.Kubernetes:
		return "securityContext: {seccompProfile: {type: Unconfined}}, if a seccomp profile forbids it"
	case grant.Systemd:
		return "SystemCallFilter= (empty), if a filter of the unit forbids it"
	}
	return "a seccomp filter or a security module forbids it: start caplaunch without"
}
