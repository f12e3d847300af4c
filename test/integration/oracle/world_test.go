package oracle

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/caplaunch/caplaunch/internal/ambient"
	"github.com/caplaunch/caplaunch/internal/ambient/linux"
	"github.com/caplaunch/caplaunch/test/unit"
)

// The environment of the processes that the tests become. Each test runs its
// own binary again, with its own name, inside the namespaces that it needs.
const (
	insideEnv   = "ORACLE_INSIDE" // how far in: "mounts" or "world"
	reporterEnv = "ORACLE_REPORTER"
	dirEnv      = "ORACLE_DIR" // an empty folder that everybody may enter
)

// A world is where sequences run: on the machine, or in a user namespace with some ids mapped.
type world struct {
	name     string
	nested   bool
	maps     []syscall.SysProcIDMap // of uids, as root; HostID 0 is the caller, and without root every HostID is
	gids     []syscall.SysProcIDMap // of gids, where they differ
	ambient  bool                   // no id 0 is mapped: the powers come as ambient ones
	root     bool                   // only root can map these ids
	noGroups bool                   // setgroups is denied
	few      bool                   // see generator
}

const hostBase = 700000 // where root maps ids to; nobody's on any machine

var (
	machine = world{name: "machine"}
	manyIDs = world{
		name: "user namespace, many ids", nested: true, root: true,
		// Not 65534, which is what stat(2) shows for an id that is not mapped.
		maps: []syscall.SysProcIDMap{{ContainerID: 0, HostID: hostBase, Size: 1500}, {ContainerID: 65532, HostID: hostBase + 5000, Size: 2}},
		gids: []syscall.SysProcIDMap{{ContainerID: 0, HostID: hostBase, Size: 5000}},
	}
	oneID = world{name: "user namespace, one id", nested: true, noGroups: true, maps: []syscall.SysProcIDMap{{Size: 1}}}
	noID0 = world{
		name: "user namespace, no id 0", nested: true, ambient: true, noGroups: true,
		maps: []syscall.SysProcIDMap{{ContainerID: 1000, HostID: hostBase + 1000, Size: 1}},
	}
)

// in runs body inside w, with what makes sequences that are possible there. Package unit serves, and not engine: the
// clients of container engines in that would weigh on the start of every child and on the build of every mutant.
func (w world) in(t *testing.T, body func(*testing.T, generator)) {
	t.Helper()
	switch inside := os.Getenv(insideEnv); {
	case inside == "":
		unit.Need(t, os.Getuid() == 0 || w.nested && !w.root, "root")
		w.enter(t)
	case inside == "mounts" && w.nested:
		unit.Must(t, outside(everyID).make(os.Getenv(reporterEnv)))
		w.respawn(t, "/proc/self/exe", "world")
	default:
		g, err := prepare()
		unit.Must(t, err)
		body(t, g)
	}
}

// enter is in, seen from outside.
func (w world) enter(t *testing.T) {
	dir := unit.Folder(t)
	for _, sub := range []string{"outer", "inner"} {
		sub = filepath.Join(dir, sub)
		unit.Must(t, errors.Join(os.Mkdir(sub, 0o755), os.Chmod(sub, 0o755)))
	}
	t.Setenv(dirEnv, dir)
	t.Setenv(reporterEnv, reporter(t, dir))
	inside := "world"
	if os.Getuid() == 0 {
		inside = "mounts"
	}
	w.respawn(t, unit.Self(t), inside)
}

// printed is what inWorld prints.
var printed = regexp.MustCompile(`(?m)^oracle: .*\n`)

// respawn runs this test again, further inside. A world that cannot be entered makes it unusable, from within to the
// outermost process.
func (w world) respawn(t *testing.T, own, inside string) {
	t.Helper()
	cmd := exec.Command(own, "-test.run=^"+strings.ReplaceAll(t.Name(), "/", "$/^")+"$", "-test.v=true", "-test.count=1", "-test.timeout=0",
		fmt.Sprintf("-n=%d", *number), fmt.Sprintf("-doors=%d", *doors), fmt.Sprintf("-seed=%d", theSeed()), fmt.Sprintf("-seq=%d", *only))
	cmd.Env = append(os.Environ(), insideEnv+"="+inside)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	if inside == "world" {
		w.inUserNamespace(cmd.SysProcAttr)
	}
	runtime.LockOSThread() // the death signal is the thread's
	defer runtime.UnlockOSThread()
	b, err := cmd.CombinedOutput()
	out := string(b)
	switch {
	case cmd.ProcessState == nil:
		unit.Need(t, false, fmt.Sprintf("%s: %v", w.name, err))
	case err != nil || !strings.Contains(out, "--- "):
		t.Fatalf("%s: %v\n%s", w.name, err, out)
	case strings.Contains(out, "--- SKIP: "):
		unit.Need(t, false, w.name+": "+out)
	case *only >= 0:
		t.Log(out)
	}
	fmt.Print(printed.FindString(out))
}

// inUserNamespace lets a process begin in the world's user namespace.
func (w world) inUserNamespace(attr *syscall.SysProcAttr) {
	attr.Cloneflags |= syscall.CLONE_NEWUSER
	attr.GidMappingsEnableSetgroups = !w.noGroups
	own := func(maps []syscall.SysProcIDMap, id int) []syscall.SysProcIDMap {
		maps = slices.Clone(maps)
		for i := range maps {
			if maps[i].HostID == 0 || os.Getuid() != 0 {
				maps[i].HostID = id
			}
		}
		return maps
	}
	if w.gids == nil {
		w.gids = w.maps
	}
	attr.UidMappings, attr.GidMappings = own(w.maps, os.Getuid()), own(w.gids, os.Getgid())
	if first := attr.UidMappings[0]; first.HostID != os.Getuid() { // be one that is mapped
		id := uint32(first.ContainerID)
		attr.Credential = &syscall.Credential{Uid: id, Gid: id, NoSetGroups: w.noGroups}
	}
	if w.ambient {
		for c := range ambient.NamedCaps.All() {
			if n, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, uintptr(c), 0, 0, 0); err == nil && n >= 0 {
				attr.AmbientCaps = append(attr.AmbientCaps, uintptr(c))
			}
		}
	}
}

// outside is the programs that the machine's root makes before a user namespace
// is entered. The seed alone decides what they are, so that those inside know.
func outside(ids idPool) folder {
	r := rand.New(rand.NewPCG(theSeed(), 1))
	f := folder{filepath.Join(os.Getenv(dirEnv), "outer"), specs(r, ids, []uint32{0, hostBase, hostBase + 5})}
	for i := range f.Specs { // half of them with owners who are mapped in manyIDs
		if s := &f.Specs[i]; i%2 == 0 {
			s.UID, s.GID = s.UID+hostBase, s.GID+hostBase
		}
	}
	return f
}

// An idMap is a map of user_namespaces(7).
type idMap []struct{ here, there, count uint32 }

// everyID are the maps of the machine.
var everyID = idPool{idMap{{0, 0, 1<<32 - 1}}, idMap{{0, 0, 1<<32 - 1}}}

func readMap(path string) (m idMap, err error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(b)) {
		m = append(m, idMap{{}}...)
		e := &m[len(m)-1]
		if _, err := fmt.Sscan(line, &e.here, &e.there, &e.count); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// has reports whether an id is mapped here.
func (m idMap) has(ids ...uint32) bool {
	for _, id := range ids {
		if !slices.ContainsFunc(m, func(e struct{ here, there, count uint32 }) bool { return id >= e.here && id-e.here < e.count }) {
			return false
		}
	}
	return true
}

// translate is the id here of one outside.
func (m idMap) translate(id uint32) (uint32, bool) {
	for _, e := range m {
		if id >= e.there && id-e.there < e.count {
			return e.here + id - e.there, true
		}
	}
	return 0, false
}

// prepare makes the programs and finds out what is possible here.
func prepare() (g generator, err error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	now, host, err := linux.OneThread().StateAndHost()
	uids, err1 := readMap("/proc/self/uid_map")
	gids, err2 := readMap("/proc/self/gid_map")
	if err := errors.Join(err, err1, err2); err != nil {
		return g, err
	}
	if !now.Permitted.Contains(favourites) || now.Permitted != now.Bounding {
		return g, fmt.Errorf("not enough to start with: %+v on %+v", now, host)
	}
	g = generator{host: host, ids: idPool{uids, gids}, limit: now, bits: 0xff}

	// Files of one's own: revision 2 belongs to the root of the file system's user namespace, which is this one.
	rootIDs := []uint32{0}
	if ids := mapped(uids, []uint32{5, 1000}); ids[0] != 0 {
		rootIDs = append(rootIDs, ids[0])
	}
	if !uids.has(0) {
		rootIDs = rootIDs[1:]
	}
	same := func(id uint32) (uint32, bool) { return id, true }
	own := folder{filepath.Join(os.Getenv(dirEnv), "inner"), specs(rand.New(rand.NewPCG(theSeed(), 2)), g.ids, rootIDs)}
	if err := own.make(os.Getenv(reporterEnv)); err != nil {
		return g, err
	}
	g.targets = own.targets(view{
		Known: host.Known, UID: same, GID: same,
		Owns: func(rootID uint32) bool { return rootID == 0 && uids.has(0) },
	})

	out := outside(everyID)
	if _, err := os.Stat(out.normal()); err == nil && uids[0].count != everyID.UIDs[0].count {
		seen := out.targets(view{Known: host.Known, UID: uids.translate, GID: gids.translate, Owns: func(rootID uint32) bool {
			id, ok := uids.translate(rootID)
			return rootID == 0 || ok && id == 0
		}})
		for i := range seen {
			seen[i].Kind += ",made outside"
		}
		g.targets = append(g.targets, seen...)
	}
	for _, t := range g.targets {
		if t.File == (ambient.File{}) {
			g.plain = append(g.plain, t)
		} else if t.File.Caps == nil {
			g.setID = append(g.setID, t)
		}
	}
	return g, nil
}
