package kubernetes

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// namespace is one test's own. It skips the test where there is no node.
func namespace(t *testing.T, labels ...string) string {
	t.Helper()
	if missing != "" && os.Getenv("TEST_REQUIRE") != "" {
		t.Fatal(missing)
	} else if missing != "" {
		t.Skip(missing)
	}
	t.Parallel()
	ns := strings.ToLower(regexp.MustCompile(`[^A-Za-z0-9]+`).ReplaceAllString(strings.TrimPrefix(t.Name(), "Test"), "-"))
	ns = strings.Trim(ns[:min(len(ns), 63)], "-")
	kubectl(t, "create", "namespace", ns)
	if len(labels) > 0 {
		kubectl(t, append([]string{"label", "namespace", ns}, labels...)...)
	}
	t.Cleanup(func() {
		if t.Failed() {
			out, _ := exec.Command("kubectl", "describe", "pods", "-n", ns).CombinedOutput()
			t.Logf("%s", out)
		}
		api("DELETE", "/api/v1/namespaces/"+ns+"/pods?gracePeriodSeconds=1", nil, nil)
	})
	return ns
}

func kubectl(t *testing.T, args ...string) string {
	t.Helper()
	out, err := try("", args...)
	must(t, err)
	return out
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// try gives kubectl text on stdin; its error is what kubectl says.
func try(stdin string, args ...string) (string, error) {
	cmd := exec.Command("kubectl", args...)
	cmd.Stdin = strings.NewReader(stdin)
	var out, failed bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &failed
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("kubectl %s: %w: %s", strings.Join(args, " "), err, failed.String())
	}
	return out.String(), nil
}

var client = &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}

func api(method, path string, in, out any) error {
	body, _ := json.Marshal(in)
	r, _ := http.NewRequest(method, "https://127.0.0.1:6443"+path, bytes.NewReader(body))
	r.Header.Set("Authorization", "Bearer admin")
	r.Header.Set("Content-Type", "application/json")
	answer, err := client.Do(r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	data, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode >= 300 {
		err = fmt.Errorf("%s %s: %s", method, path, data)
	}
	if err == nil && out != nil {
		err = json.Unmarshal(data, out)
	}
	return err
}

// object is what the tests read of a pod, or of what makes pods.
type object struct {
	Kind     string
	Metadata struct{ Name, Namespace string }
	Items    []object // of a List
	Spec     struct {
		NodeName       string
		InitContainers []container
		Containers     []container
		Template       json.RawMessage
	}
	Status struct {
		Phase                                                                string
		InitContainerStatuses, ContainerStatuses, EphemeralContainerStatuses []status
	}
}

type container struct {
	Name            string
	Command         []string
	VolumeMounts    []struct{ Name, MountPath string }
	SecurityContext json.RawMessage
}

type status struct {
	Name             string
	Ready            bool
	RestartCount     int
	State, LastState struct {
		Running    *struct{}
		Waiting    *struct{ Reason, Message string }
		Terminated *struct {
			ExitCode int
			Message  string
		}
	}
}

func example(t *testing.T, name string) string {
	applied.Store(name, true)
	return read(t, filepath.Join(root, "examples/kubernetes", name))
}

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	must(t, err)
	return string(data)
}

// with changes a manifest, where it says old.
func with(t *testing.T, text string, oldnew ...string) string {
	t.Helper()
	for pair := range slices.Chunk(oldnew, 2) {
		if !strings.Contains(text, pair[0]) {
			t.Fatalf("no %q in\n%s", pair[0], text)
		}
		text = strings.ReplaceAll(text, pair[0], pair[1])
	}
	return text
}

// apply gives the manifest to the cluster, and puts its pods on the node.
func apply(t *testing.T, ns, manifest string) {
	t.Helper()
	must(t, tryApply(t, ns, manifest))
}

// tryApply gives the error of a manifest that is not taken.
func tryApply(t *testing.T, ns, manifest string) error {
	t.Helper()
	text, err := try(manifest, "apply", "-n", ns, "-o", "json", "-f", "-")
	if err != nil {
		return err
	}
	var all object
	must(t, json.Unmarshal([]byte(text), &all))
	if all.Items == nil {
		all.Items = []object{all}
	}
	for _, o := range all.Items {
		switch o.Kind {
		case "Pod": // as the scheduler does
			must(t, api("POST", "/api/v1/namespaces/"+ns+"/pods/"+o.Metadata.Name+"/binding", map[string]any{
				"apiVersion": "v1", "kind": "Binding", "metadata": map[string]any{"name": o.Metadata.Name},
				"target": map[string]any{"apiVersion": "v1", "kind": "Node", "name": "node0"},
			}, nil))
		case "Deployment", "DaemonSet": // as their controllers do
			var pod map[string]any
			must(t, json.Unmarshal(o.Spec.Template, &pod))
			pod["apiVersion"], pod["kind"] = "v1", "Pod"
			pod["metadata"].(map[string]any)["name"] = o.Metadata.Name
			text, _ := json.Marshal(pod)
			apply(t, ns, string(text))
		}
	}
	return nil
}

// wait gives the pod when it is as it should be.
func wait(t *testing.T, ns, name, what string, done func(object) bool) object {
	t.Helper()
	var pod object
	until(t, what, func() bool {
		pod = object{}
		return api("GET", "/api/v1/namespaces/"+ns+"/pods/"+name, nil, &pod) == nil && done(pod)
	}, &pod.Status)
	return pod
}

func ready(t *testing.T, ns, name string) object {
	t.Helper()
	return wait(t, ns, name, "all containers to be ready", func(p object) bool {
		return p.Status.Phase == "Running" && !slices.ContainsFunc(p.Status.ContainerStatuses, func(c status) bool { return !c.Ready })
	})
}

// ended gives the exit status of a pod's only container, and its message.
func ended(t *testing.T, ns, name string) (int, string) {
	t.Helper()
	p := wait(t, ns, name, "its end", func(p object) bool { return p.Status.Phase == "Succeeded" || p.Status.Phase == "Failed" })
	s := p.Status.ContainerStatuses[0].State.Terminated
	return s.ExitCode, s.Message
}

// logs waits for a container to say so. Before it has started, kubectl has an error.
func logs(t *testing.T, ns, want string, args ...string) {
	t.Helper()
	var said string
	until(t, "the log says "+want, func() bool {
		out, err := try("", append([]string{"logs", "-n", ns}, args...)...)
		said = fmt.Sprint(out, err)
		return strings.Contains(out, want)
	}, &said)
}

// state is what caplaunch show --json prints.
type state struct {
	UID, GID                                             ids
	Groups                                               []int
	NoNewPrivs                                           bool `json:"no_new_privs"`
	Permitted, Effective, Inheritable, Ambient, Bounding []string
}

type ids struct{ Real, Effective, Saved int }

// promised compares what a program has with what it was promised: the user 65532 and these capabilities.
func promised(t *testing.T, text string, caps ...string) state {
	t.Helper()
	var s state
	must(t, json.Unmarshal([]byte(text), &s))
	id := ids{65532, 65532, 65532}
	if want := (state{id, id, s.Groups, true, caps, caps, caps, caps, s.Bounding}); !reflect.DeepEqual(s, want) {
		t.Errorf("want %+v: %s", want, text)
	}
	return s
}
