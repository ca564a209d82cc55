package resources

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"testing"
)

var updateTemplate = flag.Bool("update-template", false, "write testdata/template.json anew")

// A version of the operator that makes another template of the same spec restarts every store pod of every cluster. It does so only where it must: whoever
// changes this file says why in the changelog.
func TestTheTemplateIsThatOfTheVersionBefore(t *testing.T) {
	have, err := json.MarshalIndent(StatefulSet(demo(), StatefulSetOptions{Image: "i", Replicas: 3}).Spec.Template, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	have = append(have, '\n')
	path := filepath.Join("testdata", "template.json")
	if *updateTemplate {
		if err := os.WriteFile(path, have, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(have, want) {
		t.Errorf("the pods' template is another one, so that this version of the operator restarts every store pod:\n%s\nwant\n%s", have, want)
	}
}
