// Package grant writes the smallest grant under which a launch works, in the
// words of the place that has to give it: flags for docker and podman, a
// securityContext for Kubernetes, directives for systemd. Hints and explain are
// made of it.
package grant

import (
	"strings"

	"github.com/caplaunch/caplaunch/internal/ambient"
)

// A Place is what starts caplaunch.
type Place uint8

// The places. Unknown stands for all of them.
const (
	Unknown Place = iota
	Docker
	Podman
	Compose
	Kubernetes
	Systemd
	Namespace // a user namespace that none of the others made, as by unshare(1)
)

var names = [...]string{"unknown", "docker", "podman", "compose", "kubernetes", "systemd", "namespace"}

// String is the name in lower case, as explain --for takes it.
func (p Place) String() string { return names[p] }

// ParsePlace is the place with the name, if there is a grant to be written for
// it.
func ParsePlace(name string) (Place, bool) {
	for p := Docker; p <= Systemd; p++ {
		if strings.EqualFold(name, names[p]) {
			return p, true
		}
	}
	return Unknown, false
}

// Detect tells the place by what it shows to a process: environment variables,
// files at the root, and the user namespace. Kubernetes first: its containers can
// look like those of the engine below. A namespace with a single id, or none, in
// a place that looks like Docker is one that somebody made inside.
func Detect(env []string, exists func(path string) bool, host ambient.Host) Place {
	var kubernetes, systemd bool
	var container string
	for _, kv := range env {
		switch key, value, _ := strings.Cut(kv, "="); key {
		case "KUBERNETES_SERVICE_HOST":
			kubernetes = true
		case "INVOCATION_ID":
			systemd = true
		case "container":
			container = value
		}
	}
	single := host.Nested && (len(host.UIDs) == 0 || len(host.UIDs) == 1 && host.UIDs[0].Count == 1)
	switch {
	case kubernetes:
		return Kubernetes
	case exists("/run/.containerenv") || container == "podman":
		return Podman
	case single:
		return Namespace
	case exists("/.dockerenv") || container == "docker":
		return Docker
	case systemd:
		return Systemd
	case host.Nested && container == "":
		return Namespace
	}
	return Unknown
}
