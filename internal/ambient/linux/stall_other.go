//go:build linux && !(amd64 || arm64 || 386 || arm || riscv64)

package linux

// Watch runs do.
func (Kernel) Watch(_ func(op string) string, do func() error) error { return do() }

func attempt(string) {}
