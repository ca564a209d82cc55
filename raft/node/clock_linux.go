package node

import (
	"time"

	"golang.org/x/sys/unix"
)

// Elapsed is the time since the machine has started, sleep included.
func (machineClock) Elapsed() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &t); err != nil {
		panic("node: the system has no clock that counts sleep: " + err.Error())
	}
	return time.Duration(t.Nano())
}
