// Package cluster brings local clusters up, changes them and takes them down. Every command begins by finding out what is
// really there, so each may be repeated, run from another shell, or follow one that was killed at any point.
//
// A cluster is: its folder, its members' init processes with all that runs below them, and its cgroups. Nothing else of
// it exists on the machine, and Down checks that none of the three is left.
package cluster
