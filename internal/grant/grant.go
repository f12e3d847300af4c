package grant

import (
	"fmt"
	"strings"

	"github.com/caplaunch/caplaunch/internal/ambient"
)

// A Grant is what a runtime has to give to caplaunch.
type Grant struct {
	Caps       ambient.Set // all that has to be granted: the program's and what the launch needs
	Root       bool        // caplaunch has to start as root, to switch to another user
	NewPrivs   bool        // no_new_privs must stay off
	Privileged bool        // the container is privileged now, which must not stay
	UID, GID   uint32      // who the program is to be; only a Namespace is told
	Command    string      // the command line of caplaunch; only a Host is told
}

// upper lists the names as docker and Kubernetes write them.
func upper(s ambient.Set, prefix string) []string {
	names := []string{}
	for _, name := range s.Names() {
		names = append(names, prefix+strings.ToUpper(name))
	}
	return names
}

// Flags are the flags of docker run and podman run.
func (g Grant) Flags() string {
	var w []string
	if g.Root {
		w = append(w, "--user=0:0")
	}
	if g.Privileged {
		w = append(w, "--privileged=false")
	}
	w = append(append(w, "--cap-drop=ALL"), upper(g.Caps, "--cap-add=")...)
	if !g.NewPrivs {
		w = append(w, "--security-opt=no-new-privileges")
	}
	return strings.Join(w, " ")
}

// lines are keys of a securityContext, of a compose service or of a unit.
func (g Grant) lines(p Place) (w []string) {
	add := func(yes bool, line string) {
		if yes {
			w = append(w, line)
		}
	}
	some := g.Caps != 0
	names := strings.Join(upper(g.Caps, ""), ", ")
	switch p {
	case Kubernetes:
		add(g.Root, "runAsUser: 0")
		add(g.Root, "runAsGroup: 0")
		add(g.Root, "runAsNonRoot: false")
		add(g.Privileged, "privileged: false")
		add(true, fmt.Sprintf("allowPrivilegeEscalation: %t", g.NewPrivs))
		add(true, strings.Replace("capabilities: {drop: [ALL], add: ["+names+"]}", ", add: []", "", 1))
	case Compose:
		add(g.Root, `user: "0:0"`)
		add(true, "cap_drop: [ALL]")
		add(some, "cap_add: ["+names+"]")
		add(!g.NewPrivs, `security_opt: ["no-new-privileges:true"]`)
	case Systemd:
		caps := strings.Join(upper(g.Caps, "CAP_"), " ")
		add(g.Root, "User=root")
		add(true, "CapabilityBoundingSet="+caps)
		add(!g.Root && some, Ambient(g.Caps)) // without effect for root
		add(true, "NoNewPrivileges="+map[bool]string{true: "no", false: "yes"}[g.NewPrivs])
	case LXC:
		add(g.Root, "lxc.init.uid = 0")
		add(g.Root, "lxc.init.gid = 0")
		add(true, "lxc.cap.keep = "+strings.ReplaceAll(g.Caps.String(), ",", " ")) // none is its word for nothing
	}
	return w
}

// Ambient is the directive of systemd.exec(5) that gives capabilities to a unit
// whose User= is not root.
func Ambient(caps ambient.Set) string {
	return "AmbientCapabilities=" + strings.Join(upper(caps, "CAP_"), " ")
}

// Line is the grant on one line, for a hint.
func (g Grant) Line(p Place) string {
	switch p {
	case Docker, Podman:
		return p.String() + " run " + g.Flags()
	case Kubernetes:
		return "securityContext: {" + strings.Join(g.lines(p), ", ") + "}"
	case Compose, Systemd, LXC:
		return strings.Join(g.lines(p), " and ")
	case Nspawn:
		return strings.TrimSuffix("systemd-nspawn --user=root --capability="+strings.Join(upper(g.Caps, "CAP_"), ","), " --capability=")
	case Namespace:
		return fmt.Sprintf("unshare --user --map-user=%d --map-group=%d --keep-caps", g.UID, g.GID)
	case Host:
		return "sudo " + g.Command
	}
	return fmt.Sprintf("docker or podman run %s; kubernetes: %s; systemd: %s",
		g.Flags(), g.Line(Kubernetes), g.Line(Systemd))
}

// Text is the grant as text to paste: flags, keys of a compose service, a
// container's securityContext, a section of a unit. It ends in a newline.
func (g Grant) Text(p Place) string {
	switch p {
	case Compose, LXC:
		return strings.Join(g.lines(p), "\n") + "\n"
	case Kubernetes:
		return "securityContext:\n  " + strings.Join(g.lines(p), "\n  ") + "\n"
	case Systemd:
		return "[Service]\n" + strings.Join(g.lines(p), "\n") + "\n"
	case Unknown, Docker, Podman:
		return g.Flags() + "\n"
	}
	return g.Line(p) + "\n"
}

// For is the smallest grant for a request: what was asked for, and what the
// switch to another user and --bounding need. It holds on a host that knows the
// capabilities known.
func For(req ambient.Request, known ambient.Set) Grant {
	g := Grant{Caps: req.Required.Set | req.Optional.Set, NewPrivs: req.AllowNewPrivs}
	if req.Required.All {
		g.Caps |= known
	}
	if u := req.User; u != nil {
		g.Root, g.UID, g.GID = true, u.UID, u.GID
		g.Caps |= ambient.SetOf(ambient.CapSetGID)
		if u.UID != 0 || req.UserErr != nil {
			g.Caps |= ambient.SetOf(ambient.CapSetUID)
		}
		if u.UID == 0 && req.AllowNewPrivs {
			g.Caps |= ambient.SetOf(ambient.CapSetPCap) // --bounding=drop has to come with it
		}
		if req.RootParent && u.UID != 0 {
			g.Caps |= ambient.SetOf(ambient.CapKill)
		}
	}
	if req.Bounding != ambient.KeepBounding {
		g.Caps |= ambient.SetOf(ambient.CapSetPCap)
	}
	g.Caps &= known
	return g
}
