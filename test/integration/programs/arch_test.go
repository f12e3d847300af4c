package programs

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/caplaunch/caplaunch/test/integration/engine"
)

const status = "test/integration/programs/testdata/status"

// needAMD64 skips where the foreign architectures of these tests are not foreign.
func needAMD64(t testing.TB) {
	t.Helper()
	if runtime.GOARCH != "amd64" {
		engine.Unusable(t, "written for amd64")
	}
}

func TestA386ProgramGetsTheCapabilities(t *testing.T) {
	needAMD64(t)
	path := engine.BuildGo(t, status, "386")
	s := start{flags: []string{"--caps=net_admin", asUser}}
	if !engine.Runs(t, path) {
		s.refused(t, 126, "built for 386", path)
		return // the oracle's virtual machine runs it
	}
	given.With("arch", "386", "arg1", "a b").Want(t, s.run(t, path, "a b"))
	s.flags = append(s.flags, "--strip-file-caps")
	capable := engine.WithCaps(t, path, "cap_net_raw=+ep")
	given.With("arch", "386", "arg0", capable).Want(t, s.run(t, capable))
}

// handled begins a line for binfmt_misc: of arm64 programs, which an emulator runs.
const handled = `:caplaunch-arm64:M::\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00:` +
	`\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff:`

// inUserNamespace runs commands and then argv in user and mount namespaces of their own, with all ids mapped. There
// binfmt_misc can be mounted since Linux 6.7, and what is registered is gone with the namespace.
func inUserNamespace(t testing.TB, commands string, argv ...string) engine.Result {
	cmd := exec.Command("sh", append([]string{"-ec", commands + "\nexec \"$@\"", "sh"}, argv...)...)
	ids := []syscall.SysProcIDMap{{ContainerID: 0, HostID: 0, Size: 65536}}
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWUSER | unix.CLONE_NEWNS, UidMappings: ids, GidMappings: ids, GidMappingsEnableSetgroups: true}
	return engine.Command(t, cmd)
}

func TestAnotherArchitectureRunsWhereBinfmtMiscDoesIt(t *testing.T) {
	needAMD64(t)
	engine.RequireRoot(t)
	qemu := engine.Tool(t, "qemu-aarch64-static")
	at := engine.TempDir(t)
	register := func(emulator, flags string) string {
		return fmt.Sprintf("mount -t binfmt_misc binfmt_misc %s\nprintf %%s '%s' >%[1]s/register", at, handled+emulator+":"+flags)
	}
	if r := inUserNamespace(t, register(qemu, "OCF"), "true"); r.Code != 0 {
		engine.Unusable(t, "no binfmt_misc in user namespaces (Linux 6.7): %v", r)
	}
	path := engine.BuildGo(t, status, "arm64")
	// F opens the emulator once and for all, as Debian and docker register it; P keeps argv[0].
	launch := func(words ...string) engine.Result {
		return inUserNamespace(t, register(qemu, "OCFP"), append([]string{engine.Caplaunch(t), "--caps=net_admin", asUser}, words...)...)
	}
	given := given.With("arch", "arm64", "arg1", "a b")
	given.Want(t, launch("--", path, "a b"))
	// By a descriptor.
	given.Want(t, launch("--strip-file-caps", "--", path, "a b"))
	given.Want(t, launch("--strip-file-caps", "--", engine.WithCaps(t, path, "cap_net_raw=+ep"), "a b"))

	gone := inUserNamespace(t, register(filepath.Join(engine.TempDir(t), "qemu"), "OC"), engine.Caplaunch(t), asUser, "--", path)
	engine.Refused(t, gone, 127).Says(t, "built for arm64, and the emulator that binfmt_misc names for it does not exist")
	if left, _ := os.ReadDir(at); len(left) > 0 {
		t.Errorf("binfmt_misc is still mounted: %v", left)
	}
}
