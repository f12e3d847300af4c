package words

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caplaunch/caplaunch/test/integration/engine"
)

// What stands behind an "or" in a hint works as well as what stands in front of
// it, which the test of the hints follows; and so do the hints for a program that
// cannot be executed.
func TestAlternativesInHintsWork(t *testing.T) {
	engine.RequireRoot(t)
	engine.Require(t, "setcap")
	probe := engine.Probe(t)
	closedProgram := engine.Copy(t, probe, 0o755)
	closed := filepath.Dir(closedProgram)
	engine.Must(t, os.Chmod(closed, 0o700))
	script := engine.Write(t, "script", "exec "+probe+"\n")
	user := "-c net_admin -u 65532:65532"
	caps, suid, shielded := engine.WithCaps(t, probe, "cap_net_raw=+ep"), engine.Copy(t, probe, 0o755|os.ModeSetuid), engine.WithCaps(t, probe, "cap_sys_admin=+ep")
	for _, c := range []struct {
		name, options, words string
		code                 int
		says                 string // the part of the hint that is followed
		shell                string // which is this for a shell
		again                string // or these words
		uid                  string
	}{
		{"root", "", "-c net_admin -- " + probe, 125, "or caplaunch --user=0:0 to stay root", "", "-c net_admin --user=0:0 -- " + probe, "0"},
		{"as it is", "-u 1000 -g 1000 -G none -p 1000 -i 1000 -a 1000", user + " -- " + probe, 125, "(or caplaunch --non-root=keep to run as uid 1000)", "", "--non-root=keep " + user + " -- " + probe, "1000"},
		{"no_new_privs", "", "-c net_admin -u 0:0 --allow-new-privs -- " + probe, 125, "or without --allow-new-privs", "", "-c net_admin -u 0:0 -- " + probe, "0"},
		{"file capabilities", "", user + " -- " + caps, 125, "or setcap -r " + caps + " in the image", "setcap -r " + caps, "", "65532"},
		{"set-uid", "", user + " --allow-new-privs -- " + suid, 125, "or chmod ug-s " + suid + " in the image", "chmod ug-s " + suid, user + " -- " + suid, "65532"},
		{"demanding file capabilities", "-b 10c0", user + " -- " + shielded, 125, "or setcap -r " + shielded + " in the image", "setcap -r " + shielded, "", "65532"},
		{"a folder that is closed", "-b 10c0", user + " -- " + closedProgram, 126, "chmod a+x " + closed, "chmod a+x " + closed, "", "65532"},
		{"no #! line", "", user + " -- " + script, 126, "caplaunch … -- /bin/sh " + script, "", user + " -- /bin/sh " + script, "65532"},
		{"an empty list", "", "--caps= -u 65532:65532 -- " + probe, 125, "or leave it out", "", "-c net_admin -u 65532:65532 -- " + probe, "65532"},
		{"both kinds of groups", "", user + " --groups=65532 --keep-groups -- " + probe, 125, "caplaunch --keep-groups in place of --groups", "", user + " --groups=65532 -- " + probe, "65532"},
		{"no groups", "", user + " --groups= -- " + probe, 125, "or leave it out for the groups of --user", "", user + " -- " + probe, "65532"},
		{"an empty user", "", "-c net_admin --user= -- " + probe, 125, "or a name", "", "-c net_admin --user=nobody -- " + probe, "65534"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := start(t, c.options, append([]string{"--log-format=json"}, strings.Fields(c.words)...)...)
			if l := engine.Refused(t, r, c.code); !strings.Contains(l.Hint, c.says) {
				t.Fatalf("want a hint with %q: %v", c.says, r)
			}
			if c.shell != "" {
				engine.Do(t, "sh", "-c", c.shell)
			}
			if c.again == "" {
				c.again = c.words
			}
			r = start(t, c.options, strings.Fields(c.again)...)
			engine.Promised(c.uid, engine.NetAdmin).With("Gid", "*", "Groups", "*").Want(t, r)
		})
	}
}

// The hints of the other commands work too.
func TestHintsOfOtherCommandsWork(t *testing.T) {
	engine.RequireRoot(t)
	for _, c := range []struct{ words, part, again string }{
		{"check --allow=net_amdin", "--allow=net_admin", "check --allow=net_admin --sets=ambient"},
		{"check --allow=all --sets=any", "--sets=permitted,effective,inheritable,ambient,bounding", "check --allow=all --sets=permitted,effective,inheritable,ambient,bounding"},
		{"check --allow=all -- true", "caplaunch check --allow=all", "check --allow=all"}, {"version -- true", "caplaunch version", "version"}, {"show -- true", "caplaunch show", "show"},
		{"explain --for=docker -u 1:1 -c 45,net_admin", "--caps=net_admin", "explain --for=docker -u 1:1 --caps=net_admin"},
		{"explain --for=docker -u 1:1 -o 45", "--optional-caps=none", "explain --for=docker -u 1:1 --optional-caps=none"},
	} {
		r := caplaunch(t, strings.Fields(c.words)...)
		if hint := engine.Refused(t, r, engine.Failure).Hint; hint != c.part && !strings.HasPrefix(hint, c.part+" (") {
			t.Errorf("%s: %q", c.words, hint)
		}
		if r := caplaunch(t, strings.Fields(c.again)...); r.Code != 0 {
			t.Errorf("%s: %v", c.again, r)
		}
	}

	d := engine.TheDocker(t)
	img := d.Load(t, image(t))
	r := d.Run(t, img, nil, "/caplaunch", "install", "/missing/caplaunch")
	if !strings.Contains(r.Stderr, "caplaunch: hint: caplaunch install /shared, ") {
		t.Error(r)
	}
	if r := d.Run(t, img, nil, "/caplaunch", "install", "/shared"); r.Code != 0 {
		t.Error(r)
	}
	check := []string{"/caplaunch", "check", "--allow=chown"}
	r = d.Run(t, img, []string{"--cap-drop=ALL", "--cap-add=CHOWN", "--cap-add=KILL", "--cap-add=SYS_ADMIN"}, check...)
	_, hint, _ := strings.Cut(engine.Refused(t, r, engine.Unexpected).Hint, "docker run ")
	if hint, _, _ = strings.Cut(hint, " (beside "); hint != "--cap-drop=KILL --cap-drop=SYS_ADMIN" {
		t.Error(r)
	}
	if r := d.Run(t, img, append([]string{"--cap-drop=ALL", "--cap-add=CHOWN"}, strings.Fields(hint)...), check...); r.Code != 0 {
		t.Error(r)
	}
}
