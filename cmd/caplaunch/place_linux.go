package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/caplaunch/caplaunch/internal/ambient"
	"github.com/caplaunch/caplaunch/internal/ambient/linux"
	"github.com/caplaunch/caplaunch/internal/grant"
	"github.com/caplaunch/caplaunch/internal/identity"
)

// Surroundings are what only words need, read when words are needed.
type surroundings struct {
	place      grant.Place
	nested     bool // in another user namespace than the initial one
	uids, gids idMap
}

func lookAround(environ []string) surroundings {
	s := surroundings{uids: readMap("/proc/self/uid_map"), gids: readMap("/proc/self/gid_map")}
	whole := len(s.uids) == 1 && s.uids[0] == idRange{0, 1<<32 - 1}
	s.nested = s.uids != nil && !whole
	var root unix.Statfs_t
	s.place = grant.Detect(grant.Clues{
		Env: environ, Exists: exists, Nested: s.nested,
		SingleID: s.nested && (len(s.uids) == 0 || len(s.uids) == 1 && s.uids[0].count == 1),
		FirstPID: os.Getpid() == 1, ParentPID: os.Getppid(),
		Overlay: unix.Statfs("/", &root) == nil && root.Type == unix.OVERLAYFS_SUPER_MAGIC,
	})
	return s
}

// privileged reports whether the container has what nobody adds one by one:
// sys_module, sys_rawio and mac_admin.
func (s surroundings) privileged(now ambient.State) bool {
	return !s.nested && now.Bounding.Contains(ambient.SetOf(16, 17, 33))
}

// exists reports whether there is something at path.
func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// An idMap lists the ids of a user namespace that are mapped, as in
// /proc/PID/uid_map, user_namespaces(7). A nil map is not known.
type idMap []idRange

type idRange struct{ first, count uint64 }

func (m idMap) has(id uint32) bool {
	for _, r := range m {
		if uint64(id) >= r.first && uint64(id)-r.first < r.count {
			return true
		}
	}
	return m == nil
}

func readMap(path string) idMap {
	text, err := linux.ReadFile(path)
	if err != nil {
		return nil
	}
	m := idMap{}
	for line := range strings.Lines(text) {
		var r idRange
		var outside uint64
		if n, err := fmt.Sscan(line, &r.first, &outside, &r.count); n != 3 || err != nil {
			return nil
		}
		m = append(m, r)
	}
	return m
}

// readNumbers reads a sysctl, nil when it cannot be read.
func readNumbers(path string) []uint64 {
	text, err := linux.ReadFile(path)
	if err != nil {
		return nil
	}
	var n []uint64
	for _, w := range strings.Fields(text) {
		v, err := strconv.ParseUint(w, 10, 32)
		if err != nil {
			return nil
		}
		n = append(n, v)
	}
	return n
}

// hasParent reports whether a process of the same container started caplaunch, such
// as an init or a shell with a trap: it has what the runtime granted and no more,
// so it needs KILL to signal a program that is another user. Only the kernel is asked:
// no variable loosens --strict. Where the bounding set is whole, nothing was taken away.
func hasParent(bounding ambient.Set) bool {
	self, err := os.Readlink("/proc/self") // of another PID namespace, it names somebody else
	if err != nil || self != strconv.Itoa(os.Getpid()) || bounding.Contains(ambient.NamedCaps) || os.Getppid() == 0 || !linux.HasProc() {
		return false
	}
	parent, err := readStatus("/proc/" + strconv.Itoa(os.Getppid()) + "/status")
	return err == nil && parent.Bounding == bounding
}

// isUser reports whether a word is a user, as gosu and su-exec have it first.
func isUser(word string) bool {
	s, err := identity.Parse(word)
	passwd, _ := linux.ReadFile("/etc/passwd")
	return err == nil && (s.User.Numeric || s.Group != nil || strings.Contains("\n"+passwd, "\n"+word+":"))
}
