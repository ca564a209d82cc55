// Package picture draws a RaftCluster in text: its members with roles, lag, volumes and machines, what the operator says and waits for, and what
// happened last. Both forms, the table and the value for JSON, come from one pure step over a cluster.Observation.
package picture
