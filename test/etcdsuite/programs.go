//go:build e2e

package main

// The tests that are run, so that go.mod has what they need.
import (
	_ "go.etcd.io/etcd/tests/v3/common"
	_ "go.etcd.io/etcd/tests/v3/e2e"
)
