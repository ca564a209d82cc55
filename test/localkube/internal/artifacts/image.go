package artifacts

import (
	"archive/tar"
	"bytes"
	"io"
	"os"
	"path"
	"runtime"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// pauseImage is what containerd is told to hold a pod's namespaces with.
const pauseImage = "registry.k8s.io/pause:3.10"

// nobody is the user that the images run as: no image here needs more.
const nobody = "65532:65532"

// writeImage packs one static program into an image of one layer and writes it as a tarball that containerd imports.
func writeImage(file, reference, entrypoint string, program []byte) error {
	layer, err := layerOf(entrypoint, program)
	if err != nil {
		return err
	}
	image, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		return err
	}
	config, err := image.ConfigFile()
	if err != nil {
		return err
	}
	config = config.DeepCopy()
	config.OS, config.Architecture = "linux", runtime.GOARCH
	config.Config = v1.Config{Entrypoint: []string{entrypoint}, User: nobody}
	if image, err = mutate.ConfigFile(image, config); err != nil {
		return err
	}
	tag, err := name.NewTag(reference)
	if err != nil {
		return err
	}
	return tarball.WriteToFile(file, tag, image)
}

func layerOf(entrypoint string, program []byte) (v1.Layer, error) {
	var packed bytes.Buffer
	w := tar.NewWriter(&packed)
	err := w.WriteHeader(&tar.Header{
		Name: path.Clean(entrypoint)[1:], Mode: 0o755, Size: int64(len(program)), Typeflag: tar.TypeReg,
	})
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(program); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(packed.Bytes())), nil
	}, tarball.WithCompressionLevel(1))
}

// Tags lists the image references in a tarball of docker's format; of another format it knows none.
func Tags(file string) []string {
	manifest, err := tarball.LoadManifest(func() (io.ReadCloser, error) { return os.Open(file) })
	if err != nil {
		return nil
	}
	var tags []string
	for _, image := range manifest {
		for _, tag := range image.RepoTags {
			if parsed, err := name.NewTag(tag); err == nil {
				tags = append(tags, parsed.Name())
			}
		}
	}
	return tags
}
