//go:build linux

package exec

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// An ELF is what the headers of an executable say, elf(5).
type ELF struct {
	Class, Data byte // 1 is 32 bits, 2 is big-endian
	Machine     uint16
	Interp      string // the dynamic loader, "" for a static program
	Origin      bool   // RPATH or RUNPATH has $ORIGIN: it finds libraries beside its own file
}

// ErrMalformedELF is an ELF file that the kernel would not load: cut off, no
// executable, or with headers that contradict each other.
var ErrMalformedELF = errors.New("malformed ELF file")

// ErrNotELF is a file that does not begin as one.
var ErrNotELF = errors.New("not an ELF file")

// An elfReader reads one file in its class and byte order.
type elfReader struct {
	io.ReaderAt
	binary.ByteOrder
	wide bool
}

// ParseELF reads the header, the program headers, the interpreter's name and the
// run path, with the limits of load_elf_binary in fs/binfmt_elf.c. What could be
// read is returned with the error.
func ParseELF(r io.ReaderAt) (e ELF, err error) {
	var h [64]byte
	n, _ := r.ReadAt(h[:], 0)
	if n < 4 || string(h[:4]) != "\x7fELF" {
		return e, ErrNotELF
	}
	if n < 52 {
		return e, ErrMalformedELF
	}
	e.Class, e.Data = h[4], h[5]
	f := elfReader{r, binary.LittleEndian, e.Class != 1}
	if e.Data == 2 {
		f.ByteOrder = binary.BigEndian
	}
	e.Machine = f.Uint16(h[18:])
	if f.wide && n < 64 {
		return e, ErrMalformedELF
	}
	offset, sizes, entry := f.number(h[:], 28, 32), h[42:], 32
	if f.wide {
		sizes, entry = h[54:], 56
	}
	const executable, shared = 2, 3
	count := int(f.Uint16(sizes[2:]))
	if typ := f.Uint16(h[16:]); typ != executable && typ != shared ||
		int(f.Uint16(sizes)) != entry || count == 0 || count*entry > 1<<16 {
		return e, ErrMalformedELF
	}
	table, ok := f.read(offset, uint64(count*entry))
	if !ok {
		return e, ErrMalformedELF
	}
	headers := slices.Collect(slices.Chunk(table, entry))
	for _, p := range headers {
		const dynamic, interp = 2, 3
		at, size := f.number(p, 4, 8), f.number(p, 16, 32)
		switch f.Uint32(p) {
		case interp:
			name, ok := f.read(at, size)
			if !ok || size < 2 || size > unix.PathMax || name[size-1] != 0 {
				return e, ErrMalformedELF
			}
			e.Interp = cString(name)
		case dynamic:
			if section, ok := f.read(at, size); ok {
				e.Origin = f.hasOrigin(section, headers)
			}
		}
	}
	return e, nil
}

// number reads an address or size that stands at one of two places.
func (f elfReader) number(b []byte, at32, at64 int) uint64 {
	if f.wide {
		return f.Uint64(b[at64:])
	}
	return uint64(f.Uint32(b[at32:]))
}

// read reads a part of the file, of at most 1 MiB.
func (f elfReader) read(at, size uint64) ([]byte, bool) {
	if at > 1<<62 || size > 1<<20 {
		return nil, false
	}
	b := make([]byte, size)
	n, _ := f.ReadAt(b, int64(at))
	return b, n == len(b)
}

// hasOrigin reports whether the dynamic section names a run path with $ORIGIN,
// ld.so(8).
func (f elfReader) hasOrigin(section []byte, headers [][]byte) bool {
	const null, strtab, rpath, runpath, load = 0, 5, 15, 29, 1
	word := 4
	if f.wide {
		word = 8
	}
	var table uint64
	var names []uint64
	for entry := range slices.Chunk(section, 2*word) {
		if len(entry) < 2*word || f.number(entry, 0, 0) == null {
			break
		}
		switch value := f.number(entry[word:], 0, 0); f.number(entry, 0, 0) {
		case strtab:
			table = value
		case rpath, runpath:
			names = append(names, value)
		}
	}
	for _, p := range headers {
		offset, address, size := f.number(p, 4, 8), f.number(p, 8, 16), f.number(p, 16, 32)
		if f.Uint32(p) != load || table < address || table-address >= size {
			continue
		}
		for _, name := range names {
			path := make([]byte, 4*unix.PathMax)
			n, _ := f.ReadAt(path, int64(offset+table-address+name))
			if s := cString(path[:max(0, n)]); strings.Contains(s, "$ORIGIN") || strings.Contains(s, "${ORIGIN}") {
				return true
			}
		}
	}
	return false
}

// ELF reads the headers of the file.
func (f *File) ELF() (ELF, error) {
	if !bytes.HasPrefix(f.Head, []byte("\x7fELF")) {
		return ELF{}, ErrNotELF
	}
	return ParseELF(f)
}
