// Package elf reads the few fields of an executable's headers that bear on a
// launch, elf(5). It only parses, and takes every file for a hostile one.
package elf

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// A Header is what the headers of an executable say.
type Header struct {
	Narrow, Big bool // 32 bits; big-endian
	Machine     uint16
	Interp      string // the dynamic loader, "" for a static program
	Origin      bool   // RPATH or RUNPATH has $ORIGIN: it finds libraries beside its own file
}

// ErrMalformed is an ELF file that the kernel would not load: cut off, no
// executable, or with headers that contradict each other.
var ErrMalformed = errors.New("malformed ELF file")

// ErrNotELF is a file that does not begin as one.
var ErrNotELF = errors.New("not an ELF file")

// pathMax is PATH_MAX, the longest name of an interpreter.
const pathMax = 4096

// A reader reads one file in its word size and byte order.
type reader struct {
	io.ReaderAt
	binary.ByteOrder
	narrow bool
}

// Parse reads the header, the program headers, the interpreter's name and the
// run path, with the limits of load_elf_binary in fs/binfmt_elf.c. Like that, it
// believes nothing of e_ident but the first four bytes: the word size is told by
// e_phentsize, the byte order by e_type. What could be read is returned with the
// error.
func Parse(r io.ReaderAt) (h Header, err error) {
	var b [64]byte
	n, _ := r.ReadAt(b[:], 0)
	if n < 4 || string(b[:4]) != "\x7fELF" {
		return h, ErrNotELF
	}
	f := reader{r, binary.LittleEndian, false}
	if h.Big = b[16] == 0; h.Big {
		f.ByteOrder = binary.BigEndian
	}
	h.Machine = f.Uint16(b[18:])
	sizes, entry := b[54:], 56
	if h.Narrow = int(f.Uint16(sizes)) != entry; h.Narrow {
		sizes, entry = b[42:], 32
	}
	f.narrow = h.Narrow
	offset, count := f.number(b[:], 28, 32), int(f.Uint16(sizes[2:]))
	const executable, shared = 2, 3
	if typ := f.Uint16(b[16:]); typ != executable && typ != shared ||
		int(f.Uint16(sizes)) != entry || count == 0 || count*entry > 1<<16 {
		return h, ErrMalformed
	}
	table, ok := f.read(offset, uint64(count*entry))
	if !ok {
		return h, ErrMalformed
	}
	segments := slices.Collect(slices.Chunk(table, entry))
	for _, p := range segments {
		const dynamic, interp = 2, 3
		at, size := f.number(p, 4, 8), f.number(p, 16, 32)
		switch typ := f.Uint32(p); {
		case typ == interp && h.Interp == "":
			name, ok := f.read(at, size)
			if !ok || size < 2 || size > pathMax || name[size-1] != 0 {
				return h, ErrMalformed
			}
			h.Interp = cString(name)
		case typ == dynamic:
			if section, ok := f.read(at, size); ok {
				h.Origin = h.Origin || f.hasOrigin(section, segments)
			}
		}
	}
	return h, nil
}

// number reads an address or size that stands at one of two places.
func (f reader) number(b []byte, at32, at64 int) uint64 {
	if f.narrow {
		return uint64(f.Uint32(b[at32:]))
	}
	return f.Uint64(b[at64:])
}

// read reads a part of the file, of at most 1 MiB.
func (f reader) read(at, size uint64) ([]byte, bool) {
	if at > 1<<62 || size > 1<<20 {
		return nil, false
	}
	b := make([]byte, size)
	n, _ := f.ReadAt(b, int64(at))
	return b, n == len(b)
}

// hasOrigin reports whether the dynamic section names a run path with $ORIGIN,
// ld.so(8). Of several entries the last counts, as for the loader.
func (f reader) hasOrigin(section []byte, segments [][]byte) bool {
	const null, strtab, rpath, runpath, load = 0, 5, 15, 29, 1
	word := 8
	if f.narrow {
		word = 4
	}
	values := map[uint64]uint64{}
	for entry := range slices.Chunk(section, 2*word) {
		if len(entry) < 2*word || f.number(entry, 0, 0) == null {
			break
		}
		switch tag := f.number(entry, 0, 0); tag {
		case strtab, rpath, runpath:
			values[tag] = f.number(entry[word:], 0, 0)
		}
	}
	// The strings are at an address, and the segment that holds it says where in
	// the file.
	for _, p := range segments {
		offset, address, size := f.number(p, 4, 8), f.number(p, 8, 16), f.number(p, 16, 32)
		at := values[strtab] - address
		if f.Uint32(p) != load || at >= size {
			continue
		}
		for _, tag := range []uint64{rpath, runpath} {
			name, ok := values[tag]
			if !ok {
				continue
			}
			path := make([]byte, 4*pathMax)
			n, _ := f.ReadAt(path, int64(offset+at+name))
			if s := cString(path[:n]); strings.Contains(s, "$ORIGIN") || strings.Contains(s, "${ORIGIN}") {
				return true
			}
		}
		return false
	}
	return false
}

func cString(b []byte) string {
	s, _, _ := bytes.Cut(b, []byte{0})
	return string(s)
}

// arches are the architectures that have a name in docker's --platform and in GOARCH,
// and their other word sizes.
var arches = [...]struct {
	machine     uint16
	narrow, big bool
	name        string
}{
	{3, true, false, "386"},
	{8, false, false, "mips64le"},
	{8, false, true, "mips64"},
	{8, true, false, "mipsle"},
	{8, true, true, "mips"},
	{21, false, false, "ppc64le"},
	{21, false, true, "ppc64"},
	{22, false, true, "s390x"},
	{22, true, true, "s390"},
	{40, true, false, "arm"},
	{62, false, false, "amd64"},
	{62, true, false, "x32"},
	{183, false, false, "arm64"},
	{243, false, false, "riscv64"},
	{258, false, false, "loong64"},
}

// Arch is the architecture by its name, or by the number of the machine.
func (h Header) Arch() string {
	for _, a := range arches {
		if a.machine == h.Machine && a.narrow == h.Narrow && a.big == h.Big {
			return a.name
		}
	}
	return fmt.Sprintf("machine %d", h.Machine)
}

// others are the word sizes that a kernel runs beside its own.
var others = [...]struct{ kernel, runs string }{
	{"amd64", "386"},
	{"amd64", "x32"},
	{"386", "amd64"},
	{"386", "x32"},
	{"arm64", "arm"},
	{"arm", "arm64"},
	{"s390x", "s390"},
	{"mips64", "mips"},
	{"mips64le", "mipsle"},
	{"mips", "mips64"},
	{"mipsle", "mips64le"},
}

// RunsOn reports whether a kernel that runs programs for the GOARCH can be
// expected to load the file itself, as its own or as its other word size, and not
// through binfmt_misc.
func (h Header) RunsOn(goarch string) bool {
	arch := h.Arch()
	for _, o := range others {
		if o.kernel == goarch && o.runs == arch {
			return true
		}
	}
	return arch == goarch
}
