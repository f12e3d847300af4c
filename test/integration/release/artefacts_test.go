package release

import (
	"crypto/sha256"
	"debug/elf"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/caplaunch/caplaunch/test/integration/engine"
)

// Nothing of the machine's is asked for, and no memory can be both written and executed.
func TestBinariesAreHardened(t *testing.T) {
	for name, path := range binaries(t) {
		f, err := elf.Open(path)
		engine.Must(t, err)
		stack := false
		for _, p := range f.Progs {
			switch {
			case p.Type == elf.PT_INTERP || p.Type == elf.PT_DYNAMIC:
				t.Errorf("%s: a segment %v", name, p.Type)
			case p.Type == elf.PT_GNU_STACK:
				stack = true
				if p.Flags&elf.PF_X != 0 {
					t.Errorf("%s: an executable stack", name)
				}
			case p.Flags&elf.PF_W != 0 && p.Flags&elf.PF_X != 0:
				t.Errorf("%s: %v at %#x can be written and executed", name, p.Type, p.Vaddr)
			}
		}
		if !stack {
			t.Errorf("%s: it does not say that its stack is not executable", name)
		}
		if syms, err := f.Symbols(); err != nil || len(syms) == 0 {
			t.Errorf("%s: no symbols for govulncheck: %v", name, err)
		}
		f.Close()
		m := info(t, path)
		if m["CGO_ENABLED"] != "0" || m["-trimpath"] != "true" {
			t.Errorf("%s: %v", name, m)
		}
	}
}

func TestChecksumsAreOfEveryFile(t *testing.T) {
	dir := dist(t)
	want := ""
	for _, name := range regular(t, dir) {
		if name != "SHA256SUMS" && !strings.HasSuffix(name, ".openvex.json") {
			want += fmt.Sprintf("%x  %s\n", sha256.Sum256([]byte(engine.Read(t, filepath.Join(dir, name)))), name)
		}
	}
	if sums := engine.Read(t, filepath.Join(dir, "SHA256SUMS")); sums != want {
		t.Errorf("got\n%s\nwant\n%s", sums, want)
	}
}

// regular are the files of a folder, by their names, in order.
func regular(t *testing.T, dir string) []string {
	t.Helper()
	return slices.Sorted(strings.FieldsSeq(ok(t, "find", dir, "-maxdepth", "1", "-type", "f", "-printf", "%f\n")))
}

// The bill of materials names what "go version -m" names.
func TestSBOMsNameEveryModule(t *testing.T) {
	for name, path := range binaries(t) {
		var bom struct {
			Metadata struct {
				Component struct{ Hashes []struct{ Content string } }
			}
			Components []struct{ Purl string }
		}
		engine.Must(t, json.Unmarshal([]byte(engine.Read(t, one(t, dist(t), "caplaunch_*_linux_"+name+".cdx.json"))), &bom))
		if h := bom.Metadata.Component.Hashes; len(h) != 1 || h[0].Content != fmt.Sprintf("%x", sha256.Sum256([]byte(engine.Read(t, path)))) {
			t.Errorf("%s: it is of another binary: %v", name, h)
		}
		want := map[string]bool{}
		for line := range strings.Lines(ok(t, "go", "version", "-m", path)) {
			f := strings.Fields(line)
			if strings.HasPrefix(line, path) {
				want["pkg:golang/std@"+strings.TrimPrefix(f[1], "go")] = true
			} else if f[0] == "dep" {
				want["pkg:golang/"+f[1]+"@"+f[2]] = true
			}
		}
		got := map[string]bool{}
		for _, c := range bom.Components {
			got[c.Purl] = true
		}
		if len(want) < 4 || !maps.Equal(got, want) {
			t.Errorf("%s: got %v, want %v", name, got, want)
		}
	}
}

func TestArchivesHaveAllThatIsNeeded(t *testing.T) {
	for name, path := range binaries(t) {
		archive := one(t, dist(t), "caplaunch_*_linux_"+name+".tar.gz")
		root := engine.TempDir(t)
		ok(t, "tar", "-C", root, "-xf", archive, "--strip-components=1")
		for _, file := range []string{"LICENSE", "README.md", "CHANGELOG.md", "THIRD-PARTY-LICENSES", "caplaunch.1", "completions/caplaunch.bash", "completions/_caplaunch", "completions/caplaunch.fish"} {
			if fi, err := os.Stat(filepath.Join(root, file)); err != nil || fi.Size() == 0 || fi.Mode() != 0o644 {
				t.Errorf("%s: %s: %v", archive, file, err)
			}
		}
		ok(t, "cmp", path, filepath.Join(root, "caplaunch"))
		engine.Exec(t, "cat", filepath.Join(root, "THIRD-PARTY-LICENSES")).Ran(t,
			"==== Go: ", "==== github.com/alecthomas/kong: ", "==== golang.org/x/sys: ", "==== kernel.org/pub/linux/libs/security/libcap/psx: ")
	}
}

// The version is the tag's, everywhere.
func TestATagIsAllThatIsMissing(t *testing.T) {
	dir := tagged(t)
	if v := info(t, filepath.Join(dir, "bin/linux-amd64/caplaunch"))["version"]; v != "v"+nextTag {
		t.Errorf("the binary: %s", v)
	}
	want := []string{
		"SHA256SUMS", "caplaunch-" + nextTag + "-1.x86_64.rpm", "caplaunch_" + nextTag + "_amd64.deb", "caplaunch_" + nextTag + "_image.tar",
		"caplaunch_" + nextTag + "_linux_amd64.cdx.json", "caplaunch_" + nextTag + "_linux_amd64.tar.gz", "caplaunch_" + nextTag + "_x86_64.apk",
	}
	if names := regular(t, dir); !slices.Equal(names, want) {
		t.Errorf("got %v, want %v", names, want)
	}
}

// The VEX is about this release, and knows of nothing that concerns it.
func TestVEXIsOfThisRelease(t *testing.T) {
	found, err := filepath.Glob(filepath.Join(dist(t), "*.openvex.json"))
	engine.Must(t, err)
	if len(found) != 1 {
		engine.Unusable(t, "run make scan first: %v", found)
	}
	var vex struct {
		Timestamp  string
		Statements []struct {
			Status   string
			Products []struct {
				ID string `json:"@id"`
			}
		}
	}
	engine.Must(t, json.Unmarshal([]byte(engine.Read(t, found[0])), &vex))
	if vex.Timestamp == "" || len(vex.Statements) == 0 {
		t.Errorf("%+v", vex)
	}
	for _, s := range vex.Statements {
		if s.Status != "not_affected" || len(s.Products) != 1 || s.Products[0].ID != "pkg:golang/github.com/caplaunch/caplaunch@"+info(t, binaries(t)["amd64"])["version"] {
			t.Errorf("%+v", s)
		}
	}
}

// What the examples copy is made by make, and reaches a builder.
func TestDockerfilesGetWhatMakeMakes(t *testing.T) {
	d := engine.TheDocker(t)
	ok(t, "make", "-s", "-C", engine.Root, "build", "bin/relay")
	context := engine.TempDir(t)
	ok(t, "cp", "-r", filepath.Join(engine.Root, "bin"), filepath.Join(engine.Root, ".dockerignore"), context)
	engine.Must(t, os.WriteFile(filepath.Join(context, "Dockerfile"), []byte("FROM scratch\nCOPY bin/caplaunch bin/relay /\n"), 0o644))
	for _, buildkit := range []bool{false, true} {
		d.MustBuild(t, context, buildkit, fmt.Sprintf("ignored:%v", buildkit))
	}
}

// The weekly rebuild tags the next patch release, and pushes it.
func TestTagPatch(t *testing.T) {
	dir := engine.TempDir(t)
	origin, clone := filepath.Join(dir, "origin"), filepath.Join(dir, "clone")
	ok(t, "git", "clone", "-q", "--bare", engine.Root, origin)
	ok(t, "git", "clone", "-q", origin, clone)
	ok(t, "git", "-C", clone, "-c", "user.name=t", "-c", "user.email=t@localhost", "commit", "-q", "--allow-empty", "-m", "one more")
	ok(t, "git", "-C", clone, "tag", "v0.1000.9")
	if out := ok(t, "make", "-s", "-C", clone, "tag-patch"); out != "tag=v0.1000.10\n" {
		t.Errorf("%s", out)
	}
	head := ok(t, "git", "-C", clone, "rev-parse", "HEAD")
	for _, ref := range []string{"refs/heads/main", "refs/tags/v0.1000.10"} {
		if at := ok(t, "git", "-C", origin, "rev-parse", ref); at != head {
			t.Errorf("%s is at %s", ref, at)
		}
	}
}

// What qemu-user calls the platforms. 386 runs by itself where the kernel can.
var emulators = map[string]string{
	"amd64": "", "386": "qemu-i386-static", "arm64": "qemu-aarch64-static", "armv6": "qemu-arm-static", "armv7": "qemu-arm-static",
	"ppc64le": "qemu-ppc64le-static", "riscv64": "qemu-riscv64-static", "s390x": "qemu-s390x-static", "loong64": "qemu-loongarch64-static",
}

// A whole launch on every platform: the real kernel, and the program that caplaunch becomes is this machine's own.
// Ids and groups do not fit into 16 bits.
func TestEveryPlatformLaunches(t *testing.T) {
	engine.RequireRoot(t)
	for name, path := range binaries(t) {
		t.Run(name, func(t *testing.T) {
			emulator, known := emulators[name]
			if !known {
				t.Fatal("no emulator is named for it")
			}
			argv := []string{path}
			if emulator != "" && (name != "386" || !engine.Runs(t, path)) {
				argv = []string{engine.Tool(t, emulator), path}
			}
			said := ok(t, append(argv, "version")...)
			if !strings.Contains(said, "linux/"+strings.Split(name, "v")[0]) && !strings.Contains(said, "linux/"+name) {
				t.Errorf("version: %s", said)
			}
			launch := append(argv, "--caps=net_admin,bpf", "--user=100000:100001", "--groups=100002,100003", "--", "/bin/cat", "/proc/self/status")
			engine.Exec(t, launch...).Ran(t,
				"Uid:\t100000\t100000\t100000\t100000\n", "Gid:\t100001\t100001\t100001\t100001\n", "Groups:\t100001 100002 100003 \n",
				"CapInh:\t0000008000001000\n", "CapPrm:\t0000008000001000\n", "CapEff:\t0000008000001000\n", "CapAmb:\t0000008000001000\n", "NoNewPrivs:\t1\n")
			if r := engine.Exec(t, append(argv, "--caps=99", "--user=100000:100001", "--", "/bin/true")...); r.Code == 0 || !strings.Contains(r.Stderr, "caplaunch: error: ") {
				t.Errorf("a capability that no kernel knows: %v", r)
			}
		})
	}
}

// Where there is no Linux, caplaunch explains; that it builds is all that can be seen here.
func TestItBuildsForOtherSystems(t *testing.T) {
	ok(t, "make", "-C", engine.Root, "others")
	for _, name := range []string{"darwin/arm64", "freebsd/amd64", "windows/amd64"} {
		if fi, err := os.Stat(filepath.Join(engine.Root, ".cache/others", name)); err != nil || fi.Size() < 1<<20 {
			t.Errorf("%s: %v", name, err)
		}
	}
}
