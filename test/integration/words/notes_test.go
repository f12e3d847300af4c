package words

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/caplaunch/caplaunch/test/integration/engine"
)

// explain says when a capability is not needed where it runs, and what a user namespace limits.
func TestNotesSayWhatIsNotNeeded(t *testing.T) {
	engine.RequireRoot(t)
	const bind, ping, kept = "net_bind_service is not needed here", "net_raw is not needed for ping here", "--keep-groups keeps"
	const both, netRaw = "-c net_bind_service,net_raw -u 65532:65532", "-c net_raw"
	sysctls := func(ports, pings string) []string {
		return []string{"unshare", "-n", "sh", "-c", "echo " + ports + " >/proc/sys/net/ipv4/ip_unprivileged_port_start; echo " + pings + ` >/proc/sys/net/ipv4/ping_group_range; exec "$@"`, "sh"}
	}
	groups := func(list string) []string { return []string{engine.Capstart(t), "-G", list, "--"} }
	unread := engine.Write(t, "unread", "#!/nowhere\n")
	engine.Must(t, os.Chmod(unread, 0o711))
	probe := engine.Probe(t)
	for _, c := range []struct {
		within         []string
		flags, program string
		says, not      string // notes; several at "|"
	}{
		{sysctls("0", "'0 2147483647'"), both, probe, bind + "|" + ping, ""},
		{sysctls("1024", "'1 0'"), both, probe, "", bind + "|" + ping},
		{sysctls("80", "'65532 65532'"), both, probe, ping, bind},
		{sysctls("0", "'65533 70000'"), both, probe, bind, ping},
		// A supplementary group will do, the one of a refused launch is not known.
		{sysctls("0", "'7 7'"), netRaw + " -u 65532:65532 --groups=7", probe, ping + ": ping_group_range allows gid 7", ""},
		{sysctls("0", "'0 0'"), netRaw, probe, "", ping},
		{nil, "-c net_admin -u 65532:65532", probe, "", "not needed"},
		{nil, "-u 65532:65532", unread, "uid 65532 may not read PROGRAM", ""},
		// Groups that a volume may need go at a switch, unless somebody said what is to become of them.
		{groups("0,2000,65532"), "-u 65532:65532", probe, "the groups 2000 that|" + kept, ""},
		{groups("0,2000,65532"), "-u 65532:65532 --groups=7", probe, "the groups 2000 that|" + kept, ""},
		{groups("0,2000,65532"), "-u 65532:65532 --keep-groups", probe, "", "the groups 2000 that|" + kept},
		{groups("0,65532"), "-u 65532:65532", probe, "", kept},
		{[]string{"unshare", "-Ur"}, "-c net_admin -u 0:0", probe, "user namespace", ""},
	} {
		argv := slices.Concat(c.within, []string{engine.Caplaunch(t), "explain", "--json"}, strings.Fields(c.flags), []string{"--", c.program})
		var x explanation
		engine.Decode(t, engine.Exec(t, argv...).Stdout, &x)
		notes := strings.Join(x.Notes, "\n")
		for list, there := range map[string]bool{c.says: true, c.not: false} {
			for note := range strings.SplitSeq(list, "|") {
				if note != "" && strings.Contains(notes, note) != there {
					t.Errorf("%q: %q, %v: %q", argv, note, there, notes)
				}
			}
		}
	}
	d, img := docker(t) // it lets everybody bind and ping
	d.Run(t, img, []string{"--cap-add=NET_RAW", "--network=bridge"}, strings.Fields("/caplaunch explain "+both+" -- /probe")...).Ran(t, bind, ping)
}

// What a launch means for the program's children, for itself, and for whoever enters its container, is a note.
func TestNotesSayWhatComesAfterTheExec(t *testing.T) {
	d, img := docker(t)
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
		engine.Decode(t, d.Run(t, img, nil, strings.Fields("/caplaunch explain --json "+flags+" -- /probe")...).Stdout, &x)
		for note, there := range want {
			if strings.Contains(strings.Join(x.Notes, "\n"), note) != there {
				t.Errorf("%s: %q", flags, x.Notes)
			}
		}
	}
}
