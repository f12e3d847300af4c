// Package grant writes the smallest grant under which a launch works, in the
// words of the place that has to give it: flags for docker and podman, a
// securityContext for Kubernetes, directives for systemd. Hints and explain are
// made of it.
package grant

import "strings"

// A Place is what starts caplaunch.
type Place uint8

// The places. Unknown stands for all of the container engines.
const (
	Unknown Place = iota
	Docker
	Podman
	Compose
	Kubernetes
	Systemd
	LXC
	Nspawn
	Namespace // a user namespace that none of the others made, as by unshare(1)
	Host      // no container and no unit
)

var names = [...]string{"unknown", "docker", "podman", "compose", "kubernetes", "systemd", "lxc", "nspawn", "namespace", "host"}

// String is the name in lower case, as explain --for takes the first five.
func (p Place) String() string { return names[p] }

// ParsePlace is the place with the name, Unknown without one.
func ParsePlace(name string) Place {
	for p := range names {
		if strings.EqualFold(name, names[p]) {
			return Place(p)
		}
	}
	return Unknown
}

// Clues are what a place shows to a process.
type Clues struct {
	Env       []string
	Exists    func(path string) bool
	Nested    bool // in another user namespace than the initial one
	SingleID  bool // which maps one id, or none
	FirstPID  bool // process 1 of its PID namespace
	ParentPID int
	Overlay   bool // the root file system is an overlay, as images make it
}

// Detect tells the place by its clues. Kubernetes first: its containers can look
// like those of the engine below. A namespace with a single id, or none, in a
// place that looks like Docker is one that somebody made inside. INVOCATION_ID is
// in the shells of a user's session too, so that a namespace counts as a unit's
// only where systemd itself is the parent.
func Detect(c Clues) Place {
	env := map[string]string{}
	for _, kv := range c.Env {
		key, value, _ := strings.Cut(kv, "=")
		env[key] = value
	}
	container := env["container"]
	unit := env["INVOCATION_ID"] != "" && (!c.Nested || c.ParentPID == 1)
	switch {
	case env["KUBERNETES_SERVICE_HOST"] != "":
		return Kubernetes
	case c.Exists("/run/.containerenv"), container == "podman":
		return Podman
	case container == "lxc":
		return LXC
	case unit:
		return Systemd
	case c.SingleID:
		return Namespace
	case container == "systemd-nspawn":
		return Nspawn
	case c.Exists("/.dockerenv"), container == "docker":
		return Docker
	case c.Nested && container == "":
		return Namespace
	case !c.FirstPID && !c.Overlay && container == "":
		return Host
	}
	return Unknown
}
