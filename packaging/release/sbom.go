package main

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"runtime/debug"
	"strings"
	"time"

	cdx "github.com/CycloneDX/cyclonedx-go"
)

// sboms writes what each binary is made of, as its build info has it: the modules and Go itself.
func (r *release) sboms() error {
	for _, b := range r.binaries {
		self := component(cdx.ComponentTypeApplication, b.info.Main.Path, b.info.Main.Version)
		self.Hashes = &[]cdx.Hash{{Algorithm: cdx.HashAlgoSHA256, Value: fmt.Sprintf("%x", sha256.Sum256(b.content))}}
		self.Licenses = &cdx.Licenses{{License: &cdx.License{ID: license}}}
		var settings []cdx.Property
		for _, s := range b.info.Settings {
			settings = append(settings, cdx.Property{Name: "build:" + s.Key, Value: s.Value})
		}
		self.Properties = &settings

		parts := []cdx.Component{component(cdx.ComponentTypeLibrary, "std", strings.TrimPrefix(b.info.GoVersion, "go"))}
		for _, d := range b.info.Deps {
			parts = append(parts, component(cdx.ComponentTypeLibrary, d.Path, version(d)))
		}
		var refs []string
		for _, p := range parts {
			refs = append(refs, p.BOMRef)
		}
		bom := cdx.NewBOM()
		bom.Metadata = &cdx.Metadata{Timestamp: r.date.Format(time.RFC3339), Component: &self}
		bom.Components = &parts
		bom.Dependencies = &[]cdx.Dependency{{Ref: self.BOMRef, Dependencies: &refs}}
		var out bytes.Buffer
		if err := cdx.NewBOMEncoder(&out, cdx.BOMFileFormatJSON).SetPretty(true).Encode(bom); err != nil {
			return err
		}
		if err := r.write(fmt.Sprintf("caplaunch_%s_linux_%s.cdx.json", r.version, b.arch), out.Bytes()); err != nil {
			return err
		}
	}
	return nil
}

func component(kind cdx.ComponentType, path, version string) cdx.Component {
	url := "pkg:golang/" + path + "@" + version
	return cdx.Component{Type: kind, Name: path, Version: version, BOMRef: url, PackageURL: url}
}

func version(m *debug.Module) string {
	if m.Replace != nil {
		return m.Replace.Version
	}
	return m.Version
}
