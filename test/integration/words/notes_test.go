package words

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/caplaunch/caplaunch/test/integration/engine"
)

// explain says when a capability is not needed where it runs, and what a user
// namespace limits.
func TestNotesSayWhatIsNotNeeded(t *testing.T) {
	engine.RequireRoot(t)
	notes := func(r engine.Result) string {
		t.Helper()
		var x explanation
		engine.Decode(t, r.Stdout, &x)
		return strings.Join(x.Notes, "\n")
	}
	words := behind(t, "explain", "--json", "-c", "net_bind_service,net_raw", "-u", "65532:65532")
	with := func(ports, pings string, words ...string) string {
		sh := fmt.Sprintf("echo %s >/proc/sys/net/ipv4/ip_unprivileged_port_start; echo %s >/proc/sys/net/ipv4/ping_group_range; exec \"$@\"", ports, pings)
		return notes(engine.Exec(t, slices.Concat([]string{"unshare", "-n", "--", "sh", "-c", sh, "sh", engine.Caplaunch(t)}, words)...))
	}
	const bind, ping = "net_bind_service is not needed here", "net_raw is not needed for ping here"
	for _, c := range []struct {
		ports, pings string
		want         []string
	}{
		{"0", "'0 2147483647'", []string{bind, ping}}, {"1024", "'1 0'", nil}, {"80", "'65532 65532'", []string{ping}}, {"0", "'65533 70000'", []string{bind}},
	} {
		got := with(c.ports, c.pings, words...)
		for _, n := range []string{bind, ping} {
			if strings.Contains(got, n) != slices.Contains(c.want, n) {
				t.Errorf("ports from %s, groups %s: %q", c.ports, c.pings, got)
			}
		}
	}
	// A supplementary group will do, the one of a refused launch is not known.
	if got := with("0", "'7 7'", behind(t, "explain", "--json", "-c", "net_raw", "-u", "65532:65532", "--groups=7")...); !strings.Contains(got, ping+": ping_group_range allows gid 7") {
		t.Error(got)
	}
	if got := with("0", "'0 0'", behind(t, "explain", "--json", "-c", "net_raw")...); strings.Contains(got, ping) {
		t.Error(got)
	}
	if got := notes(caplaunch(t, behind(t, "explain", "--json", "-c", "net_admin", "-u", "65532:65532")...)); strings.Contains(got, "not needed") {
		t.Error(got)
	}

	unread := engine.Write(t, "unread", "#!/nowhere\n")
	engine.Must(t, os.Chmod(unread, 0o711))
	if got := notes(caplaunch(t, "explain", "--json", "-u", "65532:65532", "--", unread)); !strings.Contains(got, "uid 65532 may not read PROGRAM") {
		t.Error(got)
	}

	// Groups that a volume may need go at a switch, unless somebody said what is to become of them.
	const kept = "--keep-groups keeps"
	for flags, want := range map[string]bool{"": true, "--keep-groups": false, "--groups=7": true} {
		words := behind(t, append([]string{"explain", "--json", "-u", "65532:65532"}, strings.Fields(flags)...)...)
		if got := notes(start(t, "-G 0,2000,65532", words...)); strings.Contains(got, "the groups 2000 that") != want || strings.Contains(got, kept) != want {
			t.Errorf("%q: %q", flags, got)
		}
		if got := notes(start(t, "-G 0,65532", words...)); strings.Contains(got, kept) {
			t.Errorf("%q: %q", flags, got)
		}
	}

	d := engine.TheDocker(t)
	r := d.Run(t, d.Load(t, image(t)), []string{"--cap-add=NET_RAW", "--network=bridge"}, "/caplaunch", "explain", "--json", "-c", "net_bind_service,net_raw", "-u", "65532:65532", "--", "/probe")
	if got := notes(r); !strings.Contains(got, bind) || !strings.Contains(got, ping) {
		t.Errorf("Docker lets everybody bind and ping: %q", got)
	}
	r = engine.Exec(t, slices.Concat([]string{"unshare", "-Ur", engine.Caplaunch(t)}, behind(t, "explain", "--json", "-c", "net_admin", "-u", "0:0"))...)
	if got := notes(r); !strings.Contains(got, "user namespace") {
		t.Errorf("%q", got)
	}
}

// What a launch means for the program's children, for itself, and for whoever enters its container, is a note.
func TestNotesSayWhatComesAfterTheExec(t *testing.T) {
	d := engine.TheDocker(t)
	img := d.Load(t, image(t))
	for flags, want := range map[string]map[string]bool{
		"-u 65532:65532":                   {"a set-uid child of PROGRAM": true, "docker exec and HEALTHCHECK enter as root": true, "PROGRAM has setuid": false},
		"-u 65532:65532 -c setuid":         {"PROGRAM has setuid without being root": true},
		"-u 65532:65532 --allow-new-privs": {"a set-uid child of PROGRAM": false},
		"-u 65532:65532 --strip-file-caps": {"starts itself again by its path": true},
		"-u 65532:65532 --bounding=try":    {"the bounding set stays": false},
		"-u 0:0 -c setuid":                 {"docker exec": false, "PROGRAM has setuid": false},
		"-u 65532:65532 -c sys_time":       {"docker exec": false}, // nothing comes after a refusal
	} {
		var x explanation
		words := slices.Concat([]string{"/caplaunch", "explain", "--json"}, strings.Fields(flags), []string{"--", "/probe"})
		engine.Decode(t, d.Run(t, img, nil, words...).Stdout, &x)
		for note, there := range want {
			if strings.Contains(strings.Join(x.Notes, "\n"), note) != there {
				t.Errorf("%s: %q", flags, x.Notes)
			}
		}
	}
}
