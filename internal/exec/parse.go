//go:build linux

package exec

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/caplaunch/caplaunch/internal/ambient"
)

// This file holds what reads bytes that others wrote: pure functions that meet
// garbage with an error, and read no more than the kernel does.

// VFSCaps is a security.capability attribute, capabilities(7) "File capability
// extended attribute versioning". Revisions 1 and 2 belong to the root of the
// initial user namespace, revision 3 to the namespace whose root is RootID.
type VFSCaps struct {
	Revision               int
	Permitted, Inheritable ambient.Set
	Effective              bool
	RootID                 uint32
}

// ErrMalformedCaps is an attribute for which execve(2) fails with EINVAL.
var ErrMalformedCaps = errors.New("malformed security.capability")

// ParseFileCaps reads a security.capability attribute with the checks of
// get_vfs_caps_from_disk in security/commoncap.c: the revision decides the
// size. The error is ErrMalformedCaps.
func ParseFileCaps(b []byte) (VFSCaps, error) {
	if len(b) < 4 {
		return VFSCaps{}, ErrMalformedCaps
	}
	magic := binary.LittleEndian.Uint32(b)
	c := VFSCaps{Revision: int(magic >> 24), Effective: magic&1 != 0}
	size := map[int]int{1: 12, 2: 20, 3: 24}[c.Revision]
	if len(b) != size {
		return VFSCaps{}, ErrMalformedCaps
	}
	word := func(i int) ambient.Set { return ambient.Set(binary.LittleEndian.Uint32(b[4*i:])) }
	c.Permitted, c.Inheritable = word(1), word(2)
	if c.Revision > 1 {
		c.Permitted |= word(3) << 32
		c.Inheritable |= word(4) << 32
	}
	if c.Revision == 3 {
		c.RootID = uint32(word(5))
	}
	return c, nil
}

// headSize is BINPRM_BUF_SIZE: all that the kernel looks at to tell a format.
const headSize = 256

// A Shebang is a "#!" line as the kernel splits it: everything after the
// interpreter is one argument, which can be empty.
type Shebang struct {
	Interp, Arg string
	HasArg      bool
}

// ParseShebang reads the first bytes of a file as load_script in
// fs/binfmt_script.c does, or reports that they are no "#!" line for it. Like
// the kernel it sees headSize bytes, refuses an interpreter that may be cut off
// there, and takes what ends without a newline.
func ParseShebang(b []byte) (Shebang, bool) {
	var head [headSize]byte
	copy(head[:], b)
	if head[0] != '#' || head[1] != '!' {
		return Shebang{}, false
	}
	const blank = " \t"
	end := bytes.IndexAny(head[:], "\n\x00")
	if end < 0 || head[end] == 0 {
		// The last byte stands for the terminator that must follow the name.
		name := bytes.TrimLeft(head[2:], blank)
		if len(name) == 0 || !bytes.ContainsAny(name, blank+"\x00") {
			return Shebang{}, false
		}
		end = headSize - 1
	}
	line := bytes.Trim(head[2:end], blank)
	if len(line) == 0 {
		return Shebang{}, false
	}
	var s Shebang
	if i := bytes.IndexAny(line, blank+"\x00"); i >= 0 {
		if line[i] != 0 {
			s.HasArg = true
			s.Arg = cString(bytes.TrimLeft(line[i:], blank))
		}
		line = line[:i]
	}
	s.Interp = string(line)
	return s, true
}

func cString(b []byte) string {
	s, _, _ := bytes.Cut(b, []byte{0})
	return string(s)
}

// The few fields of elf(5) that decide whether this kernel runs a file.
const (
	elfMagic   = "\x7fELF"
	elfClass32 = 1
	elfBig     = 2
	elfExec    = 2
	elfDyn     = 3
	elfInterp  = 3 // PT_INTERP
)

// An ELF is what the headers of an executable say, elf(5).
type ELF struct {
	Class, Data byte
	Machine     uint16
	Interp      string // the dynamic loader, "" for a static program
}

// ErrMalformedELF is an ELF file that the kernel would not load: cut off, no
// executable, or with headers that contradict each other.
var ErrMalformedELF = errors.New("malformed ELF file")

// ParseELF reads the header, the program headers and the interpreter's name,
// with the limits of load_elf_binary in fs/binfmt_elf.c: at most 64 KiB and a
// path. The error is ErrMalformedELF; what could be read is returned with it.
func ParseELF(r io.ReaderAt) (ELF, error) {
	var h [64]byte
	n, _ := r.ReadAt(h[:], 0)
	if n < 52 || string(h[:4]) != elfMagic {
		return ELF{}, ErrMalformedELF
	}
	e := ELF{Class: h[4], Data: h[5]}
	var order binary.ByteOrder = binary.LittleEndian
	if e.Data == elfBig {
		order = binary.BigEndian
	}
	e.Machine = order.Uint16(h[18:])
	wide := e.Class != elfClass32
	if wide && n < 64 {
		return e, ErrMalformedELF
	}
	// number reads an address or size that stands at one of two places.
	number := func(b []byte, at32, at64 int) uint64 {
		if wide {
			return order.Uint64(b[at64:])
		}
		return uint64(order.Uint32(b[at32:]))
	}
	offset, sizes, entry := number(h[:], 28, 32), h[42:], 32
	if wide {
		sizes, entry = h[54:], 56
	}
	count := int(order.Uint16(sizes[2:]))
	if typ := order.Uint16(h[16:]); typ != elfExec && typ != elfDyn ||
		int(order.Uint16(sizes)) != entry || count == 0 || count*entry > 1<<16 || offset > 1<<62 {
		return e, ErrMalformedELF
	}
	table := make([]byte, count*entry)
	if n, _ := r.ReadAt(table, int64(offset)); n < len(table) {
		return e, ErrMalformedELF
	}
	for p := range slices.Chunk(table, entry) {
		if order.Uint32(p) != elfInterp {
			continue
		}
		at, size := number(p, 4, 8), number(p, 16, 32)
		if size < 2 || size > unix.PathMax || at > 1<<62 {
			return e, ErrMalformedELF
		}
		name := make([]byte, size)
		if n, _ := r.ReadAt(name, int64(at)); n < len(name) || name[size-1] != 0 {
			return e, ErrMalformedELF
		}
		e.Interp = cString(name)
		break
	}
	return e, nil
}

// machines are the e_machine numbers of elf(5), by the names that docker's
// --platform and GOARCH use, less a suffix for class and byte order.
var machines = map[uint16]string{2: "sparc", 3: "386", 4: "m68k", 8: "mips", 15: "parisc", 18: "sparc", 20: "ppc",
	21: "ppc64", 22: "s390x", 40: "arm", 42: "sh", 43: "sparc64", 50: "ia64", 62: "amd64", 183: "arm64", 243: "riscv", 258: "loong"}

// Arch is the architecture as docker's --platform and GOARCH name it.
func (e ELF) Arch() string {
	name, ok := machines[e.Machine]
	narrow := e.Class == elfClass32
	switch {
	case !ok:
		return fmt.Sprintf("machine %d", e.Machine)
	case name == "amd64" && narrow:
		return "x32"
	case name == "s390x" && narrow:
		return "s390"
	case (name == "mips" || name == "riscv" || name == "loong") && !narrow:
		name += "64"
	case name == "riscv" || name == "loong":
		name += "32"
	}
	switch {
	case strings.HasPrefix(name, "ppc64") && e.Data != elfBig, strings.HasPrefix(name, "mips") && e.Data != elfBig:
		name += "le"
	case name == "arm64" && e.Data == elfBig, name == "arm" && e.Data == elfBig:
		name += "be"
	}
	return name
}

// Native reports whether a kernel that runs caplaunch can be expected to load
// e itself, as its own or as its 32-bit kind, and not through binfmt_misc.
func (e ELF) Native() bool {
	family := map[string][]string{"amd64": {"386", "x32"}, "386": {"amd64", "x32"}, "arm64": {"arm"}, "arm": {"arm64"},
		"s390x": {"s390"}, "ppc64": {"ppc"}, "mips64": {"mips"}, "mips64le": {"mipsle"}, "mips": {"mips64"}, "mipsle": {"mips64le"}}
	return e.Arch() == runtime.GOARCH || slices.Contains(family[runtime.GOARCH], e.Arch())
}
