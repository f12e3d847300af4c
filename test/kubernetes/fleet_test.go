package kubernetes

import (
	"encoding/json"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const injected = "/.caplaunch/caplaunch"

// policies puts the two policies into the cluster and waits until they act.
func policies(t *testing.T) {
	for _, file := range []string{"fleet/inject.yaml", "fleet/refuse.yaml"} {
		_, err := try(example(t, file), "apply", "-f", "-")
		must(t, err)
	}
	pod := example(t, "fleet/pod.yaml")
	until(t, "pods are injected", func() bool {
		p, err := admit("default", pod)
		return err == nil && p.Spec.Containers[0].Command[0] == injected
	})
	refused := func(old, changed string) func() bool {
		return func() bool {
			_, err := admit("default", strings.Replace(pod, old, changed, 1))
			return err != nil
		}
	}
	until(t, "pods are judged", refused("caps.caplaunch/relay", "caps.caplaunch/other"))
	until(t, "capabilities are judged", refused("relay: net_admin", "relay: net_amdin"))
}

// admit is what the API server would make of the manifest.
func admit(ns, manifest string) (pod object, err error) {
	text, err := try(manifest, "create", "-n", ns, "--dry-run=server", "-o", "json", "-f", "-")
	if err == nil {
		err = json.Unmarshal([]byte(text), &pod)
	}
	return pod, err
}

func TestFleet(t *testing.T) {
	ns := namespace(t)
	policies(t)
	pod := example(t, "fleet/pod.yaml")
	wrapped := strings.Fields(injected + " --caps=net_admin --user=65532:65532 --keep-groups --strict -- /relay 127.0.0.1:51820 127.0.0.1:51821")

	t.Run("a pod runs with what it asked for", func(t *testing.T) {
		t.Parallel()
		apply(t, ns, pod)
		relays(t, ns, "relay", injected, "net_admin")

		// Taken from the cluster and created again, it is not changed a second time.
		var copied map[string]any
		must(t, json.Unmarshal([]byte(kubectl(t, "get", "-n", ns, "pod/relay", "-o", "json")), &copied))
		copied["metadata"].(map[string]any)["name"] = "again"
		delete(copied["metadata"].(map[string]any), "resourceVersion")
		delete(copied["metadata"].(map[string]any), "uid")
		text, _ := json.Marshal(copied)
		again, err := admit(ns, string(text))
		must(t, err)
		if c := again.Spec.Containers[0]; !slices.Equal(c.Command, wrapped) || len(c.VolumeMounts) != 1 {
			t.Errorf("%+v", c)
		}
		judged(t, ns, with(t, string(text), `"caps.caplaunch/relay":"net_admin"`, `"caps.caplaunch/relay":"net_raw"`), "with other capabilities")
	})

	t.Run("what else the pod has stays", func(t *testing.T) {
		t.Parallel()
		apply(t, ns, with(t, pod, "name: relay\n  annotations", "name: rich\n  annotations", "caps.caplaunch/relay: net_admin",
			"caps.caplaunch/relay: net_admin\n    caps.caplaunch/side: net_bind_service", "spec:\n", `spec:
  securityContext: {runAsUser: 65532, runAsGroup: 65532, fsGroup: 2000}
  volumes: [{name: data, emptyDir: {}}]
  initContainers:
    - {name: first, image: "busybox:1", command: [sh, -c, "id >/data/first"], volumeMounts: [{name: data, mountPath: /data}]}
    - name: side
      restartPolicy: Always
      image: busybox:1
      command: [sh, -c, "echo up; exec sleep infinity"]
      securityContext: {readOnlyRootFilesystem: true, seccompProfile: {type: RuntimeDefault}}
      volumeMounts: [{name: data, mountPath: /data}]
`))
		p := ready(t, ns, "rich")
		if first := p.Spec.InitContainers[0]; len(first.Command) != 3 || len(first.VolumeMounts) != 1 || first.SecurityContext != nil {
			t.Errorf("nobody asked for it: %+v", first)
		}
		if side := string(p.Spec.InitContainers[1].SecurityContext); !strings.Contains(side, "readOnlyRootFilesystem") || !strings.Contains(side, "RuntimeDefault") {
			t.Error(side)
		}
		show := func(args ...string) string {
			return kubectl(t, append([]string{"exec", "-n", ns, "rich", "-c", "side", "--"}, args...)...)
		}
		relays(t, ns, "rich", injected, "net_admin")
		logs(t, ns, "up\n", "rich", "-c", "side")
		s := promised(t, show(injected, "show", "--json", "1"), "net_bind_service")
		if !slices.Equal(s.Groups, []int{2000, 65532}) {
			t.Errorf("groups %v", s.Groups)
		}
		if out := show("cat", "/data/first"); !strings.HasPrefix(out, "uid=65532 gid=65532") {
			t.Error(out)
		}
	})

	t.Run("a Deployment's pods", func(t *testing.T) {
		t.Parallel()
		apply(t, ns, with(t, example(t, "kustomize/base/deployment.yaml"), "labels: {app: relay}\n    spec:\n", `labels: {app: relay}
      annotations: {caps.caplaunch/relay: net_admin}
    spec:
      securityContext: {runAsUser: 65532, runAsGroup: 65532}
`, "  name: relay\nspec", "  name: deployed\nspec"))
		relays(t, ns, "deployed", injected, "net_admin")
	})

	t.Run("Pod Security judges what became of it", func(t *testing.T) {
		bind := with(t, pod, "relay: net_admin", "relay: net_bind_service")
		for level, pods := range map[string]map[string]string{
			"baseline":   {pod: `must not include "NET_ADMIN"`, bind: ""},
			"restricted": {pod: "runAsUser=0", bind: "runAsUser=0"},
		} {
			ns := ns + "-" + level
			kubectl(t, "create", "namespace", ns)
			kubectl(t, "label", "namespace", ns, "pod-security.kubernetes.io/enforce="+level)
			for text, words := range pods {
				judged(t, ns, text, words)
			}
		}
	})

	t.Run("it is refused with the reason", func(t *testing.T) {
		t.Parallel()
		exec := func(what, command string) []string {
			return []string{"command: [", what + ": {exec: {command: [" + command + "]}}\n      command: ["}
		}
		for words, change := range map[string][]string{
			"caps.caplaunch/rely: no container has this name":  {"caps.caplaunch/relay", "caps.caplaunch/rely"},
			"a list like net_admin,net_raw":                    {": net_admin", `: "net_admin, net_raw"`},
			"container relay: write command;":                  {"command: [/relay,", "args: ["},
			"container relay: write runAsUser and runAsGroup":  {"        runAsUser: 65532\n", ""},
			"container relay: write runAsUser and runAsGroup,": {"        runAsGroup: 65532\n", ""},
			"container relay: leave out privileged: true":      {"runAsGroup: 65532", "runAsGroup: 65532\n        privileged: true"},
			"an exec probe or hook":                            exec("livenessProbe", "/relay"),
			"would run as root":                                {"command: [", "lifecycle: {preStop: {exec: {command: [/relay]}}}\n      command: ["},
			"container relay: NET_AMDIN is not a capability":   {": net_admin", ": net_amdin"},
			"container first: write command": {
				"spec:\n", "spec:\n  initContainers: [{name: first, image: \"busybox:1\"}]\n",
				"relay: net_admin", "first: net_admin",
			},
		} {
			judged(t, "default", with(t, pod, change...), words)
		}
		judged(t, "default", with(t, pod, exec("livenessProbe", `/.caplaunch/caplaunch, "--user=65532:65532", --, /relay`)...), "")
	})

	t.Run("without the annotation, what Kubernetes admits and does not do", func(t *testing.T) {
		t.Parallel()
		plain := with(t, pod, "  annotations:\n    caps.caplaunch/relay: net_admin\n", "", "runAsGroup: 65532", "capabilities: {add: [NET_ADMIN]}")
		inVain := with(t, plain, "{add: [NET_ADMIN]}", "{add: [NET_ADMIN]}\n        allowPrivilegeEscalation: false")
		judged(t, "default", plain, "") // the image may have file capabilities
		judged(t, "default", inVain, "container relay: capabilities.add gives nothing to a user that is not root")
		judged(t, "default", inVain, "caplaunch explain --for=kubernetes --caps=net_admin --user=UID:GID")
		judged(t, "default", with(t, inVain, "runAsUser: 65532", "runAsNonRoot: true"), "gives nothing to a user that is not root")
		judged(t, "default", with(t, inVain, "runAsUser: 65532", "runAsUser: 0"), "")
		for _, name := range []string{"CAP_NET_ADMIN", "cap_net_admin", "NETADMIN"} {
			judged(t, "default", with(t, plain, "[NET_ADMIN]", "["+name+"]"), "container relay: "+name+" is not a capability, and Kubernetes would grant nothing")
		}
		judged(t, "default", with(t, plain, "[NET_ADMIN]", "[net_admin]"), "")
		judged(t, "default", with(t, plain, "[NET_ADMIN]", "["+everyName(t)+"]"), "")
	})
}

// judged creates the pod in a dry run, and wants these words of a refusal, or none.
func judged(t *testing.T, ns, manifest, words string) {
	t.Helper()
	_, err := admit(ns, manifest)
	if words == "" && err != nil || words != "" && (err == nil || !strings.Contains(err.Error(), words)) {
		t.Errorf("want %q: %v", words, err)
	}
}

func TestNamespace(t *testing.T) {
	namespace(t)
	_, err := try(example(t, "namespace.yaml"), "apply", "-f", "-")
	must(t, err)
	const ns = "relays"
	pod := example(t, "image-volume.yaml")
	until(t, "the policy acts", func() bool {
		_, err := admit(ns, strings.Replace(pod, "drop: [ALL]", "drop: []", 1))
		return err != nil
	})
	apply(t, ns, pod)
	relays(t, ns, "relay", launcher, "net_admin")
	for text, words := range map[string]string{
		example(t, "relay.yaml"):                                                                      "",
		example(t, "sidecar.yaml"):                                                                    "",
		example(t, "host-users.yaml"):                                                                 "",
		with(t, pod, "NET_ADMIN]", "NET_RAW]"):                                                        "may add SETGID, SETUID, NET_ADMIN, NET_BIND_SERVICE",
		with(t, pod, "          drop: [ALL]\n", ""):                                                   "may add",
		with(t, pod, "allowPrivilegeEscalation: false", "privileged: true"):                           "allowPrivilegeEscalation: false",
		with(t, pod, "spec:\n", "spec:\n  hostNetwork: true\n"):                                       "hostNetwork",
		with(t, pod, "volumes:\n", "volumes:\n    - {name: x, hostPath: {path: /}}\n"):                "hostPath",
		with(t, pod, "  containers:\n", "  initContainers: [{name: x, image: x:1}]\n  containers:\n"): "each container needs",
	} {
		judged(t, ns, strings.Replace(text, "  name: relay\n", "  name: other\n", 1), words)
	}
	debug := []string{"debug", "-n", ns, "relay", "--image=registry.example/caplaunch:1", "--target=relay"}
	if _, err := try("", append(debug, "--profile=sysadmin", "--", "/caplaunch", "show", "1")...); err == nil {
		t.Error("a privileged debugger was let in")
	}
	kubectl(t, append(debug, "--profile=restricted", "--", "/caplaunch", "show", "1")...)
}

// everyName is all capabilities, as a manifest writes them.
func everyName(t *testing.T) string {
	out, err := exec.Command(root+"/bin/caplaunch", "explain", "--for=kubernetes", "--caps=all", "--user=0:0").Output()
	must(t, err)
	_, names, _ := strings.Cut(string(out), "add: [")
	names, _, _ = strings.Cut(names, "]")
	if n := len(strings.Split(names, ",")); n < 41 {
		t.Fatalf("%d names: %s", n, out)
	}
	return names
}
