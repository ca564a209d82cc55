package output

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"strconv"
	"testing"
)

func TestCellsCannotBeMisread(t *testing.T) {
	for in, want := range map[string]string{
		"greeting": "greeting", "with space": "with space", "grüße": "grüße", "": `""`, "-": `"-"`, " lead": `" lead"`, `"q"`: `"\"q\""`,
		"tab\there": `"tab\there"`, "line\n": `"line\n"`, "\xff\x00": `"\xff\x00"`, "zero\u200bwidth": `"zero\u200bwidth"`,
	} {
		got := Bytes{}.Cell([]byte(in))
		if got != want {
			t.Errorf("%q is shown as %s, want %s", in, got, want)
		}
		if got[0] == '"' {
			if back, err := strconv.Unquote(got); err != nil || back != in {
				t.Errorf("%s gives back %q, %v", got, back, err)
			}
		}
	}
	if got := (Bytes{Hex: true}).Cell([]byte("\x00a")); got != "0061" {
		t.Errorf("in hexadecimal: %s", got)
	}
}

func FuzzBytesSurviveJSON(f *testing.F) {
	f.Add([]byte("plain"), false)
	f.Add([]byte{0xff, 0}, false)
	f.Add([]byte{}, true)
	f.Fuzz(func(t *testing.T, b []byte, asHex bool) {
		var doc struct {
			Text   *string `json:"text,omitempty"`
			Base64 string  `json:"base64,omitempty"`
		}
		text, raw := Bytes{Hex: asHex}.JSON(b)
		encoded, err := json.Marshal(map[string]any{"text": text, "base64": raw})
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(encoded, &doc); err != nil {
			t.Fatal(err)
		}
		var back []byte
		switch {
		case doc.Text == nil:
			back, err = base64.StdEncoding.DecodeString(doc.Base64)
		case asHex:
			back, err = hex.DecodeString(*doc.Text)
		default:
			back = []byte(*doc.Text)
		}
		if err != nil || !bytes.Equal(back, b) {
			t.Errorf("%q became %q, %v", b, back, err)
		}
	})
}

func TestTableAndJSONOfOneValue(t *testing.T) {
	value := map[string]string{"name": "<a>"}
	fill := func(r *Rows) {
		r.Row("NAME", "LEASE")
		r.Row("<a>", "")
		r.Text("%d in all", 1)
	}
	for format, want := range map[Format]string{
		Table: "NAME  LEASE\n<a>   -\n1 in all\n",
		JSON:  "{\n  \"name\": \"<a>\"\n}\n",
	} {
		var b bytes.Buffer
		if err := (Printer{&b, format}).Print(value, fill); err != nil || b.String() != want {
			t.Errorf("%s: %q, %v", format, b.String(), err)
		}
	}
	var b bytes.Buffer
	if err := (Printer{&b, JSON}).Line(value, fill); err != nil || b.String() != "{\"name\":\"<a>\"}\n" {
		t.Errorf("a line: %q, %v", b.String(), err)
	}
	if _, err := ParseFormat("yaml"); err == nil {
		t.Error("yaml was accepted")
	}
}
