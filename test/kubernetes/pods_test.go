package kubernetes

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const (
	works    = " -> 127.0.0.1:51821, mark 51820, uid 65532\n"
	launcher = "/opt/caplaunch/caplaunch"
)

// relays waits until the container "relay" of the pod does its work, and wants it to have these capabilities.
func relays(t *testing.T, ns, pod, launcher string, caps ...string) {
	t.Helper()
	logs(t, ns, works, pod, "-c", "relay")
	promised(t, kubectl(t, "exec", "-n", ns, pod, "-c", "relay", "--", launcher, "show", "--json", "1"), caps...)
}

// Each manifest is applied as it is.
func TestRelay(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		file, launcher string
		caps           []string
	}{
		{"image-volume.yaml", launcher, []string{"net_admin"}},
		{"relay.yaml", "/shared/caplaunch", []string{"net_admin"}},
		{"deployment.yaml", launcher, []string{"net_admin"}},
		{"daemonset.yaml", launcher, []string{"net_bind_service", "net_admin"}},
		{"host-users.yaml", launcher, []string{"net_admin"}},
		{"restart.yaml", launcher, []string{"net_admin"}},
	} {
		t.Run(tt.file, func(t *testing.T) {
			ns := namespace(t)
			apply(t, ns, example(t, tt.file))
			relays(t, ns, "relay", tt.launcher, tt.caps...)
		})
	}
}

// The program's user cannot replace what root starts next.
func TestALauncherOnAVolumeIsNotTheProgramsToWrite(t *testing.T) {
	ns := namespace(t)
	apply(t, ns, with(t, example(t, "relay.yaml"), "registry.example/relay:1", "busybox:1",
		`args: [/relay, "127.0.0.1:51820", "127.0.0.1:51821"]`,
		`args: [sh, -c, "ls -ln /shared; echo x >/shared/caplaunch; echo x >/shared/other; exec sleep infinity"]`))
	logs(t, ns, "can't create /shared/caplaunch: Read-only file system", "relay")
	logs(t, ns, "can't create /shared/other: Read-only file system", "relay")
	logs(t, ns, "-r-xr-xr-x    1 65533    65533", "relay")
}

func TestSidecar(t *testing.T) {
	ns := namespace(t)
	apply(t, ns, example(t, "sidecar.yaml"))
	ready(t, ns, "sidecar")
	relays(t, ns, "sidecar", launcher, "net_admin")
}

func TestProbesAndHooksRunAsTheProgramsUser(t *testing.T) {
	ns := namespace(t)
	text := example(t, "probes.yaml")
	// The program tells of the signal that the hook sends.
	apply(t, ns, with(t, text, "args: [sleep, infinity]", `args: [sh, -c, "trap 'echo hung up' HUP; trap 'exit 0' TERM; echo up; while :; do sleep 1; done"]`))
	ready(t, ns, "probes")
	const uid = "uid=65532 gid=65532 groups=65532"
	if out := kubectl(t, "exec", "-n", ns, "probes", "--", "cat", "/tmp/started", "/tmp/ready"); out != uid+"\n"+uid+"\n" {
		t.Errorf("%q", out)
	}
	follow := exec.Command("kubectl", "logs", "-n", ns, "-f", "probes")
	out, err := follow.StdoutPipe()
	if err != nil || follow.Start() != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	if !lines.Scan() || lines.Text() != "up" {
		t.Errorf("the log begins with %q", lines.Text())
	}
	kubectl(t, "delete", "-n", ns, "pod/probes", "--grace-period=60")
	if !lines.Scan() || lines.Text() != "hung up" {
		t.Errorf("the preStop hook did not reach the program: %q", lines.Text())
	}
	follow.Wait()

	apply(t, ns, text) // as it is
	ready(t, ns, "probes")
}

func TestKeepGroupsReadsASecretByItsFsGroup(t *testing.T) {
	ns := namespace(t)
	text := example(t, "fsgroup.yaml")
	apply(t, ns, text)
	apply(t, ns, with(t, text, "--keep-groups, ", "", "name: fsgroup", "name: without"))
	if code, _ := ended(t, ns, "fsgroup"); code != 0 || kubectl(t, "logs", "-n", ns, "fsgroup") != "a secret\n" {
		t.Errorf("exit status %d", code)
	}
	logs(t, ns, "Permission denied", "without")
}

func TestAnotherContainerSees(t *testing.T) {
	ns := namespace(t)
	apply(t, ns, example(t, "show.yaml"))
	ready(t, ns, "relay")
	logs(t, ns, works, "relay", "-c", "relay")
	pid := kubectl(t, "exec", "-n", ns, "relay", "-c", "look", "--", "sh", "-c",
		`for p in /proc/[0-9]*; do grep -qx /relay.127.0.0.1.* $p/cmdline 2>/dev/null && echo ${p#/proc/}; done; true`)
	promised(t, kubectl(t, "exec", "-n", ns, "relay", "-c", "look", "--", launcher, "show", "--json", strings.TrimSpace(pid)), "net_admin")
}

func TestDebugOfAPodWithoutAShell(t *testing.T) {
	ns := namespace(t)
	apply(t, ns, example(t, "image-volume.yaml"))
	logs(t, ns, works, "relay")
	for _, profile := range []string{"general", "restricted"} {
		kubectl(t, "debug", "-n", ns, "relay", "-c", profile, "--image=registry.example/caplaunch:1", "--target=relay",
			"--profile="+profile, "--", "/caplaunch", "show", "--json", "1")
		wait(t, ns, "relay", "the end of "+profile, func(p object) bool {
			return slices.ContainsFunc(p.Status.EphemeralContainerStatuses, func(s status) bool { return s.Name == profile && s.State.Terminated != nil })
		})
		promised(t, kubectl(t, "logs", "-n", ns, "relay", "-c", profile), "net_admin")
	}
}

// A refusal ends the pod where the rules say so, and starts it again and again where they do not.
func TestRestarts(t *testing.T) {
	ns := namespace(t)
	text := example(t, "restart.yaml")
	const rules = `      restartPolicy: Never
      restartPolicyRules:
        - action: Restart
          exitCodes: {operator: NotIn, values: [77, 78, 125]}
`
	for name, tt := range map[string]struct {
		code int
		text string
	}{
		"missing":  {77, with(t, text, "SETUID, NET_ADMIN", "SETUID")},
		"surplus":  {78, with(t, text, "SETUID, NET_ADMIN", "SETUID, NET_ADMIN, CHOWN")},
		"usage":    {125, with(t, text, "--user=65532:65532", "--user=")},
		"program":  {1, with(t, text, "127.0.0.1:51821", "nonsense")},
		"no-rules": {77, with(t, text, "SETUID, NET_ADMIN", "SETUID", rules, "")},
	} {
		apply(t, ns, with(t, tt.text, "name: relay\nspec", "name: "+name+"\nspec"))
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if tt.code == 1 || name == "no-rules" {
				p := wait(t, ns, name, "a restart", func(p object) bool {
					s := p.Status.ContainerStatuses
					return len(s) > 0 && s[0].RestartCount > 0 && s[0].LastState.Terminated != nil
				})
				if got := p.Status.ContainerStatuses[0].LastState.Terminated.ExitCode; got != tt.code {
					t.Errorf("exit status %d, want %d", got, tt.code)
				}
				return
			}
			code, said := ended(t, ns, name)
			if code != tt.code || !strings.Contains(said, "caplaunch: error: ") || !strings.Contains(said, "caplaunch: hint: ") {
				t.Errorf("exit status %d, want %d: %s", code, tt.code, said)
			}
		})
	}
}

// What a pod starts with, and what caplaunch does there: make docs makes two lines of docs/engines.md of it.
func TestThePageOfEngines(t *testing.T) {
	ns := namespace(t, "caplaunch-refuse=off")
	type result struct {
		Stdout, Stderr string
		Code           int
	}
	found := map[string]map[string]result{}
	for how, user := range map[string]string{"add: [NET_ADMIN]": "", "add: [NET_ADMIN], runAsUser: 65532": ", runAsUser: 65532, runAsGroup: 65532"} {
		pod := fmt.Sprintf(lone, fmt.Sprint("launch", len(user)), "", admin, "capabilities: {add: [NET_ADMIN]}"+user)
		apply(t, ns, with(t, pod, "name: launch", "name: show", admin+`, --, "true"`, "show, --json"))
		apply(t, ns, with(t, pod, `"true"`, "/opt/caplaunch/caplaunch, show, --json"))
		found[how] = map[string]result{}
		for word, name := range map[string]string{"show": "show", "--caps=net_admin": "launch"} {
			name += fmt.Sprint(len(user))
			code, said := ended(t, ns, name)
			r := result{Stderr: strings.SplitAfter(said, "\n")[0], Code: code}
			if code == 0 {
				r.Stdout = kubectl(t, "logs", "-n", ns, name)
			}
			found[how][word] = r
		}
	}
	now, _ := json.MarshalIndent(found, "", "\t")
	path := filepath.Join(root, "test/integration/docs/testdata/kubernetes.json")
	if *update {
		os.WriteFile(path, append(now, '\n'), 0o644)
	}
	if was, err := os.ReadFile(path); err != nil || string(was) != string(now)+"\n" {
		t.Errorf("%s has something else than\n%s\nmake test-kubernetes ARGS=-update, and then make docs, write it: %v", path, now, err)
	}
}

func TestKustomize(t *testing.T) {
	ns := namespace(t)
	folder := filepath.Join(root, "examples/kubernetes/kustomize")
	const base, top, component = "base/deployment.yaml", "kustomization.yaml", "caplaunch/kustomization.yaml"
	for _, file := range []string{base, top, component, "base/kustomization.yaml"} {
		example(t, "kustomize/"+file)
	}
	apply(t, ns, kubectl(t, "kustomize", folder))
	relays(t, ns, "relay", launcher, "net_admin")

	for name, tt := range map[string]struct{ file, old, new, words string }{
		"no command":     {base, "command: [", "args: [", "doc is missing path"},
		"another name":   {base, "- name: relay", "- name: other", "test failed"},
		"what is there":  {base, "          command", "          volumeMounts: [{name: data, mountPath: /data}]\n          command", ""},
		"a StatefulSet":  {base, "kind: Deployment", "kind: StatefulSet", ""},
		"something else": {top, "resources: [base]", "resources: [base, ../pod.yaml]", ""},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			must(t, os.CopyFS(filepath.Join(dir, "k"), os.DirFS(folder)))
			file := filepath.Join(dir, "k", tt.file)
			os.WriteFile(file, []byte(with(t, read(t, file), tt.old, tt.new)), 0o644)
			os.WriteFile(dir+"/pod.yaml", []byte(example(t, "image-volume.yaml")), 0o644)
			out, err := try("", "kustomize", "--load-restrictor=LoadRestrictionsNone", filepath.Join(dir, "k"))
			if tt.words != "" && (err == nil || !strings.Contains(err.Error(), tt.words)) || tt.words == "" && err != nil {
				t.Fatalf("want %q: %v", tt.words, err)
			}
			if tt.words == "" && (strings.Count(out, "mountPath: "+filepath.Dir(launcher)) != 1+strings.Count(out, "kind: Pod") ||
				strings.Count(out, "/data") != strings.Count(tt.new, "/data")) {
				t.Error(out)
			}
		})
	}
}
