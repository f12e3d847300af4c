package programs

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/caplaunch/caplaunch/test/integration/engine"
)

// What the kernel does not tell of a program's file is not taken for an answer.
func TestALookThatFailsIsNoAnswer(t *testing.T) {
	engine.RequireRoot(t, "strace", "setcap")
	probe := engine.Probe(t)
	opaque := filepath.Join(engine.TempDir(t), "opaque")
	engine.Must(t, engine.CopyFile(opaque, probe, 0o711))
	withCaps := engine.WithCaps(t, probe, "cap_net_raw=+ep")
	for _, c := range []struct {
		path, inject, flags string
		code                int // 0: PROGRAM runs
		says                string
	}{
		{probe, "openat:error=EINTR:when=1", "", 0, ""},
		{probe, "openat:error=EINTR:when=2", "", 0, ""},
		{probe, "openat:error=EACCES:when=2", "", engine.Failure, "changed"},
		{opaque, "newfstatat:error=EIO", "", engine.Failure, "changed"},
		{probe, "openat:error=EMFILE:when=1", "", engine.Failure, "too many open files"},
		{probe, "openat:error=EMFILE:when=2", "", engine.Failure, "too many open files"},
		{probe, "openat:error=EAGAIN:when=2", "", 126, "text file busy"},
		{probe, "fstat:error=EIO:when=1", "", 126, "input/output error"},
		{probe, "fstat:error=EIO:when=2", "", engine.Failure, "changed"},
		{probe, "pread64:retval=10:when=1", "", engine.Failure, "changed"},
		{probe, "pread64:error=EIO:when=1", "", 126, ""},
		{probe, "fgetxattr:error=EIO", "", 126, "file capabilities make no sense"},
		{probe, "faccessat2:error=ENOSYS", "", 0, ""},
		{probe, "faccessat2:error=EIO", "", 126, "input/output error"},
		{withCaps, "sendfile:error=EINTR:when=1", "--strip-file-caps", 0, ""},
		{withCaps, "sendfile:error=ENOSPC", "--strip-file-caps", engine.Failure, "no space left"},
		{withCaps, "sendfile:retval=0", "--strip-file-caps", engine.Failure, "changed"},
		{withCaps, "fstat:error=EIO:when=3", "--strip-file-caps", engine.Failure, "changed"},
		{withCaps, "fstatfs:error=EIO", "", 126, "input/output error"},
	} {
		t.Log(c.inject)
		words := append([]string{"strace", "-f", "-qqq", "-o", "/dev/null", "-P", c.path, "-e", "inject=" + c.inject, engine.Caplaunch(t), "-u", "65532:65532"}, strings.Fields(c.flags)...)
		r := engine.Exec(t, append(words, "--", c.path)...)
		if c.code == 0 {
			r.Ran(t)
		} else {
			engine.Refused(t, r, c.code).Says(t, c.says)
		}
	}
}
