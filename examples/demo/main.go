//go:build linux

// Command demo runs a web server on port 80 as uid 65532: once as everybody
// does, which fails, and once behind caplaunch. It needs root, or a user
// namespace, and no network: it makes a network namespace of its own, where
// port 80 is privileged.
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	user    = 65532
	address = "127.0.0.1:80"
	stage   = "CAPLAUNCH_DEMO_STAGE" // set in the process inside the namespace
)

func main() {
	var err error
	if dir := os.Getenv(stage); dir != "" {
		err = inside(dir)
	} else {
		err = outside()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

// outside builds the two programs and starts this one again in a network
// namespace of its own.
func outside() error {
	// uid 65532 must be able to run what is in here.
	dir, err := os.MkdirTemp("", "caplaunch-demo-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil {
		return err
	}
	for _, build := range []*exec.Cmd{
		exec.Command("make", "--no-print-directory", "build"),
		exec.Command("cp", "bin/caplaunch", dir),
		exec.Command("go", "build", "-trimpath", "-o", filepath.Join(dir, "server"), "./examples/demo/server"),
	} {
		build.Stdout, build.Stderr = os.Stderr, os.Stderr
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if err := build.Run(); err != nil {
			return fmt.Errorf("%v: %w", build, err)
		}
	}
	self := exec.Command("/proc/self/exe")
	self.Env = append(os.Environ(), stage+"="+dir)
	self.Stdout, self.Stderr = os.Stdout, os.Stderr
	self.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	if os.Geteuid() != 0 {
		// What Podman does for a user that is not root: a user namespace, with
		// the capabilities in the ambient set.
		fmt.Println("# not root: in a user namespace, where this user is uid 65532")
		self.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		self.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: user, HostID: os.Geteuid(), Size: 1}}
		self.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: user, HostID: os.Getegid(), Size: 1}}
		self.SysProcAttr.AmbientCaps = []uintptr{unix.CAP_NET_BIND_SERVICE, unix.CAP_NET_ADMIN, unix.CAP_NET_RAW}
	}
	err = self.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) && os.Geteuid() != 0 {
		return fmt.Errorf("%w (no user namespaces for this user here; as root it works)", err)
	}
	return err
}

// inside runs the server both ways.
func inside(dir string) error {
	if err := loopbackUp(); err != nil {
		return fmt.Errorf("bringing lo up: %w", err)
	}
	server := filepath.Join(dir, "server")
	caplaunch := filepath.Join(dir, "caplaunch")

	fmt.Printf("\n$ setpriv --reuid=%d --regid=%d --clear-groups server %s\n", user, user, address)
	out, err := plain(server)
	if err == nil {
		return errors.New("it works without caplaunch: is port 80 not privileged here?")
	}
	fmt.Print(out)

	words := []string{"--caps=net_bind_service", fmt.Sprintf("--user=%d:%d", user, user)}
	fmt.Printf("\n$ caplaunch %s -- server %s &\n$ curl http://%s/\n", strings.Join(words, " "), address, address)
	cmd := exec.Command(caplaunch, append(words, "--", server, address)...)
	cmd.Env = withoutStage()
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		return err
	}
	defer cmd.Wait()
	defer cmd.Process.Kill()
	answer, err := get()
	if err != nil {
		return err
	}
	fmt.Print(answer)
	const bind = "0000000000000400"
	for _, line := range []string{"CapInh:\t" + bind, "CapPrm:\t" + bind, "CapEff:\t" + bind, "CapAmb:\t" + bind, fmt.Sprintf("Uid:\t%d\t%d", user, user), "NoNewPrivs:\t1"} {
		if !strings.Contains(answer, line) {
			return fmt.Errorf("the server should say %q", line)
		}
	}
	fmt.Println("\nuid 65532, and net_bind_service (bit 10: 400 hex) alone, in all of the sets.")
	return nil
}

// plain runs the server as uid 65532 without caplaunch, and returns what it
// says.
func plain(server string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, server, address)
	cmd.Env = withoutStage()
	if os.Geteuid() == 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: user, Gid: user}}
	} else {
		// A child is born with the ambient set of the thread that makes it.
		runtime.LockOSThread() // and never unlocked: the thread goes with it
		if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); err != nil {
			return "", err
		}
		defer unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_RAISE, unix.CAP_NET_BIND_SERVICE, 0, 0)
	}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	if ctx.Err() != nil {
		err = nil // it was still serving
	}
	return out.String(), err
}

func withoutStage() []string {
	var env []string
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, stage+"=") {
			env = append(env, kv)
		}
	}
	return env
}

// get asks the server, as soon as it answers.
func get() (string, error) {
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		resp, err := http.Get("http://" + address + "/")
		if err != nil {
			if time.Now().After(deadline) {
				return "", err
			}
			continue
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		return string(b), err
	}
}

// loopbackUp sets IFF_UP on lo, netdevice(7).
func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	ifr, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	ifr.SetUint16(unix.IFF_UP)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, ifr)
}
