package programs

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/caplaunch/caplaunch/test/integration/engine"
)

// strip launches what has file capabilities that would break the promise.
var strip = start{flags: []string{"--caps=net_admin", asUser, "--strip-file-caps"}}

func capable(t testing.TB) string {
	t.Helper()
	return engine.WithCaps(t, engine.Probe(t), "cap_net_admin,cap_net_raw=+ep")
}

func TestStripNeedsNoProcAndNoWritableRoot(t *testing.T) {
	root := newRoot(t, map[string]engine.Src{"/plain": engine.File(engine.Probe(t))})
	engine.Setcap(t, "cap_net_admin,cap_net_raw=+ep", filepath.Join(root, "probe"))
	s := strip
	s.root = root
	if m := wantPromise(t, s.run(t, "/plain"), netAdmin); m["proc"] != "0" {
		t.Errorf("what needs no copy: %v", m)
	}
	if m := wantPromise(t, s.run(t, "/probe"), netAdmin); m["proc"] != "0" || m["arg0"] != "/probe" {
		t.Errorf("%v", m)
	}
	s.within = fmt.Sprintf("mount --bind %s %[1]s; mount -o remount,bind,ro %[1]s", root)
	if m := wantPromise(t, s.run(t, "/probe"), netAdmin); m["proc"] != "0" {
		t.Errorf("%v", m)
	}
	script := map[string]engine.Src{"/script": {Content: "#!/probe x y\n", Mode: 0o755}}
	s = start{root: newRoot(t, script), flags: strip.flags}
	engine.Setcap(t, "cap_net_admin=+ep", filepath.Join(s.root, "probe"))
	if m := wantPromise(t, s.run(t, "/script", "z"), netAdmin); m["arg0"] != "/probe" || m["arg1"] != "x y" || m["arg2"] != "/script" || m["arg3"] != "z" {
		t.Errorf("a script: %v", m)
	}
}

func TestStripLeavesLimitsAndDescriptorsAsTheyWere(t *testing.T) {
	engine.Require(t, "prlimit")
	s := strip
	s.wrap = []string{"prlimit", "--nofile=1024:20000"}
	path := capable(t)
	if m := wantPromise(t, s.run(t, path, "all"), netAdmin); m["rlimit nofile"] != "1024 20000" {
		t.Errorf("RLIMIT_NOFILE is %s", m["rlimit nofile"])
	}
	// All but the inodes of the pipes, which are made anew.
	fds := func(s start, path string) string {
		cmd := s.command(t, path, "fds")
		cmd.ExtraFiles = []*os.File{os.Stderr}
		return regexp.MustCompile(`file [0-9a-f:]+`).ReplaceAllString(engine.Command(t, cmd).Stdout, "file")
	}
	if got, want := fds(s, path), fds(s, engine.Probe(t)); got != want || !strings.Contains(want, "fd 3=") {
		t.Errorf("with a copy:\n%s\nwithout:\n%s", got, want)
	}
}

func TestStripKeepsArgv0AsItWasWritten(t *testing.T) {
	path := capable(t)
	s := strip
	s.env = []string{"PATH=" + filepath.Dir(path)}
	name := filepath.Base(path)
	if m := wantPromise(t, s.run(t, name, "", "--"), netAdmin); m["arg0"] != name || m["arg1"] != "" || m["arg2"] != "--" || m["argc"] != "3" {
		t.Errorf("%v", m)
	}
}

// What has no privilege is not copied: /proc/self/exe stays what it is.
func TestStripCopiesOnlyWhatHasPrivilege(t *testing.T) {
	readlink, err := filepath.EvalSymlinks("/bin/readlink")
	engine.Must(t, err)
	for path, want := range map[string]string{readlink: readlink, engine.WithCaps(t, readlink, "cap_net_raw=+ep"): "/memfd:readlink (deleted)"} {
		if r := strip.run(t, path, "/proc/self/exe"); r.Code != 0 || strings.TrimSpace(r.Stdout) != want {
			t.Errorf("want %s: %v", want, r)
		}
	}
}

func TestAMissingXBitOrANoexecMountStillCount(t *testing.T) {
	path := capable(t)
	engine.Must(t, os.Chmod(path, 0o644))
	strip.refused(t, 126, "uid 65532 may not execute it (mode 0644, owner 0:0)", path)
	dir := engine.TempDir(t)
	s := strip
	s.within = fmt.Sprintf("mount -t tmpfs -o noexec,mode=755 tmpfs %s; cp %s %[1]s/probe; setcap cap_net_raw=+ep %[1]s/probe", dir, engine.Probe(t))
	s.refused(t, 126, "mounted noexec", filepath.Join(dir, "probe"))
}

// vm.memfd_noexec belongs to the PID namespace, and never goes down there.
func TestMemfdNoexecIsTold(t *testing.T) {
	if _, err := os.Stat("/proc/sys/vm/memfd_noexec"); err != nil {
		engine.Unusable(t, "no vm.memfd_noexec (Linux 6.3): %v", err)
	}
	path, s := capable(t), strip
	s.within = "echo 1 >/proc/sys/vm/memfd_noexec"
	wantPromise(t, s.run(t, path), netAdmin)
	s.within = "echo 2 >/proc/sys/vm/memfd_noexec"
	s.refused(t, engine.Failure, "vm.memfd_noexec=2", path)
	wantPromise(t, s.run(t, engine.Probe(t)), netAdmin) // which needs no copy
}

// The copy is made in the kernel: of 300 MB nothing passes through caplaunch's own memory.
func TestAHugeProgramIsCopiedInBoundedMemory(t *testing.T) {
	needPython(t)
	const size, most = 300 << 20, 48 << 10 // bytes and KiB
	path := engine.Copy(t, engine.Probe(t), 0o755)
	engine.Must(t, os.Truncate(path, size))
	engine.Setcap(t, "cap_net_admin,cap_net_raw=+ep", path)
	s := strip
	// A small parent: what the kernel counts begins with the memory of the process that forks.
	s.wrap = []string{python, "-c", "import resource, subprocess, sys\n" +
		"code = subprocess.call(sys.argv[1:])\n" +
		"print(f'maxrss={resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss}')\nsys.exit(code)"}
	m := wantPromise(t, s.run(t, path), netAdmin)
	rss, err := strconv.Atoi(m["maxrss"])
	if err != nil || rss > most {
		t.Errorf("copying %d MB took %s KiB of memory, want at most %d", size>>20, m["maxrss"], most)
	}
	t.Logf("%d MB copied, maximal RSS %s KiB", size>>20, m["maxrss"])
}
