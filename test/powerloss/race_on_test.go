//go:build linux && race

package powerloss

// slowness is how much slower everything is with the race detector, so that the power is cut at fewer operations.
const slowness = 10
