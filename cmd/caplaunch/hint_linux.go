package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"

	"github.com/caplaunch/caplaunch/internal/ambient"
	"github.com/caplaunch/caplaunch/internal/ambient/linux"
	"github.com/caplaunch/caplaunch/internal/exec"
	"github.com/caplaunch/caplaunch/internal/grant"
	"github.com/caplaunch/caplaunch/internal/identity"
	"github.com/caplaunch/caplaunch/internal/launch"
	"github.com/caplaunch/caplaunch/internal/shell"
	"github.com/caplaunch/caplaunch/internal/why"
)

// A hinter puts the failure of a launch into words, in those of the place that
// it runs in.
type hinter struct {
	*line
	*launch.Launch
	surroundings
	argv0 string
}

// explainFailure is err in the words of a user: what stopped the launch, and something
// to paste so that it does not come again.
func (h *hinter) explainFailure(err error) *failure {
	f := &failure{err: err, msg: err.Error(), code: exitFailure}
	isGrant := false // about what was granted, which holds in a namespace only
	switch e := err.(type) {
	case *usageError:
		f.hint = e.hint
	case *ambient.NotGrantedError:
		f.code, f.hint, isGrant = exitNotGranted, h.notGranted(e), true
	case *ambient.UnexpectedCapabilityError:
		f.code, f.hint, isGrant = exitUnexpected, h.unexpected(e), true
	case *ambient.RefusedError:
		f.hint, isGrant = h.refused(e), true
	case *identity.LookupError:
		f.hint = h.notFound(e)
	case *ambient.FileError:
		f.msg, f.hint = shell.Word(h.Program.Last().Path)+": "+f.msg, h.fileHint(e)
	case *exec.Error:
		f.msg, f.hint = why.Explain(e, h.Program)
		f.code = programStatus(e)
		if slip := h.programSlip(); e.Missing() && slip != "" {
			f.hint = slip
		}
	case *ambient.StepError:
		f.msg, f.hint = h.stepFailed(e)
	default:
		f.hint = h.callHint()
	}
	if _, isUsage := err.(*usageError); !isUsage && !strings.Contains(f.hint, " -- ") {
		f.hint = h.sources.inHint(f.hint)
	}
	if isGrant && h.nested && !strings.Contains(f.msg, "user namespace") {
		f.msg += " (this is a user namespace)"
	}
	f.msg, f.hint = oneLine(f.msg), oneLine(f.hint)
	return f
}

// programStatus is 127 for what does not exist and 126 for what cannot be
// executed, as env(1) has it; 125 where it is caplaunch that will not or cannot,
// and not execve.
func programStatus(e *exec.Error) int {
	switch {
	case errors.Is(e, syscall.EMFILE), errors.Is(e, syscall.ENFILE), errors.Is(e, exec.ErrForeignCaps), errors.Is(e, exec.ErrHiddenCaps), errors.Is(e, exec.ErrChanged),
		errors.Is(e, exec.ErrReturned), e.Copy && e.Err != exec.ErrUnreadable && e.Err != exec.ErrNotExecutable:
		return exitFailure
	case e.Missing():
		return exitNotFound
	}
	return exitNotExecutable
}

// smallest is the smallest grant for the launch in its place. A start that is
// not root has to become one (asRoot) in the places that give such a user nothing.
func (h *hinter) smallest(asRoot bool) grant.Grant {
	req, now := h.Request, h.Now
	root := now.UID.Effective == 0
	if req.User == nil && (root || asRoot) { // who root is to be takes a switch, and so does who it is now
		req.User, req.UserErr = &ambient.User{UID: now.UID.Effective, GID: now.GID.Effective, Groups: now.Groups}, h.Request.UserErr
	}
	g := grant.For(req, h.known())
	gid := now.GID.Effective
	switch u := req.User; {
	case h.Request.User == nil && root:
		g.Caps |= ambient.SetOf(ambient.CapSetUID, ambient.CapSetGID)
	case u != nil && !asRoot && u.UID == now.UID.Effective && u.GID == gid && u.Groups.With(gid) == now.Groups.With(gid):
		g.Root = root // it is who it is to be
		g.Caps &^= ambient.SetOf(ambient.CapSetUID, ambient.CapSetGID, ambient.CapKill) &^ h.asked()
	}
	if g.UID, g.GID = now.UID.Effective, gid; req.User != nil {
		g.UID, g.GID = req.User.UID, req.User.GID
	}
	g.Privileged = h.privileged(now)
	before := slices.Concat(h.fromEnv, h.before) // sudo takes variables away
	if h.User == nil && !root {
		before = append(before, h.itself(g)...)
	}
	g.Command = strings.Replace((&line{command: h.command}).text(before, h.argv), "caplaunch", shell.Word(h.argv0), 1)
	return g
}

func (h *hinter) asked() ambient.Set {
	return h.Request.Required.Resolve(h.Host) | h.Request.Optional.Set
}

func (h *hinter) known() ambient.Set {
	return h.Host.Known & ambient.NamedCaps // no runtime takes a number
}

// grantLine is a grant as a hint, with what is to be known of the place.
func (h *hinter) grantLine(g grant.Grant) string {
	line := g.Line(h.place)
	if young := g.Caps & ambient.SetOf(ambient.CapPerfmon, ambient.CapBPF, ambient.CapCheckpointRestore); young != 0 && (h.place == grant.Docker || h.place == grant.Unknown) {
		line += fmt.Sprintf(" (Docker 20.10 refuses %s, Docker 23 and Podman 4 know it)", strings.ToUpper(young.String()))
	}
	return line
}

// notGranted is about required capabilities that cannot be given. What the
// kernel lacks no runtime can grant.
func (h *hinter) notGranted(e *ambient.NotGrantedError) string {
	if h.Request.Required.All {
		return h.sources.of("caps") + "=net_admin, with those that PROGRAM needs in the place of all; or --optional-caps=all for whatever there is"
	}
	if ports := readNumbers("/proc/sys/net/ipv4/ip_unprivileged_port_start"); e.Set() == ambient.SetOf(ambient.CapNetBindService) && len(ports) == 1 && ports[0] == 0 {
		return "leave net_bind_service out: every user can bind every port here (ip_unprivileged_port_start is 0)"
	}
	switch m := e.Missing[0]; m.Reason {
	case ambient.NotKnown:
		return h.unknown(e)
	case ambient.NoAmbient:
		return "docker run --runtime=runc, or a gVisor of June 2026 or newer; a kernel of its own has to be Linux 4.3 or newer"
	case ambient.KeepCapsIsLocked, ambient.AmbientIsLocked, ambient.RootWithoutRoot:
		return h.securebits()
	case ambient.GivenUp:
		return givenUpHint
	case ambient.OnlyBounding:
		// systemd starts nobody who has no entry in /etc/passwd.
		u := h.Request.User
		if h.place == grant.Systemd && (u == nil || u.UID == h.Now.UID.Effective || h.Answer.New.Name != "") {
			return h.systemdUser()
		}
		return h.startAsRoot()
	}
	switch {
	case h.place == grant.Systemd && h.nested:
		return h.systemdUser()
	case h.Now.UID.Effective != 0 && !h.makesAmbient():
		return h.startAsRoot() + h.outer(e)
	}
	return h.grantLine(h.smallest(false)) + h.outer(e)
}

// makesAmbient reports whether the place can make capabilities ambient for a user
// that is not root.
func (h *hinter) makesAmbient() bool { return h.place == grant.Podman || h.place == grant.Systemd }

// outer is added where following the hint may change nothing, since a place can
// only grant what it has itself.
func (h *hinter) outer(e *ambient.NotGrantedError) string {
	if h.place == grant.Host || h.place == grant.Namespace {
		return ""
	}
	docker := ambient.SetOf(0, 1, 3, 4, 5, 6, 7, 8, 10, 13, 18, 27, 29, 31) // what it grants by default
	if rare := e.Set() &^ docker; rare != 0 {
		return fmt.Sprintf(" (if the environment around it lacks %v too, as in Docker in Docker: %s, where PROGRAM can do without)", rare, h.optional(rare))
	}
	return ""
}

// optional are the flags that make required capabilities optional.
func (h *hinter) optional(caps ambient.Set) string {
	flags := fmt.Sprintf("--optional-caps=%v", h.Request.Optional.Set|caps)
	if rest := h.Request.Required.Set &^ caps; rest != 0 {
		return fmt.Sprintf("--caps=%v %s", rest, flags)
	}
	return flags + " in place of --caps"
}

// systemdUser are the lines of a unit whose capabilities systemd makes ambient.
func (h *hinter) systemdUser() string {
	who := ""
	if u := h.Request.User; u != nil && u.UID != h.Now.UID.Effective {
		who = fmt.Sprintf("User=%d and Group=%d and ", u.UID, u.GID)
	}
	return who + grant.Ambient(h.asked()&h.known())
}

// unknown is about capabilities of which the kernel does not know at least one:
// those become optional.
func (h *hinter) unknown(e *ambient.NotGrantedError) string {
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
	return fmt.Sprintf("caplaunch %s, if PROGRAM can do without; else run it on %s", h.optional(unknown), where)
}

// securebits is about those that whoever started caplaunch has set.
func (h *hinter) securebits() string {
	bits := strings.Join(h.Now.Securebits.Names(), " ")
	if h.place == grant.Systemd {
		return "SecureBits= (empty: now it sets " + bits + ")"
	}
	return "start caplaunch without the securebits " + bits + " (setpriv --securebits, capsh --secbits, systemd's SecureBits= set them)"
}

const givenUpHint = "start caplaunch itself first, not behind a program that gives capabilities up and sets no_new_privs (setpriv, capsh)"

// startAsRoot says how to start as root, to become who was asked for or else who
// it is now.
func (h *hinter) startAsRoot() string {
	g := h.smallest(true)
	line := h.grantLine(g)
	if h.User != nil || h.place == grant.Host || h.place == grant.Namespace {
		return line
	}
	return line + "; and caplaunch " + strings.Join(h.itself(g), " ")
}

// itself are the flags for who caplaunch is now, where it is to start as root.
func (h *hinter) itself(g grant.Grant) []string {
	flags := []string{fmt.Sprintf("--user=%d:%d", g.UID, g.GID)}
	if rest := h.Now.Groups.Without(ambient.NewGroups(g.GID)); rest.Len() > 0 && h.Request.Groups == nil && !h.Request.KeepGroups {
		flags = append(flags, "--groups="+rest.List())
	}
	return flags
}

// unexpected is about more than was allowed. The allowlist has to name what the
// launch needs; the rest goes with the smallest grant.
func (h *hinter) unexpected(e *ambient.UnexpectedCapabilityError) string {
	g := h.smallest(false)
	stray, _ := e.Set()
	hint := h.only(g, stray&^g.Caps)
	if lacking := g.Caps &^ e.Allow; lacking != 0 {
		list := h.sources.of("allow") + "=" + (e.Allow | g.Caps).String()
		if stray&^g.Caps == 0 {
			return list
		}
		return list + "; and " + hint
	}
	return hint
}

// fileHint is about a program whose file would break the promise.
func (h *hinter) fileHint(e *ambient.FileError) string {
	if e.File.SetUID != nil && e.After.UID != e.Want.UID || e.File.SetGID != nil && e.After.GID != e.Want.GID {
		return "put the program that it would start behind -- itself, or start it without caplaunch: a set-id program takes its ids from its file"
	}
	return why.Mend(h.Program)
}

// stepFailed is about a step that the kernel refused although its rules allow it.
func (h *hinter) stepFailed(e *ambient.StepError) (msg, hint string) {
	msg, hint = e.Error(), h.callHint()
	what, isID := "", true
	switch s := e.Step.(type) {
	case ambient.SetResUID:
		what = fmt.Sprintf("uid %d", s.To.Real)
	case ambient.SetResGID:
		what = fmt.Sprintf("gid %d", s.To.Real)
	case ambient.SetGroups:
		unmapped := slices.DeleteFunc(s.Groups.IDs(), h.gids.has)
		what = fmt.Sprintf("one of the groups %v", ambient.NewGroups(unmapped...))
	default:
		isID = false
	}
	switch {
	case errors.Is(e, linux.ErrNoQueue):
		return e.Err.Error(), "caplaunch run in the place of explain, or end what fills the queue of uid " + fmt.Sprint(syscall.Getuid()) + " (RLIMIT_SIGPENDING, ulimit -i)"
	case errors.Is(e, syscall.EINVAL) && isID: // the kernel knows no other reason
		msg, hint = what+" is not mapped in this user namespace", h.unmapped()
	case errors.Is(e, syscall.EPERM) && h.nested && appArmorRestricts():
		hint = "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0, or an AppArmor profile with userns for what makes the namespace: its capabilities look granted and are not"
	}
	return msg, hint
}

// unmapped says which ids can be had where those asked for, or their groups,
// cannot be set.
func (h *hinter) unmapped() string {
	keep := ""
	if !h.Request.KeepGroups {
		keep = "; and caplaunch --keep-groups"
	}
	switch {
	case h.place == grant.Kubernetes:
		return "an id below 65536, or the kubelet's userNamespaces.idsPerPod raised"
	case h.place == grant.Systemd:
		return h.systemdUser() + " (with PrivateUsers= only root, nobody and the unit's own user are mapped)"
	case h.place == grant.Podman, h.place == grant.Docker:
		return fmt.Sprintf("an id that is mapped: cat /proc/self/uid_map; or more of them (%v run --userns, /etc/subuid and /etc/subgid)", h.place)
	case h.uids.has(h.Now.UID.Effective) && h.gids.has(h.Now.GID.Effective):
		return h.stay() + "; or map the ids: unshare --map-auto, /etc/subuid and /etc/subgid"
	}
	return h.smallest(false).Line(grant.Namespace) + keep
}

// appArmorRestricts reports whether Ubuntu's restriction of user namespaces is on.
func appArmorRestricts() bool {
	return slices.Equal(readNumbers("/proc/sys/kernel/apparmor_restrict_unprivileged_userns"), []uint64{1})
}

// callHint is about a call that a filter refuses, or answers.
func (h *hinter) callHint() string {
	switch h.place {
	case grant.Docker, grant.Podman:
		return fmt.Sprintf("%v run --security-opt=seccomp=unconfined (if a seccomp profile forbids it)", h.place)
	case grant.Kubernetes:
		return "securityContext: {seccompProfile: {type: Unconfined}} (if a seccomp profile forbids it)"
	case grant.Systemd:
		return "SystemCallFilter= (empty, if a filter of the unit forbids it)"
	}
	return "a seccomp filter or a security module forbids it: start caplaunch without"
}
