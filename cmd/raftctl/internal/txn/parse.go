package txn

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// Read reads a transaction in either form: JSON if it begins with a brace.
func Read(r io.Reader) (*Document, error) {
	text, err := io.ReadAll(io.LimitReader(r, MaxBytes+1))
	if err != nil {
		return nil, fmt.Errorf("read the transaction: %w", err)
	}
	if len(text) > MaxBytes {
		return nil, fmt.Errorf("the transaction has more than %d MiB", MaxBytes>>20)
	}
	if strings.HasPrefix(strings.TrimSpace(string(text)), "{") {
		return parseJSON(text)
	}
	return Parse(string(text))
}

func parseJSON(text []byte) (*Document, error) {
	d := new(Document)
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(d); err != nil {
		return nil, fmt.Errorf("the transaction is not what is expected in JSON: %w", err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("there is something behind the transaction")
	}
	return d, nil
}

// word is a word of a line; a quoted one is never taken for one of the language's.
type word struct {
	text   string
	quoted bool
}

// line is one line that says something.
type line struct {
	number int
	words  []word
}

// take removes the next word if it is one of the language's words given.
func (l *line) take(any ...string) (string, bool) {
	if len(l.words) == 0 || l.words[0].quoted || !slices.Contains(any, l.words[0].text) {
		return "", false
	}
	w := l.words[0].text
	l.words = l.words[1:]
	return w, true
}

// next removes the next word, whatever it is.
func (l *line) next(what string) (string, error) {
	if len(l.words) == 0 {
		return "", fmt.Errorf("line %d: %s is missing", l.number, what)
	}
	w := l.words[0].text
	l.words = l.words[1:]
	return w, nil
}

func (l *line) unexpected() error {
	return fmt.Errorf("line %d: %q is not expected here", l.number, l.words[0].text)
}

func (l *line) end() error {
	if len(l.words) > 0 {
		return l.unexpected()
	}
	return nil
}

// Parse reads the syntax of lines.
func Parse(text string) (*Document, error) {
	p := parser{}
	number := 0
	for raw := range strings.Lines(text) {
		number++
		words, err := split(raw)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", number, err)
		}
		if len(words) > 0 {
			p.lines = append(p.lines, line{number, words})
		}
	}
	if len(p.lines) == 0 {
		return nil, errors.New("the transaction is empty")
	}
	return p.document(0)
}

// split makes words of a line.
func split(raw string) ([]word, error) {
	var out []word
	rest := strings.TrimSpace(raw)
	if strings.HasPrefix(rest, "#") {
		return nil, nil
	}
	for rest != "" {
		if rest[0] == '"' {
			quoted, err := strconv.QuotedPrefix(rest)
			if err != nil {
				return nil, fmt.Errorf("a quote has no end, or an escape is wrong: %s", rest)
			}
			text, err := strconv.Unquote(quoted)
			if err != nil {
				return nil, fmt.Errorf("%s cannot be read: %w", quoted, err)
			}
			out = append(out, word{text, true})
			rest = rest[len(quoted):]
			if rest != "" && !unicode.IsSpace(rune(rest[0])) {
				return nil, fmt.Errorf("there is no space behind %s", quoted)
			}
		} else {
			end := strings.IndexFunc(rest, func(r rune) bool { return unicode.IsSpace(r) || r == '"' })
			if end < 0 {
				end = len(rest)
			}
			if end < len(rest) && rest[end] == '"' {
				return nil, fmt.Errorf("a quote within the word %q: quote the whole word", rest[:end+1])
			}
			out = append(out, word{rest[:end], false})
			rest = rest[end:]
		}
		rest = strings.TrimLeftFunc(rest, unicode.IsSpace)
	}
	return out, nil
}

type parser struct{ lines []line }

// document reads up to the end, or, within another, up to its end line.
func (p *parser) document(depth int) (*Document, error) {
	if depth > MaxDepth {
		return nil, fmt.Errorf("line %d: transactions are nested deeper than %d", p.lines[0].number, MaxDepth)
	}
	d := new(Document)
	section := ""
	sections := []string{"if", "then", "else"}
	for len(p.lines) > 0 {
		l := p.lines[0]
		p.lines = p.lines[1:]
		if s, ok := l.take("if", "then", "else"); ok {
			if slices.Index(sections, s) <= slices.Index(sections, section) {
				return nil, fmt.Errorf("line %d: %q comes once, and in the order if, then, else", l.number, s)
			}
			section = s
			if err := l.end(); err != nil {
				return nil, err
			}
			continue
		}
		if depth > 0 {
			if _, ok := l.take("end"); ok {
				return d, l.end()
			}
		}
		if err := p.statement(d, section, l, depth); err != nil {
			return nil, err
		}
	}
	if depth > 0 {
		return nil, errors.New("a txn within the transaction has no end")
	}
	return d, nil
}

func (p *parser) statement(d *Document, section string, l line, depth int) error {
	switch section {
	case "if":
		c, err := condition(&l)
		if err != nil {
			return err
		}
		d.If = append(d.If, c)
		return l.end()
	case "then", "else":
		o, err := p.operation(&l, depth)
		if err != nil {
			return err
		}
		if section == "then" {
			d.Then = append(d.Then, o)
		} else {
			d.Else = append(d.Else, o)
		}
		return l.end()
	}
	return fmt.Errorf("line %d: a transaction begins with a line that says if, then or else", l.number)
}

func keys(l *line) (k Keys, err error) {
	k.Range, _ = l.take("prefix", "from", "span", "all")
	if k.Range == "all" {
		return k, nil
	}
	key, err := l.next("a key")
	if err != nil {
		return k, err
	}
	k.KeyBase64 = []byte(key)
	if k.Range == "span" {
		end, err := l.next("the end of the span")
		if err != nil {
			return k, err
		}
		k.EndBase64 = []byte(end)
	}
	return k, nil
}

func condition(l *line) (c Condition, err error) {
	target, ok := l.take("value", "version", "create", "mod", "lease", "missing", "exists")
	if !ok {
		return c, fmt.Errorf("line %d: a condition begins with value, version, create, mod, lease, missing or exists", l.number)
	}
	if c.Keys, err = keys(l); err != nil {
		return c, err
	}
	switch target {
	case "missing":
		c.Target, c.Relation, c.Number = "create", "=", "0"
		return c, nil
	case "exists":
		if c.Range != "" {
			return c, fmt.Errorf("line %d: exists takes one key", l.number)
		}
		c.Target, c.Relation, c.Number = "create", ">", "0"
		return c, nil
	}
	c.Target = target
	if c.Relation, ok = l.take("=", "!=", "<", ">"); !ok {
		return c, fmt.Errorf("line %d: behind the key comes =, !=, < or >", l.number)
	}
	operand, err := l.next("what it is compared with")
	if err != nil {
		return c, err
	}
	if target == "value" {
		c.ValueBase64 = []byte(operand)
	} else {
		c.Number = operand
	}
	return c, nil
}

func (p *parser) operation(l *line, depth int) (Operation, error) {
	kind, ok := l.take("put", "get", "del", "txn")
	if !ok {
		return Operation{}, fmt.Errorf("line %d: an operation begins with put, get, del or txn", l.number)
	}
	switch kind {
	case "put":
		o, err := put(l)
		return Operation{Put: o}, err
	case "get":
		o, err := get(l)
		return Operation{Get: o}, err
	case "del":
		o := new(Del)
		var err error
		if o.Keys, err = keys(l); err != nil {
			return Operation{}, err
		}
		_, o.Prev = l.take("prev")
		return Operation{Del: o}, nil
	}
	if err := l.end(); err != nil {
		return Operation{}, err
	}
	if len(p.lines) == 0 {
		return Operation{}, fmt.Errorf("line %d: the txn has no end", l.number)
	}
	inner, err := p.document(depth + 1)
	return Operation{Txn: inner}, err
}

func put(l *line) (*Put, error) {
	key, err := l.next("a key")
	if err != nil {
		return nil, err
	}
	o := &Put{KeyBase64: []byte(key)}
	if _, o.IgnoreValue = l.take("ignore-value"); !o.IgnoreValue {
		value, err := l.next("a value")
		if err != nil {
			return nil, err
		}
		o.ValueBase64 = []byte(value)
	}
	for len(l.words) > 0 {
		option, ok := l.take("lease", "ignore-lease", "prev")
		if !ok {
			return nil, l.unexpected()
		}
		switch option {
		case "lease":
			if o.Lease, err = l.next("the lease"); err != nil {
				return nil, err
			}
		case "ignore-lease":
			o.IgnoreLease = true
		case "prev":
			o.Prev = true
		}
	}
	return o, nil
}

func get(l *line) (*Get, error) {
	o := new(Get)
	var err error
	if o.Keys, err = keys(l); err != nil {
		return nil, err
	}
	for len(l.words) > 0 {
		option, ok := l.take("limit", "revision", "keys-only", "count-only", "count")
		if !ok {
			return nil, l.unexpected()
		}
		var text string
		switch option {
		case "limit", "revision":
			if text, err = l.next("the number of " + option); err != nil {
				return nil, err
			}
			n, err := strconv.ParseUint(text, 10, 31)
			if option == "revision" {
				n, err = strconv.ParseUint(text, 10, 64)
			}
			if err != nil {
				return nil, fmt.Errorf("line %d: %s %q is not a number", l.number, option, text)
			}
			if option == "limit" {
				o.Limit = int(n)
			} else {
				o.Revision = n
			}
		case "keys-only":
			o.KeysOnly = true
		case "count-only":
			o.CountOnly = true
		case "count":
			o.Count = true
		}
	}
	return o, nil
}
