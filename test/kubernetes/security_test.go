package kubernetes

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
)

// What each level of Pod Security admits, with and without a user namespace, and what caplaunch then ends with. The
// table of docs/kubernetes.md is what this measures.
func TestPodSecurity(t *testing.T) {
	levels := []string{"privileged", "baseline", "restricted"}
	var asks []ask
	for _, a := range []ask{
		{"--caps=net_admin --user=65532:65532", "SETGID, SETUID, NET_ADMIN", 0, true},
		{"--caps=net_bind_service --user=65532:65532", "SETGID, SETUID, NET_BIND_SERVICE", 0, true},
		{"--caps=net_bind_service --user=0:0", "NET_BIND_SERVICE", 0, true},
		{"--caps=net_bind_service", "NET_BIND_SERVICE", 65532, true},
		{"--optional-caps=net_bind_service", "NET_BIND_SERVICE", 65532, true},
	} {
		asks = append(asks, a, ask{a.flags, a.add, a.uid, false})
	}
	ns := namespace(t, "caplaunch-refuse=off")
	for _, level := range levels {
		kubectl(t, "create", "namespace", ns+"-"+level)
		kubectl(t, "label", "namespace", ns+"-"+level, "caplaunch-refuse=off", "pod-security.kubernetes.io/enforce="+level)
	}

	cells := make([][3]string, len(asks)) // each of them is one subtest's
	t.Run("pods", func(t *testing.T) {
		for i, ask := range asks {
			for j, level := range levels {
				t.Run(fmt.Sprintf("ask%d-%s", i, level), func(t *testing.T) {
					t.Parallel()
					cells[i][j] = ask.run(t, ns+"-"+level, fmt.Sprintf("ask%d", i))
				})
			}
		}
	})
	table := "| caplaunch | `runAsUser` | `add` | `hostUsers` | " + strings.Join(levels, " | ") + " |\n" +
		strings.Repeat("| --- ", 4+len(levels)) + "|\n"
	for i, ask := range asks {
		table += fmt.Sprintf("| `%s` | %d | %s | %v | %s |\n", ask.flags, ask.uid, ask.add, ask.hostUsers, strings.Join(cells[i][:], " | "))
	}
	document(t, "pod security", table)
}

type ask struct {
	flags, add string
	uid        int
	hostUsers  bool
}

var parts = regexp.MustCompile(`violates PodSecurity "[^"]*": (.*)`)

// run says what becomes of a pod that asks for no more than this, and is otherwise all that restricted wants.
func (a ask) run(t *testing.T, ns, name string) string {
	security := fmt.Sprintf("runAsUser: %d, runAsGroup: %[1]d, runAsNonRoot: %v, allowPrivilegeEscalation: false, "+
		"seccompProfile: {type: RuntimeDefault}, capabilities: {drop: [ALL], add: [%s]}", a.uid, a.uid != 0, a.add)
	flags := strings.Join(strings.Fields(a.flags), ", ") + ", --strict"
	err := tryApply(t, ns, fmt.Sprintf(lone, name, fmt.Sprintf("  hostUsers: %v", a.hostUsers), flags, security))
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
