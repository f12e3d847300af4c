package kubernetes

import (
	"fmt"
	"regexp"
	"strings"
	"sync"
	"testing"
)

// What each level of Pod Security admits, with and without a user namespace, and what caplaunch then ends with. The
// table of docs/kubernetes.md is what this measures.
func TestPodSecurity(t *testing.T) {
	levels := []string{"privileged", "baseline", "restricted"}
	asks := []ask{
		{"--caps=net_admin --user=65532:65532", "SETGID, SETUID, NET_ADMIN", 0},
		{"--caps=net_bind_service --user=65532:65532", "SETGID, SETUID, NET_BIND_SERVICE", 0},
		{"--caps=net_bind_service --user=0:0", "NET_BIND_SERVICE", 0},
		{"--caps=net_bind_service", "NET_BIND_SERVICE", 65532},
		{"--optional-caps=net_bind_service", "NET_BIND_SERVICE", 65532},
	}
	namespaces := map[string]string{}
	ns := namespace(t, "caplaunch-refuse=off")
	for _, level := range levels {
		namespaces[level] = ns + "-" + level
		kubectl(t, "create", "namespace", namespaces[level])
		kubectl(t, "label", "namespace", namespaces[level], "caplaunch-refuse=off", "pod-security.kubernetes.io/enforce="+level)
	}

	var mu sync.Mutex
	cells := map[string]string{}
	t.Run("pods", func(t *testing.T) {
		for i, ask := range asks {
			for _, hostUsers := range []bool{true, false} {
				for _, level := range levels {
					name := fmt.Sprintf("ask%d-%v", i, hostUsers)
					t.Run(name+"-"+level, func(t *testing.T) {
						t.Parallel()
						said := ask.run(t, namespaces[level], name, hostUsers)
						mu.Lock()
						defer mu.Unlock()
						cells[name+level] = said
					})
				}
			}
		}
	})
	table := "| caplaunch | `runAsUser` | `add` | `hostUsers` | " + strings.Join(levels, " | ") + " |\n" +
		strings.Repeat("| --- ", 4+len(levels)) + "|\n"
	for i, ask := range asks {
		for _, hostUsers := range []bool{true, false} {
			table += fmt.Sprintf("| `%s` | %d | %s | %v", ask.flags, ask.uid, ask.add, hostUsers)
			for _, level := range levels {
				table += " | " + cells[fmt.Sprintf("ask%d-%v", i, hostUsers)+level]
			}
			table += " |\n"
		}
	}
	document(t, "pod security", table)
}

type ask struct {
	flags, add string
	uid        int
}

var parts = regexp.MustCompile(`violates PodSecurity "[^"]*": (.*)`)

// run says what becomes of a pod that asks for no more than this, and is otherwise all that restricted wants.
func (a ask) run(t *testing.T, ns, name string, hostUsers bool) string {
	security := fmt.Sprintf("runAsUser: %d, runAsGroup: %[1]d, runAsNonRoot: %v, allowPrivilegeEscalation: false, "+
		"seccompProfile: {type: RuntimeDefault}, capabilities: {drop: [ALL], add: [%s]}", a.uid, a.uid != 0, a.add)
	flags := strings.Join(strings.Fields(a.flags), ", ") + ", --strict"
	err := tryApply(ns, fmt.Sprintf(lone, name, fmt.Sprintf("  hostUsers: %v", hostUsers), flags, security))
	if err != nil {
		why := parts.FindStringSubmatch(err.Error())
		if why == nil {
			t.Fatal(err)
		}
		// Without the names of containers and fields, which stand in parentheses.
		return "refused: " + regexp.MustCompile(` ?\([^()]*(\([^()]*\))?[^()]*\)`).ReplaceAllString(strings.TrimSpace(why[1]), "")
	}
	code, said := ended(t, ns, name)
	if code == 0 {
		return "runs"
	}
	if !strings.Contains(said, "caplaunch: error: ") {
		t.Errorf("exit status %d: %s", code, said)
	}
	return fmt.Sprintf("exit status %d", code)
}
