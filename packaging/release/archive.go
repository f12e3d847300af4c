package main

import (
	"archive/tar"
	"bytes"
	"cmp"
	"compress/gzip"
	"fmt"
	"slices"
	"time"
)

// A file is to be put into an archive, a package or the image.
type file struct {
	name    string
	mode    int64
	content []byte
}

func (r *release) archives() error {
	for _, b := range r.binaries {
		name := fmt.Sprintf("caplaunch_%s_linux_%s", r.version, b.arch)
		var files []file
		for _, f := range append(r.docs, file{"caplaunch", 0o755, b.content}) {
			files = append(files, file{name + "/" + f.name, f.mode, f.content})
		}
		archive, err := tarOf(files, r.date)
		if err != nil {
			return err
		}
		if archive, err = gzipped(archive); err != nil {
			return err
		}
		if err := r.write(name+".tar.gz", archive); err != nil {
			return err
		}
	}
	return nil
}

// tarOf puts files into a tar archive that depends on nothing else: sorted, root's, of the same date.
func tarOf(files []file, date time.Time) ([]byte, error) {
	slices.SortFunc(files, func(a, b file) int { return cmp.Compare(a.name, b.name) })
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, f := range files {
		h := tar.Header{Typeflag: tar.TypeReg, Name: f.name, Mode: f.mode, Size: int64(len(f.content)), ModTime: date, Format: tar.FormatPAX}
		if err := w.WriteHeader(&h); err != nil {
			return nil, err
		}
		if _, err := w.Write(f.content); err != nil {
			return nil, err
		}
	}
	err := w.Close()
	return out.Bytes(), err
}

func gzipped(content []byte) ([]byte, error) {
	var out bytes.Buffer
	w, err := gzip.NewWriterLevel(&out, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(content); err != nil {
		return nil, err
	}
	err = w.Close()
	return out.Bytes(), err
}
