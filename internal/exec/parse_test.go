//go:build linux

package exec

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/caplaunch/caplaunch/internal/ambient"
)

// vfsCaps writes a security.capability attribute.
func vfsCaps(revision uint32, permitted, inheritable ambient.Set, effective bool, root uint32) []byte {
	magic := revision << 24
	if effective {
		magic |= 1
	}
	b := binary.LittleEndian.AppendUint32(nil, magic)
	words := []uint32{uint32(permitted), uint32(inheritable), uint32(permitted >> 32), uint32(inheritable >> 32), root}
	for _, w := range words[:map[uint32]int{1: 2, 2: 4, 3: 5}[revision]] {
		b = binary.LittleEndian.AppendUint32(b, w)
	}
	return b
}

func TestFileCapsRevisionsDecideTheSize(t *testing.T) {
	p, i := ambient.Set(1<<40|1<<13), ambient.Set(1<<39|1<<10)
	for _, tt := range []struct {
		name string
		in   []byte
		want VFSCaps
		err  error
	}{
		{"revision 1", vfsCaps(1, p, i, true, 0), VFSCaps{1, 1 << 13, 1 << 10, true, 0}, nil},
		{"revision 2", vfsCaps(2, p, i, false, 0), VFSCaps{2, p, i, false, 0}, nil},
		{"revision 3", vfsCaps(3, p, i, true, 1000), VFSCaps{3, p, i, true, 1000}, nil},
		{"empty caps", vfsCaps(2, 0, 0, false, 0), VFSCaps{Revision: 2}, nil},
		{"nothing", nil, VFSCaps{}, ErrMalformedCaps},
		{"no header", []byte{1, 0, 0}, VFSCaps{}, ErrMalformedCaps},
		{"revision 0", make([]byte, 20), VFSCaps{}, ErrMalformedCaps},
		{"revision 0, empty", make([]byte, 4), VFSCaps{}, ErrMalformedCaps},
		{"revision 4", append([]byte{0, 0, 0, 4}, make([]byte, 20)...), VFSCaps{}, ErrMalformedCaps},
		{"revision 2 in 24 bytes", append(vfsCaps(2, p, i, true, 0), 0, 0, 0, 0), VFSCaps{}, ErrMalformedCaps},
		{"revision 3 in 20 bytes", vfsCaps(3, p, i, true, 0)[:20], VFSCaps{}, ErrMalformedCaps},
		{"revision 2 in 12 bytes", vfsCaps(2, p, i, true, 0)[:12], VFSCaps{}, ErrMalformedCaps},
	} {
		got, err := ParseFileCaps(tt.in)
		if !errors.Is(err, tt.err) || got != tt.want {
			t.Errorf("%s: %+v, %v", tt.name, got, err)
		}
	}
}

func FuzzParseFileCaps(f *testing.F) {
	f.Add(vfsCaps(1, 1, 2, true, 0))
	f.Add(vfsCaps(2, 1<<40, 2, false, 0))
	f.Add(vfsCaps(3, 1, 2, true, 4294967295))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := ParseFileCaps(b)
		if err != nil {
			if c != (VFSCaps{}) {
				t.Errorf("an error and %+v", c)
			}
			return
		}
		again := vfsCaps(uint32(c.Revision), c.Permitted, c.Inheritable, c.Effective, c.RootID)
		b = bytes.Clone(b)
		b[0], b[1], b[2] = b[0]&1, 0, 0 // flags that nobody knows
		if !bytes.Equal(again, b) {
			t.Errorf("%x read as %+v", b, c)
		}
	})
}

func FuzzShebang(f *testing.F) {
	for _, s := range shebangs("/bin/sh") {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		s, ok := ParseShebang(b)
		if len(b) > headSize {
			if s2, ok2 := ParseShebang(b[:headSize]); s2 != s || ok2 != ok {
				t.Error("it looked further than the kernel")
			}
		}
		if !ok && s != (Shebang{}) || !s.HasArg && s.Arg != "" || strings.ContainsAny(s.Interp, " \t\n\x00") ||
			strings.ContainsAny(s.Arg, "\n\x00") || strings.Trim(s.Arg, " \t") != s.Arg && !strings.HasPrefix(s.Arg, " ") && bytes.IndexByte(b, 0) < 0 && len(b) >= headSize {
			t.Errorf("%q: %+v, %v", b, s, ok)
		}
	})
}

// elfFile writes an ELF header, one program header of the type PT_INTERP or
// PT_LOAD, and code.
func elfFile(class, data byte, machine uint16, interp string, code []byte) []byte {
	var order binary.ByteOrder = binary.LittleEndian
	if data == elfBig {
		order = binary.BigEndian
	}
	const base = 0x10000
	b := make([]byte, 64, 4096)
	copy(b, elfMagic)
	b[4], b[5], b[6] = class, data, 1
	order.PutUint16(b[16:], elfExec)
	order.PutUint16(b[18:], machine)
	order.PutUint32(b[20:], 1)
	wide, header, entry := class == 2, 52, 32
	if wide {
		header, entry = 64, 56
	}
	phdrs := 1
	if interp != "" {
		phdrs = 2
	}
	text := header + phdrs*entry
	if wide {
		order.PutUint64(b[24:], base+uint64(text))
		order.PutUint64(b[32:], uint64(header))
		order.PutUint16(b[52:], uint16(header))
		order.PutUint16(b[54:], uint16(entry))
		order.PutUint16(b[56:], uint16(phdrs))
	} else {
		order.PutUint32(b[24:], uint32(base+text))
		order.PutUint32(b[28:], uint32(header))
		order.PutUint16(b[40:], uint16(header))
		order.PutUint16(b[42:], uint16(entry))
		order.PutUint16(b[44:], uint16(phdrs))
	}
	b = b[:header]
	add := func(typ uint32, offset, addr, size int) {
		p := make([]byte, entry)
		order.PutUint32(p, typ)
		if wide {
			order.PutUint32(p[4:], 5)
			for i, v := range []int{offset, addr, addr, size, size, 4096} {
				order.PutUint64(p[8+8*i:], uint64(v))
			}
		} else {
			for i, v := range []int{offset, addr, addr, size, size, 5, 4096} {
				order.PutUint32(p[4+4*i:], uint32(v))
			}
		}
		b = append(b, p...)
	}
	if interp != "" {
		add(elfInterp, text+len(code), base+text+len(code), len(interp)+1)
	}
	add(1, 0, base, text+len(code))
	b = append(b, code...)
	if interp != "" {
		b = append(append(b, interp...), 0)
	}
	return b
}

// exit7 is exit_group(7) for 386 and, with the 32-bit call, for amd64.
var exit7 = []byte{0xb8, 252, 0, 0, 0, 0xbb, 7, 0, 0, 0, 0xcd, 0x80}

func TestELFHeadersNameArchAndLoader(t *testing.T) {
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
		{1, 1, 40, "/lib/ld-linux-armhf.so.3", "arm"},
		{2, 2, 22, "/lib/ld64.so.1", "s390x"},
		{2, 1, 21, "/lib64/ld64.so.2", "ppc64le"},
		{2, 2, 21, "", "ppc64"},
		{2, 1, 243, "/lib/ld-musl-riscv64.so.1", "riscv64"},
		{2, 1, 258, "", "loong64"},
		{1, 2, 8, "", "mips"},
		{2, 1, 8, "", "mips64le"},
		{2, 1, 999, "", "machine 999"},
	} {
		b := elfFile(tt.class, tt.data, tt.machine, tt.interp, nil)
		e, err := ParseELF(bytes.NewReader(b))
		if err != nil || e.Interp != tt.interp || e.Arch() != tt.arch {
			t.Errorf("%s: %+v (%s), %v", tt.arch, e, e.Arch(), err)
		}
		for n := range b[:len(b)-1] {
			if e, err := ParseELF(bytes.NewReader(b[:n])); err == nil && e.Interp != tt.interp {
				t.Errorf("%s cut to %d: %+v", tt.arch, n, e)
			}
		}
	}
	exe, err := os.Open("/proc/self/exe")
	check(t, err)
	defer exe.Close()
	if e, err := ParseELF(exe); err != nil || !e.Native() || e.Arch() != runtime.GOARCH {
		t.Errorf("this binary: %+v, %v", e, err)
	}
}

func FuzzELF(f *testing.F) {
	f.Add(elfFile(2, 1, 62, "/lib64/ld-linux-x86-64.so.2", nil))
	f.Add(elfFile(1, 1, 3, "", exit7))
	f.Add(elfFile(1, 2, 8, "/lib/ld.so.1", nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := ParseELF(bytes.NewReader(b))
		if err != nil && (!errors.Is(err, ErrMalformedELF) || e.Interp != "") || len(e.Interp) > unix.PathMax {
			t.Errorf("%+v, %v", e, err)
		}
		_, _ = e.Arch(), e.Native()
	})
}

func FuzzACL(f *testing.F) {
	f.Add([]byte{2, 0, 0, 0, 2, 0, 7, 0, 1, 0, 0, 0, 16, 0, 1, 0, 255, 255, 255, 255}, uint32(5))
	f.Fuzz(func(t *testing.T, b []byte, want uint32) {
		(&Viewer{UID: 1, GID: 1}).mayByACL(b, 1, want)
	})
}
