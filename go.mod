module github.com/caplaunch/caplaunch

go 1.26.8

require (
	github.com/alecthomas/kong v1.17.0 // indirect
	github.com/moby/sys/user v0.5.0 // indirect
	golang.org/x/sys v0.49.0 // indirect
	kernel.org/pub/linux/libs/security/libcap/psx v1.2.78 // indirect
)
