package main

import (
	"encoding/json"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/caplaunch/caplaunch/internal/origin"
)

// A build is what version prints, from the build info of the binary.
type build struct {
	Version  string `json:"version"`
	Commit   string `json:"commit"`
	Modified bool   `json:"modified"` // built from a changed tree
	Go       string `json:"go"`
	Platform string `json:"platform"`
	Entry    bool   `json:"entry"` // recorded what the kernel handed over before the Go runtime
}

func thisBuild() build {
	b := build{Version: "(unknown)", Commit: "(unknown)", Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH, Entry: origin.Recorded()}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	b.Version = info.Main.Version
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.Commit = s.Value
		case "vcs.modified":
			b.Modified = s.Value == "true"
		}
	}
	return b
}

func (a *app) version(v *versionCmd) error {
	b := thisBuild()
	if v.JSON {
		return json.NewEncoder(a.stdout).Encode(b)
	}
	commit := b.Commit
	if b.Modified {
		commit += " (modified)"
	}
	if _, err := fmt.Fprintf(a.stdout, "caplaunch %s\ncommit %s\n%s\n%s\n", b.Version, commit, b.Go, b.Platform); err != nil {
		return err
	}
	if !v.Verbose {
		return nil
	}
	entry := "start state recorded: signals, descriptors and variables pass as they came"
	if !b.Entry {
		entry = "start state not recorded: ignored signals pass as default, see --ignore-signals\n(build it with make, or with -ldflags '-E _caplaunch_entry')"
	}
	_, err := fmt.Fprintln(a.stdout, entry)
	return err
}
