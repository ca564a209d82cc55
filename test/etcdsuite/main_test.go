package main

import (
	"regexp"
	"strings"
	"testing"
)

func TestWhatGoTestSaysIsCounted(t *testing.T) {
	var out strings.Builder
	r, err := read(strings.NewReader(`# compiler
{"Action":"run","Test":"TestA"}
{"Action":"output","Test":"TestA","Output":"quiet\n"}
{"Action":"pass","Test":"TestA/x"}
{"Action":"pass","Test":"TestA"}
{"Action":"output","Test":"TestB","Output":"loud\n"}
{"Action":"fail","Test":"TestB"}
{"Action":"skip","Test":"TestC"}
{"Action":"fail"}
`), &out, false)
	want := report{tests: count{passed: 1, failed: 1, skipped: 1}, subtests: count{passed: 1}}
	if err != nil || r != want {
		t.Errorf("%s, %v", r, err)
	}
	if out.String() != "# compiler\nFAIL TestB\nloud\n" {
		t.Errorf("printed %q", out.String())
	}
}

func TestWhatIsLeftOutIsAPatternWithAReason(t *testing.T) {
	for _, s := range suites {
		for _, x := range s.leftOut {
			for _, part := range strings.Split(x.pattern, "/") {
				if _, err := regexp.Compile(part); err != nil || strings.Contains(part, "|") {
					t.Errorf("%s: %q: %v", s.name, x.pattern, err)
				}
			}
			if x.reason == "" {
				t.Errorf("%s: %q is left out for no reason", s.name, x.pattern)
			}
		}
	}
}
