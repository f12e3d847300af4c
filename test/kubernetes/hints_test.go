package kubernetes

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
)

// lone is a pod of one container, as people write it before they know better.
const lone = `
apiVersion: v1
kind: Pod
metadata: {name: %s}
spec:
  restartPolicy: Never
%s
  volumes:
    - {name: caplaunch, image: {reference: "registry.example/caplaunch:1"}}
  containers:
    - name: c
      image: busybox:1
      command: [/opt/caplaunch/caplaunch, --caps=net_admin, "--user=65532:65532"]
      args: [%s--, "true"]
      securityContext: {%s}
      volumeMounts:
        - {name: caplaunch, mountPath: /opt/caplaunch, readOnly: true}
`

// Neither does the manifest ask for the message, nor does it have to.
func TestAHintFollowedInPlaceMakesThePodRun(t *testing.T) {
	ns := namespace(t, "caplaunch-refuse=off")
	for name, tt := range map[string]struct {
		pod, flags, security string
		code                 int
	}{
		"not-root":       {"", "", "runAsUser: 65532, allowPrivilegeEscalation: false, capabilities: {add: [NET_ADMIN]}", 77},
		"nothing":        {"", "", "", 77},
		"privileged":     {"", "", "runAsUser: 65532, privileged: true", 77},
		"all-privileged": {"", "--strict, ", "privileged: true", 78},
		"misspelt":       {"", "", "runAsUser: 0, capabilities: {drop: [ALL], add: [CAP_NET_ADMIN, SETUID, SETGID]}", 77},
		"non-root-pod":   {"  securityContext: {runAsNonRoot: true, runAsUser: 65532}", "", "capabilities: {add: [NET_ADMIN]}", 77},
		"surplus":        {"", "--strict, ", "runAsUser: 0, capabilities: {add: [NET_ADMIN]}", 78},
		"no-setuid":      {"", "", "runAsUser: 0, capabilities: {drop: [ALL], add: [NET_ADMIN]}", 125},
		"host-users":     {"  hostUsers: false", "", "runAsUser: 65532, capabilities: {add: [NET_ADMIN]}", 77},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			manifest := fmt.Sprintf(lone, name, tt.pod, tt.flags, tt.security)
			apply(t, ns, manifest)
			code, said := ended(t, ns, name)
			if code != tt.code || !strings.HasPrefix(said, "caplaunch: error: ") {
				t.Fatalf("exit status %d, want %d; the message is %q", code, tt.code, said)
			}
			hint := regexp.MustCompile(`caplaunch: hint: .*(securityContext: \{.*\})`).FindStringSubmatch(said)
			if hint == nil {
				t.Fatalf("no securityContext in %q", said)
			}
			text, err := try(with(t, manifest, "name: "+name, "name: "+name+"-mended"),
				"patch", "--local", "-f", "-", "-o", "json", "-p", "spec: {containers: [{name: c, "+hint[1]+"}]}")
			if err != nil {
				t.Fatal(err)
			}
			apply(t, ns, text)
			if code, said := ended(t, ns, name+"-mended"); code != 0 {
				t.Errorf("%s\nleads to exit status %d: %s", hint[1], code, said)
			}
		})
	}
}

// In a restricted namespace root of a user namespace is let in, SETGID and SETUID are not: a hint that asks for them
// would be no help.
func TestNoHintAsksForWhatRestrictedRefuses(t *testing.T) {
	ns := namespace(t, "pod-security.kubernetes.io/enforce=restricted", "caplaunch-refuse=off")
	const security = "runAsUser: 0, runAsGroup: 0, allowPrivilegeEscalation: false, seccompProfile: {type: RuntimeDefault}, " +
		"capabilities: {drop: [ALL], add: [NET_BIND_SERVICE]}"
	text := with(t, fmt.Sprintf(lone, "switch", "  hostUsers: false", "", security), "net_admin", "net_bind_service")
	apply(t, ns, text)
	apply(t, ns, with(t, text, "name: switch", "name: root", "--user=65532:65532", "--user=0:0"))
	apply(t, ns, with(t, text, "name: switch", "name: bind", "runAsUser: 0, runAsGroup: 0", "runAsUser: 65532, runAsGroup: 65532"))
	if code, said := ended(t, ns, "bind"); code != 77 || !strings.Contains(said, "caplaunch: hint: leave net_bind_service out") {
		t.Errorf("exit status %d: %s", code, said)
	}
	apply(t, ns, with(t, text, "name: switch", "name: left-out", "runAsUser: 0, runAsGroup: 0", "runAsUser: 65532, runAsGroup: 65532",
		"--caps=net_bind_service, ", "", `"true"`, "cat, /proc/sys/net/ipv4/ip_unprivileged_port_start"))
	logs(t, ns, "0\n", "left-out")
	code, said := ended(t, ns, "switch")
	if _, hint, ok := strings.Cut(said, "caplaunch: hint: "); code != 125 || !ok || regexp.MustCompile(`add: \[[^]]*SET[UG]ID`).MatchString(hint) {
		t.Errorf("exit status %d: %s", code, said)
	}
	if code, said := ended(t, ns, "root"); code != 0 {
		t.Errorf("exit status %d: %s", code, said)
	}
}

// Process 1 of the container is who writes the message; what has a file of its own elsewhere is left alone.
func TestTheMessageIsWrittenOnlyByProcess1(t *testing.T) {
	ns := namespace(t)
	for name, pod := range map[string]string{"first": "", "shared": "  shareProcessNamespace: true"} {
		apply(t, ns, fmt.Sprintf(lone, name, pod, "", ""))
	}
	if _, said := ended(t, ns, "first"); strings.Count(said, "\n") != 2 || !strings.Contains(said, "\ncaplaunch: hint: ") {
		t.Errorf("the message is %q, want two lines", said)
	}
	if _, said := ended(t, ns, "shared"); said != "" {
		t.Errorf("the message is %q", said)
	}
}
