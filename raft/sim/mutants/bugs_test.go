package main

import (
	"go/parser"
	"go/token"
	"testing"
)

// TestBugsFit shows early that a change of the sources has left a bug behind.
func TestBugsFit(t *testing.T) {
	root, err := moduleRoot()
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, b := range bugs {
		if names[b.name] {
			t.Errorf("two bugs are called %q", b.name)
		}
		names[b.name] = true
		text, err := b.mutate(root)
		if err != nil {
			t.Errorf("%s: %v", b.name, err)
			continue
		}
		if _, err := parser.ParseFile(token.NewFileSet(), b.file, text, 0); err != nil {
			t.Errorf("%s: %v", b.name, err)
		}
	}
	const enough = 25
	if len(bugs) < enough {
		t.Errorf("%d bugs, at least %d are wanted", len(bugs), enough)
	}
}
