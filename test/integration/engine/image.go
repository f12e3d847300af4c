package engine

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

// Src is where a file in an image comes from: a file of this machine, or the content itself.
type Src struct {
	Path    string      // a file or a folder of this machine, which is copied with what is below it
	Content string      // used when Path is empty
	Mode    os.FileMode // permission bits, os.ModeSetuid, os.ModeSticky, os.ModeDir, …; 0 means as Path, or 0644
	UID     int
	GID     int
}

// File is the file of this machine, with its mode, owned by root.
func File(path string) Src { return Src{Path: path} }

// Text is a file with that content, mode 0644.
func Text(content string) Src { return Src{Content: content} }

// Dir is an empty folder.
func Dir(mode os.FileMode) Src { return Src{Mode: mode | os.ModeDir} }

// An Image is what an engine can load: no builder is involved. Files are added on top of Base, a tar archive.
type Image struct {
	Name       string // with a tag
	Base       string // path of an uncompressed tar, or empty: from scratch
	Files      map[string]Src
	User       string
	Entrypoint []string
	Cmd        []string
	Env        []string
	WorkDir    string
}

type layer struct {
	path string // of an uncompressed tar
	id   string // its SHA-256
}

// pack writes the image as an archive for docker load, podman load, ctr images import and skopeo.
func (img Image) pack(w io.Writer) error {
	key, err := img.key()
	if err != nil {
		return err
	}
	var layers []layer
	if img.Base != "" {
		l, err := hashed(img.Base)
		if err != nil {
			return err
		}
		layers = append(layers, l)
	}
	if len(img.Files) > 0 {
		f, err := os.CreateTemp("", "caplaunch-layer-")
		if err != nil {
			return err
		}
		defer os.Remove(f.Name())
		err = packFiles(f, img.Files)
		f.Close()
		if err != nil {
			return err
		}
		l, err := hashed(f.Name())
		if err != nil {
			return err
		}
		layers = append(layers, l)
	}
	type config struct {
		User       string
		Env        []string
		Entrypoint []string
		Cmd        []string
		WorkingDir string
		Labels     map[string]string
	}
	var ids, names []string
	for _, l := range layers {
		ids = append(ids, "sha256:"+l.id)
		names = append(names, l.id+".tar")
	}
	env := img.Env
	if env == nil {
		env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
	}
	conf, err := json.Marshal(map[string]any{
		"architecture": runtime.GOARCH, "os": "linux", "created": epoch.Format(time.RFC3339),
		"config": config{img.User, env, img.Entrypoint, img.Cmd, img.WorkDir, map[string]string{keyLabel: key}},
		"rootfs": map[string]any{"type": "layers", "diff_ids": ids},
	})
	if err != nil {
		return err
	}
	sum := sha256.Sum256(conf)
	confName := hex.EncodeToString(sum[:]) + ".json"
	manifest, err := json.Marshal([]map[string]any{{"Config": confName, "RepoTags": []string{img.Name}, "Layers": names}})
	if err != nil {
		return err
	}
	tw := tar.NewWriter(w)
	for _, f := range []struct {
		name string
		data []byte
	}{{confName, conf}, {"manifest.json", manifest}} {
		if err := tw.WriteHeader(&tar.Header{Name: f.name, Mode: 0o644, Size: int64(len(f.data))}); err != nil {
			return err
		}
		if _, err := tw.Write(f.data); err != nil {
			return err
		}
	}
	for i, l := range layers {
		if err := copyIn(tw, &tar.Header{Name: names[i], Mode: 0o644}, l.path); err != nil {
			return err
		}
	}
	return tw.Close()
}

// stream gives the packed image as a reader.
func (img Image) stream() io.ReadCloser {
	r, w := io.Pipe()
	go func() { w.CloseWithError(img.pack(w)) }()
	return r
}

// key changes when the image does.
func (img Image) key() (string, error) {
	parts := []string{fmt.Sprintf("%q", []any{img.Name, img.User, img.Entrypoint, img.Cmd, img.Env, img.WorkDir})}
	// A single file counts by its content: the tests' programs are copied anew each time. A tree counts by its
	// names, sizes and times.
	note := func(root string) error {
		if fi, err := os.Stat(root); err == nil && fi.Mode().IsRegular() && root != img.Base {
			l, err := hashed(root)
			parts = append(parts, l.id, fi.Mode().String())
			return err
		}
		return filepath.Walk(root, func(p string, fi fs.FileInfo, err error) error {
			if err == nil {
				parts = append(parts, p, fmt.Sprint(fi.Mode(), fi.Size(), fi.ModTime().UnixNano()))
			}
			return err
		})
	}
	if img.Base != "" {
		if err := note(img.Base); err != nil {
			return "", err
		}
	}
	for _, name := range sortedKeys(img.Files) {
		src := img.Files[name]
		parts = append(parts, name, fmt.Sprintf("%q", []any{src.Content, src.Mode, src.UID, src.GID}))
		if src.Path != "" {
			if err := note(src.Path); err != nil {
				return "", err
			}
		}
	}
	return hash(parts...), nil
}

// keyLabel is the label of an image that says what it was made of.
const keyLabel = "caplaunch.test.key"

var epoch = time.Unix(1700000000, 0).UTC()

func hashed(path string) (layer, error) {
	f, err := os.Open(path)
	if err != nil {
		return layer{}, err
	}
	defer f.Close()
	h := sha256.New()
	_, err = io.Copy(h, f)
	return layer{path, hex.EncodeToString(h.Sum(nil))}, err
}

func copyIn(tw *tar.Writer, h *tar.Header, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return err
	}
	h.Size = fi.Size()
	if err := tw.WriteHeader(h); err != nil {
		return err
	}
	_, err = io.Copy(tw, f)
	return err
}

// packFiles writes a layer: the files, and the folders above them, with mode 0755.
func packFiles(w io.Writer, files map[string]Src) error {
	tw := tar.NewWriter(w)
	made := map[string]bool{".": true}
	var parents func(name string) error
	parents = func(name string) error {
		dir := filepath.Dir(name)
		if made[dir] {
			return nil
		}
		made[dir] = true
		if err := parents(dir); err != nil {
			return err
		}
		return tw.WriteHeader(&tar.Header{Name: dir + "/", Typeflag: tar.TypeDir, Mode: 0o755, ModTime: epoch})
	}
	for _, path := range sortedKeys(files) {
		src, name := files[path], strings.Trim(path, "/")
		if err := parents(name); err != nil {
			return err
		}
		if src.Path == "" {
			mode := src.Mode
			if mode.Perm() == 0 {
				mode |= 0o644
			}
			made[name] = mode.IsDir()
			if err := tw.WriteHeader(header(name, mode, int64(len(src.Content)), "", src)); err != nil {
				return err
			}
			if _, err := io.WriteString(tw, src.Content); err != nil {
				return err
			}
			continue
		}
		root, err := filepath.EvalSymlinks(src.Path)
		if err != nil {
			return err
		}
		err = filepath.Walk(root, func(p string, fi fs.FileInfo, err error) error {
			if err != nil {
				return err
			}
			rel, err := filepath.Rel(root, p)
			if err != nil {
				return err
			}
			link := ""
			if fi.Mode()&os.ModeSymlink != 0 {
				if link, err = os.Readlink(p); err != nil {
					return err
				}
			}
			mode := fi.Mode()
			if p == root && src.Mode != 0 {
				mode = src.Mode
			}
			h := header(filepath.Join(name, rel), mode, fi.Size(), link, src)
			if fi.Mode().IsRegular() {
				return copyIn(tw, h, p)
			}
			return tw.WriteHeader(h)
		})
		if err != nil {
			return err
		}
	}
	return tw.Close()
}

func header(name string, mode os.FileMode, size int64, link string, src Src) *tar.Header {
	h := &tar.Header{Name: name, Mode: unixMode(mode), Uid: src.UID, Gid: src.GID, ModTime: epoch, Format: tar.FormatPAX}
	switch {
	case mode.IsDir():
		h.Name, h.Typeflag = name+"/", tar.TypeDir
	case link != "":
		h.Typeflag, h.Linkname = tar.TypeSymlink, link
	default:
		h.Typeflag, h.Size = tar.TypeReg, size
	}
	return h
}

// unixMode is m as chmod(2) takes it.
func unixMode(m os.FileMode) int64 {
	u := int64(m.Perm())
	if m&os.ModeSetuid != 0 {
		u |= 0o4000
	}
	if m&os.ModeSetgid != 0 {
		u |= 0o2000
	}
	if m&os.ModeSticky != 0 {
		u |= 0o1000
	}
	return u
}

func sortedKeys(m map[string]Src) []string { return slices.Sorted(maps.Keys(m)) }

// WriteTar writes files as a plain tar archive, as docker import, podman import and tar take it.
func WriteTar(path string, files map[string]Src) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	if err := packFiles(f, files); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}

// Tree lays files out in a new folder that every user may enter, as a root file system or a build context.
func Tree(t testing.TB, files map[string]Src) string {
	t.Helper()
	dir := TempDir(t)
	archive := filepath.Join(dir, "files.tar")
	root := filepath.Join(dir, "root")
	err := WriteTar(archive, files)
	if err == nil {
		err = os.Mkdir(root, 0o755)
	}
	if err == nil {
		_, err = must(exec.Command("tar", "-C", root, "-xpf", archive))
	}
	Must(t, err)
	_ = os.Remove(archive)
	return root
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

// ScratchImage is a name for Image{…}: the files and nothing else, without any extended attribute.
func ScratchImage(name string, files map[string]Src) Image {
	return Image{Name: name, Files: files}
}

// ProbeImage has nothing but /probe and its folder.
func ProbeImage(t testing.TB) Image {
	t.Helper()
	return ScratchImage("caplaunch.test/probe:1", map[string]Src{"/probe": File(Probe(t))})
}

// Debian is a stand-in for debian:bookworm-slim.
func Debian(t testing.TB) Image {
	t.Helper()
	base, err := DebianTar()
	if err != nil {
		Unusable(t, "no Debian root file system: %v", err)
	}
	return Image{Name: "debian:bookworm-slim", Base: base, Cmd: []string{"bash"}}
}

// Distroless is a stand-in for gcr.io/distroless/static-debian12 with the tag given: latest or nonroot.
func Distroless(tag string) Image {
	img := Image{
		Name: "gcr.io/distroless/static-debian12:" + tag,
		Files: map[string]Src{
			"/etc/passwd": Text("root:x:0:0:root:/root:/sbin/nologin\nnobody:x:65534:65534:nobody:/nonexistent:/sbin/nologin\n" +
				"nonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin\n"),
			"/etc/group":                         Text("root:x:0:\nnobody:x:65534:\ntty:x:5:\nstaff:x:50:\nnonroot:x:65532:\n"),
			"/etc/nsswitch.conf":                 Text("hosts: files dns\n"),
			"/etc/os-release":                    Text("PRETTY_NAME=\"Distroless\"\nNAME=\"Debian GNU/Linux\"\nID=\"debian\"\nVERSION_ID=\"12\"\n"),
			"/root":                              Dir(0o700),
			"/home":                              Dir(0o755),
			"/home/nonroot":                      {Mode: os.ModeDir | 0o700, UID: 65532, GID: 65532},
			"/tmp":                               Dir(os.ModeSticky | 0o777),
			"/etc/ssl/certs/ca-certificates.crt": Text("# a stand-in: no certificates\n"),
		},
		Env:     []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt"},
		WorkDir: "/",
	}
	if tag == "nonroot" || strings.HasPrefix(tag, "nonroot-") {
		img.User, img.WorkDir = "65532", "/home/nonroot"
	}
	return img
}

// Golang is a stand-in for the image golang with the tag given: Debian, this machine's Go, and in /go/pkg/mod all
// modules that the product needs, so that an unchanged Dockerfile builds it without a network.
func Golang(t testing.TB, tag string) Image {
	t.Helper()
	base, err := DebianTar()
	if err != nil {
		Unusable(t, "no Debian root file system: %v", err)
	}
	files := map[string]Src{"/go/bin": Dir(0o777), "/go/src": Dir(0o777)}
	goroot, modcache := goEnv(t, "GOROOT"), goEnv(t, "GOMODCACHE")
	for _, part := range []string{"bin", "go.env", "lib", "pkg/include", "pkg/tool", "src", "VERSION"} {
		if path := filepath.Join(goroot, part); exists(path) {
			files["/usr/local/go/"+part] = File(path)
		}
	}
	cmd := exec.Command("go", "mod", "download", "-json")
	cmd.Dir = Root
	r, err := must(cmd)
	if err != nil {
		Unusable(t, "the product's modules are not at hand: %v", err)
	}
	add := func(path string) {
		if rel, err := filepath.Rel(modcache, path); path != "" && err == nil {
			files[filepath.Join("/go/pkg/mod", rel)] = File(path)
		}
	}
	dec := json.NewDecoder(strings.NewReader(r.Stdout))
	for dec.More() {
		var m struct{ Info, GoMod, Zip, Dir string }
		Must(t, dec.Decode(&m))
		add(m.Zip)
		add(strings.TrimSuffix(m.Zip, "zip") + "ziphash")
		add(m.Dir)
	}
	// The module graph reaches further than the modules whose code is needed: all small files come along.
	download := filepath.Join(modcache, "cache", "download")
	err = filepath.WalkDir(download, func(p string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && d.Name() == "sumdb" {
			return filepath.SkipDir
		}
		if ext := filepath.Ext(p); err == nil && (ext == ".mod" || ext == ".info") {
			add(p)
		}
		return err
	})
	Must(t, err)
	if cache := goCache(goEnv(t, "GOVERSION")); cache != "" {
		files["/go/cache"] = File(cache)
	}
	return Image{
		Name: "golang:" + tag, Base: base, Files: files, Cmd: []string{"bash"}, WorkDir: "/go",
		Env: []string{
			"PATH=/go/bin:/usr/local/go/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
			"GOPATH=/go", "GOTOOLCHAIN=local", "GOPROXY=off", "GOFLAGS=-buildvcs=false", "GOCACHE=/go/cache",
		},
	}
}

// goCache is a build cache with what the product imports, compiled as an image's build does it. It only saves time.
func goCache(version string) string {
	sum, err := os.ReadFile(filepath.Join(Root, "go.sum"))
	if err != nil {
		return ""
	}
	dir, err := cached("gocache-"+hash(version, string(sum)), func(tmp string) error {
		if err := os.Mkdir(tmp, 0o755); err != nil {
			return err
		}
		// Not the product itself, which changes all the time and may not even build.
		list := exec.Command("go", "list", "-e", "-deps", "-f",
			"{{if .Standard}}{{.ImportPath}}{{else if .Module}}{{if not .Module.Main}}{{.ImportPath}}{{end}}{{end}}", "./...")
		list.Dir = Root
		list.Env = append(os.Environ(), "CGO_ENABLED=0")
		r, err := must(list)
		if err != nil {
			return err
		}
		build := exec.Command("go", append([]string{"build", "-trimpath", "-buildvcs=false"}, strings.Fields(r.Stdout)...)...)
		build.Dir = Root
		build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOCACHE="+tmp)
		_, err = must(build)
		return err
	})
	if err != nil {
		return ""
	}
	return dir
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func goEnv(t testing.TB, name string) string {
	t.Helper()
	r, err := must(exec.Command("go", "env", name))
	Must(t, err)
	return string(bytes.TrimSpace([]byte(r.Stdout)))
}
