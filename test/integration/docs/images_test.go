package docs

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/caplaunch/caplaunch/test/integration/engine"
)

// Nothing can be pulled where the tests run. These stand for what the pages name: the same tag, and what the pages use
// of the image, from this machine's Debian.
var images = map[string]func(testing.TB) engine.Image{
	"golang:1.26":          func(t testing.TB) engine.Image { return engine.Golang(t, "1.26") },
	"debian:bookworm-slim": debian,
	"alpine": func(t testing.TB) engine.Image {
		busybox := engine.Tool(t, "busybox")
		files := map[string]engine.Src{
			"/etc/passwd": engine.Text("root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/sbin/nologin\n"),
			"/etc/group": engine.Text("root:x:0:root\nbin:x:1:root,bin,daemon\ndaemon:x:2:root,bin,daemon\nsys:x:3:root,bin\nadm:x:4:root,daemon\n" +
				"tty:x:5:\ndisk:x:6:root\nwheel:x:10:root\nfloppy:x:11:root\ndialout:x:20:root\ntape:x:26:root\nvideo:x:27:root\nnobody:x:65534:\n"),
			"/root": engine.Dir(0o700), "/tmp": engine.Dir(os.ModeSticky | 0o777),
		}
		for _, applet := range []string{"sh", "id", "ls", "cat", "nslookup", "ping", "wget", "mkdir", "chown", "test", "true", "stat", "ps", "sleep", "kill", "echo", "date", "grep", "env"} {
			files["/bin/"+applet] = engine.File(busybox)
		}
		files["/sbin/ip"] = engine.File(busybox)
		return engine.Image{Name: "alpine:latest", Files: files, Config: v1.Config{Cmd: []string{"/bin/sh"}}}
	},
	"gcr.io/distroless/static-debian12":         func(testing.TB) engine.Image { return engine.Distroless("latest") },
	"gcr.io/distroless/static-debian12:nonroot": func(testing.TB) engine.Image { return engine.Distroless("nonroot") },
	"caplaunch": func(t testing.TB) engine.Image {
		files := map[string]engine.Src{"/caplaunch": engine.File(engine.Caplaunch(t))}
		return engine.Image{Name: "caplaunch:latest", Files: files, Config: v1.Config{User: "65532:65532", Entrypoint: []string{"/caplaunch"}}}
	},
	"relay": func(t testing.TB) engine.Image {
		return engine.Image{
			Name: "relay:latest", Files: map[string]engine.Src{"/caplaunch": engine.File(engine.Caplaunch(t)), "/relay": engine.File(engine.BuildGo(t, "examples/relay", ""))},
			Config: v1.Config{Entrypoint: []string{"/caplaunch", "--caps=net_admin", "--user=65532:65532", "--", "/relay"}, Cmd: []string{"127.0.0.1:51820", "127.0.0.1:51821"}},
		}
	},
}

var caddyOnce sync.Once

// loadImages gives the daemon all of them, once.
func loadImages(t testing.TB, d *engine.Docker) {
	for _, img := range images {
		d.Load(t, img(t))
	}
	caddyOnce.Do(func() { caddyImage(t, d) })
}

// packages are what the pages install by apt-get.
const packages = "caddy nginx-light tcpdump dnsmasq-base iputils-ping libcap2-bin python3-minimal nodejs default-jre-headless keepalived tini"

// sources is for a Debian in which the packages lie in /repo.
const sources = "deb [trusted=yes] file:/repo ./\n"

// repository is a folder with those packages and all that they need beside what engine.DebianTar has, and with an index
// for apt. It is made once.
func repository(t testing.TB) string {
	base := engine.Debian(t).Bases[0]
	dir := filepath.Join(engine.CacheDir(), "debs-"+strings.TrimSuffix(filepath.Base(base), ".tar")+"-"+fmt.Sprintf("%x", sha256.Sum256([]byte(packages)))[:12])
	if _, err := os.Stat(filepath.Join(dir, "Packages")); err == nil {
		return dir
	}
	r := engine.Exec(t, "sh", "-ec", `
mkdir -p "$1/partial" "$1/lists/partial"
cd "$1"
tar -xOf "$2" ./var/lib/dpkg/status >status
apt() { apt-get -qq -y -o Dir::State::lists="$PWD/lists" -o Dir::State::status="$PWD/status" -o Dir::Cache::archives="$PWD" "$@"; }
apt update
apt --no-install-recommends --download-only install $3
rm -rf partial lists status lock
for deb in *.deb; do
	dpkg-deb -f "$deb"
	printf 'Filename: ./%s\nSize: %s\nSHA256: %s\n\n' "$deb" "$(stat -c %s "$deb")" "$(sha256sum <"$deb" | cut -d' ' -f1)"
done >Packages.new
mv Packages.new Packages`, "sh", dir, base, packages)
	if r.Code != 0 {
		engine.Unusable(t, "the packages of the examples cannot be had: %v", r)
	}
	return dir
}

// debian is Debian with the packages in it for apt-get, but not installed.
func debian(t testing.TB) engine.Image {
	img := engine.Debian(t)
	img.Files = map[string]engine.Src{"/repo": engine.File(repository(t)), "/etc/apt/sources.list": engine.Text(sources)}
	return img
}

// caddyImage stands for the official image of caddy, whose server has file capabilities.
func caddyImage(t testing.TB, d *engine.Docker) {
	dir := engine.Tree(t, map[string]engine.Src{"/Dockerfile": engine.Text(`FROM debian:bookworm-slim
RUN apt-get update && apt-get install -y --no-install-recommends caddy libcap2-bin && setcap cap_net_bind_service=+ep /usr/bin/caddy
ENV XDG_CONFIG_HOME=/config XDG_DATA_HOME=/data
RUN mkdir -p /config/caddy /data/caddy /srv && printf ':80 {\n\trespond "hello from port 80"\n}\n' >/etc/caddy/Caddyfile
EXPOSE 80
WORKDIR /srv
CMD ["caddy", "run", "--config", "/etc/caddy/Caddyfile", "--adapter", "caddyfile"]
`)})
	d.MustBuild(t, dir, true, "caddy:2")
}
