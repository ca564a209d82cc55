package config

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/pflag"
)

// FlagError says of an error of parsing the command line what to write instead.
func FlagError(err error) error {
	var invalid *pflag.InvalidValueError
	if !errors.As(err, &invalid) {
		return err
	}
	return badValue("--"+invalid.GetFlag().Name, invalid.GetValue(), invalid.GetFlag())
}

// badValue is the error about a value that is not of its setting's type. source is where it was given.
func badValue(source, value string, f *pflag.Flag) error {
	want := "a whole number"
	switch kind := f.Value.Type(); {
	case strings.HasPrefix(kind, "uint"):
		want = "a whole number that is not negative"
	case !strings.HasPrefix(kind, "int"):
		want = "a " + kind
	}
	if unit, _ := pflag.UnquoteUsage(f); unit != "" {
		want += ", in " + unit
	}
	return fmt.Errorf("%s: %q is no value of --%s: write %s", source, value, f.Name, want)
}

// typoEdits is how many letters a variable may differ from a setting's to be taken for a slip of the pen.
const typoEdits = 2

// ofService matches what Kubernetes puts into the environment of a pod for each Service: one whose name begins with
// "raftkv" looks like ours.
var ofService = regexp.MustCompile(`_(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)$`)

// strangers judges the variables with our prefix that name no setting: one that is nearly a setting is an error, since
// what its author wanted would not happen; the others may be meant for something else, and get a warning.
func strangers(byVariable map[string]string, environ []string) (warnings []string, err error) {
	known := make([]string, 0, len(byVariable))
	for name := range byVariable {
		known = append(known, name)
	}
	slices.Sort(known)
	var errs []error
	for _, pair := range slices.Sorted(slices.Values(environ)) {
		name, _, _ := strings.Cut(pair, "=")
		if _, ours := byVariable[name]; ours || !strings.HasPrefix(name, environmentPrefix) || ofService.MatchString(name) {
			continue
		}
		near, edits := nearest(name, known)
		if edits <= typoEdits {
			errs = append(errs, fmt.Errorf("the environment variable %s is no setting: did you mean %s?", name, near))
		} else {
			warnings = append(warnings, fmt.Sprintf("the environment variable %s is no setting and is ignored; the nearest is %s", name, near))
		}
	}
	return warnings, errors.Join(errs...)
}

// nearest returns the name that takes the fewest edits, and how many.
func nearest(name string, known []string) (best string, edits int) {
	for _, k := range known {
		if n := distance(name, k); best == "" || n < edits {
			best, edits = k, n
		}
	}
	return best, edits
}

// distance is the number of letters to be put in, taken out or changed (Levenshtein's).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
