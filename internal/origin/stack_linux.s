//go:build amd64 || arm64

#include "textflag.h"

// The runtime grows the stack in front of a function that needs more.
TEXT ·largeFrame(SB), 0, $20480-0
	RET
