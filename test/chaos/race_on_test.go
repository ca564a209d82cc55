//go:build linux && race

package chaos

// Nodes are compiled as the test is.
const raceDetector = true
