package kubernetes

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"reflect"
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
      command: [/opt/caplaunch/caplaunch]
      args: [%s, --, "true"]
      securityContext: {%s}
      volumeMounts:
        - {name: caplaunch, mountPath: /opt/caplaunch, readOnly: true}
`

const (
	user  = `"--user=65532:65532"`
	admin = "--caps=net_admin, " + user
)

var (
	yamlHint = regexp.MustCompile(`securityContext: (\{.*\})`)
	flagHint = regexp.MustCompile(`(?:\}|caplaunch) ((?:--[a-z-]+(?:=\S+)? ?)+)`)
)

// Neither does the manifest ask for the message, nor does it have to. A hint may lead to a second one, never further.
func TestAHintFollowedInPlaceMakesThePodRun(t *testing.T) {
	ns := namespace(t, "caplaunch-refuse=off")
	const fsGroup, strict = "  securityContext: {fsGroup: 2000}", "--strict, " + admin
	for name, tt := range map[string]struct {
		pod, flags, security string
		code                 int
	}{
		"not-root":          {"", admin, "runAsUser: 65532, allowPrivilegeEscalation: false, capabilities: {add: [NET_ADMIN]}", 77},
		"nothing":           {"", admin, "", 77},
		"privileged":        {"", admin, "runAsUser: 65532, privileged: true", 77},
		"all-privileged":    {"", strict, "privileged: true", 78},
		"misspelt":          {"", admin, "runAsUser: 0, capabilities: {drop: [ALL], add: [CAP_NET_ADMIN, SETUID, SETGID]}", 77},
		"non-root-pod":      {"  securityContext: {runAsNonRoot: true, runAsUser: 65532}", admin, "capabilities: {add: [NET_ADMIN]}", 77},
		"surplus":           {"", strict, "runAsUser: 0, capabilities: {add: [NET_ADMIN]}", 78},
		"one-more":          {"", strict, "capabilities: {drop: [ALL], add: [NET_ADMIN, SETUID, SETGID, SYS_ADMIN]}", 78},
		"no-setuid":         {"", admin, "runAsUser: 0, capabilities: {drop: [ALL], add: [NET_ADMIN]}", 125},
		"host-users":        {"  hostUsers: false", admin, "runAsUser: 65532, capabilities: {add: [NET_ADMIN]}", 77},
		"all-dropped":       {"", admin, "runAsUser: 1000, runAsGroup: 1000, allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}", 77},
		"no-ambient":        {"", admin, "seccompProfile: {type: Localhost, localhostProfile: no-ambient.json}, capabilities: {add: [NET_ADMIN]}", 125},
		"no-group":          {"", user, "runAsUser: 65532", 125},
		"fs-group":          {fsGroup, user, "runAsUser: 65532, runAsGroup: 65532", 125},
		"fs-group-no-group": {fsGroup, user, "runAsUser: 65532", 125},
		"nobody-named":      {fsGroup, "--caps=net_admin", "runAsUser: 65532, runAsGroup: 65532, capabilities: {add: [NET_ADMIN]}", 77},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			text, flags := fmt.Sprintf(lone, name, tt.pod, tt.flags, tt.security), tt.flags
			apply(t, ns, text)
			code, said := ended(t, ns, name)
			if code != tt.code || !strings.HasPrefix(said, "caplaunch: error: ") {
				t.Fatalf("exit status %d, want %d; the message is %q", code, tt.code, said)
			}
			for step := 1; code != 0; step++ {
				security, more := yamlHint.FindString(said), flagHint.FindStringSubmatch(said)
				if security == "" && more == nil || step > 2 {
					t.Fatalf("step %d: there is nothing to follow: exit status %d: %s", step, code, said)
				}
				if more != nil {
					flags += `, "` + strings.Join(strings.Fields(more[1]), `", "`) + `"`
				}
				mended := fmt.Sprint(name, "-mended", step)
				// A profile takes the place of another one, also in what it does not say.
				security = strings.Replace(security, "seccompProfile: {", "seccompProfile: {$patch: replace, ", 1)
				patched, err := try(text, "patch", "--local", "-f", "-", "-o", "json", "-p", fmt.Sprintf(
					"metadata: {name: %s}\nspec: {containers: [{name: c, args: [%s, --, \"true\"], %s}]}", mended, flags, security))
				must(t, err)
				text = patched
				apply(t, ns, text)
				code, said = ended(t, ns, mended)
			}
		})
	}
}

// What explain prints for Kubernetes is YAML to kubectl, which is strict, and works. The manifest of the examples has it.
func TestExplainForKubernetesWorks(t *testing.T) {
	ns := namespace(t, "caplaunch-refuse=off")
	for i, tt := range []struct{ flags, more, add, caps string }{
		{admin, "", "[SETGID, SETUID, NET_ADMIN]", "[net_admin]"},
		{"--caps=chown, --optional-caps=net_raw, " + user, "", "[CHOWN, SETGID, SETUID, NET_RAW]", "[chown net_raw]"},
		{"--bounding=drop, " + admin, "", "[SETGID, SETUID, SETPCAP, NET_ADMIN]", "[net_admin]"},
		{"--allow-new-privs, " + admin, "", "[SETGID, SETUID, NET_ADMIN]", "[net_admin]"},
		{"--caps=net_admin", ", " + user, "[SETGID, SETUID, NET_ADMIN]", "[net_admin]"},
		{user, "", "[SETGID, SETUID]", "[]"},
		{`--caps=net_admin, "--user=0:0"`, "", "[SETGID, NET_ADMIN]", "[net_admin]"},
		{`--keep-groups, "--user=0:0"`, "", "", "[]"},
	} {
		t.Run(tt.flags, func(t *testing.T) {
			t.Parallel()
			words := strings.Fields(strings.NewReplacer(", ", " ", `"`, "").Replace(tt.flags))
			out, err := exec.Command(root+"/bin/caplaunch", append([]string{"explain", "--for=kubernetes"}, words...)...).Output()
			must(t, err)
			text := regexp.MustCompile("(?m)^").ReplaceAllString(strings.TrimSpace(string(out)), "      ") + "\n"
			if _, add, _ := strings.Cut(text, "add: "); strings.TrimSuffix(add, "}\n") != tt.add {
				t.Errorf("want %s:\n%s", tt.add, text)
			}
			name := fmt.Sprint("explained", i)
			pod := fmt.Sprintf(lone, name, "", tt.flags+tt.more, "")
			pod = with(t, pod, "      securityContext: {}\n", text, `"true"`, "/opt/caplaunch/caplaunch, show, --json")
			if i == 0 && !reflect.DeepEqual(security(t, ns, pod), security(t, ns, example(t, "relay.yaml"))) {
				t.Errorf("relay.yaml has not\n%s", text)
			}
			apply(t, ns, pod)
			if code, said := ended(t, ns, name); code != 0 {
				t.Fatalf("exit status %d: %s", code, said)
			}
			var s state
			must(t, json.Unmarshal([]byte(kubectl(t, "logs", "-n", ns, name)), &s))
			if fmt.Sprint(s.Ambient) != tt.caps || s.NoNewPrivs == strings.Contains(tt.flags, "new-privs") || strings.Contains(tt.flags, "0:0") != (s.UID.Real == 0) {
				t.Errorf("%+v", s)
			}
		})
	}
}

// security is that of the pod's container, but for a read-only root.
func security(t *testing.T, ns, manifest string) (s map[string]any) {
	p, err := admit(ns, manifest)
	must(t, err)
	must(t, json.Unmarshal(p.Spec.Containers[0].SecurityContext, &s))
	delete(s, "readOnlyRootFilesystem")
	return s
}

// In a restricted namespace root of a user namespace is let in, SETGID and SETUID are not: a hint that asks for them
// would be no help.
func TestNoHintAsksForWhatRestrictedRefuses(t *testing.T) {
	ns := namespace(t, "pod-security.kubernetes.io/enforce=restricted", "caplaunch-refuse=off")
	const security = "runAsUser: 0, runAsGroup: 0, allowPrivilegeEscalation: false, seccompProfile: {type: RuntimeDefault}, " +
		"capabilities: {drop: [ALL], add: [NET_BIND_SERVICE]}"
	text := with(t, fmt.Sprintf(lone, "switch", "  hostUsers: false", admin, security), "net_admin", "net_bind_service")
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
		apply(t, ns, fmt.Sprintf(lone, name, pod, admin, ""))
	}
	if _, said := ended(t, ns, "first"); strings.Count(said, "\n") != 2 || !strings.Contains(said, "\ncaplaunch: hint: ") {
		t.Errorf("the message is %q, want two lines", said)
	}
	if _, said := ended(t, ns, "shared"); said != "" {
		t.Errorf("the message is %q", said)
	}
}
