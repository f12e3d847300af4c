package kubernetes

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

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
