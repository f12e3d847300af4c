package main

import (
	"bytes"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// image writes one index with an image for every platform: FROM scratch, /caplaunch alone. It is a folder (image) for
// "crane push", and an archive for those who have no registry.
func (r *release) image() error {
	about := map[string]string{
		"org.opencontainers.image.title":       "caplaunch",
		"org.opencontainers.image.description": summary,
		"org.opencontainers.image.version":     r.version,
		"org.opencontainers.image.revision":    r.revision,
		"org.opencontainers.image.created":     r.date.Format(time.RFC3339),
		"org.opencontainers.image.licenses":    license,
		"org.opencontainers.image.source":      homepage,
	}
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, b := range r.binaries {
		img, err := r.imageOf(b, about)
		if err != nil {
			return err
		}
		config, err := img.ConfigFile()
		if err != nil {
			return err
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{Platform: config.Platform()}})
	}
	index = mutate.Annotations(index, about).(v1.ImageIndex)

	dir := filepath.Join(r.dist, "image")
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	path, err := layout.Write(dir, empty.Index)
	if err != nil {
		return err
	}
	if err := path.AppendIndex(index, layout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": r.version})); err != nil {
		return err
	}
	var files []file
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		name, _ := filepath.Rel(dir, path)
		files = append(files, file{name, 0o644, content})
		return err
	})
	if err != nil {
		return err
	}
	archive, err := tarOf(files, r.date)
	if err != nil {
		return err
	}
	return r.write("caplaunch_"+r.version+"_image.tar", archive)
}

func (r *release) imageOf(b binary, about map[string]string) (v1.Image, error) {
	content, err := tarOf([]file{{"caplaunch", 0o755, b.content}}, r.date)
	if err != nil {
		return nil, err
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content)), nil },
		tarball.WithMediaType(types.OCILayer))
	if err != nil {
		return nil, err
	}
	img := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	img, err = mutate.Append(img, mutate.Addendum{Layer: layer, History: v1.History{Created: v1.Time{Time: r.date}, CreatedBy: "COPY caplaunch /"}})
	if err != nil {
		return nil, err
	}
	config, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.OS, config.Architecture, config.Created = "linux", b.settings["GOARCH"], v1.Time{Time: r.date}
	_, config.Variant, _ = strings.Cut(b.arch, "arm")
	if b.arch == "arm64" {
		config.Variant = "v8"
	}
	config.Config = v1.Config{User: "65532:65532", Entrypoint: []string{"/caplaunch"}, Labels: about}
	img, err = mutate.ConfigFile(img, config)
	if err != nil {
		return nil, err
	}
	return mutate.Annotations(img, about).(v1.Image), nil
}
