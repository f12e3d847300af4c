// Kong reads two flags by kong, and ends: what it costs more than an empty program is what kong costs.
package main

import (
	"os"
	"slices"

	"github.com/alecthomas/kong"
)

func main() {
	var flags struct {
		Caps []string `name:"caps" sep:"none"`
		User *string  `name:"user"`
	}
	k, err := kong.New(&flags, kong.NoDefaultHelp())
	if err == nil {
		_, err = k.Parse(os.Args[1:slices.Index(os.Args, "--")])
	}
	if err != nil {
		os.Exit(1)
	}
}
