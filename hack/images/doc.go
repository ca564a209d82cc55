// Command images makes raftkv's container images without a container engine: it compiles the static
// programs, lays each on an empty base and writes docker-archive tarballs or pushes to a registry.
//
// It promises that the same source and the same Go toolchain give the same bytes (no build paths, no build
// times), that no image contains a shell or runs as root, and that an image above its size limit is an
// error. It does not sign images.
package main
