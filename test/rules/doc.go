// Package rules holds what is published against the tools that read it. It plays the chart's alerts in the real Prometheus engine: that they parse, and that they fire on what they are
// for and on nothing else; and reads the operator's conditions by kstatus, as Helm and Flux do, and by Argo CD's health check of docs/reference. It is a module of its own, so that these tools stay out of
// the product's dependencies.
package rules
