//go:build linux

package exec

import (
	"encoding/binary"
	"errors"
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
	p, i := ambient.Set(0x0123456789abcdef), ambient.Set(0xfedcba9876543210)
	for _, tt := range []struct {
		name string
		in   []byte
		want VFSCaps
		err  error
	}{
		{"revision 1", vfsCaps(1, p, i, true, 0), VFSCaps{0x89abcdef, 0x76543210, true, 0}, nil},
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
