// Package watch delivers the writes of a state machine to whoever watches keys.
//
// A Hub observes one state machine. Its Applied only puts a batch into a bounded queue; a goroutine of the hub hands the
// events to those who watch, so that no number of watches and no slow one makes a writer wait. Watches of the same range share
// one group, which costs one look-up for each event and one slice for all its watches; groups of single keys are
// found by a map, those of ranges by an interval tree.
//
// A Stream is a set of watches with one consumer, who pulls with Next. Each watch is either in step, and then holds what was
// handed to it and not pulled yet, up to a bound; or behind, and then holds nothing more but the revision to go on from, and Next reads
// from the history until it is in step again. What all watches hold together has a bound too, past which those of the slowest consumers fall behind without it. So
// slow consumers cost bounded memory, and whatever happens, a watch goes on
// from the revision behind the last that it delivered: nothing is missed and nothing comes twice. When history that a watch needs is
// compacted away, it is cancelled and told so.
//
// All events of one revision come in one response, unless the watch allows fragments.
package watch
