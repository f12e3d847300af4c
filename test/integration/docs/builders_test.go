package docs

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caplaunch/caplaunch/test/integration/engine"
)

// A kept is a place with files, and how a shell script is run there.
type kept func(t *testing.T, script string) engine.Result

// says of a program what is left of its capabilities and what caplaunch does with it. As a copy it runs in any case.
func (run kept) says(t *testing.T, caplaunch, program string) string {
	t.Helper()
	r := run(t, fmt.Sprintf(`getcap %[2]s; %[1]s -c net_admin -u 65532:65532 -- %[2]s >/dev/null; echo plain=$?
exec %[1]s -c net_admin -u 65532:65532 --strip-file-caps -- %[2]s`, caplaunch, program))
	engine.Promised("65532", engine.NetAdmin).Want(t, r)
	said, want := "lost: runs", "0"
	if strings.Contains(r.Stdout, " cap_net_raw=") {
		said, want = "kept: 125", "125"
	}
	if code := engine.ParseProbe(r.Stdout)["plain"]; code != want {
		t.Errorf("%s, and it ended with %s", said, code)
	}
	return said
}

const toolsImage, built = "caplaunch.test/tools:1", "caplaunch.test/builders:1"

// steps are what people do with a file that has capabilities. Each leaves the file /NAME in the image.
var steps = [][2]string{
	{"copy", "`COPY --from=stage`"},
	{"chown", "`COPY --from=stage --chown`"},
	{"context", "`COPY` from the context"},
	{"final", "`RUN setcap` in the final stage"},
	{"later", "`chown` in a later `RUN`"},
}

const dockerfile = `FROM ` + toolsImage + ` AS stage
COPY probe /probe
RUN setcap cap_net_raw=+ep /probe
FROM ` + toolsImage + `
COPY --from=stage /probe /copy
COPY --from=stage --chown=65532:65532 /probe /chown
COPY capable /context
COPY probe /final
COPY probe /later
RUN setcap cap_net_raw=+ep /final && setcap cap_net_raw=+ep /later
RUN chown 65532:65532 /later
COPY caplaunch /caplaunch
`

// The tables of docs/engines.md on builders, and on what else moves files and images.
func TestBuilders(t *testing.T) {
	engine.RequireRoot(t)
	capable := engine.WithCaps(t, engine.Probe(t), "cap_net_raw=+ep")
	context := engine.Tree(t, map[string]engine.Src{
		"/caplaunch": engine.File(engine.Caplaunch(t)), "/probe": engine.File(engine.Probe(t)), "/Dockerfile": engine.Text(dockerfile),
	})
	engine.Do(t, "cp", "-a", capable, context+"/capable")
	d, p := engine.TheDocker(t), engine.ThePodman(t)
	d.Load(t, engine.ScratchImage(toolsImage, engine.Tools(t)))
	base := filepath.Join(engine.TempDir(t), "tools.tar")
	engine.Must(t, engine.WriteTar(base, engine.Tools(t)))
	p.Import(t, base, toolsImage) // a loaded image has no history, which buildah wants
	flags := []string{"--cap-drop=ALL", "--cap-add=SETUID", "--cap-add=SETGID", "--cap-add=NET_ADMIN", "--entrypoint=sh"}
	docker := func(image string) kept {
		return func(t *testing.T, script string) engine.Result { return d.Run(t, image, flags, "-c", script) }
	}
	podman := func(t *testing.T, script string) engine.Result { return p.Run(t, built, flags, "-c", script) }
	builders := []struct {
		name  string
		build func() engine.Result
		run   kept
	}{
		{"Docker's classic builder", func() engine.Result { return d.Build(t, context, false, "-t", built) }, docker(built)},
		{"BuildKit of Docker " + version(t, "docker.io"), func() engine.Result { return d.Build(t, context, true, "-t", built) }, docker(built)},
		{"buildah " + version(t, "buildah"), func() engine.Result { return p.Buildah(t, "bud", "--layers=false", "-t", built, context) }, podman},
		{"podman build " + version(t, "podman"), func() engine.Result { return p.Build(t, context, "--layers=false", "-t", built) }, podman},
	}
	table := "| step |"
	lines := make([]string, len(steps))
	for _, b := range builders {
		if r := b.build(); r.Code != 0 {
			t.Fatal(b.name, r)
		}
		table += " " + b.name + " |"
		for i, step := range steps {
			lines[i] += " " + b.run.says(t, "/caplaunch", "/"+step[0]) + " |"
		}
	}
	table += "\n" + strings.Repeat("| --- ", 1+len(builders)) + "|\n"
	for i, step := range steps {
		table += "| " + step[1] + " |" + lines[i] + "\n"
	}
	if !t.Failed() {
		part(t, "builders", table)
	}
	transports(t, d, docker, capable)
}

// The table on what moves files and images: of the image that BuildKit made, and of a file of this machine.
func transports(t *testing.T, d *engine.Docker, docker func(string) kept, capable string) {
	dir := engine.TempDir(t)
	save := func(image, file string) {
		if r := d.Cmd(t, "save", "-o", file, image); r.Code != 0 {
			t.Fatal(r)
		}
		// Nothing of it may be left when it comes back.
		if r := d.Cmd(t, "rmi", "-f", image); !strings.Contains(r.Stdout, "Deleted: ") {
			t.Fatal(r)
		}
	}
	load := func(file string) {
		if r := d.Cmd(t, "load", "-i", file); r.Code != 0 {
			t.Fatal(r)
		}
	}
	here := kept(func(t *testing.T, script string) engine.Result { return engine.Exec(t, "sh", "-c", script) })
	sh := func(script string) { engine.Do(t, "sh", "-ec", "cd \"$1\"; "+script, "sh", dir, d.Command().Args[2]) }
	const moved = "caplaunch.test/moved:1"
	table := "| way | file capabilities, and caplaunch |\n| --- | --- |\n"
	row := func(name, said string) { table += "| " + name + " | " + said + " |\n" }
	image := func(name string) { row(name, docker(moved).says(t, "/caplaunch", "/final")) }

	sh("D='/usr/bin/docker -H '$2; c=$($D create " + built + " sh -c 'setcap cap_net_raw=+ep /later'); $D export $c | $D import - " + moved +
		"; $D cp $c:/final out; $D cp out $c:/in; $D start -a $c; $D commit $c caplaunch.test/commit:1; $D rm $c")
	ko := func(capabilities string) {
		const base = "ko.local/base:1"
		engine.Must(t, os.WriteFile(dir+"/.ko.yaml", []byte("defaultBaseImage: "+base+"\nbuilds: [{id: status, dir: ., main: ./programs/testdata/status, linux_capabilities: ["+capabilities+"]}]\n"), 0o644))
		d.Cmd(t, "tag", built, base)
		cmd := exec.Command(engine.Install(t, "github.com/google/ko", "v0.19.1"), "build", "--local", "--bare", "./programs/testdata/status")
		cmd.Dir = engine.SourceDir
		cmd.Env = append(os.Environ(), "KO_CONFIG_PATH="+dir, "KO_DOCKER_REPO=ko.local", "DOCKER_HOST="+d.Command().Args[2])
		r := engine.Command(t, cmd)
		if r.Code != 0 {
			t.Fatal(r)
		}
		row("ko 0.19, `linux_capabilities: ["+capabilities+"]`", docker(strings.TrimSpace(r.Stdout)).says(t, "/caplaunch", "/ko-app/status"))
	}
	ko("net_raw")
	image("`docker export`, `docker import`")
	save(moved, dir+"/saved.tar")
	load(dir + "/saved.tar")
	image("`docker save`, `docker load`")
	row("`docker commit`", docker("caplaunch.test/commit:1").says(t, "/caplaunch", "/later"))
	row("`docker cp` out of a container", here.says(t, engine.Caplaunch(t), dir+"/out"))
	row("`docker cp` into a container", docker("caplaunch.test/commit:1").says(t, "/caplaunch", "/in"))
	sh("skopeo copy docker-archive:saved.tar oci:oci:1; skopeo copy oci:oci:1 docker-archive:copied.tar:" + moved)
	save(moved, dir+"/again.tar")
	load(dir + "/copied.tar")
	image("`skopeo copy`, to OCI and back")
	sh("umoci unpack --image oci:1 bundle; chmod 755 bundle; touch bundle/rootfs/new; umoci repack --image oci:2 bundle; skopeo copy oci:oci:2 docker-archive:umoci.tar:" + moved)
	row("`umoci unpack`", here.says(t, engine.Caplaunch(t), dir+"/bundle/rootfs/final"))
	save(moved, dir+"/again.tar")
	load(dir + "/umoci.tar")
	image("`umoci unpack`, `umoci repack`")

	probe := filepath.Base(capable)
	for _, c := range []string{"cp", "cp -p", "cp -a", "rsync -a", "rsync -aX", "tar", "tar --xattrs", "tar --xattrs --xattrs-include=security.capability"} {
		name, script := "`"+c+"`", c+" "+capable+" ."
		if strings.HasPrefix(c, "tar") {
			name, script = "`"+c+"`, both ways", c+" -C "+filepath.Dir(capable)+" -c "+probe+" | "+c+" -x"
		}
		sh("rm -f " + probe + "; " + script)
		row(name, here.says(t, engine.Caplaunch(t), filepath.Join(dir, probe)))
	}
	if !t.Failed() {
		part(t, "transports", table)
	}
}
