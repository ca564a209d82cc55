// Package chart tests the operator's chart: what helm makes of it, that its alerts and its dashboard ask for metrics that
// exist, and that each alert has its runbook page.
package chart
