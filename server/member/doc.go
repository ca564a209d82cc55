// Package member is the store as one replica keeps it: it is the backend of the front ends, refuses what is past the limits and
// the quota, and gives up old history. Log, elections, membership and the directory are package replica's.
package member
