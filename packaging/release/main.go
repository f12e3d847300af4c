// Command release makes everything that is published out of the binaries that "make release" has built: archives,
// packages, an OCI image, a bill of materials for each binary, and the checksums of all of it.
//
// What it says of a binary it reads from the binary. It knows no clock and no network, so one commit gives the same
// bytes everywhere.
package main

import (
	"bytes"
	"crypto/sha256"
	"debug/buildinfo"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

const (
	summary  = "start a program with exactly the capabilities it was meant to have"
	homepage = "https://github.com/caplaunch/caplaunch"
	license  = "Apache-2.0"
)

// A binary is one build of caplaunch, and what it says of itself.
type binary struct {
	content  []byte
	info     *buildinfo.BuildInfo
	arch     string // GOARCH, with GOARM after it: "arm64", "armv7"
	settings map[string]string
}

// A release is what all binaries have in common.
type release struct {
	dist, packaging string
	version         string // 0.1.0, without v
	date            time.Time
	revision        string
	docs            []file // beside each binary
	binaries        []binary
}

func main() {
	log.SetFlags(0)
	log.SetPrefix("release: ")
	dist := flag.String("dist", "../dist", "the folder that has bin/*/caplaunch, and gets the rest")
	flag.Parse()
	if err := run(*dist); err != nil {
		log.Fatal(err)
	}
}

func run(dist string) error {
	r := &release{dist: dist, packaging: "."}
	for _, step := range []func() error{r.readBinaries, r.readDocs, r.archives, r.packages, r.sboms, r.image, r.checksums} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

func (r *release) readBinaries() error {
	paths, err := filepath.Glob(filepath.Join(r.dist, "bin", "*", "caplaunch"))
	if err != nil || len(paths) == 0 {
		return fmt.Errorf("no binaries in %s: %w", r.dist, errors.Join(err, fs.ErrNotExist))
	}
	for _, path := range paths {
		b, err := readBinary(path)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		if first := r.binaries; len(first) > 0 && first[0].settings["vcs.revision"]+first[0].info.Main.Version+first[0].info.GoVersion !=
			b.settings["vcs.revision"]+b.info.Main.Version+b.info.GoVersion {
			return fmt.Errorf("%s is of another commit or Go than %s", path, paths[0])
		}
		r.binaries = append(r.binaries, b)
	}
	first := r.binaries[0]
	r.version = strings.TrimPrefix(strings.TrimSuffix(first.info.Main.Version, "+dirty"), "v")
	if first.settings["vcs.modified"] == "true" {
		log.Print("this is no release: the clone has changes that are in no commit")
	}
	r.revision = first.settings["vcs.revision"]
	r.date, err = time.Parse(time.RFC3339, first.settings["vcs.time"])
	if err != nil {
		return fmt.Errorf("%s was not built in a git clone: %w", paths[0], err)
	}
	return nil
}

func readBinary(path string) (binary, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return binary{}, err
	}
	info, err := buildinfo.Read(bytes.NewReader(content))
	if err != nil {
		return binary{}, err
	}
	b := binary{content: content, info: info, settings: map[string]string{}}
	for _, s := range info.Settings {
		b.settings[s.Key] = s.Value
	}
	b.arch = b.settings["GOARCH"]
	if arm := b.settings["GOARM"]; arm != "" {
		b.arch += "v" + strings.SplitN(arm, ",", 2)[0]
	}
	return b, nil
}

// readDocs collects what stands beside the binary in every archive and package. The licenses of what is linked into
// the binary ask for their text to be there.
func (r *release) readDocs() error {
	for name, path := range map[string]string{
		"LICENSE": "../LICENSE", "README.md": "../README.md", "CHANGELOG.md": "../CHANGELOG.md", "caplaunch.1": "caplaunch.1",
		"completions/caplaunch.bash": "completions/caplaunch.bash", "completions/_caplaunch": "completions/_caplaunch", "completions/caplaunch.fish": "completions/caplaunch.fish",
	} {
		content, err := os.ReadFile(filepath.Join(r.packaging, path))
		if err != nil {
			return err
		}
		r.docs = append(r.docs, file{name, 0o644, content})
	}
	notices, err := r.notices()
	r.docs = append(r.docs, file{"THIRD-PARTY-LICENSES", 0o644, notices})
	return err
}

// notices are the licenses of Go and of the modules in the binaries.
func (r *release) notices() ([]byte, error) {
	ask := exec.Command("go", "list", "-m", "-f", "{{.Path}} {{.Dir}}")
	for _, d := range r.binaries[0].info.Deps {
		ask.Args = append(ask.Args, d.Path)
	}
	ask.Dir = filepath.Join(r.packaging, "..")
	list, err := ask.Output()
	if err != nil {
		return nil, fmt.Errorf("%v: %w", ask, err)
	}
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return nil, err
	}
	var notices bytes.Buffer
	for line := range strings.Lines("Go " + string(root) + string(list)) {
		name, dir, _ := strings.Cut(strings.TrimSpace(line), " ")
		found, err := licenses(dir)
		if err != nil || len(found) == 0 {
			return nil, fmt.Errorf("%s has no license in %s: %w", name, dir, err)
		}
		for _, path := range found {
			text, err := os.ReadFile(path)
			if err != nil {
				return nil, err
			}
			fmt.Fprintf(&notices, "==== %s: %s ====\n\n%s\n", name, filepath.Base(path), text)
		}
	}
	return notices.Bytes(), nil
}

func licenses(dir string) (found []string, err error) {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		if name := strings.ToLower(e.Name()); strings.HasPrefix(name, "licen") || strings.HasPrefix(name, "copying") {
			found = append(found, filepath.Join(dir, e.Name()))
		}
	}
	return found, err
}

func (r *release) write(name string, content []byte) error {
	return os.WriteFile(filepath.Join(r.dist, name), content, 0o644)
}

// checksums are of every file that is published, in the form that sha256sum -c reads.
func (r *release) checksums() error {
	entries, err := os.ReadDir(r.dist)
	if err != nil {
		return err
	}
	var sums bytes.Buffer
	for _, e := range entries {
		if e.IsDir() || e.Name() == "SHA256SUMS" {
			continue
		}
		content, err := os.ReadFile(filepath.Join(r.dist, e.Name()))
		if err != nil {
			return err
		}
		fmt.Fprintf(&sums, "%x  %s\n", sha256.Sum256(content), e.Name())
	}
	return r.write("SHA256SUMS", sums.Bytes())
}
