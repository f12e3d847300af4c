package docs

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caplaunch/caplaunch/test/integration/engine"
)

// A place has files, and runs a shell script beside them.
type place func(t *testing.T, script string) engine.Result

// says of a program what is left of its capabilities and what caplaunch does with it. As a copy it runs in any case.
func (run place) says(t *testing.T, caplaunch, program string) string {
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
	engine.RequireRoot(t, "skopeo", "umoci", "rsync", "tar")
	capable := engine.WithCaps(t, engine.Probe(t), "cap_net_raw=+ep")
	context := engine.Tree(t, map[string]engine.Src{
		"/caplaunch": engine.File(engine.Caplaunch(t)), "/probe": engine.File(engine.Probe(t)), "/Dockerfile": engine.Text(dockerfile),
	})
	engine.Do(t, "cp", "-a", capable, context+"/capable")
	d, p := engine.TheDocker(t), engine.ThePodman(t)
	d.Load(t, engine.ScratchImage(toolsImage, engine.Tools(t)))
	p.Import(t, engine.Tar(t, engine.Tools(t)), toolsImage) // a loaded image has no history, which buildah wants
	flags := []string{"--cap-drop=ALL", "--cap-add=SETUID", "--cap-add=SETGID", "--cap-add=NET_ADMIN", "--entrypoint=sh"}
	docker := func(image string) place {
		return func(t *testing.T, script string) engine.Result { return d.Run(t, image, flags, "-c", script) }
	}
	podman := func(t *testing.T, script string) engine.Result { return p.Run(t, built, flags, "-c", script) }
	builders := []struct {
		name  string
		build func() engine.Result
		run   place
	}{
		{"Docker's classic builder", func() engine.Result { return d.Build(t, context, false, "-t", built) }, docker(built)},
		{"BuildKit of Docker " + version(t, "docker.io"), func() engine.Result { return d.Build(t, context, true, "-t", built) }, docker(built)},
		{"buildah " + version(t, "buildah"), func() engine.Result { return p.Buildah(t, "bud", "--layers=false", "-t", built, context) }, podman},
		{"podman build " + version(t, "podman"), func() engine.Result { return p.Build(t, context, "--layers=false", "-t", built) }, podman},
	}
	table := "| step |"
	lines := make([]string, len(steps))
	for _, b := range builders {
		b.build().Ran(t)
		table += " " + b.name + " |"
		for i, step := range steps {
			lines[i] += " " + b.run.says(t, "/caplaunch", "/"+step[0]) + " |"
		}
	}
	table += "\n" + strings.Repeat("| --- ", 1+len(builders)) + "|\n"
	for i, step := range steps {
		table += "| " + step[1] + " |" + lines[i] + "\n"
	}
	moved := transports(t, d, docker, context)
	if !t.Failed() {
		part(t, "builders", table)
		part(t, "transports", moved)
	}
}

// ways are what moves files and images: of the image that BuildKit made, and of a file of this machine. The program is then
// in that image, or without one in this folder.
var ways = []struct{ name, script, image, program string }{
	{"`docker export`, `docker import`", "docker create --name=moving " + built + " setcap cap_net_raw=+ep /later; docker export moving | docker import - moved", "moved", "/final"},
	{"`docker save`, `docker load`", "docker save -o saved.tar moved; reload saved.tar", "moved", "/final"},
	{"`docker cp` out of a container", "docker cp moving:/final out", "", "out"},
	{"`docker cp` into a container", "docker cp out moving:/in; docker start -a moving; docker commit moving committed; docker rm moving", "committed", "/in"},
	{"`docker commit`", "", "committed", "/later"},
	{"`skopeo copy`, to OCI and back", "skopeo copy docker-archive:saved.tar oci:oci:1; skopeo copy oci:oci:1 docker-archive:copied.tar:moved:latest; reload copied.tar", "moved", "/final"},
	{"`umoci unpack`", "umoci unpack --image oci:1 bundle; chmod 755 bundle", "", "bundle/rootfs/final"},
	{"`umoci unpack`, `umoci repack`", "touch bundle/rootfs/new; umoci repack --image oci:2 bundle; skopeo copy oci:oci:2 docker-archive:umoci.tar:moved:latest; reload umoci.tar", "moved", "/final"},
	{"`cp`", "cp $from/capable cp", "", "cp"},
	{"`cp -p`", "cp -p $from/capable cp-p", "", "cp-p"},
	{"`cp -a`", "cp -a $from/capable cp-a", "", "cp-a"},
	{"`rsync -a`", "rsync -a $from/capable rsync-a", "", "rsync-a"},
	{"`rsync -aX`", "rsync -aX $from/capable rsync-aX", "", "rsync-aX"},
	{"`tar`, both ways", "tar -C $from -c capable | tar -x", "", "capable"},
	{"`tar --xattrs`, both ways", "tar -C $from --xattrs -c capable | tar --xattrs -x", "", "capable"},
	{"`tar --xattrs --xattrs-include=security.capability`, both ways", "x='--xattrs --xattrs-include=security.capability'; tar -C $from $x -c capable | tar $x -x", "", "capable"},
	{"ko 0.19, `linux_capabilities: [net_raw]`", "docker tag " + built + ` ko.local/base:1; echo 'defaultBaseImage: ko.local/base:1
builds: [{id: status, dir: ., main: ./programs/testdata/status, linux_capabilities: [net_raw]}]' >.ko.yaml
cd $source; image=$(KO_CONFIG_PATH=$OLDPWD KO_DOCKER_REPO=ko.local $ko build --local --bare ./programs/testdata/status); docker tag $image ko:1; docker rmi $image`, "ko:1", "/ko-app/status"},
}

// shell is in front of each script. reload lets an image come back where nothing of it is left.
const shell = `cd $1; from=$2 source=$3 ko=$4; export DOCKER_HOST=$5
reload() { docker rmi -f moved | grep Deleted: && docker load -i $1; }
docker() { /usr/bin/docker "$@"; }
`

func transports(t *testing.T, d *engine.Docker, docker func(string) place, from string) string {
	dir, ko := engine.TempDir(t), engine.Install(t, "github.com/google/ko", "v0.19.1")
	table := "| way | file capabilities, and caplaunch |\n| --- | --- |\n"
	for _, w := range ways {
		engine.Do(t, "sh", "-ec", shell+w.script, "sh", dir, from, engine.SourceDir, ko, d.Command().Args[2])
		run, caplaunch := docker(w.image), "/caplaunch"
		if w.image == "" {
			w.program, caplaunch = filepath.Join(dir, w.program), engine.Caplaunch(t)
			run = func(t *testing.T, script string) engine.Result { return engine.Exec(t, "sh", "-c", script) }
		}
		table += "| " + w.name + " | " + run.says(t, caplaunch, w.program) + " |\n"
	}
	return table
}
