// Package demo tests hack/demo.sh on a cluster of one's own: that `make demo-down` removes what `make demo` made and nothing else, and
// that an answer which did not come is never taken for "there is none". kubectl, helm and curl are stand-ins that answer from a table.
package demo
