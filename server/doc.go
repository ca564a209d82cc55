// Package server is one raftkv node: it reads whom its data directory speaks for, opens what its flags ask for, and runs as a
// member of a cluster, or waits to become one.
//
// A node lives through one or more lives. In each its directory has one incarnation; it begins empty or as a member, and ends with
// the process or with the member's removal from the cluster. Then the directory is set aside and the next life begins, empty.
// The listeners for clients and metrics stay open all the time.
//
// It promises to stop at once, with an error that says what to do and without having changed anything, when the directory is
// damaged, foreign or newer than the build, and not to acknowledge anything that could be lost by that.
package server
