package security

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/caplaunch/caplaunch/test/integration/engine"
)

// The map that a container with a user namespace has: ids of the machine below 100000 are not in it. They read as 65534.
const (
	contained = "0 100000 65536"
	mapped    = "100000,100000,100000" // what root of it is outside
)

// paused is caplaunch with flags in front of the probe that pauses.
func paused(t testing.TB, flags string) []string {
	return slices.Concat([]string{engine.Caplaunch(t)}, strings.Fields(flags), []string{"--", engine.Probe(t), "pause"})
}

// Whoever enters a user namespace from outside keeps an id that reads as 65534. It must not pass for the user with that
// number: the program would be root on the machine. In an empty root there is no map to be read, and what the image says
// of one is not believed.
func TestAnIDThatIsNotMappedIsNotTheUser(t *testing.T) {
	engine.Begin(t)
	jail := engine.Tree(t, map[string]engine.Src{
		"/caplaunch": engine.File(engine.Caplaunch(t)), "/probe": engine.File(engine.Probe(t)),
		"/etc/passwd": engine.Text("nobody:x:65534:65534::/:/bin/sh\n"), "/etc/group": engine.Text("nogroup:x:65534:\n"),
		"/proc/self/gid_map": engine.Text("0 0 4294967295\n"), "/proc/sys/kernel/overflowgid": engine.Text("1\n"),
	})
	jailed := func(flags string) []string {
		return slices.Concat([]string{"/caplaunch"}, strings.Fields(flags), []string{"--", "/probe", "pause"})
	}
	for maps, words := range map[string][]string{
		"no map":    nil,
		"both maps": {"-m", contained, "-n", contained},
		"uids":      {"-m", contained},
		"gids":      {"-n", contained},
	} {
		for caps, k := range map[string][]string{"with capabilities": {"-k"}, "without": nil} {
			for _, flags := range []string{
				"-u 65534:65534", "-u nobody", "-u 65534:65534 --keep-groups", "-u 65534:65534 --non-root=keep",
				"-u nobody --keep-groups --non-root=keep", "",
			} {
				for place, launch := range map[string][]string{"": slices.Concat([]string{"--"}, paused(t, flags)), "jailed": slices.Concat([]string{"-R", jail, "--"}, jailed(flags))} {
					t.Run(maps+" "+caps+" "+flags+" "+place, func(t *testing.T) {
						t.Parallel()
						e := outside(t, slices.Concat([]string{engine.Starter(t, "userns"), "-G", "0,5"}, words, k, launch)...)
						switch {
						case maps != "both maps" || k == nil:
							e.refused(t)
						case flags == "": // nobody was named, so the groups are left as they are
							e.is(t, 165534, 165534, "0 5")
						default: // it can become the user, and does
							e.is(t, 165534, 165534, "165534")
						}
					})
				}
			}
		}
	}
	// Root of the namespace, and the user with that number, on the machine itself.
	outside(t, append(inNamespace(t, "5,100007", "-R", jail), jailed("-u 1:1 --keep-groups")...)...).is(t, 100001, 100001, "100001 100007")
	for _, flags := range []string{"-u 65534:65534", "-u nobody", ""} {
		outside(t, slices.Concat([]string{engine.Capstart(t), "-R", jail, "-u", "65534", "-g", "65534", "-G", "none", "--"}, jailed(flags))...).is(t, 65534, 65534, "")
	}
}

// A saved, real or effective id that is not mapped, beside two that are: it must not be a way back.
func TestOneOfThreeIDsThatIsNotMappedIsGone(t *testing.T) {
	engine.Begin(t)
	const mine = "165534,165534,165534"
	for _, ids := range []string{"165534,165534,0", "0,165534,165534", "165534,0,165534"} {
		for _, flags := range []string{"-u 65534:65534", "-u nobody", ""} {
			run := func(u, g string) end {
				return outside(t, slices.Concat([]string{engine.Starter(t, "userns"), "-u", u, "-g", g, "-G", "none", "-m", contained, "-n", contained, "--"}, paused(t, flags))...)
			}
			run(ids, mine).is(t, 165534, 165534, "")
			run(mine, ids).is(t, 165534, 165534, "")
			run(ids, ids).is(t, 165534, 165534, "")
		}
	}
}

// A group that is not mapped reads as 65534. At a switch it is left out, and that is told; where the map is whole, 65534
// is itself.
func TestAGroupThatIsNotMappedIsNotKept(t *testing.T) {
	engine.Begin(t)
	root := func(groups string, more ...string) []string { return inNamespace(t, groups, more...) }
	for _, c := range []struct {
		name   string
		start  []string
		flags  string
		groups string // outside; "refused"
		told   string
	}{
		{"a switch that keeps groups", root("100007,5"), "-u 1:1 --keep-groups -v", "100001 100007", "does not get: 65534"},
		{"a switch to the gid that it reads as", root("100007,5"), "-u 65534:65534 --keep-groups", "100007 165534", ""},
		{"a switch that keeps none", root("100007,5"), "-u 1:1 -v", "100001", "does not get"},
		{"root that stays, and keeps groups", root("100007,5"), "-u 0:0 --keep-groups", "100000 100007", ""},
		{"root that stays", root("5"), "-u 0:0", "100000", ""},
		{"a list that looks right", root("5,165534", "-g", "165534,165534,165534"), "-u 0:65534", "165534", ""},
		{"setgroups denied, groups kept", root("100007,5", "-d"), "-u 0:0 --keep-groups", "5 100007", ""},
		{"setgroups denied", root("100007,5", "-d"), "-u 0:0", "refused", "--keep-groups"},
		{"setgroups denied, and a list that looks right", root("5,100000", "-d"), "-u 0:0 --groups=65534", "refused", ""},
		{"a user, and a list that looks right", append(root("5"), "setpriv", "--reuid=1", "--keep-groups"), "--groups=65534", "refused", ""},
		{"the whole map", []string{engine.Capstart(t), "-G", "7,65534", "--"}, "-u 1:1 --keep-groups", "1 7 65534", ""},
		{"the whole map of a namespace", []string{engine.Starter(t, "userns"), "-G", "7,65534", "-m", "0 0 4294967295", "-n", "0 0 4294967295", "--"}, "-u 1:1 --keep-groups", "1 7 65534", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := outside(t, append(c.start, paused(t, c.flags)...)...)
			if c.groups == "refused" {
				e.refused(t)
			} else if e.ran == nil || e.ran["Groups"] != c.groups {
				t.Errorf("groups %q, want %q\n%v", e.ran["Groups"], c.groups, e.result)
			}
			if !strings.Contains(e.result.Stderr, c.told) {
				t.Errorf("%q is not told: %v", c.told, e.result)
			}
		})
	}
}

// The id that stands for those that are not mapped can be another one, by kernel.overflowgid. That is one number for the
// whole machine, so here a file lies over it, for caplaunch alone; the ids themselves need no such reading.
func TestTheOverflowGroupIsReadFromTheKernel(t *testing.T) {
	engine.Begin(t, "unshare")
	start := engine.Mounting("mount --bind " + engine.Write(t, "seven", "7\n") + " /proc/sys/kernel/overflowgid")
	root := inNamespace(t, "100007,100008")
	launch := paused(t, "-u 1:1 --keep-groups")
	outside(t, slices.Concat(start, root, launch)...).is(t, 100001, 100001, "100001 100008")
	outside(t, slices.Concat(root, launch)...).is(t, 100001, 100001, "100001 100007 100008")
}

// alpine is how Alpine's files begin: root is in groups that open devices and logs.
var alpine = map[string]string{
	"passwd": "root:x:0:0:root:/root:/bin/sh\nbin:x:1:1:bin:/bin:/sbin/nologin\nrelay:x:10021:10021::/home/relay:/sbin/nologin\n",
	"group":  "root:x:0:root\nbin:x:1:root,bin,daemon\nsys:x:3:root,bin\nadm:x:4:root,daemon\ndisk:x:6:root\nwheel:x:10:root\nfloppy:x:11:root\ntape:x:26:root\nrelay:x:10021:\ndata:x:2001:relay,root\n",
}

// --keep-groups keeps what the runtime has added, and not the groups that /etc/group gives to root.
func TestKeepGroupsLeavesRootsOwnGroupsOut(t *testing.T) {
	engine.Begin(t, "unshare")
	under := engine.Accounts(t, alpine["passwd"], alpine["group"])
	const roots, many = "0,1,3,4,6,10,11,26", "3001,3002,3003,3004,3005,3006,3007,3008,3009,3010,3011,3012,3013,3014"
	for _, c := range []struct{ name, start, flags, want string }{
		{"a name", "-G " + roots + ",2000", "-u relay --keep-groups", "2000 2001 10021"},
		{"a number", "-G " + roots + ",2000", "-u 65532:65532 --keep-groups", "2000 65532"},
		{"one of root's that is asked for", "-G " + roots + ",2000", "-u 65532:65532 --keep-groups --groups=6", "6 2000 65532"},
		{"one of root's that is the user's too", "-G " + roots + ",2000,2001", "-u relay --keep-groups", "2000 2001 10021"},
		{"root itself", "-G " + roots + ",2000", "-u 0:0 --keep-groups", "0 2000"},
		{"none of root's is there", "-G 2000,3000", "-u 65532:65532 --keep-groups", "2000 3000 65532"},
		{"not kept", "-G " + roots + ",2000", "-u relay", "2001 10021"},
		{"many that are not kept", "-G " + many, "-u relay", "2001 10021"},
	} {
		t.Run(c.name, func(t *testing.T) {
			argv := slices.Concat(under, []string{engine.Capstart(t)}, strings.Fields(c.start), []string{"--"}, paused(t, c.flags+" -v"))
			e := outside(t, argv...)
			if e.ran == nil || e.ran["Groups"] != c.want {
				t.Errorf("groups %q, want %q: %v", e.ran["Groups"], c.want, e.result)
			}
			if strings.Contains(c.start, roots) && !strings.Contains(e.result.Stderr, "does not get: ") {
				t.Errorf("what is lost is not told: %v", e.result)
			}
			if strings.Contains(c.start, many) && !strings.Contains(e.result.Stderr, "does not get: "+many+"\n") {
				t.Errorf("not each that is lost is named: %v", e.result)
			}
		})
	}
}

// An image that hides its /etc/group behind a mount would choose groups for its program: Docker has read the file before.
func TestKeepGroupsWhereASymlinkHidesRootsOwn(t *testing.T) {
	t.Parallel()
	d := engine.TheDocker(t)
	etc := engine.TempDir(t)
	engine.Must(t, os.WriteFile(filepath.Join(etc, "passwd"), []byte(alpine["passwd"]), 0o644))
	engine.Must(t, os.Symlink("/tmp/group", filepath.Join(etc, "group")))
	img := d.Load(t, engine.ScratchImage("caplaunch.test/hidden:1", map[string]engine.Src{
		"/caplaunch": engine.File(engine.Caplaunch(t)), "/probe": engine.File(engine.Probe(t)), "/etc": engine.File(etc), "/tmp/group": engine.Text(alpine["group"]),
	}))
	argv := []string{"/caplaunch", "-u", "65532:65532", "--keep-groups", "--", "/probe"}
	engine.Promised("65532", 0).With("Groups", "2000 65532").Want(t, d.Run(t, img, []string{"--group-add=2000"}, argv...))
	said := engine.Refused(t, d.Run(t, img, []string{"--group-add=2000", "--read-only", "--tmpfs=/tmp"}, argv...), engine.Failure)
	if !strings.Contains(said.Msg, "/etc/group: a symlink leads to another mount") {
		t.Errorf("%+v", said)
	}
}
