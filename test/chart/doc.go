// Package chart tests the operator's chart: what helm makes of it, that an upgrade on a real API server brings CRD and rights up to date and leaves
// RaftClusters alone, that its alerts and its dashboard ask for metrics that exist, and that each alert has its runbook page.
package chart
