package oracle

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	"kernel.org/pub/linux/libs/security/libcap/cap"

	"github.com/caplaunch/caplaunch/internal/ambient"
	program "github.com/caplaunch/caplaunch/internal/exec"
)

// A spec is a program as the test makes it: its owner, mode and
// security.capability, in the ids of the user namespace that made it.
type spec struct {
	Name     string
	Mode     uint32
	UID, GID uint32
	Caps     *xattr
}

// An xattr is a security.capability of revision 2 or 3.
type xattr struct {
	Permitted, Inheritable ambient.Set
	Effective              bool
	Revision               int
	RootID                 uint32 // of revision 3
}

func (x *xattr) encode() []byte {
	words := []uint32{
		uint32(x.Revision) << 24, uint32(x.Permitted), uint32(x.Inheritable), uint32(x.Permitted >> 32), uint32(x.Inheritable >> 32), x.RootID,
	}
	if x.Effective {
		words[0] |= 1
	}
	if x.Revision == 2 {
		words = words[:5]
	}
	b, _ := binary.Append(nil, binary.LittleEndian, words)
	return b
}

// The ids of files. Nobody is ever in noGroup, which owns the set-gid programs
// without x for the group: they must not be refused for that.
var fileIDs = []uint32{0, 1000, 2000}

const noGroup = 4242

// capKinds are the shapes of a security.capability; "-" is an attribute with empty sets, "none" is no attribute.
var capKinds = []string{"none", "-", "e", "p", "i", "ip", "ep", "ei", "eip"}

var setIDKinds = []struct {
	name string
	mode uint32
}{{"", 0o755}, {"suid", 0o4755}, {"sgid", 0o2755}, {"suid+sgid", 0o6755}, {"sgid-without-x", 0o2745}}

// specs is every kind of program, with random sets. The ids are those that are
// mapped here; rootIDs are the roots that attributes of revision 3 name.
func specs(r *rand.Rand, ids idPool, rootIDs []uint32) []spec {
	var all []spec
	set := func(shape, letter string) ambient.Set {
		if strings.Contains(shape, letter) {
			return aFileSet(r)
		}
		return 0
	}
	add := func(label, shape string, x *xattr, times int) {
		for _, kind := range setIDKinds {
			for n := range times {
				f := spec{Name: fmt.Sprintf("%s,%s,%d", label, kind.name, n), Mode: kind.mode}
				f.UID, f.GID = pick(r, mapped(ids.UIDs, fileIDs)), pick(r, mapped(ids.GIDs, fileIDs))
				if ids.GIDs.has(noGroup) && kind.name == "sgid-without-x" {
					f.GID = noGroup
				}
				if x != nil {
					own := *x
					own.Permitted, own.Inheritable, own.Effective = set(shape, "p"), set(shape, "i"), shape[0] == 'e'
					f.Caps = &own
				}
				all = append(all, f)
			}
		}
	}
	for _, shape := range capKinds {
		if shape == "none" {
			add(shape, shape, nil, 2)
			continue
		}
		add(shape+"-v2", shape, &xattr{Revision: 2}, 2)
		for _, id := range rootIDs {
			add(fmt.Sprintf("%s-v3-root%d", shape, id), shape, &xattr{Revision: 3, RootID: id}, 1)
		}
	}
	return all
}

// aFileSet is a random set of a file's, often small: large ones are rarely to be had.
func aFileSet(r *rand.Rand) ambient.Set {
	switch r.IntN(6) {
	case 0:
		return ambient.Set(r.Uint64()) // also bits that no kernel knows
	case 1:
		return ambient.NamedCaps
	case 2:
		return favourites
	}
	return ambient.SetOf(ambient.Cap(r.IntN(41)), ambient.Cap(r.IntN(41)), pick(r, slices.Collect(favourites.All())))
}

// Ways to a program: itself, by a script, a script on the one mount with its
// interpreter on the other, and a script of a script.
const (
	direct   = ""
	script   = ".sh"      // #! the program on the normal mount
	nosuidly = ".nosuid"  // #! the program on the nosuid mount
	twice    = ".twice"   // #! the .sh on the normal mount
	scripts3 = ".further" // #! the .twice: three scripts
)

var ways = []string{direct, script, nosuidly, twice, scripts3}

// A folder holds the programs, on a mount of its own and again as nosuid.
type folder struct {
	Dir   string
	Specs []spec
}

func (f folder) normal() string { return filepath.Join(f.Dir, "normal") }
func (f folder) nosuid() string { return filepath.Join(f.Dir, "nosuid") }

// make mounts a tmpfs at f.Dir and fills it. The process needs a mount namespace of its own.
func (f folder) make(program string) error {
	image, err := os.ReadFile(program)
	if err != nil {
		return err
	}
	unix.Umask(0)
	err = errors.Join(
		os.NewSyscallError("private mounts", unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")),
		os.NewSyscallError("tmpfs", unix.Mount("oracle", f.Dir, "tmpfs", 0, "mode=755")),
		os.Mkdir(f.normal(), 0o755), os.Mkdir(f.nosuid(), 0o755),
		os.NewSyscallError("bind", unix.Mount(f.normal(), f.nosuid(), "", unix.MS_BIND, "")),
		os.NewSyscallError("nosuid", unix.Mount("", f.nosuid(), "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_NOSUID, "")),
	)
	if err != nil {
		return err
	}
	for i, s := range f.Specs {
		path := filepath.Join(f.normal(), s.Name)
		if err := create(path, image, s); err != nil {
			return err
		}
		// What a script has itself never counts: each has all there is.
		loud := f.Specs[(i+len(f.Specs)/2)%len(f.Specs)]
		loud.Mode |= 0o6011
		for _, line := range []struct{ way, interpreter string }{
			{script, path}, {nosuidly, filepath.Join(f.nosuid(), s.Name)}, {twice, path + script}, {scripts3, path + twice},
		} {
			if err := create(path+line.way, []byte("#!"+line.interpreter+"\n"), loud); err != nil {
				return err
			}
		}
	}
	return nil
}

func create(path string, content []byte, s spec) error {
	// In this order: chown clears the set-id bits and the attribute.
	err := errors.Join(os.WriteFile(path, content, 0o700), os.Chown(path, int(s.UID), int(s.GID)), unix.Chmod(path, s.Mode))
	if err == nil && s.Caps != nil {
		err = unix.Setxattr(path, "security.capability", s.Caps.encode(), 0)
	}
	if err != nil {
		return fmt.Errorf("%s: %+v: %w", path, s, err)
	}
	return nil
}

// A target is what ends a sequence: a path, and what execve takes from it as the test knows it.
type target struct {
	Path string
	File ambient.File
	Kind string
}

// targets is every program of f by every way, as it counts in the user namespace of v.
func (f folder) targets(v view) []target {
	var all []target
	for _, s := range f.Specs {
		for _, way := range ways {
			for _, mount := range []string{f.normal(), f.nosuid()} {
				nosuid := way == nosuidly || way == direct && mount == f.nosuid()
				t := target{Path: filepath.Join(mount, s.Name) + way, Kind: s.Name}
				if nosuid {
					t.Kind += ",nosuid"
				} else {
					t.File = v.file(s)
				}
				if way != direct {
					t.Kind += ",#!"
				}
				all = append(all, t)
			}
		}
	}
	return all
}

// A view is how a user namespace sees files that it, or an ancestor, made.
type view struct {
	Known    ambient.Set
	UID, GID func(uint32) (uint32, bool)   // the id here, of one there
	Owns     func(rootID uint32) (ok bool) // is it the root of this namespace or of an ancestor?
}

// file is what execve(2) takes from a program, capabilities(7) and user_namespaces(7).
func (v view) file(s spec) ambient.File {
	var f ambient.File
	if c := s.Caps; c != nil && v.Owns(c.RootID) { // revision 2 has 0 there
		f.Caps = &ambient.FileCaps{Permitted: c.Permitted & v.Known, Inheritable: c.Inheritable & v.Known, Effective: c.Effective}
	}
	uid, ok1 := v.UID(s.UID)
	gid, ok2 := v.GID(s.GID)
	if !ok1 || !ok2 {
		return f
	}
	if s.Mode&unix.S_ISUID != 0 {
		f.SetUID = &uid
	}
	if s.Mode&unix.S_ISGID != 0 && s.Mode&unix.S_IXGRP != 0 {
		f.SetGID = &gid
	}
	return f
}

// TestNamesAndNumbersAreLibcaps: the field's own library knows nothing of this repository.
func TestNamesAndNumbersAreLibcaps(t *testing.T) {
	if len(ambient.NamedCaps.Names()) != int(cap.NamedCount) {
		t.Errorf("%d names, libcap has %d", len(ambient.NamedCaps.Names()), cap.NamedCount)
	}
	for n := range cap.Value(64) {
		want := strings.TrimPrefix(n.String(), "cap_") // a number when it has no name
		if got := ambient.Cap(n).String(); got != want {
			t.Errorf("capability %d is %q, libcap says %q", n, got, want)
		}
		for _, name := range []string{n.String(), strings.ToUpper(n.String()), want} {
			if got, err := ambient.ParseCap(name); err != nil || got != ambient.Cap(n) {
				t.Errorf("%q is %d, %v, libcap says %d", name, got, err, n)
			}
		}
	}
}

// TestInspectionSaysWhatTheKernelTakes holds internal/exec to what the test knows of its programs, which the sequences
// hold against the kernel. Set-id bits of an owner who is not mapped count there, and not for the kernel.
func TestInspectionSaysWhatTheKernelTakes(t *testing.T) {
	for _, w := range []world{machine, manyIDs, oneID, noID0} {
		t.Run(w.name, func(t *testing.T) {
			w.in(t, func(t *testing.T, g generator) {
				known, foreign := 0, 0
				for _, want := range g.targets {
					at, err := program.Find(want.Path, "")
					if err != nil {
						t.Errorf("%s: %v", want.Path, err)
						continue
					}
					got, err := at.Credentials(g.host.Known)
					at.Close()
					if f := want.File; f.SetUID == nil && f.SetGID == nil && strings.Contains(want.Kind, ",made outside") {
						got.SetUID, got.SetGID = nil, nil
					}
					switch {
					case errors.Is(err, program.ErrForeignCaps) && w.nested && (strings.Contains(want.Kind, "-v3-root") || w.name == noID0.name):
						foreign++
					case err != nil:
						t.Errorf("%s: %v", want.Path, err)
					case !reflect.DeepEqual(got, want.File):
						t.Errorf("%s: it says %q, want %q", want.Path, target{File: got}.credentials(), want.credentials())
					default:
						known++
					}
				}
				t.Logf("%d programs, and %d of which it cannot be told", known, foreign)
				if known < 1000 {
					t.Errorf("only %d programs", known)
				}
			})
		})
	}
}
