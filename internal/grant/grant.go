package grant

import (
	"fmt"
	"strings"

	"github.com/caplaunch/caplaunch/internal/ambient"
)

// A Grant is what a runtime has to give to caplaunch.
type Grant struct {
	Caps     ambient.Set // all that has to be granted: the program's and what the launch needs
	Root     bool        // caplaunch has to start as root, to switch to another user
	NewPrivs bool        // no_new_privs must stay off
	UID, GID uint32      // who the program is to be; only a Namespace is told
}

// Name is the name as docker and Kubernetes write it.
func Name(c ambient.Cap) string { return strings.ToUpper(c.String()) }

func upper(s ambient.Set, prefix string) []string {
	names := []string{}
	for c := range s.All() {
		names = append(names, prefix+Name(c))
	}
	return names
}

// Flags are the flags of docker run and podman run.
func (g Grant) Flags() string {
	var w []string
	if g.Root {
		w = append(w, "--user=0:0")
	}
	w = append(w, "--cap-drop=ALL")
	w = append(w, upper(g.Caps, "--cap-add=")...)
	if !g.NewPrivs {
		w = append(w, "--security-opt=no-new-privileges")
	}
	return strings.Join(w, " ")
}

// SecurityContext is a container's securityContext as one line of YAML.
func (g Grant) SecurityContext() string {
	var w []string
	if g.Root {
		w = append(w, "runAsUser: 0", "runAsGroup: 0", "runAsNonRoot: false")
	}
	w = append(w, fmt.Sprintf("allowPrivilegeEscalation: %t", g.NewPrivs))
	caps := "drop: [ALL]"
	if add := upper(g.Caps, ""); len(add) > 0 {
		caps += ", add: [" + strings.Join(add, ", ") + "]"
	}
	w = append(w, "capabilities: {"+caps+"}")
	return "securityContext: {" + strings.Join(w, ", ") + "}"
}

// Line is the grant on one line, for a hint.
func (g Grant) Line(p Place) string {
	switch p {
	case Docker:
		return "docker run " + g.Flags()
	case Podman:
		return "podman run " + g.Flags()
	case Compose:
		return strings.Join(g.compose(), "; ")
	case Kubernetes:
		return g.SecurityContext()
	case Systemd:
		return strings.Join(g.unit(), " and ")
	case Namespace:
		return fmt.Sprintf("unshare --user --map-user=%d --map-group=%d --keep-caps", g.UID, g.GID)
	}
	return fmt.Sprintf("docker or podman run %s; kubernetes: %s; systemd: %s",
		g.Flags(), g.SecurityContext(), strings.Join(g.unit(), " and "))
}

// unit lists directives of systemd.exec(5).
func (g Grant) unit() []string {
	var w []string
	if g.Root {
		w = append(w, "User=root")
	}
	w = append(w, "CapabilityBoundingSet="+strings.Join(upper(g.Caps, "CAP_"), " "))
	if !g.Root && g.Caps != 0 {
		w = append(w, Ambient(g.Caps)) // without effect for root
	}
	return append(w, fmt.Sprintf("NoNewPrivileges=%s", yesNo(!g.NewPrivs)))
}

// Ambient is the directive of systemd.exec(5) that gives capabilities to a unit
// whose User= is not root.
func Ambient(s ambient.Set) string {
	return "AmbientCapabilities=" + strings.Join(upper(s, "CAP_"), " ")
}

// compose lists keys of a service in a compose file.
func (g Grant) compose() []string {
	var w []string
	if g.Root {
		w = append(w, `user: "0:0"`)
	}
	w = append(w, "cap_drop: [ALL]")
	if add := upper(g.Caps, ""); len(add) > 0 {
		w = append(w, "cap_add: ["+strings.Join(add, ", ")+"]")
	}
	if !g.NewPrivs {
		w = append(w, `security_opt: ["no-new-privileges:true"]`)
	}
	return w
}

// Text is the grant as text to paste: flags, keys of a compose service, a
// container's securityContext, a section of a unit. It ends in a newline.
func (g Grant) Text(p Place) string {
	switch p {
	case Compose:
		return strings.Join(g.compose(), "\n") + "\n"
	case Kubernetes:
		w := []string{"securityContext:"}
		if g.Root {
			w = append(w, "  runAsUser: 0", "  runAsGroup: 0", "  runAsNonRoot: false")
		}
		w = append(w, fmt.Sprintf("  allowPrivilegeEscalation: %t", g.NewPrivs), "  capabilities:", "    drop: [ALL]")
		if add := upper(g.Caps, ""); len(add) > 0 {
			w = append(w, "    add: ["+strings.Join(add, ", ")+"]")
		}
		return strings.Join(w, "\n") + "\n"
	case Systemd:
		return "[Service]\n" + strings.Join(g.unit(), "\n") + "\n"
	case Namespace:
		return g.Line(Namespace) + "\n"
	}
	return g.Flags() + "\n"
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

// Drop says, on one line, how to take capabilities away again.
func Drop(p Place, stray ambient.Set) string {
	drop := strings.Join(upper(stray, "--cap-drop="), " ")
	engine := fmt.Sprintf("run %s (beside the --cap-drop that is there, and no --cap-add or --privileged that brings it back)", drop)
	kubernetes := fmt.Sprintf("securityContext: {privileged: false, capabilities: {drop: [%s]}} (beside what drop has, and none of them in add)", strings.Join(upper(stray, ""), ", "))
	systemd := "CapabilityBoundingSet=~" + strings.Join(upper(stray, "CAP_"), " ") + " (as a line of its own below the others, and none of them in AmbientCapabilities=)"
	switch p {
	case Docker, Podman:
		return p.String() + " " + engine
	case Compose:
		return fmt.Sprintf("cap_drop: [%s] (and none of them in cap_add, nor privileged)", strings.Join(upper(stray, ""), ", "))
	case Kubernetes:
		return kubernetes
	case Systemd:
		return systemd
	case Namespace:
		return "setpriv --bounding-set=-" + strings.Join(stray.Names(), ",-") + " --inh-caps=-all caplaunch …"
	}
	return fmt.Sprintf("docker or podman %s; kubernetes: %s; systemd: %s", engine, kubernetes, systemd)
}
