package engine

import (
	"slices"
	"testing"
)

// GuestRoot is a root file system of LXC and nspawn: caplaunch, the probe, a user app, 65532, and what nspawn wants to find.
func GuestRoot(t testing.TB) string {
	t.Helper()
	busybox := Tool(t, "busybox")
	return Tree(t, map[string]Src{
		"/caplaunch": File(Caplaunch(t)), "/probe": File(Probe(t)), "/proc": Dir(0o755), "/dev": Dir(0o755), "/sys": Dir(0o755),
		"/tmp": Dir(0o755), "/run": Dir(0o755), "/etc/os-release": Text("ID=test\n"), "/usr/bin": Dir(0o755),
		"/etc/passwd": Text("root:x:0:0::/:/bin/sh\napp:x:65532:65532::/:/bin/sh\n"), "/etc/group": Text("app:x:65532:\n"),
		// nspawn asks the container's own getent.
		"/bin/sh": File(busybox), "/usr/bin/getent": {Content: "#!/bin/sh\ncase $1 in passwd) while read -r l; do case $l in $2:*) echo \"$l\" ;; esac; done </etc/passwd ;; *) echo \"$2\" ;; esac\n", Mode: 0o755},
	})
}

// LXC runs argv in a container of LXC that has the root and those lines of configuration.
func LXC(t testing.TB, root, keys string, argv ...string) Result {
	t.Helper()
	Require(t, "lxc-execute")
	config := "lxc.rootfs.path = dir:" + root + "\nlxc.net.0.type = none\nlxc.apparmor.profile = unconfined\n" + keys
	path := Write(t, "config", config)
	return Exec(t, slices.Concat([]string{"lxc-execute", "-P", TempDir(t), "-n", "words", "-f", path, "-o", "none", "--"}, argv)...)
}

// Nspawn runs argv in a container of systemd-nspawn that has the root and those flags.
func Nspawn(t testing.TB, root string, flags []string, argv ...string) Result {
	t.Helper()
	Require(t, "systemd-nspawn")
	return Command(t, Box(t, slices.Concat([]string{"systemd-nspawn", "-q", "-D", root, "--register=no", "--keep-unit", "--private-network", "--pipe"}, flags, argv)...))
}
