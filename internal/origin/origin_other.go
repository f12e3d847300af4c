//go:build !linux || mips || mipsle || mips64 || mips64le

package origin

import (
	"errors"
	"os"
)

// Received knows nothing on this platform.
func Received() (Process, error) { return Process{}, ErrNoEntry }

// Recorded is false on this platform.
func Recorded() bool { return false }

// Environ is os.Environ on this platform.
func Environ() []string { return os.Environ() }

// Restore is refused on this platform.
func Restore(Process) error { return errors.ErrUnsupported }
