package engine

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
)

// BundleCaps is the capability sets of an OCI bundle, by names as CAP_NET_ADMIN. Nil is an empty set.
type BundleCaps struct {
	Bounding    []string `json:"bounding,omitempty"`
	Effective   []string `json:"effective,omitempty"`
	Permitted   []string `json:"permitted,omitempty"`
	Inheritable []string `json:"inheritable,omitempty"`
	Ambient     []string `json:"ambient,omitempty"`
}

// Granted is P=E=B of those names, as runtimes grant them to a root user.
func Granted(names ...string) BundleCaps {
	return BundleCaps{Bounding: names, Effective: names, Permitted: names}
}

// Bundle is a container for runc, with nothing in it that is not said here. For a root without /proc, see capstart's
// option -R.
type Bundle struct {
	Root       string // the root file system: see Tree
	Args       []string
	Env        []string
	Cwd        string // "/" when empty
	UID, GID   uint32
	Groups     []uint32
	Caps       BundleCaps
	NoNewPrivs bool
	ReadOnly   bool
	NoDev      bool          // no /dev is mounted
	Tmpfs      []string      // paths
	Mounts     []BundleMount // more of them
	Userns     []IDMap       // a user namespace with these ids
	Runtime    string        // "runc" when empty; crun works too
	Extra      func(config map[string]any)
}

// BundleMount is a mount of an OCI bundle.
type BundleMount struct {
	Destination string   `json:"destination"`
	Type        string   `json:"type"`
	Source      string   `json:"source"`
	Options     []string `json:"options,omitempty"`
}

// IDMap maps Size ids from Inside to Outside, users and groups alike.
type IDMap struct {
	Inside  uint32 `json:"containerID"`
	Outside uint32 `json:"hostID"`
	Size    uint32 `json:"size"`
}

var bundles atomic.Int64

// Runc runs the bundle to its end.
func Runc(t testing.TB, b Bundle) Result {
	t.Helper()
	Require(t, "runc")
	runtime := b.Runtime
	if runtime == "" {
		runtime = "runc"
	} else {
		Require(t, runtime)
	}
	box, err := theBox()
	if err != nil {
		t.Fatal(err)
	}
	data, err := json.Marshal(b.config())
	if err != nil {
		t.Fatal(err)
	}
	dir := TempDir(t)
	if err := os.WriteFile(filepath.Join(dir, "config.json"), data, 0o644); err != nil {
		t.Fatal(err)
	}
	id := fmt.Sprintf("bundle%d-%d", os.Getpid(), bundles.Add(1))
	return Command(t, box.command(runtime, "--root", "/run/"+runtime+"-bundles", "run", "--bundle", dir, id))
}

func (b Bundle) config() map[string]any {
	env := b.Env
	if env == nil {
		env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
	}
	cwd := b.Cwd
	if cwd == "" {
		cwd = "/"
	}
	mounts := []BundleMount{{"/proc", "proc", "proc", nil}} // runc and crun cannot do without
	if !b.NoDev {
		mounts = append(mounts,
			BundleMount{"/dev", "tmpfs", "tmpfs", []string{"nosuid", "strictatime", "mode=755", "size=65536k"}},
			BundleMount{"/dev/pts", "devpts", "devpts", []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"}})
	}
	for _, path := range b.Tmpfs {
		mounts = append(mounts, BundleMount{path, "tmpfs", "tmpfs", []string{"nosuid", "nodev", "mode=1777"}})
	}
	namespaces := []map[string]string{{"type": "pid"}, {"type": "mount"}, {"type": "network"}, {"type": "ipc"}, {"type": "uts"}}
	linux := map[string]any{}
	if b.Userns != nil {
		namespaces = append(namespaces, map[string]string{"type": "user"})
		linux["uidMappings"], linux["gidMappings"] = b.Userns, b.Userns
	}
	linux["namespaces"] = namespaces
	config := map[string]any{
		"ociVersion": "1.0.2",
		"root":       map[string]any{"path": b.Root, "readonly": b.ReadOnly},
		"process": map[string]any{
			"user": map[string]any{"uid": b.UID, "gid": b.GID, "additionalGids": b.Groups},
			"args": b.Args, "env": env, "cwd": cwd,
			"capabilities": b.Caps, "noNewPrivileges": b.NoNewPrivs,
		},
		"mounts": append(mounts, b.Mounts...),
		"linux":  linux,
	}
	if b.Extra != nil {
		b.Extra(config)
	}
	return config
}
