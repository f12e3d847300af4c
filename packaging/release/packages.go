package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/goreleaser/nfpm/v2"
	_ "github.com/goreleaser/nfpm/v2/apk"
	_ "github.com/goreleaser/nfpm/v2/deb"
	"github.com/goreleaser/nfpm/v2/files"
	_ "github.com/goreleaser/nfpm/v2/rpm"
)

const maintainer = "caplaunch <caplaunch@users.noreply.github.com>"

// What the three call an architecture. Debian's armhf is ARMv7, Raspberry Pi OS's is ARMv6: the build for v6 runs on both.
var packageArch = map[string]map[string]string{
	"amd64":   {"deb": "amd64", "rpm": "x86_64", "apk": "x86_64"},
	"arm64":   {"deb": "arm64", "rpm": "aarch64", "apk": "aarch64"},
	"armv6":   {"deb": "armhf", "rpm": "armv6hl", "apk": "armhf"},
	"armv7":   {"rpm": "armv7hl", "apk": "armv7"},
	"386":     {"deb": "i386", "rpm": "i686", "apk": "x86"},
	"ppc64le": {"deb": "ppc64el", "rpm": "ppc64le", "apk": "ppc64le"},
	"riscv64": {"deb": "riscv64", "rpm": "riscv64", "apk": "riscv64"},
	"s390x":   {"deb": "s390x", "rpm": "s390x", "apk": "s390x"},
	"loong64": {"deb": "loong64", "rpm": "loongarch64", "apk": "loongarch64"},
}

// Both are meant: the binary runs where there is no libc, and govulncheck reads its symbols.
const lintianOverrides = "caplaunch: statically-linked-binary [usr/bin/caplaunch]\ncaplaunch: unstripped-binary-or-object [usr/bin/caplaunch]\n"

func (r *release) packages() error {
	for _, b := range r.binaries {
		arches, known := packageArch[b.arch]
		if !known {
			return fmt.Errorf("no package has a name for %s", b.arch)
		}
		for kind, arch := range arches {
			if err := r.packageOf(b, kind, arch); err != nil {
				return fmt.Errorf("%s for %s: %w", kind, b.arch, err)
			}
		}
	}
	return nil
}

func (r *release) packageOf(b binary, kind, arch string) error {
	dir, err := os.MkdirTemp("", "caplaunch-package")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	contents, err := r.contents(b, kind, dir)
	if err != nil {
		return err
	}
	number, pre := packageVersion(r.version)
	description := summary
	if kind != "apk" { // which has one line
		description += "\ncaplaunch turns the capabilities that a container runtime granted into ambient\n" +
			"ones, drops to a user with them kept, and becomes the program; or it says why\nnot, and what to change."
	}
	info := nfpm.WithDefaults(&nfpm.Info{
		Name: "caplaunch", Platform: "linux", Arch: arch, Version: number, Prerelease: pre, VersionSchema: "none", MTime: r.date,
		Section: "admin", Priority: "optional", Maintainer: maintainer, Homepage: homepage, License: license,
		Description: description,
		Overridables: nfpm.Overridables{
			Contents: contents,
			Deb:      nfpm.Deb{Arch: arch}, APK: nfpm.APK{Arch: arch},
			RPM: nfpm.RPM{Arch: arch, BuildHost: "localhost", Summary: summary},
		},
	})
	if err := nfpm.PrepareForPackager(info, kind); err != nil {
		return err
	}
	packager, err := nfpm.Get(kind)
	if err != nil {
		return err
	}
	var out bytes.Buffer
	if err := packager.Package(info, &out); err != nil {
		return err
	}
	return r.write(packager.ConventionalFileName(info), out.Bytes())
}

// contents puts the files where a package of this kind has them, by way of dir.
func (r *release) contents(b binary, kind, dir string) (files.Contents, error) {
	const doc = "usr/share/doc/caplaunch/"
	list := []file{{"usr/bin/caplaunch", 0o755, b.content}}
	for _, d := range r.docs {
		at := map[string]string{
			"completions/caplaunch.bash": "usr/share/bash-completion/completions/caplaunch",
			"completions/_caplaunch":     "usr/share/zsh/vendor-completions/_caplaunch",
			"completions/caplaunch.fish": "usr/share/fish/vendor_completions.d/caplaunch.fish",
			"caplaunch.1":                "usr/share/man/man1/caplaunch.1.gz",
			"LICENSE":                    "usr/share/licenses/caplaunch/LICENSE",
			"THIRD-PARTY-LICENSES":       "usr/share/licenses/caplaunch/THIRD-PARTY-LICENSES",
			"CHANGELOG.md":               doc + "CHANGELOG.md",
			"README.md":                  doc + "README.md",
		}[d.name]
		if kind != "deb" {
			at = strings.Replace(at, "zsh/vendor-completions", "zsh/site-functions", 1)
		} else if d.name == "LICENSE" || d.name == "CHANGELOG.md" {
			continue // Debian has them under other names
		} else {
			at = strings.Replace(at, "usr/share/licenses/caplaunch/", doc, 1)
		}
		content := d.content
		if strings.HasSuffix(at, ".gz") {
			var err error
			if content, err = gzipped(content); err != nil {
				return nil, err
			}
		}
		list = append(list, file{at, d.mode, content})
	}
	if kind == "deb" {
		more, err := r.debian()
		if err != nil {
			return nil, err
		}
		list = append(list, more...)
	}
	contents := files.Contents{{Destination: "/" + doc, Type: files.TypeDir}} // so that it is removed too
	if kind == "rpm" || kind == "apk" {
		contents = append(contents, &files.Content{Destination: "/usr/share/licenses/caplaunch/", Type: files.TypeDir})
	}
	for _, c := range contents {
		c.FileInfo = &files.ContentFileInfo{Owner: "root", Group: "root", Mode: 0o755, MTime: r.date}
	}
	for i, f := range list {
		source := filepath.Join(dir, fmt.Sprint(i))
		if err := os.WriteFile(source, f.content, 0o644); err != nil {
			return nil, err
		}
		contents = append(contents, &files.Content{
			Source: source, Destination: "/" + f.name,
			FileInfo: &files.ContentFileInfo{Owner: "root", Group: "root", Mode: os.FileMode(f.mode), MTime: r.date},
		})
	}
	return contents, nil
}

// debian is what Debian's policy asks for: a changelog of its own form, and the license by reference.
func (r *release) debian() ([]file, error) {
	number, pre := packageVersion(r.version)
	if pre != "" {
		number += "~" + pre
	}
	changelog, err := gzipped(fmt.Appendf(nil, "caplaunch (%s) unstable; urgency=medium\n\n  * See %s/blob/main/CHANGELOG.md\n\n -- %s  %s\n",
		number, homepage, maintainer, r.date.Format(time.RFC1123Z)))
	if err != nil {
		return nil, err
	}
	copyright := fmt.Appendf(nil, "%s\n\nCopyright 2026 the caplaunch authors\n\ncaplaunch is under the Apache License 2.0: see /usr/share/common-licenses/Apache-2.0.\n"+
		"THIRD-PARTY-LICENSES in this folder has the licenses of what is linked into it.\n", homepage)
	return []file{
		{"usr/share/doc/caplaunch/changelog.gz", 0o644, changelog},
		{"usr/share/doc/caplaunch/copyright", 0o644, copyright},
		{"usr/share/lintian/overrides/caplaunch", 0o644, []byte(lintianOverrides)},
	}, nil
}

var pseudo = regexp.MustCompile(`^(\d+\.\d+\.\d+)-(?:.*\.)?(\d{14})-[0-9a-f]{12}$`)

// packageVersion splits a version into its number and what makes it older than that number, in letters that all three
// kinds accept: "0.1.0-rc.1" is 0.1.0 and rc1, a commit without a tag is 0.0.0 and pre with its date.
func packageVersion(version string) (number, pre string) {
	if m := pseudo.FindStringSubmatch(version); m != nil {
		return m[1], "pre" + m[2]
	}
	number, pre, _ = strings.Cut(version, "-")
	return number, strings.ReplaceAll(pre, ".", "")
}
