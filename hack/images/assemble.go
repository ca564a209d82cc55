package main

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// userID is the user and group that the programs run as: the "nonroot" of the field's other images.
const userID = 65532

// dataFolder belongs to that user, so that a volume which a container engine makes there does too.
const dataFolder = "data"

// epoch is the time of everything in an image.
var epoch = time.Unix(0, 0).UTC()

// assemble lays the compiled programs, in the order of p.binaries, on an empty base.
func assemble(p program, version, arch string, compiled [][]byte) (v1.Image, error) {
	files, err := layerFiles(p, compiled)
	if err != nil {
		return nil, err
	}
	if size := int64(len(files)); size > p.maxSizeBytes {
		return nil, fmt.Errorf("the %s image has %.1f MB, more than its limit of %.1f MB: find what was linked in with `go version -m` and `go tool nm -size`",
			p.name, megabytes(size), megabytes(p.maxSizeBytes))
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(files)), nil
	}, tarball.WithMediaType(types.DockerLayer))
	if err != nil {
		return nil, err
	}
	image, err := mutate.Append(empty.Image, mutate.Addendum{
		Layer:   layer,
		History: v1.History{Created: v1.Time{Time: epoch}, CreatedBy: "hack/images", Comment: p.title},
	})
	if err != nil {
		return nil, err
	}
	config, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}
	ports := make(map[string]struct{}, len(p.ports))
	for _, port := range p.ports {
		ports[port] = struct{}{}
	}
	return mutate.ConfigFile(image, &v1.ConfigFile{
		Architecture: arch,
		OS:           "linux",
		Created:      v1.Time{Time: epoch},
		Config: v1.Config{
			Entrypoint:   []string{p.binaries[0].path},
			User:         fmt.Sprintf("%d:%d", userID, userID),
			WorkingDir:   "/",
			ExposedPorts: ports,
			Labels: map[string]string{
				"org.opencontainers.image.title":    p.title,
				"org.opencontainers.image.version":  version,
				"org.opencontainers.image.source":   "https://github.com/raftkv/raftkv",
				"org.opencontainers.image.licenses": "Apache-2.0",
			},
		},
		RootFS:  config.RootFS,
		History: config.History,
	})
}

// layerFiles is the image's one layer as a tar: the programs, the names of their user, and the data folder.
func layerFiles(p program, compiled [][]byte) ([]byte, error) {
	type file struct {
		header  tar.Header
		content []byte
	}
	files := []file{
		{header: tar.Header{Name: dataFolder + "/", Typeflag: tar.TypeDir, Mode: 0o700, Uid: userID, Gid: userID}},
		{header: tar.Header{Name: "etc/", Typeflag: tar.TypeDir, Mode: 0o755}},
		{
			header:  tar.Header{Name: "etc/group", Typeflag: tar.TypeReg, Mode: 0o644},
			content: fmt.Appendf(nil, "root:x:0:\nnonroot:x:%d:\n", userID),
		},
		{
			header: tar.Header{Name: "etc/passwd", Typeflag: tar.TypeReg, Mode: 0o644},
			content: fmt.Appendf(nil, "root:x:0:0:root:/:/sbin/nologin\nnonroot:x:%d:%d:nonroot:/%s:/sbin/nologin\n",
				userID, userID, dataFolder),
		},
	}
	made := map[string]bool{}
	for i, b := range p.binaries {
		if folder := strings.TrimPrefix(path.Dir(b.path), "/"); folder != "" && !made[folder] {
			made[folder] = true
			files = append(files, file{header: tar.Header{Name: folder + "/", Typeflag: tar.TypeDir, Mode: 0o755}})
		}
		files = append(files, file{
			header:  tar.Header{Name: strings.TrimPrefix(b.path, "/"), Typeflag: tar.TypeReg, Mode: 0o755},
			content: compiled[i],
		})
	}
	var buffer bytes.Buffer
	archive := tar.NewWriter(&buffer)
	for _, f := range files {
		f.header.ModTime = epoch
		f.header.Size = int64(len(f.content))
		if err := archive.WriteHeader(&f.header); err != nil {
			return nil, err
		}
		if _, err := archive.Write(f.content); err != nil {
			return nil, err
		}
	}
	if err := archive.Close(); err != nil {
		return nil, err
	}
	return buffer.Bytes(), nil
}

// writeArchive writes what `docker load` and `ctr images import` read. The file appears whole or not at all.
func writeArchive(p program, image v1.Image, version, folder string) (string, error) {
	tag, err := name.NewTag(p.repository + ":" + version)
	if err != nil {
		return "", err
	}
	path := filepath.Join(folder, p.name+".tar")
	partial := path + ".partial"
	if err := tarball.WriteToFile(partial, tag, image); err != nil {
		return "", fmt.Errorf("write %s: %w", path, err)
	}
	if err := os.Rename(partial, path); err != nil {
		return "", err
	}
	info, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	digest, err := image.Digest()
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%s: %s:%s, %.1f MB, %s", path, p.repository, version, megabytes(info.Size()), digest), nil
}

func megabytes(sizeBytes int64) float64 { return float64(sizeBytes) / 1e6 }
