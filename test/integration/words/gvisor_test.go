package words

import (
	"slices"
	"strings"
	"testing"

	"github.com/caplaunch/caplaunch/test/integration/engine"
)

// A gVisor of before June 2026 has no ambient capabilities: the refusal says so and names what has them, and all that
// needs none works.
func TestAGVisorWithoutAmbient(t *testing.T) {
	engine.RequireRoot(t)
	runsc := engine.Install(t, "gvisor.dev/gvisor/runsc", "v0.0.0-20260527191743-a81fd9dd382e")
	run := func(argv ...string) engine.Result {
		return engine.Command(t, engine.Box(t, slices.Concat([]string{runsc, "--root", engine.TempDir(t), "--network=none", "--ignore-cgroups", "--platform=systrap", "do", "-quiet"}, argv)...))
	}
	launch := func(words ...string) []string { return append([]string{engine.Caplaunch(t)}, behind(t, words...)...) }
	said := engine.Refused(t, run(launch("-c", "net_admin", "-u", "65532:65532")...), engine.NotGranted)
	if !strings.Contains(said.Msg, "gVisor before June 2026") || !strings.HasPrefix(said.Hint, "docker run --runtime=runc, or a gVisor of June 2026 or newer") {
		t.Errorf("%+v", said)
	}
	explained := run(launch("explain", "-c", "net_admin", "-u", "65532:65532")...)
	if explained.Code != engine.NotGranted || !strings.Contains(explained.Stdout, "\nhint\n  "+said.Hint+"\n") {
		t.Error(explained)
	}
	engine.Promised("65532", 0).With("securebits", "*", "CapAmb", "*", "NoNewPrivs", "*").Want(t, run(launch("-o", "net_admin", "-u", "65532:65532")...))
	if r := run(engine.Caplaunch(t), "check", "--allow=none"); r.Code != engine.Unexpected {
		t.Error(r)
	}

	// runc is what docker runs without a flag.
	d := engine.TheDocker(t)
	engine.Promised("65532", engine.NetAdmin).Want(t, d.Run(t, d.Load(t, image(t)), []string{"--runtime=runc", "--cap-add=NET_ADMIN"}, "/caplaunch", "-c", "net_admin", "-u", "65532:65532", "--", "/probe"))
}
