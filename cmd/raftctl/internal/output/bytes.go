package output

import (
	"encoding/hex"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Bytes writes keys and values, as text or in hexadecimal.
type Bytes struct{ Hex bool }

// Cell is b in a table: as it is where it can't be misread, else quoted as Go quotes strings.
func (f Bytes) Cell(b []byte) string {
	if f.Hex {
		return hex.EncodeToString(b)
	}
	s := string(b)
	if !utf8.ValidString(s) || s == "" || s == "-" || strings.TrimSpace(s) != s || s[0] == '"' || strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return strconv.Quote(s)
	}
	return s
}

// JSON is b as two fields of which one is set: text (hexadecimal if asked for), or base64 where the bytes are no valid UTF-8.
func (f Bytes) JSON(b []byte) (text *string, base64 []byte) {
	switch {
	case f.Hex:
		s := hex.EncodeToString(b)
		return &s, nil
	case utf8.Valid(b):
		s := string(b)
		return &s, nil
	}
	return nil, b
}
