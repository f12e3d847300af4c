//go:build !linux

package identity

import "os"

func open(path string) (*os.File, error) { return os.Open(path) }
