package rpc

import (
	"bytes"
	"encoding"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
)

// WireVersioner lets a type with its own binary encoding declare the version of that encoding; without it the version is 0.
// The two sides of a service must declare the same.
type WireVersioner interface{ WireVersion() uint16 }

// SizeHinter lets a type with its own binary encoding tell about how many bytes that takes, so that a large one is not copied from one
// growing buffer to the next.
type SizeHinter interface{ SizeHint() int }

// codec moves one message type to and from bytes.
type codec struct {
	elem   reflect.Type // T of *T
	binary bool
}

var (
	appenderType    = reflect.TypeFor[encoding.BinaryAppender]()
	unmarshalerType = reflect.TypeFor[encoding.BinaryUnmarshaler]()
)

// newCodec takes the type of a parameter or result, which must be a pointer to a named type or struct.
func newCodec(t reflect.Type) (codec, error) {
	if t.Kind() != reflect.Pointer {
		return codec{}, fmt.Errorf("%v must be a pointer", t)
	}
	c := codec{elem: t.Elem(), binary: t.Implements(appenderType) && t.Implements(unmarshalerType)}
	if c.binary {
		return c, nil
	}
	switch c.elem.Kind() {
	case reflect.Struct, reflect.Map, reflect.Slice, reflect.Bool, reflect.String,
		reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Float32, reflect.Float64:
		return c, nil
	}
	return codec{}, fmt.Errorf("%v can be sent neither in a binary encoding of its own nor as JSON", t)
}

func (c codec) new() any { return reflect.New(c.elem).Interface() }

// append encodes v, a non-nil *T, after b.
func (c codec) append(b []byte, v any) ([]byte, error) {
	if c.binary {
		if h, ok := v.(SizeHinter); ok {
			b = slices.Grow(b, h.SizeHint())
		}
		return v.(encoding.BinaryAppender).AppendBinary(b)
	}
	w := bytes.NewBuffer(b)
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return b, err
	}
	return w.Bytes(), nil
}

func (c codec) decode(b []byte, v any) error {
	if c.binary {
		return v.(encoding.BinaryUnmarshaler).UnmarshalBinary(b)
	}
	return json.Unmarshal(b, v)
}
