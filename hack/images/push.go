package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// pushProgram compiles the program for each architecture and pushes one image for all of them. It returns
// the reference with the digest.
func pushProgram(ctx context.Context, source string, p program, version string, arches []string, target string, insecure bool) (string, error) {
	images := make(map[string]v1.Image, len(arches))
	for _, arch := range arches {
		image, err := compileImage(ctx, source, p, version, arch)
		if err != nil {
			return "", err
		}
		images[arch] = image
	}
	return pushImages(ctx, images, target, insecure)
}

// pushImages pushes one index over the images, which are named by their architecture.
func pushImages(ctx context.Context, images map[string]v1.Image, target string, insecure bool) (string, error) {
	options := []name.Option{name.StrictValidation}
	if insecure {
		options = append(options, name.Insecure)
	}
	tag, err := name.NewTag(target, options...)
	if err != nil {
		return "", err
	}
	index, err := indexOf(images)
	if err != nil {
		return "", err
	}
	if err := remote.WriteIndex(tag, index, remote.WithContext(ctx), remote.WithAuthFromKeychain(authn.DefaultKeychain)); err != nil {
		return "", fmt.Errorf("push %s: %w%s", tag, err, loginHint(err, tag.RegistryStr()))
	}
	digest, err := index.Digest()
	if err != nil {
		return "", err
	}
	return tag.Name() + "@" + digest.String(), nil
}

// loginHint says how to log in, if it was that which the registry missed.
func loginHint(err error, registry string) string {
	var refused *transport.Error
	if errors.As(err, &refused) && (refused.StatusCode == http.StatusUnauthorized || refused.StatusCode == http.StatusForbidden) {
		return fmt.Sprintf(" (the registry refuses these credentials: run `docker login %s`)", registry)
	}
	return ""
}

func indexOf(images map[string]v1.Image) (v1.ImageIndex, error) {
	var addenda []mutate.IndexAddendum
	for arch, image := range images {
		addenda = append(addenda, mutate.IndexAddendum{
			Add:        image,
			Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: arch}},
		})
	}
	slices.SortFunc(addenda, func(a, b mutate.IndexAddendum) int {
		return cmp.Compare(a.Platform.Architecture, b.Platform.Architecture)
	})
	return mutate.IndexMediaType(mutate.AppendManifests(empty.Index, addenda...), types.DockerManifestList), nil
}
