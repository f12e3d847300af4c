//go:build linux

package exec

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strings"
	"testing"

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
		{"revision 1", vfsCaps(1, p, i, true, 0), VFSCaps{1 << 13, 1 << 10, true, 0}, nil},
		{"revision 2", vfsCaps(2, p, i, false, 0), VFSCaps{p, i, false, 0}, nil},
		{"revision 3", vfsCaps(3, p, i, true, 1000), VFSCaps{p, i, true, 1000}, nil},
		{"empty caps", vfsCaps(2, 0, 0, false, 0), VFSCaps{}, nil},
		{"nothing", nil, VFSCaps{}, errMalformedCaps},
		{"no header", []byte{1, 0, 0}, VFSCaps{}, errMalformedCaps},
		{"revision 0", make([]byte, 20), VFSCaps{}, errMalformedCaps},
		{"revision 0, empty", make([]byte, 4), VFSCaps{}, errMalformedCaps},
		{"revision 4", append([]byte{0, 0, 0, 4}, make([]byte, 20)...), VFSCaps{}, errMalformedCaps},
		{"revision 2 in 24 bytes", append(vfsCaps(2, p, i, true, 0), 0, 0, 0, 0), VFSCaps{}, errMalformedCaps},
		{"revision 3 in 20 bytes", vfsCaps(3, p, i, true, 0)[:20], VFSCaps{}, errMalformedCaps},
		{"revision 2 in 12 bytes", vfsCaps(2, p, i, true, 0)[:12], VFSCaps{}, errMalformedCaps},
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
		again := vfsCaps(uint32(b[3]), c.Permitted, c.Inheritable, c.Effective, c.RootID)
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
