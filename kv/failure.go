package kv

import (
	"errors"
	"fmt"

	"github.com/raftkv/raftkv/kv/store"
)

// A machine fails when what is on its disk or in its overlay is unknown, or known to be damaged. From then on it refuses everything, reads too:
// they would show a state of which nobody can say any more that it is the cluster's. Whoever runs the machine is told at once (Failed).

// Failed is closed when the machine has failed.
func (m *Machine) Failed() <-chan struct{} { return m.failed }

// Failure is why the machine has failed, nil if it has not.
func (m *Machine) Failure() error {
	select {
	case <-m.failed:
		return m.failure
	default:
		return nil
	}
}

// unusable returns the error that every further call gets. The caller holds mu.
func (m *Machine) unusable() error {
	if m.closed {
		return ErrClosed
	}
	return m.failure
}

// fail keeps the first error: what is on disk or in the overlay is unknown from then on, so nothing more may be written.
func (m *Machine) fail(err error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.failLocked(err)
}

func (m *Machine) failLocked(err error) error {
	if m.failure == nil {
		m.failure = fmt.Errorf("the state machine has failed: %w", err)
		close(m.failed)
		m.log.Error("the state machine has failed", "error", err)
	}
	m.overlayMoved.Broadcast()
	return m.failure
}

// noteDamage fails the machine if a read of a state of that origin has come across damage, and returns the read's error. What a snapshot has replaced
// meanwhile may be as damaged as it likes; then stale says so. The caller does not hold mu.
func (m *Machine) noteDamage(origin store.Store, err error) (stale bool, _ error) {
	var corrupt *CorruptError
	if !errors.As(err, &corrupt) {
		return false, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.current.origin != origin {
		return true, err
	}
	_ = m.failLocked(err) // the reader is told of what it has found
	return false, err
}
