package kubernetes

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path"
	"runtime"
	"strings"
	"time"
)

// An image is files and what its Dockerfile would say.
type image struct {
	files  map[string]string // in the image: on this machine
	config map[string]any
}

// serve makes the images and answers a runtime that pulls them, whatever registry their names begin with.
func serve(addr string, images map[string]image) error {
	blobs := map[string][]byte{}
	add := func(mediaType string, data []byte) map[string]any {
		digest := fmt.Sprintf("sha256:%x", sha256.Sum256(data))
		blobs[digest] = data
		return map[string]any{"mediaType": "application/vnd.oci.image." + mediaType, "digest": digest, "size": len(data)}
	}
	tags := map[string]string{}
	for name, img := range images {
		files, err := layer(img.files)
		if err != nil {
			return err
		}
		l := add("layer.v1.tar", files)
		config, _ := json.Marshal(map[string]any{
			"architecture": runtime.GOARCH, "os": "linux", "config": img.config,
			"rootfs": map[string]any{"type": "layers", "diff_ids": []any{l["digest"]}},
		})
		manifest, _ := json.Marshal(map[string]any{
			"schemaVersion": 2, "mediaType": manifestType,
			"config": add("config.v1+json", config), "layers": []any{l},
		})
		tags[name] = add("manifest.v1+json", manifest)["digest"].(string)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/v2/{path...}", func(w http.ResponseWriter, r *http.Request) {
		folder, ref := path.Split(r.PathValue("path"))
		repository, manifest := strings.CutSuffix(folder, "/manifests/")
		if digest, ok := tags[repository+":"+ref]; ok {
			ref = digest
		}
		data, ok := blobs[ref]
		if !ok && folder != "" {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/octet-stream")
		if manifest {
			w.Header().Set("Content-Type", manifestType)
			w.Header().Set("Docker-Content-Digest", ref)
		}
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(data))
	})
	return http.ListenAndServe(addr, mux)
}

const manifestType = "application/vnd.oci.image.manifest.v1+json"

func layer(files map[string]string) ([]byte, error) {
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	first := map[string]string{}
	if err := w.WriteHeader(&tar.Header{Name: "tmp/", Mode: 0o1777, Typeflag: tar.TypeDir}); err != nil {
		return nil, err
	}
	for to, from := range files {
		if at, ok := first[from]; ok {
			if err := w.WriteHeader(&tar.Header{Name: to, Linkname: at, Typeflag: tar.TypeLink, Mode: 0o755}); err != nil {
				return nil, err
			}
			continue
		}
		first[from] = to
		data, err := os.ReadFile(from)
		if err != nil {
			return nil, err
		}
		if err := w.WriteHeader(&tar.Header{Name: to, Mode: 0o755, Size: int64(len(data))}); err != nil {
			return nil, err
		}
		if _, err := w.Write(data); err != nil {
			return nil, err
		}
	}
	err := w.Close()
	return buf.Bytes(), err
}
