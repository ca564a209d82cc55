// Package render writes a plan down in the languages of the programs that carry it out: command lines, configuration
// files, iproute2 batches and Kubernetes manifests. It only computes; the cluster package puts the results in place.
package render
