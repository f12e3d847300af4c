package security

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/caplaunch/caplaunch/test/integration/engine"
)

// The map that a container with a user namespace has: ids of the machine below 100000 are not in it. They read as 65534.
const contained = "0 100000 65536"

// paused is caplaunch with flags in front of the probe that pauses.
func paused(t testing.TB, flags string) []string {
	return slices.Concat([]string{engine.Caplaunch(t)}, strings.Fields(flags), []string{"--", engine.Probe(t), "pause"})
}

// Whoever enters a user namespace from outside keeps an id that reads as 65534. It must not pass for the user with that
// number: the program would be root on the machine. In an empty root there is no map to be read, and what the image says
// of one is not believed.
func TestAnIDThatIsNotMappedIsNotTheUser(t *testing.T) {
	begin(t)
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
	const zero = "100000,100000,100000"
	root := []string{engine.Starter(t, "userns"), "-R", jail, "-u", zero, "-g", zero, "-G", "5,100007", "-m", contained, "-n", contained, "--"}
	outside(t, slices.Concat(root, jailed("-u 1:1 --keep-groups"))...).is(t, 100001, 100001, "100001 100007")
	for _, flags := range []string{"-u 65534:65534", "-u nobody", ""} {
		outside(t, slices.Concat([]string{engine.Capstart(t), "-R", jail, "-u", "65534", "-g", "65534", "-G", "none", "--"}, jailed(flags))...).is(t, 65534, 65534, "")
	}
}

// A saved, real or effective id that is not mapped, beside two that are: it must not be a way back.
func TestOneOfThreeIDsThatIsNotMappedIsGone(t *testing.T) {
	begin(t)
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
	begin(t)
	root := func(groups string, more ...string) []string {
		return slices.Concat([]string{engine.Starter(t, "userns"), "-u", "100000,100000,100000", "-g", "100000,100000,100000", "-G", groups, "-m", contained, "-n", contained}, more, []string{"--"})
	}
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
	begin(t, "unshare")
	seven := filepath.Join(engine.TempDir(t), "seven")
	engine.Must(t, os.WriteFile(seven, []byte("7\n"), 0o644))
	start := []string{"unshare", "--mount", "sh", "-ec", fmt.Sprintf("mount --bind %s /proc/sys/kernel/overflowgid\nexec \"$@\"", seven), "sh"}
	root := []string{engine.Starter(t, "userns"), "-u", "100000,100000,100000", "-g", "100000,100000,100000", "-G", "100007,100008", "-m", contained, "-n", contained, "--"}
	launch := paused(t, "-u 1:1 --keep-groups")
	outside(t, slices.Concat(start, root, launch)...).is(t, 100001, 100001, "100001 100008")
	outside(t, slices.Concat(root, launch)...).is(t, 100001, 100001, "100001 100007 100008")
}
