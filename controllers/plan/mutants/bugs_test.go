package main

import (
	"testing"

	"github.com/raftkv/raftkv/test/mutants"
)

// TestBugsFit shows early that a change of the sources has left a bug behind.
func TestBugsFit(t *testing.T) {
	if err := mutants.Fit(bugs); err != nil {
		t.Error(err)
	}
}
