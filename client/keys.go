package client

// Keys is a set of keys: one, or a range. Keys are byte strings of any content, in the order of their bytes.
type Keys struct{ start, end string }

// Key is a single key.
func Key(key string) Keys { return Keys{start: key} }

// Prefix is all keys that begin with prefix; the empty prefix is all keys.
func Prefix(prefix string) Keys {
	for i := len(prefix) - 1; i >= 0; i-- {
		if prefix[i] != 0xff {
			return Keys{prefix, prefix[:i] + string([]byte{prefix[i] + 1})}
		}
	}
	return From(prefix)
}

// Span is the keys from start up to but not including end. An empty end means the single key start.
func Span(start, end string) Keys { return Keys{start, end} }

// From is the keys from start on.
func From(start string) Keys { return Keys{start, "\x00"} }

// All is every key.
func All() Keys { return From("") }

// single tells whether it is one key.
func (k Keys) single() bool { return k.end == "" }
