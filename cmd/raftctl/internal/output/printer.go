package output

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// Format is how results are written.
type Format string

// The formats.
const (
	Table Format = "table"
	JSON  Format = "json"
)

// Formats are all of them, as help texts and completion name them.
func Formats() []string { return []string{string(Table), string(JSON)} }

// ParseFormat reads a format's name.
func ParseFormat(s string) (Format, error) {
	switch f := Format(s); f {
	case Table, JSON:
		return f, nil
	}
	return "", fmt.Errorf("--output %q: must be %s", s, strings.Join(Formats(), " or "))
}

// Printer writes results.
type Printer struct {
	Out    io.Writer
	Format Format
}

// Print writes value as indented JSON, or calls table to write it for people.
func (p Printer) Print(value any, table func(*Rows)) error {
	if p.Format == JSON {
		e := json.NewEncoder(p.Out)
		e.SetEscapeHTML(false)
		e.SetIndent("", "  ")
		return e.Encode(value)
	}
	return p.table(table)
}

// Line writes value as JSON on one line, for results that come one after another, or calls table.
func (p Printer) Line(value any, table func(*Rows)) error {
	if p.Format == JSON {
		e := json.NewEncoder(p.Out)
		e.SetEscapeHTML(false)
		return e.Encode(value)
	}
	return p.table(table)
}

func (p Printer) table(fill func(*Rows)) error {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fill(&Rows{w})
	if err := w.Flush(); err != nil {
		return err
	}
	// The writer pads the last cell of a row that is shorter than others.
	for line := range strings.Lines(b.String()) {
		if _, err := fmt.Fprintln(p.Out, strings.TrimRight(line, " \n")); err != nil {
			return err
		}
	}
	return nil
}

// Rows are the lines of a table; a cell is as wide as the widest of its column.
type Rows struct{ w *tabwriter.Writer }

// Row adds a line. Cells are written with their default text; an empty one is a dash, so that columns can be counted.
func (r *Rows) Row(cells ...any) {
	texts := make([]string, len(cells))
	for i, c := range cells {
		if texts[i] = fmt.Sprint(c); texts[i] == "" {
			texts[i] = "-"
		}
	}
	fmt.Fprintln(r.w, strings.Join(texts, "\t"))
}

// Text adds a line that is no row. It ends the columns of the rows before it.
func (r *Rows) Text(format string, args ...any) { fmt.Fprintf(r.w, format+"\n", args...) }
