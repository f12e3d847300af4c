package words

import (
	"strings"
	"testing"

	"github.com/caplaunch/caplaunch/test/integration/engine"
)

// The hints of the other commands work too.
func TestHintsOfOtherCommandsWork(t *testing.T) {
	engine.RequireRoot(t)
	for _, c := range []struct{ words, part, again string }{
		{"check --allow=net_amdin", "--allow=net_admin", "check --allow=net_admin --sets=ambient"},
		{"check --allow=all --sets=any", "--sets=permitted,bounding", "check --allow=all --sets=permitted,bounding"},
		{"check --allow=all -- true", "caplaunch check --allow=all", "check --allow=all"},
		{"version -- true", "caplaunch version", "version"},
		{"show -- true", "caplaunch show", "show"},
		{"explain --for=docker -u 1:1 -c 45,net_admin", "leave 45 out of the list here; run takes it", "explain --for=docker -u 1:1 -c net_admin"},
		{"explain --for=docker -u 1:1 -o 45", "leave 45 out of the list here; run takes it", "explain --for=docker -u 1:1"},
	} {
		if hint := engine.Refused(t, caplaunch(t, strings.Fields(c.words)...), engine.Failure).Hint; hint != c.part && !strings.HasPrefix(hint, c.part+" (") {
			t.Errorf("%s: %q", c.words, hint)
		}
		caplaunch(t, strings.Fields(c.again)...).Ran(t)
	}

	d, img := docker(t)
	engine.Refused(t, d.Run(t, img, nil, "/caplaunch", "install", "/missing/caplaunch"), engine.Failure).Hints(t, "caplaunch install /shared, ")
	d.Run(t, img, nil, "/caplaunch", "install", "/shared").Ran(t)
	check := []string{"/caplaunch", "check", "--allow=chown"}
	r := d.Run(t, img, []string{"--cap-drop=ALL", "--cap-add=CHOWN", "--cap-add=KILL", "--cap-add=SYS_ADMIN"}, check...)
	_, hint, _ := strings.Cut(engine.Refused(t, r, engine.Unexpected).Hint, "docker run ")
	d.Run(t, img, strings.Fields(hint), check...).Ran(t)
}
