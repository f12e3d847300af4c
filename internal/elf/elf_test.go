package elf

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
)

// An image is an ELF file to be written.
type image struct {
	class, data byte
	machine     uint16
	interp      string
	base        uint64 // of its one PT_LOAD; 0 as in a PIE
	dynamic     []tag  // strings stand for their place in the string table
}

type tag struct {
	tag  uint64
	text string
}

// bytes writes the header, the program headers, the interpreter, the strings and
// the dynamic section, in this order.
func (m image) bytes() []byte {
	var order binary.AppendByteOrder = binary.LittleEndian
	if m.data == 2 {
		order = binary.BigEndian
	}
	wide := m.class == 2
	half := func(b []byte, v int) []byte { return order.AppendUint16(b, uint16(v)) }
	word := func(b []byte, v uint64) []byte { return order.AppendUint32(b, uint32(v)) }
	size := word
	header, entry := 52, 32
	if wide {
		header, entry = 64, 56
		size = func(b []byte, v uint64) []byte { return order.AppendUint64(b, v) }
	}
	segments := 1
	if m.interp != "" {
		segments++
	}
	if m.dynamic != nil {
		segments++
	}
	interpAt := header + segments*entry
	tableAt := interpAt + len(m.interp) + 1
	table, dynamic := []byte{0}, []byte(nil)
	for _, d := range m.dynamic {
		dynamic = size(size(dynamic, d.tag), uint64(len(table)))
		table = append(append(table, d.text...), 0)
	}
	dynamic = size(size(dynamic, 5), m.base+uint64(tableAt)) // DT_STRTAB
	dynamic = size(size(dynamic, 0), 0)
	dynamicAt := tableAt + len(table)
	all := dynamicAt + len(dynamic)

	b := append([]byte("\x7fELF"), m.class, m.data, 1)
	b = append(b, make([]byte, 16-len(b))...)
	b = word(half(half(b, 2), int(m.machine)), 1)
	b = size(size(size(b, 0), uint64(header)), 0)
	b = word(b, 0)
	for _, v := range []int{header, entry, segments, 0, 0, 0} {
		b = half(b, v)
	}
	add := func(typ uint64, at, n int) {
		b = word(b, typ)
		if wide {
			b = word(b, 5)
		}
		b = size(size(size(size(size(b, uint64(at)), m.base+uint64(at)), 0), uint64(n)), uint64(n))
		if !wide {
			b = word(b, 5)
		}
		b = size(b, 4096)
	}
	if m.interp != "" {
		add(3, interpAt, len(m.interp)+1)
	}
	if m.dynamic != nil {
		add(2, dynamicAt, len(dynamic))
	}
	add(1, 0, all)
	return append(append(append(append(b, m.interp...), 0), table...), dynamic...)
}

func TestHeadersNameArchAndLoader(t *testing.T) {
	for _, tt := range []struct {
		class, data byte
		machine     uint16
		interp      string
		arch        string
	}{
		{2, 1, 62, "/lib64/ld-linux-x86-64.so.2", "amd64"},
		{1, 1, 62, "", "x32"},
		{1, 1, 3, "/lib/ld-linux.so.2", "386"},
		{2, 1, 183, "/lib/ld-linux-aarch64.so.1", "arm64"},
		{2, 2, 183, "", "arm64be"},
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
		b := image{class: tt.class, data: tt.data, machine: tt.machine, interp: tt.interp}.bytes()
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
	for goarch, other := range map[string]image{"amd64": {class: 1, data: 1, machine: 3}, "arm64": {class: 1, data: 1, machine: 40}, "mips64": {class: 1, data: 2, machine: 8}} {
		if h, err := Parse(bytes.NewReader(other.bytes())); err != nil || !h.RunsOn(goarch) {
			t.Errorf("%s: %+v, %v", goarch, h, err)
		}
	}
	exe, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer exe.Close()
	if h, err := Parse(exe); err != nil || h.Arch() != runtime.GOARCH {
		t.Errorf("this binary: %+v, %v", h, err)
	}
}

func TestOriginIsFoundInEveryKindOfFile(t *testing.T) {
	const needed, soname, rpath, runpath = 1, 14, 15, 29
	for name, c := range map[string]struct {
		dynamic []tag
		want    bool
	}{
		"nothing":          {[]tag{{needed, "libc.so.6"}}, false},
		"RPATH":            {[]tag{{needed, "libc.so.6"}, {rpath, "/lib:$ORIGIN/../lib"}}, true},
		"RUNPATH":          {[]tag{{runpath, "${ORIGIN}"}, {needed, "libc.so.6"}}, true},
		"both":             {[]tag{{rpath, "/opt/lib"}, {runpath, "/lib:$ORIGIN"}}, true},
		"another path":     {[]tag{{runpath, "/opt/lib:ORIGIN"}}, false},
		"in another field": {[]tag{{soname, "$ORIGIN"}}, false},
		"long":             {[]tag{{runpath, strings.Repeat("/opt/lib:", 1000) + "$ORIGIN"}}, true},
	} {
		for _, class := range []byte{1, 2} {
			for _, data := range []byte{1, 2} {
				for _, base := range []uint64{0, 0x10000, 0x400000} {
					b := image{class: class, data: data, machine: 62, interp: "/lib/ld.so", base: base, dynamic: c.dynamic}.bytes()
					if h, err := Parse(bytes.NewReader(b)); err != nil || h.Origin != c.want {
						t.Errorf("%s: class %d, byte order %d, base %#x: %+v, %v", name, class, data, base, h, err)
					}
				}
			}
		}
	}
}

// What a linker makes.
func TestOriginIsFoundInRealFiles(t *testing.T) {
	if _, err := exec.LookPath("gcc"); err != nil {
		if os.Getenv("TEST_REQUIRE") == "1" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	source := filepath.Join(t.TempDir(), "p.c")
	if err := os.WriteFile(source, []byte("int main(void) { return 0; }\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, pie := range []string{"-pie", "-no-pie"} {
		for _, tags := range []string{"--enable-new-dtags", "--disable-new-dtags"} {
			for path, want := range map[string]bool{"$ORIGIN/lib": true, "/opt/lib": false} {
				out := filepath.Join(t.TempDir(), "p")
				if text, err := exec.Command("gcc", "-fPIE", pie, "-Wl,"+tags+",-rpath,"+path, "-o", out, source).CombinedOutput(); err != nil {
					t.Fatalf("%v\n%s", err, text)
				}
				b, err := os.ReadFile(out)
				if err != nil {
					t.Fatal(err)
				}
				if h, err := Parse(bytes.NewReader(b)); err != nil || h.Origin != want || h.Interp == "" {
					t.Errorf("%s %s %s: %+v, %v", pie, tags, path, h, err)
				}
			}
		}
	}
}

// TestTheKernelLoadsWhatIsSaidToRun breaks each byte of the headers of a program in
// turn, and executes it.
func TestTheKernelLoadsWhatIsSaidToRun(t *testing.T) {
	machine, ok := map[string]uint16{"amd64": 62, "arm64": 183}[runtime.GOARCH]
	if !ok {
		t.Skip("the image is of amd64 or arm64")
	}
	whole := image{class: 2, data: 1, machine: machine}.bytes()
	path := filepath.Join(t.TempDir(), "p")
	loaded := 0
	for at := 4; at < 64+56; at++ {
		for _, value := range []byte{0, 1, 2, 3, 32, 56, 62, 183, 255, whole[at] ^ 1, whole[at] ^ 128} {
			b := bytes.Clone(whole)
			b[at] = value
			syscall.ForkLock.RLock() // or a child of another test would hold the file open
			err := os.WriteFile(path, b, 0o700)
			syscall.ForkLock.RUnlock()
			if err != nil {
				t.Fatal(err)
			}
			h, parseErr := Parse(bytes.NewReader(b))
			cmd := exec.Command(path)
			err = cmd.Start() // it is no program, and dies at once
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
	f.Add(image{class: 2, data: 1, machine: 62, interp: "/lib64/ld-linux-x86-64.so.2", dynamic: []tag{{29, "$ORIGIN"}}}.bytes())
	f.Add(image{class: 1, data: 1, machine: 3}.bytes())
	f.Add(image{class: 1, data: 2, machine: 8, interp: "/lib/ld.so.1", dynamic: []tag{{15, "/"}}, base: 1 << 31}.bytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := Parse(bytes.NewReader(b))
		if err != nil && !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrNotELF) || len(h.Interp) > pathMax {
			t.Errorf("%+v, %v", h, err)
		}
		_, _ = h.Arch(), h.RunsOn("amd64")
	})
}
