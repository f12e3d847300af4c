package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/caplaunch/caplaunch/internal/ambient"
	"github.com/caplaunch/caplaunch/internal/grant"
	"github.com/caplaunch/caplaunch/internal/identity"
	"github.com/caplaunch/caplaunch/internal/shell"
)

// refused is about who the program is to run as.
func (h *hinter) refused(e *ambient.RefusedError) string {
	u := e.User
	switch e.Why {
	case ambient.RootWithoutUser:
		toStay := "caplaunch --user=0:0" + h.keepGroups() + " to stay root"
		switch g := h.smallest(false); {
		case !h.uids.has(65532) || !h.gids.has(65532):
			return toStay + ", or an id that is mapped in this user namespace"
		case !e.Now.Permitted.Contains(ambient.SetOf(ambient.CapSetUID, ambient.CapSetGID)):
			return h.grantLine(g) + "; and caplaunch --user=65532:65532; or " + toStay
		}
		return "caplaunch --user=65532:65532, or whoever PROGRAM is to be; or " + toStay
	case ambient.StartedSetID, ambient.StartedWithFileCaps:
		return h.borrowed(e.Why)
	case ambient.BoundingNeedsSetPCap:
		if e.Now.UID.Effective != 0 && !h.makesAmbient() {
			return h.startAsRoot()
		}
		return h.withheld(e)
	case ambient.RootCannotSwitch:
		if h.place == grant.Kubernetes && h.nested && ambient.SetOf(ambient.CapNetBindService).Contains(e.Now.Bounding) {
			return "caplaunch --user=0:0" + h.keepGroups() + ": root of this pod's user namespace; a namespace that enforces restricted takes neither SETUID nor SETGID, so no switch can be had there"
		}
		return h.withheld(e)
	case ambient.OtherUser:
		if !h.uids.has(e.Now.UID.Effective) {
			return h.startAsRoot()
		}
		return fmt.Sprintf("%s (or caplaunch --non-root=keep to run as uid %v)", h.startAsRoot(), e.Now.UID)
	case ambient.OtherGroups:
		switch {
		case u.GID != e.Now.GID.Effective:
			return h.group(u) + h.keepGroups()
		case !h.Request.KeepGroups && h.Request.Groups == nil:
			return "caplaunch --keep-groups"
		}
		return h.startAsRoot()
	case ambient.SetGroupsDenied:
		if !h.Request.KeepGroups && h.Request.Groups == nil && u.UID == e.Now.UID.Effective && u.GID == e.Now.GID.Effective {
			return "caplaunch --keep-groups"
		} else if !h.nested {
			return h.callHint()
		}
		return h.unmapped()
	case ambient.TooManyGroups:
		hint := fmt.Sprintf("caplaunch --groups=%d", u.GID)
		if h.Request.KeepGroups {
			hint += " in place of --keep-groups"
		}
		return hint + ", with the ids that are needed"
	case ambient.RootRegains:
		return "caplaunch --bounding=drop, or without --allow-new-privs"
	}
	return "caplaunch --help"
}

// stay is the identity that needs no switch.
func (h *hinter) stay() string {
	groups := "--keep-groups"
	if h.Request.Groups != nil {
		groups += " in place of --groups"
	}
	return fmt.Sprintf("caplaunch --user=%d:%d %s, which is who it is", h.Now.UID.Effective, h.Now.GID.Effective, groups)
}

// keepGroups is the flag where the start has groups that the target would lose.
func (h *hinter) keepGroups() string {
	if h.Request.KeepGroups || h.Now.Groups.Without(ambient.NewGroups(0, h.Now.GID.Effective)).Len() == 0 {
		return ""
	}
	return " --keep-groups"
}

// borrowed is about privilege from caplaunch's own file.
func (h *hinter) borrowed(r ambient.Refusal) string {
	path, err := os.Executable()
	if err != nil {
		path = h.argv0
	}
	const tail = " (the runtime has to grant the capabilities, not the file)"
	if r == ambient.StartedWithFileCaps {
		return "setcap -r " + shell.Word(path) + tail
	}
	if st, err := os.Stat(path); err == nil && st.Mode()&(os.ModeSetuid|os.ModeSetgid) == 0 {
		return "take the set-uid or set-gid bit from the program that starts caplaunch, or let it change its real, effective and saved ids alike (setresuid, setresgid)"
	}
	return "chmod 0755 " + shell.Word(path) + tail
}

// withheld is about root without a capability that the launch itself needs:
// not granted, unless it is in the bounding set.
func (h *hinter) withheld(e *ambient.RefusedError) string {
	switch {
	case h.place == grant.Systemd && h.nested:
		return h.systemdUser()
	case e.Now.UID.Effective != 0 || !e.Now.Bounding.Contains(e.Missing):
		return h.grantLine(h.smallest(false))
	case e.Now.Securebits&ambient.NoRoot != 0:
		return h.securebits()
	}
	return givenUpHint
}

// group says how to start with the group of u.
func (h *hinter) group(u ambient.User) string {
	kubernetes := fmt.Sprintf("securityContext: {runAsUser: %d, runAsGroup: %d}", u.UID, u.GID)
	switch h.place {
	case grant.Docker, grant.Podman:
		return fmt.Sprintf("%v run --user=%d:%d", h.place, u.UID, u.GID)
	case grant.Kubernetes:
		return kubernetes
	case grant.Systemd:
		return fmt.Sprintf("Group=%d", u.GID)
	case grant.LXC:
		return fmt.Sprintf("lxc.init.gid = %d", u.GID)
	case grant.Nspawn, grant.Host, grant.Namespace:
		return h.startAsRoot()
	}
	return fmt.Sprintf("docker or podman run --user=%d:%d; kubernetes: %s; systemd: Group=%d", u.UID, u.GID, kubernetes, u.GID)
}

// notFound is about a user or a group that no file explains. It never names
// another one.
func (h *hinter) notFound(e *identity.LookupError) string {
	name, bare := shell.Word(e.Name.Text), strings.Trim(e.Name.Text, `"'`)
	switch {
	case strings.Contains(bare, "$"):
		return "--user=UID:GID" + unexpanded(bare)
	case bare != e.Name.Text: // an env file, and the list form of compose, keep them
		return "write " + shell.Word(bare) + " without the quotes, which belong to the value here"
	case e.Why == identity.NoGroup:
		return fmt.Sprintf("caplaunch --user=%s:GID with the number of its group: --user=%s:%s, if that is its group", name, name, name)
	case e.Why == identity.Malformed || e.Why == identity.Unreadable:
		groups := map[bool]string{true: " --groups=GID in the place of --keep-groups"}[h.Request.KeepGroups && e.Name.Text == fmt.Sprint(h.Now.UID.Real)]
		return fmt.Sprintf("mend %s, or write numbers, which need no file: --user=UID:GID%s", e.Path, groups)
	case e.Group:
		return fmt.Sprintf("write the number of the group, which needs no file: getent group %s | cut -d: -f3, where it is known", name)
	}
	return fmt.Sprintf("--user=UID:GID needs no file: id -u %s and id -g %s tell the numbers where the user is known", name, name)
}
