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
		return l.fileHint()
	case errors.As(err, &hinted):
		return hinted.Hint()
	}
	return "the kernel, a seccomp filter or a security module forbids the call; run caplaunch explain, or strace -f, in the same place to see which"
}

// grant is the smallest grant for the launch.
func (l *launch) grant() grant.Grant {
	g := grant.Grant{Caps: l.req.Required.Set | l.req.Optional.Set, NewPrivs: l.req.AllowNewPrivs}
	if l.req.Required.All {
		g.Caps |= l.host.Known
	}
	if u := l.req.User; u != nil {
		g.Root = true
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
		return fmt.Sprintf("run it on %s, or write --optional-caps=%v for what PROGRAM can do without", where, m.Cap)
	case ambient.NoAmbient:
		return "run it on Linux 4.3 or newer, or with another runtime than gVisor (docker run --runtime=runc)"
	case ambient.KeepCapsIsLocked, ambient.AmbientIsLocked, ambient.RootWithoutRoot:
		return fmt.Sprintf("start caplaunch without the securebits %s (systemd: SecureBits=, setpriv --securebits)", strings.Join(e.Now.Securebits.Names(), " "))
	case ambient.OnlyBounding:
		who := ""
		if l.req.User == nil {
			who = fmt.Sprintf(" --user=%d:%d", e.Now.UID.Effective, e.Now.UID.Effective)
		}
		g := l.grant()
		g.Root = true
		g.Caps |= ambient.SetOf(ambient.CapSetUID, ambient.CapSetGID)
		return fmt.Sprintf("start as root and let caplaunch switch%s: %s", orEmpty(who, " with"), g.Line(l.place))
	}
	return l.grant().Line(l.place)
}

// orEmpty puts prefix in front of s, unless s is empty.
func orEmpty(s, prefix string) string {
	if s == "" {
		return ""
	}
	return prefix + s
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
		if l.place == grant.Kubernetes {
			return fmt.Sprintf("securityContext: {runAsUser: %d, runAsGroup: %d} (or caplaunch --keep-groups for fsGroup and supplementalGroups)", u.UID, u.GID)
		}
		return fmt.Sprintf("start with the group as well (--user=%d:%d, runAsGroup: %d), or caplaunch --keep-groups to keep those received", u.UID, u.GID, u.GID)
	case ambient.SetGroupsDenied:
		return "caplaunch --keep-groups with the user you are, or a namespace with mapped ids: unshare --user --map-root-user --map-auto"
	case ambient.Unmapped:
		return fmt.Sprintf("map uid %d and gid %d into the namespace (podman --userns, unshare --map-auto, /etc/subuid), or name ids that are in /proc/self/uid_map and gid_map", u.UID, u.GID)
	case ambient.RootRegains:
		return "caplaunch --bounding=drop as well, or without --allow-new-privs"
	}
	return helpHint
}

func lookupHint(e *identity.LookupError) string {
	switch {
	case e.Why == identity.NoGroup:
		return fmt.Sprintf("caplaunch --user=%s:%s", e.Name.Text, e.Name.Text)
	case e.Why == identity.Malformed:
		return fmt.Sprintf("mend line %d of %s, or use numbers: caplaunch --user=65532:65532", e.Line, e.Path)
	case e.Why == identity.TooManyOf:
		return "name the groups that it needs: caplaunch --groups=LIST"
	}
	return "use numbers, which need no file: caplaunch --user=65532:65532"
}

func (l *launch) fileHint() string {
	return fmt.Sprintf("setcap -r %s in the image, or caplaunch --strip-file-caps", strings.TrimSpace(quoteAll([]string{l.path})))
}
