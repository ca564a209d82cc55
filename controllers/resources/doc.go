// Package resources builds the children of a RaftCluster: one file per object, each a pure function of the
// cluster's spec and of what the operator knows of it. The objects hold exactly the fields that the operator
// owns, for server-side apply; nothing here talks to the API server.
package resources
