package mutants

import (
	"errors"
	"fmt"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Bug is a mistake: replacements in one file of the module, each of text that occurs there exactly once.
type Bug struct {
	Name  string
	File  string
	Edits []Edit
}

// Edit replaces Find.
type Edit struct{ Find, Replace string }

// mutate returns the file with the bug in it.
func (b Bug) mutate(root string) (string, error) {
	src, err := os.ReadFile(filepath.Join(root, b.File))
	if err != nil {
		return "", err
	}
	text := string(src)
	for _, e := range b.Edits {
		if n := strings.Count(text, e.Find); n != 1 {
			return "", fmt.Errorf("%q occurs %d times in %s, not once: bring the bug up to date", e.Find, n, b.File)
		}
		text = strings.Replace(text, e.Find, e.Replace, 1)
	}
	return text, nil
}

// Fit tells which bugs are called the same, no longer fit their files, or make no Go of them.
func Fit(bugs []Bug) error {
	root, err := moduleRoot()
	if err != nil {
		return err
	}
	var all []error
	names := map[string]bool{}
	for _, b := range bugs {
		if names[b.Name] {
			all = append(all, fmt.Errorf("two bugs are called %q", b.Name))
		}
		names[b.Name] = true
		text, err := b.mutate(root)
		if err == nil {
			_, err = parser.ParseFile(token.NewFileSet(), b.File, text, 0)
		}
		if err != nil {
			all = append(all, fmt.Errorf("%s: %w", b.Name, err))
		}
	}
	return errors.Join(all...)
}

func moduleRoot() (string, error) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		return "", fmt.Errorf("find the module: %w", err)
	}
	return strings.TrimSpace(string(out)), nil
}
