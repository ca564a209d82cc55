package main

import (
	"testing"

	"github.com/raftkv/raftkv/test/mutants"
)

// TestBugsFit shows early that a change of the sources has left a bug behind.
func TestBugsFit(t *testing.T) {
	if err := mutants.Fit(list()); err != nil {
		t.Error(err)
	}
	const enough = 25
	if len(bugs) < enough {
		t.Errorf("%d bugs, at least %d are wanted", len(bugs), enough)
	}
}
