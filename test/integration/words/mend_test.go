package words

import (
	"cmp"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caplaunch/caplaunch/test/integration/engine"
)

// A mishap is a launch that fails, and what its hint says, done.
type mishap struct {
	name    string
	within  string // a script of bash in mount and PID namespaces of their own, in front of caplaunch
	options string // of capstart, where within is empty
	words   []string
	code    int
	says    string // a part of the hint; if nothing else is done with it, commands for a shell
	do      func() // what it says, done by hand
	again   []string
	id      string
}

func (m *mishap) run(t testing.TB, words []string) engine.Result {
	t.Helper()
	if m.within == "" {
		return start(t, m.options, words...)
	}
	return engine.Exec(t, append([]string{"unshare", "--mount", "--pid", "--fork", "--mount-proc", "bash", "-ec", m.within + `
exec "$@"`, "bash", engine.Caplaunch(t)}, words...)...)
}

// What comes of files, of which internal/why knows more, and of the surroundings: the hint is followed, and the same
// launch, or the one that it names, ends in the promise.
func TestEveryOtherHintWorks(t *testing.T) {
	engine.RequireRoot(t, "unshare", "mount", "setcap", "findmnt")
	probe, dir := engine.Probe(t), engine.TempDir(t)
	shell := func(format string, args ...any) {
		t.Helper()
		engine.Do(t, "sh", "-ec", fmt.Sprintf(format, args...))
	}
	in := func(name string) string { return filepath.Join(dir, name) }
	program := func(name, change string) string {
		shell("cp %s %s; cd %s; %s", probe, in(name), dir, change)
		return in(name)
	}
	user := []string{"--log-format=json", "-c", "net_admin", "-u", "65532:65532"}
	launch := func(words ...string) []string { return append(user[:len(user):len(user)], words...) }
	strip := func(path string) []string { return launch("--strip-file-caps", "--", path) }

	unknown := engine.Write(t, "passwd", "root:x:0:0:root:/root:/bin/sh\nbroken:x:many:1::/:/bin/sh\n")
	unread := program("unread", "chown 1000:1000 unread; chmod 711 unread; setcap cap_net_raw=+ep unread")
	groups := engine.Write(t, "groups", "g:x:many:joiner\n")
	roots := engine.Write(t, "roots", "g:x:many:root\n")
	few := "export container=docker\n" + fmt.Sprintf(mapped, "0 0 1001") + `exec nsenter --user --target=$p --preserve-credentials "$@"`
	joiner := engine.Write(t, "joiners", "root:x:0:0:root:/root:/bin/sh\njoiner:x:65532:65532::/:/bin/sh\n")
	large, forbidden := program("large", "setcap cap_net_raw=+ep large"), program("forbidden", "setcap cap_net_raw=+ep forbidden")
	elsewhere := program("elsewhere", "setcap -n 12345 cap_net_raw=+ep elsewhere")

	w := func(words string) []string { return append([]string{"--log-format=json"}, strings.Fields(words)...) }
	shielded := engine.WithCaps(t, probe, "cap_sys_admin=+ep")
	script := engine.Write(t, "script", "exec "+probe+"\n")

	for _, m := range []mishap{
		{name: "not in PATH", words: launch("--", "no-such-program"), code: 127, says: "write its whole path", do: func() {}, again: launch("--", probe)},
		{name: "no interpreter", words: launch("--", engine.Write(t, "lost", "#!"+in("sh")+"\nexec "+probe+"\n")), code: 127, says: "install " + in("sh"), do: func() { shell("cp /bin/sh %s", in("sh")) }},
		{name: "noexec", within: "mount -t tmpfs -o noexec,mode=755 tmpfs /mnt; cp " + probe + " /mnt/probe", words: launch("--", "/mnt/probe"), code: 126, says: `mount -o remount,exec "$(findmnt -n -o TARGET --target /mnt/probe)"`},
		{name: "few descriptors", within: "ulimit -n 3", words: strip(large), code: 125, says: "ulimit -n 1024"},
		{name: "a copy that is too large", within: "ulimit -f 8", words: strip(large), code: 125, says: "ulimit -f unlimited"},
		{name: "a copy that is forbidden", within: "echo 2 >/proc/sys/vm/memfd_noexec", words: strip(forbidden), code: 125, says: "setcap -r " + forbidden + " in the image, and run without --strip-file-caps", do: func() { shell("setcap -r %s", forbidden) }, again: launch("--", forbidden)},
		{name: "a copy of what cannot be read", options: "-b 31c0", words: strip(unread), code: 126, says: "chmod a+r " + unread},
		{name: "file capabilities of another namespace", within: "exec unshare --user --map-root-user \"$@\"", words: []string{"--log-format=json", "-c", "net_admin", "-u", "0:0", "--keep-groups", "--", elsewhere}, code: 125, says: "setcap -r " + elsewhere, do: func() { shell("setcap -r %s", elsewhere) }, id: "0"},
		{name: "a malformed line", within: "mount --bind " + unknown + " /etc/passwd", words: []string{"--log-format=json", "-c", "net_admin", "-u", "broken", "--", probe}, code: 125, says: "mend /etc/passwd, or write numbers, which need no file: --user=UID:GID", do: func() {}, again: launch("--", probe)},
		{name: "an id that is not mapped, and others are", within: few, words: launch("--", probe), code: 125, says: "an id that is mapped: cat /proc/self/uid_map", do: func() {}, again: []string{"-c", "net_admin", "--user=1000:1000", "--", probe}, id: "1000"},
		{name: "a group that is not mapped", within: few, words: []string{"--log-format=json", "-c", "net_admin", "-u", "500:500", "--groups=70000", "--", probe}, code: 125, says: "an id that is mapped: cat /proc/self/uid_map", do: func() {}, again: []string{"-c", "net_admin", "-u", "500:500", "--groups=500", "--", probe}, id: "500"},
		{name: "a namespace without a gid", within: `exec unshare --user --map-user=0 --keep-caps "$@"`, words: []string{"--log-format=json", "-c", "net_admin", "-u", "0:0", "--keep-groups", "--", probe}, code: 125, says: "unshare --user --map-user=0 --map-group=0 --keep-caps", id: "0"},
		{name: "a group nobody knows, among others", words: launch("--groups=65532,nosuchgroup", "--", probe), code: 125, says: "write the number of the group, which needs no file: getent group nosuchgroup", do: func() {}, again: launch("--groups=65532", "--", probe)},
		{name: "given up the effective uid alone", within: `exec setpriv --ruid=1000 "$@"`, words: launch("--", probe), code: 125, says: "take the set-uid or set-gid bit from the program that starts caplaunch, or let it change"},
		{name: "no program", words: launch("--"), code: 125, says: "caplaunch " + strings.Join(user, " ") + " -- PROGRAM", do: func() {}, again: launch("--", probe)},
		{name: "neither -- nor program", words: user, code: 125, says: "caplaunch " + strings.Join(user, " ") + " -- PROGRAM", do: func() {}, again: launch("--", probe)},
		{name: "too many words", words: append(strings.Fields(strings.Repeat("-c net_admin ", 600)), launch("--", probe)...), code: 125, says: "one flag can take a whole list: --caps=net_admin,net_raw", do: func() {}, again: launch("--", probe)},
		{name: "securebits that disown root", options: "-s 1 -b 10c0", words: launch("--", probe), code: 77, says: "start caplaunch without the securebits noroot", do: func() {}},
		{name: "securebits, and nothing asked for", options: "-s 1 -b 10c0", words: []string{"--log-format=json", "-u", "65532:65532", "--", probe}, code: 125, says: "start caplaunch without the securebits noroot", do: func() {}, again: launch("--", probe)},
		{name: "given up", options: "-n -p c0 -e c0 -b 10c0", words: launch("--", probe), code: 77, says: "start caplaunch itself first, not behind a program that gives capabilities up", do: func() {}},
		{name: "given up, and needed for the switch", options: "-n -p 1000 -e 1000 -b 10c0", words: launch("--", probe), code: 125, says: "start caplaunch itself first, not behind a program that gives capabilities up", do: func() {}},
		{name: "an allowlist without what is asked for", options: "-b 10c0", words: launch("--allow=setuid,setgid", "--", probe), code: 78, says: "--allow=setgid,setuid,net_admin", do: func() {}, again: launch("--allow=setgid,setuid,net_admin", "--", probe)},
		{name: "an allowlist without what the launch needs", options: "-b 10c0", words: launch("--allow=net_admin", "--", probe), code: 78, says: "--allow=setgid,setuid,net_admin", do: func() {}, again: launch("--allow=setgid,setuid,net_admin", "--", probe)},
		{name: "unknown capabilities among others", words: []string{"--log-format=json", "-c", "net_admin,62,63", "-u", "65532:65532", "--", probe}, code: 77, says: "caplaunch --caps=net_admin --optional-caps=62,63", do: func() {}, again: []string{"--caps=net_admin", "--optional-caps=62,63", "-u", "65532:65532", "--", probe}},
		{name: "a namespace that maps another gid", within: `exec setpriv --reuid=1000 --regid=100 --clear-groups unshare --user --map-current-user --keep-caps "$@"`, words: launch("--", probe), code: 125, says: "caplaunch --user=1000:100 --keep-groups, which is who it is", do: func() {}, again: []string{"-c", "net_admin", "--user=1000:100", "--keep-groups", "--", probe}, id: "1000:100"},
		{name: "a namespace without setgroups", within: `exec setpriv --reuid=1000 --regid=1000 --clear-groups unshare --map-root-user "$@"`, words: []string{"-c", "net_admin", "-u", "0:0", "--groups=7", "--", probe}, code: 125, says: "caplaunch --user=0:0 --keep-groups in place of --groups, which is who it is", do: func() {}, again: []string{"-c", "net_admin", "--user=0:0", "--keep-groups", "--", probe}, id: "0:0"},
		{name: "a group nobody knows, and no user", options: "-u 65532 -g 65532 -G none -i 1000 -a 1000", words: []string{"--log-format=json", "-c", "net_admin", "--groups=nosuchgroup", "--", probe}, code: 125, says: "write the number of the group, which needs no file: getent group nosuchgroup", do: func() {}, again: []string{"-c", "net_admin", "--groups=65532", "--", probe}},
		{name: "a malformed group of the user", within: "mount --bind " + groups + " /etc/group; mount --bind " + joiner + " /etc/passwd", words: []string{"--log-format=json", "-c", "net_admin", "-u", "joiner", "--", probe}, code: 125, says: "mend /etc/group, or write numbers, which need no file: --user=UID:GID", do: func() {}, again: launch("--", probe)},
		{name: "a malformed group of root", within: "mount --bind " + roots + " /etc/group", words: w("-c net_admin -u 65532:65532 --keep-groups -- " + probe), code: 125, says: "write numbers, which need no file: --user=UID:GID --groups=GID in the place of --keep-groups", do: func() {}, again: w("-c net_admin --user=65532:65532 --groups=7 -- " + probe)},
		{name: "a namespace without ids", within: `exec unshare --user --keep-caps "$@"`, words: []string{"--log-format=json", "-c", "net_admin", "-u", "65534:65534", "--", probe}, code: 125, says: "unshare --user --map-user=65534 --map-group=65534 --keep-caps", do: func() {}, again: []string{"-c", "net_admin", "-u", "65534:65534", "--keep-groups", "--", probe}, id: "65534"},
		{name: "root alone in a namespace", within: `exec unshare --user --map-root-user "$@"`, words: []string{"--log-format=json", "-c", "net_admin", "--", probe}, code: 125, says: "caplaunch --user=0:0 to stay root", do: func() {}, again: []string{"-c", "net_admin", "--user=0:0", "--", probe}, id: "0"},
		{name: "no signals", words: launch("--ignore-signals=,", "--", probe), code: 125, says: "--ignore-signals=PIPE", do: func() {}, again: launch("--ignore-signals=PIPE", "--", probe)},
		{name: "securebits", options: "-s 20", words: launch("--", probe), code: 77, says: "start caplaunch without the securebits keep_caps_locked", do: func() {}},
		{name: "more than allowed in a namespace", within: "exec unshare --user --map-root-user \"$@\"", words: []string{"--log-format=json", "--allow=net_admin,setuid,setgid", "-c", "net_admin", "-u", "0:0", "--keep-groups", "--", probe}, code: 78, says: "setpriv --bounding-set=-chown,", do: func() {}, id: "0"},
		{name: "more than allowed, and too little, in a namespace", within: "exec unshare --user --map-root-user \"$@\"", words: w("--allow=kill -c net_admin -u 0:0 --keep-groups -- " + probe), code: 78, says: "--allow=kill,net_admin; and setpriv --bounding-set=-chown,", do: func() {}, again: w("--allow=kill,net_admin -c net_admin -u 0:0 --keep-groups -- " + probe), id: "0"},
		// What stands behind an "or" works as well.
		{name: "root", words: w("-c net_admin -- " + probe), code: 125, says: "or caplaunch --user=0:0 to stay root", do: func() {}, again: w("-c net_admin --user=0:0 -- " + probe), id: "0"},
		{name: "as it is", options: "-u 1000 -g 1000 -G none -p 1000 -i 1000 -a 1000", words: w("-c net_admin -u 65532:65532 -- " + probe), code: 125, says: "(or caplaunch --non-root=keep to run as uid 1000)", do: func() {}, again: w("--non-root=keep -c net_admin -u 65532:65532 -- " + probe), id: "1000"},
		{name: "no_new_privs", words: w("-c net_admin -u 0:0 --allow-new-privs -- " + probe), code: 125, says: "or without --allow-new-privs", do: func() {}, again: w("-c net_admin -u 0:0 -- " + probe), id: "0"},
		{name: "demanding file capabilities", options: "-b 10c0", words: w("-c net_admin -u 65532:65532 -- " + shielded), code: 125, says: "setcap -r " + shielded + " in the image", do: func() { shell("setcap -r %s", shielded) }},
		{name: "no #! line", words: w("-c net_admin -u 65532:65532 -- " + script), code: 126, says: "caplaunch … -- /bin/sh " + script, do: func() {}, again: w("-c net_admin -u 65532:65532 -- /bin/sh " + script)},
		{name: "no groups", words: w("-c net_admin -u 65532:65532 --groups= -- " + probe), code: 125, says: "or leave it out for the groups of --user", do: func() {}, again: w("-c net_admin -u 65532:65532 -- " + probe)},
	} {
		t.Run(m.name, func(t *testing.T) {
			if m.again == nil {
				m.again = m.words
			}
			r := m.run(t, m.words)
			said := engine.Refused(t, r, m.code)
			if !strings.Contains(said.Hint, m.says) {
				t.Fatalf("want a hint with %q: %v", m.says, r)
			}
			switch setpriv, _, ok := strings.Cut(said.Hint, " caplaunch …"); {
			case ok && strings.Contains(setpriv, "setpriv "):
				m.within = strings.Replace(m.within, ` "$@"`, " "+setpriv[strings.Index(setpriv, "setpriv "):]+` "$@"`, 1)
			case strings.HasPrefix(m.says, "unshare "):
				m.within = "exec " + m.says + ` "$@"`
			case strings.HasPrefix(m.name, "securebits") || strings.HasPrefix(m.name, "given up"):
				m.options, m.within = "", ""
			case m.do != nil:
				m.do()
			case m.within == "":
				shell("%s", m.says)
			case strings.HasPrefix(m.within, "ulimit "):
				m.within = m.says // instead of what stood there: a hard limit is not raised again
			default:
				m.within += "\n" + m.says
			}
			engine.Promised(cmp.Or(m.id, "65532"), engine.NetAdmin).With("Groups", "*").Want(t, m.run(t, m.again))
		})
	}
}
