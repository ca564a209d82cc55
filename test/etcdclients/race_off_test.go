//go:build !race

package etcdclients

const raceDetector = false
