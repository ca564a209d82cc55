//go:build linux && !race

package powerloss

const slowness = 1
