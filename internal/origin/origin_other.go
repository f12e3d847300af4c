//go:build !linux || mips || mipsle || mips64 || mips64le

package origin

import (
	"errors"
	"os"
)

// There is no entry here, and nothing is known of what was handed over.

func Recorded() bool     { return false }
func StdoutClosed() bool { return false }
func Environ() []string  { return os.Environ() }
func Check() error       { return nil }
func Ignore(Signals)     {}

// Restore has nothing to restore on this platform, and no signal can be ignored.
func Restore(ignore Signals) error {
	if ignore != 0 {
		return errors.ErrUnsupported
	}
	return nil
}
