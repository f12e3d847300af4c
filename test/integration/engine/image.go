package engine

import (
	"compress/gzip"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/caplaunch/caplaunch/test/unit"
)

// Src is where a file in an image comes from: a file of this machine, or the content itself.
type Src struct {
	Path    string      // a file or a folder of this machine, which is copied with what is below it
	Content string      // used when Path is empty
	Mode    os.FileMode // permission bits, os.ModeSetuid, os.ModeSticky, os.ModeDir, …; 0 means as Path, or 0644
}

// File is the file of this machine, with its mode, owned by root.
func File(path string) Src { return Src{Path: path} }

// Text is a file with that content, mode 0644.
func Text(content string) Src { return Src{Content: content} }

// Dir is an empty folder.
func Dir(mode os.FileMode) Src { return Src{Mode: mode | os.ModeDir} }

// An Image is what an engine can load: no builder is involved.
type Image struct {
	Name   string         // with a tag
	Bases  []string       // paths of uncompressed tars, the lowest first
	Files  map[string]Src // on top of them
	Config v1.Config      // without Env it has a PATH
}

// build makes the image. The same parts make the same image.
func (img Image) build(t testing.TB) v1.Image {
	t.Helper()
	if img.Config.Env == nil {
		img.Config.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
	}
	paths := slices.Clone(img.Bases)
	if len(img.Files) > 0 {
		paths = append(paths, Tar(t, img.Files))
	}
	image, err := mutate.ConfigFile(empty.Image, &v1.ConfigFile{OS: "linux", Architecture: runtime.GOARCH, Config: img.Config})
	Must(t, err)
	for _, path := range paths {
		layer, err := tarball.LayerFromFile(path, tarball.WithCompressionLevel(gzip.NoCompression))
		Must(t, err)
		image, err = mutate.AppendLayers(image, layer)
		Must(t, err)
	}
	return image
}

// Tree lays files out in a new folder that every user may enter, as a root file system or a build context. The folders
// above them have mode 0755.
func Tree(t testing.TB, files map[string]Src) string {
	t.Helper()
	root := TempDir(t)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		src, to := files[name], filepath.Join(root, name)
		Must(t, os.MkdirAll(filepath.Dir(to), 0o755))
		switch {
		case src.Path != "":
			Do(t, "cp", "-rTH", "--preserve=mode", src.Path, to)
		case src.Mode.IsDir():
			Must(t, os.MkdirAll(to, 0o755))
		default:
			unit.Write(t, to, src.Content, 0o644)
		}
		if src.Mode != 0 {
			Must(t, os.Chmod(to, src.Mode))
		}
	}
	return root
}

// Tar is a tar archive of a tree, as docker import, podman import and tar take it.
func Tar(t testing.TB, files map[string]Src) string {
	t.Helper()
	path := filepath.Join(TempDir(t), "files.tar")
	Do(t, "tar", "--sort=name", "--mtime=@1700000000", "-C", Tree(t, files), "-cf", path, ".")
	return path
}

// Tools are what a Dockerfile needs to set, show, keep and lose file capabilities: a few programs of this machine and
// their libraries, and more. A whole Debian takes every builder ten times as long.
func Tools(t testing.TB, more ...string) map[string]Src {
	t.Helper()
	files := map[string]Src{"/tmp": Dir(os.ModeSticky | 0o777)}
	for _, name := range append(more, "sh", "cp", "chown", "setcap", "getcap") {
		path := Tool(t, name)
		files["/bin/"+name] = File(path)
		for _, word := range strings.Fields(Exec(t, "ldd", path).Stdout) {
			if strings.HasPrefix(word, "/") {
				files[word] = File(word)
			}
		}
	}
	return files
}

const debianPackages = "systemd,dbus,libcap2-bin,ca-certificates,make,iputils-ping,iproute2"

// DebianTar is a Debian 12 root file system as a tar archive, made once.
func DebianTar() (string, error) {
	return cached("debian-"+hash(debianPackages)+".tar", func(tmp string) error {
		if err := needs("mmdebstrap"); err != nil {
			return err
		}
		cmd := exec.Command("mmdebstrap", "--quiet", "--variant=minbase", "--format=tar", "--include="+debianPackages,
			"--dpkgopt=path-exclude=/usr/share/doc/*", "--dpkgopt=path-exclude=/usr/share/man/*",
			"--dpkgopt=path-exclude=/usr/share/locale/*", "bookworm", tmp)
		_, err := must(cmd)
		return err
	})
}

// debianRoot is DebianTar, unpacked once. It is never written to.
func debianRoot() (string, error) {
	archive, err := DebianTar()
	if err != nil {
		return "", err
	}
	return cached(strings.TrimSuffix(filepath.Base(archive), ".tar"), func(tmp string) error {
		if err := os.Mkdir(tmp, 0o755); err != nil {
			return err
		}
		_, err := must(exec.Command("tar", "-C", tmp, "--xattrs", "--xattrs-include=*", "-xpf", archive))
		return err
	})
}

// ScratchImage has the files and nothing else, without any extended attribute.
func ScratchImage(name string, files map[string]Src) Image {
	return Image{Name: name, Files: files}
}

// Debian is a stand-in for debian:bookworm-slim.
func Debian(t testing.TB) Image {
	t.Helper()
	base, err := DebianTar()
	if err != nil {
		Unusable(t, "no Debian root file system: %v", err)
	}
	return Image{Name: "debian:bookworm-slim", Bases: []string{base}, Config: v1.Config{Cmd: []string{"bash"}}}
}

// Distroless is a stand-in for gcr.io/distroless/static-debian12 with the tag given: latest or nonroot.
func Distroless(tag string) Image {
	img := Image{
		Name: "gcr.io/distroless/static-debian12:" + tag,
		Files: map[string]Src{
			"/etc/passwd": Text("root:x:0:0:root:/root:/sbin/nologin\nnobody:x:65534:65534:nobody:/nonexistent:/sbin/nologin\n" +
				"nonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin\n"),
			"/etc/group": Text("root:x:0:\nnobody:x:65534:\ntty:x:5:\nstaff:x:50:\nnonroot:x:65532:\n"),
			"/root":      Dir(0o700), "/home/nonroot": Dir(0o755), "/tmp": Dir(os.ModeSticky | 0o777),
		},
		Config: v1.Config{WorkingDir: "/"},
	}
	if tag == "nonroot" {
		img.Config.User, img.Config.WorkingDir = "65532", "/home/nonroot"
	}
	return img
}

// Golang is a stand-in for the image golang with the tag given: Debian, this machine's Go, all modules that the product
// needs, so that an unchanged Dockerfile builds it without a network, and what it imports in the build cache.
func Golang(t testing.TB, tag string) Image {
	t.Helper()
	img := Debian(t)
	added, err := cached("golang-"+hash(runtime.Version(), Read(t, filepath.Join(Root, "go.sum")))+".tar", func(tmp string) error {
		_, err := must(exec.Command("sh", "-ec", `dir=$(mktemp -d "$2.XXXXXX")
trap 'rm -rf "$dir"' EXIT
cd "$1"
mkdir -p "$dir/usr/local" "$dir/go/bin" "$dir/go/src"
cp -r "$(go env GOROOT)" "$dir/usr/local/go"
export GOPROXY="file://$(go env GOMODCACHE)/cache/download" GOMODCACHE="$dir/go/pkg/mod" GOCACHE="$dir/go/cache" CGO_ENABLED=0
go mod download
go build -trimpath -buildvcs=false ./cmd/... ./examples/...
tar -C "$dir" -cf "$2" .`, "sh", Root, tmp))
		return err
	})
	if err != nil {
		Unusable(t, "no stand-in for golang: %v", err)
	}
	return Image{
		Name: "golang:" + tag, Bases: append(img.Bases, added),
		Config: v1.Config{Cmd: []string{"bash"}, WorkingDir: "/go", Env: []string{
			"PATH=/go/bin:/usr/local/go/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
			"GOPATH=/go", "GOTOOLCHAIN=local", "GOPROXY=off", "GOFLAGS=-buildvcs=false", "GOCACHE=/go/cache",
		}},
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
