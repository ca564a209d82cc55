//go:build !linux

package node

import "time"

var processStart = time.Now()

// Elapsed is the time since the process has started. It may stand still while the machine sleeps: do not let a machine that sleeps
// be a member with lease reads.
func (machineClock) Elapsed() time.Duration { return time.Since(processStart) }
