// Package artifacts makes what a cluster runs, from source and the Go module proxy alone: the Kubernetes programs,
// CoreDNS, helm, and the images of the two pods that every cluster has. Results are kept in the user's cache folder under
// a hash of everything that they were made from, so only the first run on a machine builds, and a change builds anew. The
// store is built from the checkout each time.
package artifacts
