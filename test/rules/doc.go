// Package rules plays the chart's alerts in the real Prometheus engine: that they parse, and that they fire on what they are
// for and on nothing else. It is a module of its own, so that Prometheus stays out of the product's dependencies.
package rules
