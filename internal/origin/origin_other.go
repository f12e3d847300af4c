//go:build !linux || mips || mipsle || mips64 || mips64le

package origin

import (
	"errors"
	"os"
)

// Recorded is false on this platform.
func Recorded() bool { return false }

// StdoutClosed is not known on this platform.
func StdoutClosed() bool { return false }

// Environ is os.Environ on this platform.
func Environ() []string { return os.Environ() }

// Check has nothing to report on this platform.
func Check() error { return nil }

// Restore has nothing to restore on this platform, and no signal can be ignored.
func Restore(ignore Signals) error {
	if ignore != 0 {
		return errors.ErrUnsupported
	}
	return nil
}
