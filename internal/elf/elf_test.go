package elf

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/caplaunch/caplaunch/test/unit"
)

func TestHeadersNameArchAndLoader(t *testing.T) {
	for _, tt := range []struct {
		class, data  byte
		machine      uint16
		interp, arch string
	}{
		{2, 1, 62, "/lib64/ld-linux-x86-64.so.2", "amd64"},
		{1, 1, 62, "", "x32"},
		{1, 1, 3, "/lib/ld-linux.so.2", "386"},
		{2, 1, 183, "/lib/ld-linux-aarch64.so.1", "arm64"},
		{1, 1, 40, "/lib/ld-linux-armhf.so.3", "arm"},
		{2, 2, 22, "/lib/ld64.so.1", "s390x"},
		{1, 2, 22, "", "s390"},
		{2, 1, 21, "/lib64/ld64.so.2", "ppc64le"},
		{2, 2, 21, "", "ppc64"},
		{2, 1, 243, "/lib/ld-musl-riscv64.so.1", "riscv64"},
		{2, 1, 258, "", "loong64"},
		{1, 2, 8, "", "mips"},
		{2, 1, 8, "", "mips64le"},
		{2, 1, 999, "", "machine 999"},
		{2, 1, 3, "", "machine 3"},
		{2, 2, 62, "", "machine 62"},
	} {
		b := unit.ELF{Class: tt.class, Data: tt.data, Machine: tt.machine, Interp: tt.interp}.Bytes()
		h, err := Parse(bytes.NewReader(b))
		if err != nil || h.Interp != tt.interp || h.Arch() != tt.arch || !h.RunsOn(tt.arch) || h.RunsOn("wasm") || h.Origin {
			t.Errorf("%s: %+v (%s), %v", tt.arch, h, h.Arch(), err)
		}
		for n := range b[:len(b)-1] {
			if h, err := Parse(bytes.NewReader(b[:n])); err == nil && h.Interp != tt.interp {
				t.Errorf("%s cut to %d: %+v", tt.arch, n, h)
			}
		}
	}
	for goarch, other := range map[string]unit.ELF{"amd64": {Class: 1, Data: 1, Machine: 3}, "arm64": {Class: 1, Data: 1, Machine: 40}, "mips64": {Class: 1, Data: 2, Machine: 8}} {
		if h, err := Parse(bytes.NewReader(other.Bytes())); err != nil || !h.RunsOn(goarch) {
			t.Errorf("%s: %+v, %v", goarch, h, err)
		}
	}
	exe, err := os.Open("/proc/self/exe")
	unit.Must(t, err)
	defer exe.Close()
	if h, err := Parse(exe); err != nil || h.Arch() != runtime.GOARCH {
		t.Errorf("this binary: %+v, %v", h, err)
	}
}

func TestOriginIsFoundInEveryKindOfFile(t *testing.T) {
	const needed, soname, rpath, runpath = 1, 14, 15, 29
	for name, c := range map[string]struct {
		dynamic []unit.Tag
		want    bool
	}{
		"nothing":          {[]unit.Tag{{needed, "libc.so.6"}}, false},
		"RPATH":            {[]unit.Tag{{needed, "libc.so.6"}, {rpath, "/lib:$ORIGIN/../lib"}}, true},
		"RUNPATH":          {[]unit.Tag{{runpath, "${ORIGIN}"}, {needed, "libc.so.6"}}, true},
		"both":             {[]unit.Tag{{rpath, "/opt/lib"}, {runpath, "/lib:$ORIGIN"}}, true},
		"another path":     {[]unit.Tag{{runpath, "/opt/lib:ORIGIN"}}, false},
		"in another field": {[]unit.Tag{{soname, "$ORIGIN"}}, false},
		"long":             {[]unit.Tag{{runpath, strings.Repeat("/opt/lib:", 1000) + "$ORIGIN"}}, true},
	} {
		for _, ident := range [][2]byte{{1, 1}, {1, 2}, {2, 1}, {2, 2}} { // class and byte order
			for _, base := range []uint64{0, 0x10000, 0x400000} {
				b := unit.ELF{Class: ident[0], Data: ident[1], Machine: 62, Interp: "/lib/ld.so", Base: base, Dynamic: c.dynamic}.Bytes()
				if h, err := Parse(bytes.NewReader(b)); err != nil || h.Origin != c.want {
					t.Errorf("%s: class and byte order %v, base %#x: %+v, %v", name, ident, base, h, err)
				}
			}
		}
	}
}

// TestTheKernelLoadsWhatIsSaidToRun breaks each byte of the headers of a program in turn, and executes it.
func TestTheKernelLoadsWhatIsSaidToRun(t *testing.T) {
	machine, ok := map[string]uint16{"amd64": 62, "arm64": 183}[runtime.GOARCH]
	if !ok {
		t.Skip("the image is of amd64 or arm64")
	}
	whole := unit.ELF{Class: 2, Data: 1, Machine: machine}.Bytes()
	path := filepath.Join(t.TempDir(), "p")
	loaded := 0
	for at := 4; at < 64+56; at++ {
		for _, value := range []byte{0, 1, 2, 3, 32, 56, 62, 183, 255, whole[at] ^ 1, whole[at] ^ 128} {
			b := bytes.Clone(whole)
			b[at] = value
			unit.Write(t, path, string(b), 0o700)
			h, parseErr := Parse(bytes.NewReader(b))
			cmd := exec.Command(path)
			err := cmd.Start() // it is no program, and dies at once
			if err == nil {
				loaded++
				_ = cmd.Wait()
			}
			if runs := parseErr == nil && h.RunsOn(runtime.GOARCH); runs == errors.Is(err, syscall.ENOEXEC) {
				t.Errorf("byte %d is %d: %+v, %v; the kernel: %v", at, value, h, parseErr, err)
			}
		}
	}
	t.Logf("%d were loaded", loaded)
}

func FuzzParse(f *testing.F) {
	f.Add(unit.ELF{Class: 2, Data: 1, Machine: 62, Interp: "/lib64/ld-linux-x86-64.so.2", Dynamic: []unit.Tag{{29, "$ORIGIN"}}}.Bytes())
	f.Add(unit.ELF{Class: 1, Data: 1, Machine: 3}.Bytes())
	f.Add(unit.ELF{Class: 1, Data: 2, Machine: 8, Interp: "/lib/ld.so.1", Dynamic: []unit.Tag{{15, "/"}}, Base: 1 << 31}.Bytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := Parse(bytes.NewReader(b))
		if err != nil && !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrNotELF) || len(h.Interp) > pathMax {
			t.Errorf("%+v, %v", h, err)
		}
		_, _ = h.Arch(), h.RunsOn("amd64")
	})
}
