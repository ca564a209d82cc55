package txn

import (
	"fmt"
	"strconv"

	"github.com/raftkv/raftkv/client"
)

// Document is a transaction as it was written.
type Document struct {
	If   []Condition `json:"if,omitempty"`
	Then []Operation `json:"then,omitempty"`
	Else []Operation `json:"else,omitempty"`
}

// Keys are one key, or a range.
type Keys struct {
	Key       string `json:"key,omitempty"`
	KeyBase64 []byte `json:"keyBase64,omitempty"`
	// Range is empty for one key, prefix, from, span (up to but not including End), or all.
	Range     string `json:"range,omitempty"`
	End       string `json:"end,omitempty"`
	EndBase64 []byte `json:"endBase64,omitempty"`
}

// Condition compares Target (value, version, create, mod, lease) of keys.
type Condition struct {
	Keys
	Target   string `json:"target"`
	Relation string `json:"relation"` // = != < >
	// Value is what a value is compared with, Number what anything else is; a lease is hexadecimal.
	Value       string `json:"value,omitempty"`
	ValueBase64 []byte `json:"valueBase64,omitempty"`
	Number      string `json:"number,omitempty"`
}

// Operation has one of its fields set.
type Operation struct {
	Put *Put      `json:"put,omitempty"`
	Get *Get      `json:"get,omitempty"`
	Del *Del      `json:"del,omitempty"`
	Txn *Document `json:"txn,omitempty"`
}

// Put writes a key.
type Put struct {
	Key         string `json:"key,omitempty"`
	KeyBase64   []byte `json:"keyBase64,omitempty"`
	Value       string `json:"value,omitempty"`
	ValueBase64 []byte `json:"valueBase64,omitempty"`
	Lease       string `json:"lease,omitempty"`
	IgnoreValue bool   `json:"ignoreValue,omitempty"`
	IgnoreLease bool   `json:"ignoreLease,omitempty"`
	Prev        bool   `json:"prev,omitempty"`
}

// Get reads keys.
type Get struct {
	Keys
	Limit     int    `json:"limit,omitempty"`
	Revision  uint64 `json:"revision,string,omitempty"`
	KeysOnly  bool   `json:"keysOnly,omitempty"`
	CountOnly bool   `json:"countOnly,omitempty"`
	Count     bool   `json:"count,omitempty"`
}

// Del deletes keys.
type Del struct {
	Keys
	Prev bool `json:"prev,omitempty"`
}

// Transaction is a Document as the client takes it.
type Transaction struct {
	If         []client.Cond
	Then, Else []client.Op
}

// Build makes conditions and operations. The error says which of them is wrong.
func (d *Document) Build() (Transaction, error) { return d.build(0) }

func (d *Document) build(depth int) (t Transaction, err error) {
	if depth > MaxDepth {
		return t, fmt.Errorf("transactions are nested deeper than %d", MaxDepth)
	}
	for i := range d.If {
		c, err := d.If[i].build()
		if err != nil {
			return t, fmt.Errorf("condition %d: %w", i+1, err)
		}
		t.If = append(t.If, c)
	}
	if t.Then, err = operations(d.Then, depth); err != nil {
		return t, fmt.Errorf("then: %w", err)
	}
	if t.Else, err = operations(d.Else, depth); err != nil {
		return t, fmt.Errorf("else: %w", err)
	}
	return t, nil
}

func operations(of []Operation, depth int) ([]client.Op, error) {
	var out []client.Op
	for i := range of {
		op, err := of[i].build(depth)
		if err != nil {
			return nil, fmt.Errorf("operation %d: %w", i+1, err)
		}
		out = append(out, op)
	}
	return out, nil
}

func either(text string, raw []byte) []byte {
	if raw != nil {
		return raw
	}
	return []byte(text)
}

func (k *Keys) build() (client.Keys, error) {
	key, end := string(either(k.Key, k.KeyBase64)), string(either(k.End, k.EndBase64))
	if end != "" && k.Range != "span" {
		return client.Keys{}, fmt.Errorf("an end is for the range span only")
	}
	switch k.Range {
	case "":
		if key == "" {
			return client.Keys{}, fmt.Errorf("the key is empty")
		}
		return client.Key(key), nil
	case "prefix":
		return client.Prefix(key), nil
	case "from":
		return client.From(key), nil
	case "span":
		if end == "" {
			return client.Keys{}, fmt.Errorf("a span needs an end; take the range from for one without")
		}
		return client.Span(key, end), nil
	case "all":
		if key != "" {
			return client.Keys{}, fmt.Errorf("the range all takes no key")
		}
		return client.All(), nil
	}
	return client.Keys{}, fmt.Errorf("range %q: must be prefix, from, span or all", k.Range)
}

func (c *Condition) build() (client.Cond, error) {
	keys, err := c.Keys.build()
	if err != nil {
		return client.Cond{}, err
	}
	if c.Target != "value" && (c.Value != "" || c.ValueBase64 != nil) {
		return client.Cond{}, fmt.Errorf("target %s is compared with a number", c.Target)
	}
	if c.Target == "value" && c.Number != "" {
		return client.Cond{}, fmt.Errorf("a value is compared with a value, not with a number")
	}
	var side client.Compared
	switch c.Target {
	case "value":
		side = client.Value(keys, either(c.Value, c.ValueBase64))
	case "lease":
		id, err := ParseLease(c.Number)
		if err != nil {
			return client.Cond{}, err
		}
		side = client.LeaseOf(keys, id)
	case "version", "create", "mod":
		n, err := strconv.ParseUint(c.Number, 10, 64)
		if err != nil {
			return client.Cond{}, fmt.Errorf("%q is not a number", c.Number)
		}
		side = map[string]func(client.Keys, uint64) client.Compared{
			"version": client.Version, "create": client.CreateRevision, "mod": client.ModRevision,
		}[c.Target](keys, n)
	default:
		return client.Cond{}, fmt.Errorf("target %q: must be value, version, create, mod or lease", c.Target)
	}
	switch c.Relation {
	case "=":
		return side.Is(), nil
	case "!=":
		return side.IsNot(), nil
	case "<":
		return side.Below(), nil
	case ">":
		return side.Above(), nil
	}
	return client.Cond{}, fmt.Errorf("relation %q: must be =, !=, < or >", c.Relation)
}

func (o *Operation) build(depth int) (client.Op, error) {
	set := 0
	for _, is := range []bool{o.Put != nil, o.Get != nil, o.Del != nil, o.Txn != nil} {
		if is {
			set++
		}
	}
	if set != 1 {
		return client.Op{}, fmt.Errorf("must be one of put, get, del and txn")
	}
	switch {
	case o.Put != nil:
		return o.Put.build()
	case o.Get != nil:
		return o.Get.build()
	case o.Del != nil:
		keys, err := o.Del.Keys.build()
		if err != nil {
			return client.Op{}, err
		}
		if o.Del.Prev {
			return client.OpDelete(keys, client.WithPrevKV()), nil
		}
		return client.OpDelete(keys), nil
	}
	inner, err := o.Txn.build(depth + 1)
	if err != nil {
		return client.Op{}, err
	}
	return client.OpTxn(inner.If, inner.Then, inner.Else), nil
}

func (p *Put) build() (client.Op, error) {
	key := string(either(p.Key, p.KeyBase64))
	if key == "" {
		return client.Op{}, fmt.Errorf("the key is empty")
	}
	var options []client.PutOption
	if p.Lease != "" {
		id, err := ParseLease(p.Lease)
		if err != nil {
			return client.Op{}, err
		}
		options = append(options, client.WithLease(id))
	}
	if p.IgnoreValue {
		options = append(options, client.WithIgnoreValue())
	}
	if p.IgnoreLease {
		options = append(options, client.WithIgnoreLease())
	}
	if p.Prev {
		options = append(options, client.WithPrevKV())
	}
	return client.OpPut(key, either(p.Value, p.ValueBase64), options...), nil
}

func (g *Get) build() (client.Op, error) {
	keys, err := g.Keys.build()
	if err != nil {
		return client.Op{}, err
	}
	options := []client.ReadOption{client.WithLimit(g.Limit), client.WithRevision(g.Revision)}
	if g.KeysOnly {
		options = append(options, client.WithKeysOnly())
	}
	if g.CountOnly {
		options = append(options, client.WithCountOnly())
	}
	if g.Count {
		options = append(options, client.WithCount())
	}
	return client.OpRange(keys, options...), nil
}

// ParseLease reads a lease ID: hexadecimal, as FormatLease writes it.
func ParseLease(s string) (client.LeaseID, error) {
	v, err := strconv.ParseUint(s, 16, 64)
	if err != nil {
		return 0, fmt.Errorf("lease %q: must be up to 16 hexadecimal digits", s)
	}
	return client.LeaseID(v), nil
}

// FormatLease writes a lease ID; zero, which is no lease, is empty.
func FormatLease(id client.LeaseID) string {
	if id == 0 {
		return ""
	}
	return strconv.FormatUint(uint64(id), 16)
}
