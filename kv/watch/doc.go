// Package watch delivers the writes of a state machine to whoever watches keys.
package watch
