//go:build linux

package why

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"github.com/caplaunch/caplaunch/internal/exec"
	"github.com/caplaunch/caplaunch/internal/shell"
)

// Mend says how to do without the privilege of the program's file: by taking it from the file, and by
// --strip-file-caps where the copy would run.
func Mend(p *exec.Program) string {
	hint := strip(p) + " in the image"
	if Copyable(p) {
		hint += ", or caplaunch --strip-file-caps"
	}
	return hint
}

// Copyable reports whether --strip-file-caps would run the program.
func Copyable(p *exec.Program) bool {
	if p == nil {
		return false
	}
	forbids, _ := os.ReadFile("/proc/sys/vm/memfd_noexec")
	elf, _ := p.Last().ELF()
	return p.Last().Readable && !elf.Origin && strings.TrimSpace(string(forbids)) != "2"
}

// strip is the command that takes file capabilities and set-id bits from the program's file.
func strip(p *exec.Program) string {
	if p == nil {
		return ""
	}
	f := p.Last()
	word := shell.Word(ownPath(f.Path))
	var commands []string
	if f.HasCaps() || !f.HasSetID() {
		commands = append(commands, "setcap -r "+word)
	}
	if f.HasSetID() {
		commands = append(commands, "chmod ug-s "+word)
	}
	return strings.Join(commands, " && ")
}

// ownPath is the path of a file without symlinks, which setcap(8) does not follow, or path where that cannot be
// told.
func ownPath(path string) string {
	if own, err := filepath.EvalSymlinks(path); err == nil {
		path = own
	}
	if strings.HasPrefix(path, "-") {
		path = "./" + path
	}
	return path
}

// kind names what is no regular file.
func kind(mode uint32) string {
	switch mode & unix.S_IFMT {
	case unix.S_IFDIR:
		return "directory"
	case unix.S_IFIFO:
		return "FIFO"
	case unix.S_IFSOCK:
		return "socket"
	}
	return "device"
}

// quote makes a file name fit into one line, whatever it is.
func quote(name string) string {
	odd := func(r rune) bool { return !strconv.IsGraphic(r) || r == utf8.RuneError || r == ' ' }
	if name == "" || strings.ContainsFunc(name, odd) {
		return strconv.Quote(name)
	}
	return name
}

// machines are the e_machine numbers of elf(5), by the names that docker's --platform and GOARCH use, less a suffix
// for class and byte order.
var machines = map[uint16]string{2: "sparc", 3: "386", 4: "m68k", 8: "mips", 15: "parisc", 18: "sparc", 20: "ppc",
	21: "ppc64", 22: "s390x", 40: "arm", 42: "sh", 43: "sparc64", 50: "ia64", 62: "amd64", 183: "arm64", 243: "riscv", 258: "loong"}

// arch is the architecture as docker's --platform and GOARCH name it.
func arch(e exec.ELF) string {
	name, ok := machines[e.Machine]
	narrow, big := e.Class == 1, e.Data == 2
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
	case (strings.HasPrefix(name, "ppc64") || strings.HasPrefix(name, "mips")) && !big:
		name += "le"
	case (name == "arm64" || name == "arm") && big:
		name += "be"
	}
	return name
}

// native reports whether a kernel that runs caplaunch can be expected to load e itself, as its own or as its 32-bit
// kind, and not through binfmt_misc.
func native(e exec.ELF) bool {
	family := map[string][]string{"amd64": {"386", "x32"}, "386": {"amd64", "x32"}, "arm64": {"arm"}, "arm": {"arm64"},
		"s390x": {"s390"}, "ppc64": {"ppc"}, "mips64": {"mips"}, "mips64le": {"mipsle"}, "mips": {"mips64"}, "mipsle": {"mips64le"}}
	return arch(e) == runtime.GOARCH || slices.Contains(family[runtime.GOARCH], arch(e))
}
