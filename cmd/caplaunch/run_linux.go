package main

import (
	"io"
	"os"

	"golang.org/x/sys/unix"

	"github.com/caplaunch/caplaunch/internal/ambient/linux"
	"github.com/caplaunch/caplaunch/internal/grant"
	"github.com/caplaunch/caplaunch/internal/identity"
	"github.com/caplaunch/caplaunch/internal/launch"
	"github.com/caplaunch/caplaunch/internal/origin"
)

// system is what caplaunch needs of Linux.
type system struct {
	one, all launch.Kernel // write on this thread, or on all
	files    identity.Files
}

func newApp() *app {
	return &app{
		environ: origin.Environ(), stdout: stdout{}, stderr: descriptor(2),
		system: system{one: linux.OneThread(), all: linux.AllThreads(), files: identity.Etc},
	}
}

// launch is the launch that flags ask for. The error is a *usageError.
func (a *app) launch(l *line, flags *launchFlags) (*launch.Launch, error) {
	asked, err := flags.ask(l.sources)
	if err != nil {
		return nil, err
	}
	if asked.req.Strict {
		self, _ := readStatus("/proc/self/status")
		asked.req.RootParent = hasParent(self.Bounding)
	}
	return &launch.Launch{
		Request: asked.req, User: asked.user, Groups: asked.groups, Argv: l.argv, Environ: programEnviron(a.environ),
		StripFileCaps: flags.StripFileCaps, KeepEnv: flags.KeepEnv, KeepStdio: flags.Stdio == "keep", Ignore: asked.ignore,
		Kernel: a.one, Files: a.files, Say: func(string, ...any) {},
	}, nil
}

// run becomes the program. It returns only when that failed.
func (a *app) run(l *line, report *reporter) error {
	job, err := a.launch(l, &l.Run.launchFlags)
	if err != nil {
		return err
	}
	job.Say = report.verbosef
	job.Ready = func() { // not sooner: what fails until here is two lines
		for _, m := range job.Plan.Skipped {
			report.skipped(m)
		}
		if job.Plan.BoundingKept {
			report.infof("the bounding set stays %v: setpcap is not there to cut it", job.Plan.AfterSteps.Bounding)
		}
	}
	err = job.Run()
	return a.hinter(l, job).explainFailure(err)
}

// hinter puts what comes of a launch into words.
func (a *app) hinter(l *line, job *launch.Launch) *hinter {
	h := &hinter{line: l, Launch: job, surroundings: lookAround(a.environ), argv0: a.args[0]}
	switch h.place {
	case grant.Host, grant.Systemd, grant.Namespace: // what starts it there has KILL
		h.Request.RootParent = false
	default:
		h.Request.RootParent = hasParent(job.Now.Bounding)
	}
	return h
}

// inWords is an error of a command that launches nothing.
func (a *app) inWords(err error) *failure {
	return a.hinter(&line{command: "run"}, &launch.Launch{}).explainFailure(err)
}

// note opens the file of terminationMessagePath, where Kubernetes looks for the two lines of a failure, so that
// kubectl describe shows them. It returns what writes them, if nothing is there yet. The file is opened at the start:
// who the program runs as may not be allowed to.
func (a *app) note() func(text string) {
	nowhere := func(string) {}
	if os.Getpid() != 1 || grant.Detect(grant.Clues{Env: a.environ, Exists: exists}) != grant.Kubernetes {
		return nowhere
	}
	fd, _ := unix.Open("/dev/termination-log", unix.O_WRONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	return func(text string) {
		var st unix.Stat_t // zero where nothing was opened
		_ = unix.Fstat(fd, &st)
		if st.Mode&unix.S_IFMT == unix.S_IFREG && st.Size == 0 {
			_, _ = descriptor(fd).Write([]byte(text))
		}
	}
}

// notBorrowed refuses a set-uid, set-gid or file-capability start of caplaunch,
// for the commands that plan nothing.
func (a *app) notBorrowed() error {
	now, err := a.one.State()
	if err == nil {
		err = now.Borrowed()
	}
	return err
}

// A descriptor is read and written without the runtime. An os.File would end the process by SIGPIPE
// when nobody reads, and neither the launch nor the exit status may depend on
// that.
type descriptor int

func (fd descriptor) Read(b []byte) (int, error) {
	n, err := unix.Read(int(fd), b)
	if n == 0 {
		err = io.EOF
	}
	return max(n, 0), err
}

func (fd descriptor) Write(b []byte) (n int, err error) {
	for n < len(b) {
		m, err := unix.Write(int(fd), b[n:])
		switch {
		case err == unix.EINTR:
		case m <= 0:
			return n, err
		default:
			n += m
		}
	}
	return n, nil
}

// stdout is where the commands print. What cannot be written is an error with a
// hint of its own, and so is a descriptor that was closed: the Go runtime has
// put /dev/null there.
type stdout struct{}

func (stdout) Write(b []byte) (int, error) {
	const hint = "let stdout be a terminal, a pipe or a file that has room: caplaunch … >/tmp/out"
	if origin.StdoutClosed() {
		return 0, usagef(hint, "stdout is closed")
	}
	n, err := descriptor(1).Write(b)
	if err != nil {
		err = usagef(hint, "stdout cannot be written: %w", err)
	}
	return n, err
}
