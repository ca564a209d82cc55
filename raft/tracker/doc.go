// Package tracker holds what a leader knows of one follower: how far its log matches, what was sent and
// not answered, and how sending goes on: probing, replicating, or behind a snapshot. It is pure.
package tracker
