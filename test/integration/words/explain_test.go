package words

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"kernel.org/pub/linux/libs/security/libcap/cap"

	"github.com/caplaunch/caplaunch/test/integration/engine"
)

// An explanation is explain --json.
type explanation struct {
	Place, Program, Grant string
	Start                 engine.State
	After                 *engine.State
	Steps, Given, Notes   []string
	Skipped               []struct{ Capability, Reason string }
	Verdict               engine.Verdict
}

// named are the bits of a mask in hex, by their names.
func named(t testing.TB, mask string, name func(bit int) string) []string {
	bits, err := strconv.ParseUint(mask, 16, 64)
	engine.Must(t, err)
	list := []string{}
	for i := range 64 {
		if bits>>i&1 == 1 {
			list = append(list, name(i))
		}
	}
	return list
}

// found is the state that probe printed.
func found(t testing.TB, out string) engine.State {
	t.Helper()
	m := engine.ParseProbe(out)
	var s engine.State
	for key, to := range map[string]*[]string{"CapPrm": &s.Permitted, "CapEff": &s.Effective, "CapInh": &s.Inheritable, "CapAmb": &s.Ambient, "CapBnd": &s.Bounding} {
		*to = named(t, m[key], func(bit int) string { return strings.TrimPrefix(cap.Value(bit).String(), "cap_") })
	}
	for key, to := range map[string]*engine.IDs{"Uid": &s.UID, "Gid": &s.GID} {
		_, err := fmt.Sscan(m[key], &to.Real, &to.Effective, &to.Saved)
		engine.Must(t, err)
	}
	engine.Must(t, json.Unmarshal([]byte("["+strings.ReplaceAll(m["Groups"], " ", ",")+"]"), &s.Groups))
	slices.Sort(s.Groups)
	s.Groups = slices.Compact(s.Groups)
	s.NoNewPrivs = m["NoNewPrivs"] == "1"
	s.Securebits = named(t, m["securebits"], func(bit int) string {
		return []string{"noroot", "no_setuid_fixup", "keep_caps", "no_cap_ambient_raise"}[bit/2] + []string{"", "_locked"}[bit%2]
	})
	return s
}

// starts are states to start from, as capstart's options.
var starts = []string{
	"", "-b a80435fb", "-b 10c0", "-b c0", "-b 1080", "-b 1040", "-b 1000", "-b 0", "-b 11c0", "-b a80435fb -i a80435fb",
	"-p 10c0 -n", "-p 10c0 -e 0 -n", "-G 0,5-30", "-G 4294967200-4294967230", "-s 1", "-s 4", "-s 20", "-s 40", "-s ff",
	"-u 65532 -g 65532 -G none", "-u 65532 -g 65532 -G none -b a80435fb", "-u 65532 -g 65532 -G 65532 -b 3000 -p 3000 -i 3000 -a 3000",
	"-u 65532 -g 65532 -G 2000 -p 1000 -i 1000 -a 1000", "-u 65532 -g 0 -G none", "-u 1000 -g 1000 -G 1000 -b 0", "-u 1000680000 -g 0 -G 0 -b 0",
	"-u 1000 -g 1000 -G none -p 10c0 -i 10c0 -a 10c0", "-u 0 -g 65532 -G none", "-u 0,65532,0", "-u 0 -g 0,65532,65532",
}

// requests are flags of caplaunch.
var requests = []string{
	"-u 65532:65532 -c net_admin", "-u 65532:65532 -c net_admin,net_raw -o chown,45", "-c net_admin", "-u 0:0 -c net_admin", "-u 65532:65532 -o all",
	"-u 65532:65532 -c net_admin --bounding=drop", "-u 0:0 -c net_admin --allow-new-privs --bounding=drop", "-u 0:0 -c net_admin --allow-new-privs",
	"-u 65532:65532 -c all", "-u 65532:65532 --keep-groups -o net_admin --non-root=keep", "-u 65532:65532 -c net_admin --strict",
	"-u 65532:65532 --groups=7,8,9 -c net_admin --allow-new-privs", "-u 65532:65532 --allow=net_admin,setuid,setgid --sets=permitted,bounding", "-u nosuchuser -c net_admin",
}

// What explain says is what run does: its exit status, the words of its refusal, the state that the program really finds;
// from many starting states. And it fits a terminal.
func TestExplainSaysWhatRunDoes(t *testing.T) {
	engine.RequireRoot(t, "setcap")
	probe := engine.Probe(t)
	ran, refused := 0, 0
	compare := func(options, request, program string) {
		t.Helper()
		what := fmt.Sprintf("from %q: %s -- %s", options, request, program)
		words := append(strings.Fields(request), "--", program)
		if options == "" || request == requests[1] || request == requests[5] {
			text := start(t, options, append([]string{"explain"}, words...)...)
			wantWidth(t, what, text.Stdout)
			if run := start(t, options, words...); text.Code != run.Code || text.Stderr != "" {
				t.Errorf("%s: %v\nrun: %v", what, text, run)
			}
		}
		explained := start(t, options, append([]string{"explain", "--json"}, words...)...)
		run := start(t, options, append([]string{"--log-format=json"}, words...)...)
		if explained.Code != run.Code || explained.Stderr != "" {
			t.Errorf("%s: explain %d, run %d: %s", what, explained.Code, run.Code, explained.Stderr)
			return
		}
		var x explanation
		engine.Decode(t, explained.Stdout, &x)
		// What is read by a program does not come and go, and is never null: "after" alone is not there at a refusal.
		var keys map[string]any
		engine.Decode(t, explained.Stdout, &keys)
		if x.After != nil {
			delete(keys, "after")
		}
		maps.DeleteFunc(keys, func(k string, v any) bool { return v == nil && k != "after" })
		if got := strings.Join(slices.Sorted(maps.Keys(keys)), " "); got != "given grant notes place program skipped start steps verdict" {
			t.Errorf("%s: it has %q", what, got)
		}
		if x.Verdict.Code != run.Code || x.Verdict.OK != (run.Code == 0) || x.Grant == "" {
			t.Errorf("%s: verdict %+v", what, x.Verdict)
		}
		if run.Code == 0 {
			ran++
			if want, got := found(t, run.Stdout), *x.After; !reflect.DeepEqual(got, want) || !slices.Equal(x.Given, want.Permitted) {
				t.Errorf("%s: the program finds\n%+v, foretold was\n%+v", what, want, got)
			}
			var said, skipped []string
			for _, l := range engine.Lines(t, run) {
				said = append(said, l.Msg)
			}
			for _, s := range x.Skipped {
				skipped = append(skipped, s.Capability+" skipped: "+s.Reason)
			}
			if !slices.Equal(said, skipped) {
				t.Errorf("%s: run says %q, skipped are %q", what, said, skipped)
			}
			return
		}
		refused++
		said := engine.Refused(t, run, x.Verdict.Code)
		if x.Verdict != (engine.Verdict{Code: run.Code, Msg: said.Msg, Hint: said.Hint}) || said.Hint == "" || x.After != nil || len(x.Steps)+len(x.Given) != 0 {
			t.Errorf("%s: run says\n%+v, explain\n%+v", what, said, x)
		}
	}
	for _, options := range starts {
		for _, request := range requests {
			compare(options, request, probe)
		}
	}
	programs := []string{
		engine.WithCaps(t, probe, "cap_net_raw=+ep"), engine.WithCaps(t, probe, "="), engine.WithCaps(t, probe, "cap_net_admin=+ei"),
		engine.Copy(t, probe, 0o755|os.ModeSetuid), engine.Copy(t, probe, 0o755|os.ModeSetgid), engine.Copy(t, probe, 0o644), "/nonexistent", "no-such-program", engine.TempDir(t),
	}
	for _, options := range []string{"", "-b 10c0", "-u 65532 -g 65532 -G 65532 -p 1000 -i 1000 -a 1000"} {
		for _, program := range programs {
			for _, request := range []string{requests[0], requests[0] + " --strip-file-caps"} {
				compare(options, request, program)
			}
		}
	}
	t.Logf("%d ran, %d were refused", ran, refused)
	if ran < 100 || refused < 100 {
		t.Error("that is too few")
	}
}

// What could change anything beyond the process that makes the call, or start another one; and those of them that do no
// harm: reading files, what is done to files of its own, the rest of a call, and what strace says of a thread that the end of
// the process took before it made one.
const changing = "execve,execveat,fork,vfork,kill,rename,renameat,renameat2,unlink,unlinkat,mkdir,mkdirat,mknod,mknodat,link,linkat,symlink,symlinkat," +
	"chmod,fchmodat,chown,fchownat,lchown,truncate,setxattr,lsetxattr,fsetxattr,mount,sethostname,fchmod,fchown,open,openat,creat"

var harmless = regexp.MustCompile(`^\d+ +(execveat\(.*(AT_EXECVE_CHECK|0x10000)|open(at)?\((AT_FDCWD, )?"[^"]*", O_(RDONLY|PATH)(\|O_(CLOEXEC|LARGEFILE|NOCTTY|NONBLOCK|NOFOLLOW|DIRECTORY|PATH))*(\)| <)|fch(mod|own)\(([3-9]|\d\d)|<\.\.\.|\?\?\?\( <detached)`)

// explain and what else only looks change nothing, and start nothing.
func TestExplainChangesNothing(t *testing.T) {
	engine.RequireRoot(t, "strace", "setcap")
	probe := engine.Probe(t)
	caps := engine.WithCaps(t, probe, "cap_net_raw=+ep")
	listing := func() string { return engine.Do(t, "ls", "-la", "--full-time", filepath.Dir(caps)).Stdout }
	before := listing()
	for _, words := range []string{
		"explain -c net_admin -u 65532:65532 -- " + probe, "explain --json -c net_admin -u 65532:65532 --bounding=drop -v -- " + probe,
		"explain -c net_admin -u 65532:65532 --strip-file-caps -- " + caps, "explain -c net_admin -u 65532:65532 -- " + caps,
		"explain -c net_raw,net_bind_service -u nobody --ignore-signals=PIPE -- " + probe, "explain -c 45 -u 65532:65532 -- " + probe,
		"explain -c net_admin -- " + probe, "explain -u 4294967296 -- " + probe, "explain -u 65532:65532 -- /nonexistent", "explain -u 65532:65532 --strict -- " + probe,
		"explain --for=kubernetes -c net_admin -u nobody", "check --allow=none", "check --allow=all --pid=1", "show", "show --json 1",
	} {
		trace := filepath.Join(t.TempDir(), "trace")
		r := engine.Exec(t, slices.Concat([]string{"strace", "-f", "-qqq", "-o", trace, "-e", "signal=none", "-e", "trace=" + changing, engine.Caplaunch(t)}, strings.Fields(words))...)
		// The one execve is that of caplaunch itself.
		calls := slices.DeleteFunc(strings.Split(strings.TrimSpace(engine.Read(t, trace)), "\n"), harmless.MatchString)
		if len(calls) != 1 || !strings.Contains(calls[0], " execve(") || !slices.Contains([]int{0, 77, 78, 125, 127}, r.Code) {
			t.Errorf("%s: %q, %v", words, calls, r)
		}
	}
	if after := listing(); after != before {
		t.Errorf("before:\n%safter:\n%s", before, after)
	}
}

// The allowlist is to name what the launch needs and no more; the rest is to be taken away.
func TestTheHintOfAnAllowlistNamesWhatIsNeeded(t *testing.T) {
	for _, c := range []struct{ options, words, hint string }{
		{
			"-b a80425fb -p a80425fb -e a80425fb", "-c net_raw -u 65532:65532 --allow=net_raw,chown,fowner,fsetid,kill,setpcap,net_bind_service,sys_chroot,mknod,audit_write",
			"--allow=chown,fowner,fsetid,kill,setgid,setuid,setpcap,net_bind_service,net_raw,sys_chroot,mknod,audit_write; and docker run --user=0:0 --cap-drop=ALL --cap-add=SETGID --cap-add=SETUID --cap-add=NET_RAW --security-opt=no-new-privileges",
		},
		{"-u 65532 -g 65532 -G 65532 -b 20c0 -i 20c0 -a 20c0", "-c net_raw -u 65532:65532 --strict", "docker run --cap-drop=ALL --cap-add=NET_RAW --security-opt=no-new-privileges"},
	} {
		r := engine.Start(t, strings.Fields(c.options), append([]string{"env", "container=docker", engine.Caplaunch(t)}, behind(t, strings.Fields(c.words)...)...)...)
		engine.Refused(t, r, engine.Unexpected).Hints(t, c.hint)
	}
}

// Of two switches that contradict each other, the one that is given wins over the variable, and --quiet over --verbose.
func TestQuietAndVerbose(t *testing.T) {
	engine.RequireRoot(t, "setpriv")
	for _, c := range []struct {
		variable, words string
		verbose, told   bool
	}{
		{"x=", "-v", true, true},
		{"x=", "-q", false, false},
		{"x=", "-q -v", false, false},
		{"x=", "", false, true},
		{"CAPLAUNCH_VERBOSE=1", "-q", false, false},
		{"CAPLAUNCH_QUIET=1", "-v", true, true},
		{"CAPLAUNCH_QUIET=1", "", false, false},
		{"CAPLAUNCH_VERBOSE=1", "", true, true},
	} {
		start := []string{"setpriv", "--bounding-set=-setpcap", "env", c.variable, engine.Caplaunch(t), "-u", "65532:65532", "-o", "63", "--bounding=try"}
		r := engine.Exec(t, append(start, behind(t, strings.Fields(c.words)...)...)...)
		verbose, told, stays := strings.Contains(r.Stderr, "setresuid"), strings.Contains(r.Stderr, "63 skipped"), strings.Contains(r.Stderr, "the bounding set stays")
		if r.Code != 0 || verbose != c.verbose || told != c.told || stays != c.told {
			t.Errorf("%+v: %v", c, r)
		}
	}
}

// A start that already is who it is to be needs nothing to become it, and the grant names nothing for it.
func TestAGrantWithoutASwitchHasNoneForIt(t *testing.T) {
	for _, c := range []struct{ options, place, request, grant string }{
		{"-u 65532 -g 65532 -G 65532 -i 1000 -a 1000 -n", "container=podman", "-c net_admin -u 65532:65532", "--cap-drop=ALL --cap-add=NET_ADMIN --security-opt=no-new-privileges\n"},
		{"-G 0", "container=podman", "-c net_admin -u 0:0", "--user=0:0 --cap-drop=ALL --cap-add=NET_ADMIN --security-opt=no-new-privileges\n"},
		{"-G 0,5", "container=podman", "-u 0:0", "--user=0:0 --cap-drop=ALL --cap-add=SETGID --security-opt=no-new-privileges\n"},
		{"-u 65532 -g 65532 -G 65532", "container=docker", "-u 65532:65532", "--cap-drop=ALL --security-opt=no-new-privileges\n"},
		{"-u 65532 -g 65532 -G 65532 -b 0", "container=docker", "-o net_admin -u 65532:65532", "--user=0:0 --cap-drop=ALL --cap-add=SETGID --cap-add=SETUID --cap-add=NET_ADMIN --security-opt=no-new-privileges\n"},
	} {
		words := behind(t, append([]string{"env", c.place, engine.Caplaunch(t), "explain", "--json"}, strings.Fields(c.request)...)...)
		r := engine.Start(t, strings.Fields(c.options), words...)
		var x explanation
		engine.Decode(t, r.Stdout, &x)
		if grant := strings.Replace(x.Grant, "--privileged=false ", "", 1); r.Code != 0 || grant != c.grant { // what all is granted to looks privileged
			t.Errorf("%+v: %q, %v", c, x.Grant, r)
		}
	}
}

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
