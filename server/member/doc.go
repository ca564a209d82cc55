// Package member is the store as one replica keeps it: it opens the state machine with the service that front ends use (server/backend/local,
// which looks after leases, watches, history and the quota) and carries commands to the log. Log, elections, membership and the
// directory are package replica's.
package member
