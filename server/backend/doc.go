// Package backend is the seam between a node's front ends and the replicated store behind them: what a front end may ask, and
// how it learns what became of a request. A fake stands in for it in the front ends' tests.
package backend
