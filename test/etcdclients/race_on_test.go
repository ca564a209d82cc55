//go:build race

package etcdclients

// raceDetector: the nodes run under the race detector when the tests do.
const raceDetector = true
