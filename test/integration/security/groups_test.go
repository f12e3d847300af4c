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

// alpine is how Alpine's files begin: root is in groups that open devices and logs.
var alpine = map[string]string{
	"passwd": "root:x:0:0:root:/root:/bin/sh\nbin:x:1:1:bin:/bin:/sbin/nologin\nrelay:x:10021:10021::/home/relay:/sbin/nologin\n",
	"group":  "root:x:0:root\nbin:x:1:root,bin,daemon\nsys:x:3:root,bin\nadm:x:4:root,daemon\ndisk:x:6:root\nwheel:x:10:root\nfloppy:x:11:root\ntape:x:26:root\nrelay:x:10021:\ndata:x:2001:relay,root\n",
}

// --keep-groups keeps what the runtime has added, and not the groups that /etc/group gives to root.
func TestKeepGroupsLeavesRootsOwnGroupsOut(t *testing.T) {
	begin(t, "unshare")
	dir := engine.TempDir(t)
	for name, text := range alpine {
		engine.Must(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
	}
	under := []string{"unshare", "--mount", "sh", "-ec", fmt.Sprintf("mount --bind %[1]s/passwd /etc/passwd\nmount --bind %[1]s/group /etc/group\nexec \"$@\"", dir), "sh"}
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
