// Package tunnel connects to ports of pods through the Kubernetes API server, as `kubectl port-forward` does, but without a port on this machine:
// a connection of its own for each dial, over a WebSocket where the API server knows how, else over SPDY. It promises net.Conns with deadlines, and
// that a connection which the pod refused says so. It retries nothing: the caller knows whether another pod does as well.
package tunnel
