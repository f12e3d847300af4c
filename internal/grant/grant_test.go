package grant

import (
	"strings"
	"testing"

	"github.com/caplaunch/caplaunch/internal/ambient"
)

var (
	admin = Grant{Caps: ambient.SetOf(ambient.CapSetGID, ambient.CapSetUID, 12), Root: true, UID: 65532, GID: 65532}
	none  = Grant{NewPrivs: true}
)

func TestAGrantIsWrittenInTheWordsOfThePlace(t *testing.T) {
	for place, want := range map[Place][2]string{
		Docker: {"--user=0:0 --cap-drop=ALL --cap-add=SETGID --cap-add=SETUID --cap-add=NET_ADMIN --security-opt=no-new-privileges\n", "--cap-drop=ALL\n"},
		Podman: {"--user=0:0 --cap-drop=ALL --cap-add=SETGID --cap-add=SETUID --cap-add=NET_ADMIN --security-opt=no-new-privileges\n", "--cap-drop=ALL\n"},
		Compose: {`user: "0:0"
cap_drop: [ALL]
cap_add: [SETGID, SETUID, NET_ADMIN]
security_opt: ["no-new-privileges:true"]
`, "cap_drop: [ALL]\n"},
		Kubernetes: {`securityContext:
  runAsUser: 0
  runAsGroup: 0
  runAsNonRoot: false
  allowPrivilegeEscalation: false
  capabilities:
    drop: [ALL]
    add: [SETGID, SETUID, NET_ADMIN]
`, `securityContext:
  allowPrivilegeEscalation: true
  capabilities:
    drop: [ALL]
`},
		Systemd: {`[Service]
User=root
CapabilityBoundingSet=CAP_SETGID CAP_SETUID CAP_NET_ADMIN
NoNewPrivileges=yes
`, "[Service]\nCapabilityBoundingSet=\nNoNewPrivileges=no\n"},
		Namespace: {"unshare --user --map-user=65532 --map-group=65532 --keep-caps\n", "unshare --user --map-user=0 --map-group=0 --keep-caps\n"},
	} {
		if got := admin.Text(place); got != want[0] {
			t.Errorf("%v: %q", place, got)
		}
		if got := none.Text(place); got != want[1] {
			t.Errorf("%v, nothing: %q", place, got)
		}
	}
}

func TestAHintIsOneLineAndWhenUnsureSaysThemAll(t *testing.T) {
	for p := Unknown; p <= Namespace; p++ {
		for _, line := range []string{admin.Line(p), none.Line(p), Drop(p, ambient.SetOf(21, 12))} {
			if line == "" || strings.ContainsAny(line, "\n") {
				t.Errorf("%v: %q", p, line)
			}
			if p == Unknown {
				for _, word := range []string{"docker or podman run --", "kubernetes: securityContext: {", "systemd: "} {
					if !strings.Contains(line, word) {
						t.Errorf("%q has no %q", line, word)
					}
				}
			}
		}
	}
	for place, want := range map[Place]string{
		Docker: "docker run --cap-drop=NET_ADMIN --cap-drop=SYS_ADMIN (", Podman: "podman run --cap-drop=NET_ADMIN --cap-drop=SYS_ADMIN (",
		Compose: "cap_drop: [NET_ADMIN, SYS_ADMIN] (", Kubernetes: "securityContext: {privileged: false, capabilities: {drop: [NET_ADMIN, SYS_ADMIN]}} (",
		Systemd: "CapabilityBoundingSet=~CAP_NET_ADMIN CAP_SYS_ADMIN (", Namespace: "setpriv --bounding-set=-net_admin,-sys_admin ",
	} {
		if got := Drop(place, ambient.SetOf(21, 12)); !strings.HasPrefix(got, want) {
			t.Errorf("%v: %q", place, got)
		}
	}
}

func TestPlacesAreToldApart(t *testing.T) {
	one := ambient.Host{Nested: true, UIDs: ambient.IDMap{{First: 0, Count: 1}}}
	many := ambient.Host{Nested: true, UIDs: ambient.IDMap{{First: 0, Count: 65536}}}
	for _, c := range []struct {
		env, file string
		host      ambient.Host
		want      Place
	}{
		{want: Unknown}, {env: "PATH=/bin", want: Unknown}, {file: "/.dockerenv", want: Docker}, {env: "container=docker", want: Docker},
		{file: "/run/.containerenv", want: Podman}, {env: "container=podman", want: Podman}, {env: "container=podman", host: one, want: Podman},
		{env: "KUBERNETES_SERVICE_HOST=10.0.0.1", file: "/.dockerenv", want: Kubernetes}, {env: "INVOCATION_ID=0", want: Systemd},
		{env: "INVOCATION_ID=0", file: "/.dockerenv", want: Docker}, {host: one, want: Namespace}, {host: one, file: "/.dockerenv", want: Namespace},
		{host: ambient.Host{Nested: true, UIDs: ambient.IDMap{}}, file: "/.dockerenv", want: Namespace},
		{host: many, want: Namespace}, {host: many, file: "/.dockerenv", want: Docker}, {host: many, env: "container=lxc", want: Unknown},
	} {
		got := Detect(strings.Fields(c.env), func(path string) bool { return path == c.file }, c.host)
		if got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
	for p := Docker; p <= Systemd; p++ {
		if got, ok := ParsePlace(strings.ToUpper(p.String())); !ok || got != p {
			t.Errorf("%v: %v", p, got)
		}
	}
	for _, name := range []string{"", "unknown", "namespace", "lxc"} {
		if got, ok := ParsePlace(name); ok {
			t.Errorf("%q is %v", name, got)
		}
	}
}
