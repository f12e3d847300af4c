package grant

import (
	"errors"
	"strings"
	"testing"

	"github.com/caplaunch/caplaunch/internal/ambient"
)

var (
	admin = Grant{Caps: ambient.SetOf(ambient.CapSetGID, ambient.CapSetUID, 12), Root: true, UID: 65532, GID: 65532, Command: "caplaunch -- id"}
	none  = Grant{NewPrivs: true, Command: "caplaunch -- id"}
)

func TestAGrantIsWrittenInTheWordsOfThePlace(t *testing.T) {
	for place, want := range map[Place][2]string{
		Docker:  {"--user=0:0 --cap-drop=ALL --cap-add=SETGID --cap-add=SETUID --cap-add=NET_ADMIN --security-opt=no-new-privileges\n", "--cap-drop=ALL\n"},
		Podman:  {"--user=0:0 --cap-drop=ALL --cap-add=SETGID --cap-add=SETUID --cap-add=NET_ADMIN --security-opt=no-new-privileges\n", "--cap-drop=ALL\n"},
		Compose: {"user: \"0:0\"\ncap_drop: [ALL]\ncap_add: [SETGID, SETUID, NET_ADMIN]\nsecurity_opt: [\"no-new-privileges:true\"]\n", "cap_drop: [ALL]\n"},
		Kubernetes: {`securityContext:
  runAsUser: 0
  runAsGroup: 0
  runAsNonRoot: false
  allowPrivilegeEscalation: false
  capabilities: {drop: [ALL], add: [SETGID, SETUID, NET_ADMIN]}
`, `securityContext:
  allowPrivilegeEscalation: true
  capabilities: {drop: [ALL]}
`},
		Systemd: {`[Service]
User=root
CapabilityBoundingSet=CAP_SETGID CAP_SETUID CAP_NET_ADMIN
NoNewPrivileges=yes
`, "[Service]\nCapabilityBoundingSet=\nNoNewPrivileges=no\n"},
		LXC:       {"lxc.init.uid = 0\nlxc.init.gid = 0\nlxc.cap.keep = setgid setuid net_admin\n", "lxc.cap.keep = none\n"},
		Nspawn:    {"systemd-nspawn --user=root --capability=CAP_SETGID,CAP_SETUID,CAP_NET_ADMIN\n", "systemd-nspawn --user=root\n"},
		Namespace: {"unshare --user --map-user=65532 --map-group=65532 --keep-caps\n", "unshare --user --map-user=0 --map-group=0 --keep-caps\n"},
		Host:      {"sudo caplaunch -- id\n", "sudo caplaunch -- id\n"},
	} {
		if got := [2]string{admin.Text(place), none.Text(place)}; got != want {
			t.Errorf("%v: %q", place, got)
		}
	}
	ambientUser := Grant{Caps: ambient.SetOf(12)}.Text(Systemd)
	if want := "[Service]\nCapabilityBoundingSet=CAP_NET_ADMIN\nAmbientCapabilities=CAP_NET_ADMIN\nNoNewPrivileges=yes\n"; ambientUser != want {
		t.Errorf("%q", ambientUser)
	}
}

func TestAHintIsOneLineAndWhenUnsureSaysThemAll(t *testing.T) {
	for p := Unknown; p <= Host; p++ {
		for _, g := range []Grant{admin, none} {
			line := g.Line(p)
			if line == "" || strings.Contains(line, "\n") {
				t.Errorf("%v: %q", p, line)
			}
			for _, word := range []string{"docker or podman run --", "kubernetes: securityContext: {", "systemd: "} {
				if strings.Contains(line, word) != (p == Unknown) {
					t.Errorf("%v: %q and %q", p, line, word)
				}
			}
		}
	}
	privileged := admin
	privileged.Privileged = true
	// The API of Kubernetes refuses one of them without the other.
	for place, want := range map[Place]string{Kubernetes: "privileged: false, allowPrivilegeEscalation: false", Docker: "--privileged=false"} {
		if line := privileged.Line(place); !strings.Contains(line, want) {
			t.Error(line)
		}
	}
}

func TestTheGrantIsTheSmallest(t *testing.T) {
	one, root := &ambient.User{UID: 1, GID: 1}, &ambient.User{}
	known := ambient.NamedCaps
	list := func(text string) ambient.List { l, _ := ambient.ParseList(text); return l }
	for _, c := range []struct {
		request ambient.Request
		want    string
		root    bool
	}{
		{ambient.Request{}, "none", false},
		{ambient.Request{Required: list("12"), Optional: list("13")}, "net_admin,net_raw", false},
		{ambient.Request{Required: list("12"), User: one}, "setgid,setuid,net_admin", true},
		{ambient.Request{Required: list("12"), User: root}, "setgid,net_admin", true},
		{ambient.Request{User: one, RootParent: true}, "kill,setgid,setuid", true},
		{ambient.Request{User: root, RootParent: true}, "setgid", true},
		{ambient.Request{User: one, Bounding: ambient.CutBounding}, "setgid,setuid,setpcap", true},
		{ambient.Request{User: one, Bounding: ambient.TryBounding}, "setgid,setuid,setpcap", true},
		{ambient.Request{User: root, AllowNewPrivs: true}, "setgid,setpcap", true},
		{ambient.Request{User: one, AllowNewPrivs: true}, "setgid,setuid", true},
		{ambient.Request{User: root, UserErr: errors.New("not found")}, "setgid,setuid", true}, // who it is to be is not known yet
		{ambient.Request{Optional: list("all"), User: one}, "setgid,setuid", true},
		{ambient.Request{Required: list("45"), User: one}, "setgid,setuid", true},
		{ambient.Request{Required: list("all")}, known.String(), false},
	} {
		if g := For(c.request, known); g.Caps.String() != c.want || g.Root != c.root || g.NewPrivs != c.request.AllowNewPrivs {
			t.Errorf("%+v: %+v", c.request, g)
		}
	}
}

func TestPlacesAreToldApart(t *testing.T) {
	image := Clues{FirstPID: true}
	for _, c := range []struct {
		env, file string
		clues     Clues
		want      Place
	}{
		{want: Host},
		{env: "PATH=/bin", want: Host},
		{clues: image, want: Unknown},
		{clues: Clues{Overlay: true}, want: Unknown},
		{env: "container=oci", clues: Clues{Nested: true}, want: Unknown},
		{clues: image, file: "/.dockerenv", want: Docker},
		{env: "container=docker", want: Docker},
		{clues: Clues{Nested: true}, file: "/.dockerenv", want: Docker},
		{file: "/run/.containerenv", want: Podman},
		{env: "container=podman", want: Podman},
		{env: "container=podman", clues: Clues{Nested: true, SingleID: true}, want: Podman},
		{env: "KUBERNETES_SERVICE_HOST=10.0.0.1", file: "/.dockerenv", want: Kubernetes},
		{env: "container=lxc", want: LXC},
		{env: "container=lxc", clues: Clues{Nested: true}, want: LXC},
		{env: "container=systemd-nspawn", want: Nspawn},
		{env: "INVOCATION_ID=0", want: Systemd},
		{env: "INVOCATION_ID=0 container=systemd-nspawn", want: Systemd},
		{env: "INVOCATION_ID=0", clues: Clues{Nested: true, ParentPID: 1}, want: Systemd},
		{env: "INVOCATION_ID=0", clues: Clues{Nested: true, ParentPID: 7}, want: Namespace},
		{clues: Clues{Nested: true}, want: Namespace},
		{clues: Clues{Nested: true, SingleID: true}, want: Namespace},
		{clues: Clues{Nested: true, SingleID: true}, file: "/.dockerenv", want: Namespace},
	} {
		c.clues.Env, c.clues.Exists = strings.Fields(c.env), func(path string) bool { return path == c.file }
		if got := Detect(c.clues); got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
	for p := Unknown; p <= Host; p++ {
		if got := ParsePlace(strings.ToUpper(p.String())); got != p {
			t.Errorf("%v: %v", p, got)
		}
	}
	if got := ParsePlace("nomad"); got != Unknown {
		t.Error(got)
	}
}
