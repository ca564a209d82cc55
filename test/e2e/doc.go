// Package e2e shows on a real Kubernetes of three nodes what the project promises: a store that is applied, read and
// written, and that keeps every acknowledged write while its leader is killed, its nodes are cut off, its disks are thrown
// away, its members grow and shrink, and its operator is gone. hack/e2e.sh makes the Kubernetes, installs the operator from
// its chart, and runs the tests; without the build tag e2e there are none. `make test-operations` plays the long scenarios of
// TestOperations as well, on five nodes, and writes their figures down (docs/TESTREPORT.md).
//
// Clients write and read through the store's Service from inside a node's network, all through each scenario. What is asserted is
// what was acknowledged and what was refused: each acknowledged write must be on every member afterwards, nothing that
// was answered with 503 ("surely not applied") may ever appear, and what clients did to keys that they share must be
// linearizable. How long writes paused is measured and logged.
package e2e
