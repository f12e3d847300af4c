//go:build linux

package linux

import "github.com/caplaunch/caplaunch/internal/origin"

// Watch runs do, which writes through this package. Should it not come to an end,
// or the Go runtime end it, the process says what say made of the call under way,
// and exits with status 125; see origin.Watch.
func (Kernel) Watch(say func(op string) string, do func() error) error {
	attempt = func(op string) { origin.LastWords(say(op)) }
	return origin.Watch(do)
}

// attempt notes the call under way.
var attempt = func(op string) {}
