package release

import (
	"compress/gzip"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/caplaunch/caplaunch/test/integration/engine"
)

const program = "usr/bin/caplaunch"

// used checks that the package under root is that version, that it launches, and that everything is in its place.
func used(t testing.TB, root, version, zsh string) {
	t.Helper()
	if r := engine.Exec(t, "chroot", root, "/"+program, "version"); !strings.HasPrefix(r.Stdout, "caplaunch v"+version) {
		t.Errorf("want version %s: %v", version, r)
	}
	engine.Exec(t, "chroot", root, "/"+program, "-c", "net_raw", "-u", "65532:65532", "--", "/"+program, "show", "--json").Ran(t, "net_raw", "65532")
	for _, file := range []string{
		"usr/share/man/man1/caplaunch.1.gz", "usr/share/bash-completion/completions/caplaunch", zsh + "/_caplaunch",
		"usr/share/fish/vendor_completions.d/caplaunch.fish",
	} {
		if _, err := os.Stat(filepath.Join(root, file)); err != nil && !leftOut(root, file) {
			t.Error(err)
		}
	}
	if fi, err := os.Stat(filepath.Join(root, program)); err != nil || fi.Mode() != 0o755 {
		t.Errorf("%v %v", fi.Mode(), err)
	}
}

// leftOut reports whether this root's dpkg does not unpack such files.
func leftOut(root, file string) bool {
	return strings.HasPrefix(file, "usr/share/man/") && exec.Command("grep", "-rqs", "path-exclude=/usr/share/man", filepath.Join(root, "etc/dpkg/dpkg.cfg.d")).Run() == nil
}

func gone(t testing.TB, root string) {
	t.Helper()
	for _, file := range []string{program, "usr/share/bash-completion/completions/caplaunch", "usr/share/licenses/caplaunch", "usr/share/doc/caplaunch"} {
		if _, err := os.Stat(filepath.Join(root, file)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is left: %v", file, err)
		}
	}
}

// now is the version of the release under test, as its binary says it.
func now(t testing.TB) string {
	return strings.TrimPrefix(info(t, binaries(t)["amd64"])["version"], "v")
}

func TestDeb(t *testing.T) {
	engine.RequireRoot(t)
	root := engine.TempDir(t)
	ok(t, "tar", "-C", root, "-xpf", engine.Debian(t).Bases[0])
	dpkg := func(args ...string) { t.Helper(); ok(t, append([]string{"chroot", root, "dpkg"}, args...)...) }
	for _, from := range []struct{ dir, version string }{{dist(t), now(t)}, {tagged(t), nextTag}} {
		ok(t, "cp", one(t, from.dir, "caplaunch_*_amd64.deb"), filepath.Join(root, "caplaunch.deb"))
		dpkg("-i", "/caplaunch.deb")
		used(t, root, from.version, "usr/share/zsh/vendor-completions")
		if list := ok(t, "chroot", root, "dpkg-query", "-W", "-f", "${Version}\n", "caplaunch"); !strings.HasPrefix(list, strings.SplitN(from.version, "-", 2)[0]) {
			t.Errorf("dpkg has %s", list)
		}
	}
	dpkg("--verify", "caplaunch")
	dpkg("--purge", "caplaunch")
	gone(t, root)
}

func TestLintianFindsNoError(t *testing.T) {
	engine.Require(t, "lintian")
	ok(t, "lintian", "--allow-root", "--fail-on", "error,warning", one(t, tagged(t), "*.deb"))
}

func TestRPM(t *testing.T) {
	engine.RequireRoot(t, "rpm")
	root := engine.TempDir(t)
	rpm := func(args ...string) string {
		t.Helper()
		return ok(t, append([]string{"rpm", "--root", root}, args...)...)
	}
	rpm("--initdb")
	rpm("-i", one(t, dist(t), "*.x86_64.rpm"))
	used(t, root, now(t), "usr/share/zsh/site-functions")
	rpm("-U", one(t, tagged(t), "*.x86_64.rpm"))
	used(t, root, nextTag, "usr/share/zsh/site-functions")
	if list := rpm("-qa"); list != "caplaunch-"+nextTag+"-1.x86_64\n" {
		t.Errorf("rpm has %s", list)
	}
	rpm("-V", "caplaunch")
	rpm("-e", "caplaunch")
	gone(t, root)
}

// No apk runs on Debian. An .apk is gzip streams one after the other: what it is, and the files, whose hash the first one
// has.
func TestAPK(t *testing.T) {
	engine.RequireRoot(t)
	path := one(t, tagged(t), "*_x86_64.apk")
	content := engine.Read(t, path)
	rest := strings.NewReader(content)
	zip, err := gzip.NewReader(rest)
	engine.Must(t, err)
	zip.Multistream(false)
	_, err = io.Copy(io.Discard, zip)
	engine.Must(t, err)
	files := content[len(content)-rest.Len():]

	engine.Exec(t, "tar", "-xOzf", path, ".PKGINFO").Ran(t, "pkgname = caplaunch\n", "pkgver = "+nextTag+"\n", "arch = x86_64\n",
		"license = Apache-2.0\n", fmt.Sprintf("datahash = %x\n", sha256.Sum256([]byte(files))))
	root := engine.TempDir(t)
	ok(t, "tar", "-C", root, "-xzf", path)
	used(t, root, nextTag, "usr/share/zsh/site-functions")
}

// Every block of commands in docs/install.md is run as it stands, on a copy of this machine that is thrown away, but for
// two that need what is not here: a network, and Alpine.
func TestInstallDocument(t *testing.T) {
	engine.RequireRoot(t, "rpm", "skopeo", "unshare")
	dist(t)
	text := engine.Read(t, filepath.Join(engine.Root, "docs/install.md"))
	script := `mount -t tmpfs none "$1"
mkdir "$1/upper" "$1/work" "$1/root"
mount -t overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" overlay "$1/root"
for d in proc sys dev; do mount --rbind "/$d" "$1/root/$d"; done
chroot "$1/root" sh -eu <<'END'
`
	blocks := regexp.MustCompile("(?ms)^<!-- not run: the test of the release does it, on a copy of the machine -->\n```sh\n(.*?)^```$").FindAllStringSubmatch(text, -1)
	for _, b := range blocks {
		script += fmt.Sprintf("(cd '%s'\nset -x\n%s)\n", engine.Root, b[1])
	}
	if len(blocks) < 7 {
		t.Fatalf("only %d blocks found", len(blocks))
	}
	r := engine.Exec(t, "unshare", "-m", "--propagation=private", "sh", "-euc", script+"END\n", "sh", engine.TempDir(t))
	if said := strings.Count(r.Stdout, "caplaunch v"); r.Code != 0 || said != 3 || strings.Count(r.Stdout, "net_raw") < 2 {
		t.Errorf("%d versions: %v", said, r)
	}
	if all := strings.Count(text, "```sh\n"); all != len(blocks)+2 {
		t.Errorf("%d blocks, of which only Alpine's and the network's are not run, and %d were", all, len(blocks))
	}
}
