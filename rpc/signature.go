package rpc

import (
	"context"
	"encoding"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
)

// typeSignature describes a message type to the other side. A type with a binary encoding is named, since nothing inside it can
// be compared; a JSON type is a table of field paths and their kinds.
type typeSignature struct {
	Binary  string            `json:"binary,omitempty"`
	Version uint16            `json:"version,omitempty"`
	Fields  map[string]string `json:"fields,omitempty"`
}

type methodSignature struct {
	OneWay   bool           `json:"oneWay,omitempty"`
	Optional bool           `json:"optional,omitempty"`
	Req      *typeSignature `json:"req"`
	Resp     *typeSignature `json:"resp,omitempty"`
}

// The kinds of a JSON field. Numbers of one class fit each other at any width, an overflow is an error when decoding.
const (
	kindAny    = "any"
	kindObject = "object"
	kindList   = "list"
	kindBool   = "bool"
	kindInt    = "integer"
	kindFloat  = "float"
	kindString = "string"
	kindBytes  = "bytes"
)

// maxSignatureFields bounds the table of one type; fields past it are not compared.
const maxSignatureFields = 512

func signatureOf(c codec) *typeSignature {
	if c.binary {
		s := &typeSignature{Binary: c.elem.String()}
		if v, ok := reflect.New(c.elem).Interface().(WireVersioner); ok {
			s.Version = v.WireVersion()
		}
		return s
	}
	w := fieldWalker{fields: map[string]string{}, onPath: map[reflect.Type]bool{}}
	w.walk("", c.elem, false)
	return &typeSignature{Fields: w.fields}
}

type fieldWalker struct {
	fields map[string]string
	onPath map[reflect.Type]bool // types being walked: a recursive type is not entered again
}

var (
	jsonMarshalerType = reflect.TypeFor[json.Marshaler]()
	textMarshalerType = reflect.TypeFor[encoding.TextMarshaler]()
)

func (w *fieldWalker) walk(path string, t reflect.Type, quoted bool) {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	kind := jsonKind(t)
	if quoted && (kind == kindInt || kind == kindFloat || kind == kindBool) {
		kind = kindString
	}
	if len(w.fields) >= maxSignatureFields {
		return
	}
	w.fields[path] = kind
	if w.onPath[t] {
		return
	}
	w.onPath[t] = true
	defer delete(w.onPath, t)
	switch {
	case kind == kindList:
		w.walk(path+"[]", t.Elem(), false)
	case kind == kindObject && t.Kind() == reflect.Map:
		w.walk(path+"{}", t.Elem(), false)
	case kind == kindObject:
		w.walkStruct(path, t)
	}
}

func (w *fieldWalker) walkStruct(path string, t reflect.Type) {
	for i := range t.NumField() {
		f := t.Field(i)
		name, opts, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "-" && opts == "" {
			continue
		}
		if f.Anonymous && name == "" {
			inner := f.Type
			if inner.Kind() == reflect.Pointer {
				inner = inner.Elem()
			}
			if inner.Kind() == reflect.Struct && jsonKind(inner) == kindObject {
				if !w.onPath[inner] {
					w.onPath[inner] = true
					w.walkStruct(path, inner) // its fields are promoted
					delete(w.onPath, inner)
				}
				continue
			}
		}
		if !f.IsExported() {
			continue
		}
		if name == "" {
			name = f.Name
		}
		w.walk(path+"."+name, f.Type, slices.Contains(strings.Split(opts, ","), "string"))
	}
}

func jsonKind(t reflect.Type) string {
	p := reflect.PointerTo(t)
	switch {
	case t.Implements(jsonMarshalerType) || p.Implements(jsonMarshalerType):
		return kindAny // only its own code knows
	case t.Implements(textMarshalerType) || p.Implements(textMarshalerType):
		return kindString
	}
	switch t.Kind() {
	case reflect.Bool:
		return kindBool
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return kindInt
	case reflect.Float32, reflect.Float64:
		return kindFloat
	case reflect.String:
		return kindString
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			return kindBytes
		}
		return kindList
	case reflect.Array:
		return kindList
	case reflect.Struct, reflect.Map:
		return kindObject
	}
	return kindAny
}

// mismatch says how the caller's type differs from the callee's in a way that would lose or misread data; "" if it does not.
func (caller *typeSignature) mismatch(callee *typeSignature) string {
	if caller == nil || callee == nil {
		if caller == callee {
			return ""
		}
		return "one side has a type where the other has none"
	}
	if caller.Binary != callee.Binary {
		return fmt.Sprintf("the caller sends %s, the callee takes %s", caller.encoding(), callee.encoding())
	}
	if caller.Version != callee.Version {
		return fmt.Sprintf("the caller has version %d of the encoding of %s, the callee version %d", caller.Version, caller.Binary, callee.Version)
	}
	for _, path := range slices.Sorted(maps.Keys(caller.Fields)) {
		mine, theirs := caller.Fields[path], callee.Fields[path]
		if theirs != "" && mine != theirs && mine != kindAny && theirs != kindAny {
			return fmt.Sprintf("field %q is of kind %s at the caller and %s at the callee", strings.TrimPrefix(path, "."), mine, theirs)
		}
	}
	return ""
}

func (s *typeSignature) encoding() string {
	if s.Binary != "" {
		return "the binary type " + s.Binary
	}
	return "JSON"
}

// mismatch compares a method of the stub with the registered one.
func (caller *methodSignature) mismatch(callee *methodSignature) string {
	if caller.OneWay != callee.OneWay {
		if caller.OneWay {
			return "it is one-way at the caller and has an answer at the callee"
		}
		return "it has an answer at the caller and is one-way at the callee"
	}
	if m := caller.Req.mismatch(callee.Req); m != "" {
		return "request: " + m
	}
	if m := caller.Resp.mismatch(callee.Resp); m != "" {
		return "response: " + m
	}
	return ""
}

var (
	contextType = reflect.TypeFor[context.Context]()
	errorType   = reflect.TypeFor[error]()
)

// methodShape is a func type that fits: func(context.Context, *Req) (*Resp, error), or without *Resp for one-way.
type methodShape struct {
	oneWay    bool
	req, resp codec
	signature *methodSignature
}

func shapeOf(t reflect.Type) (*methodShape, error) {
	const want = "want func(context.Context, *Req) (*Resp, error), or func(context.Context, *Req) error for one-way"
	if t.Kind() != reflect.Func || t.IsVariadic() || t.NumIn() != 2 || t.In(0) != contextType ||
		t.NumOut() < 1 || t.NumOut() > 2 || t.Out(t.NumOut()-1) != errorType {
		return nil, fmt.Errorf("%v does not fit: %s", t, want)
	}
	s := &methodShape{oneWay: t.NumOut() == 1}
	var err error
	if s.req, err = newCodec(t.In(1)); err != nil {
		return nil, fmt.Errorf("request type: %w; %s", err, want)
	}
	s.signature = &methodSignature{OneWay: s.oneWay, Req: signatureOf(s.req)}
	if !s.oneWay {
		if s.resp, err = newCodec(t.Out(0)); err != nil {
			return nil, fmt.Errorf("response type: %w; %s", err, want)
		}
		s.signature.Resp = signatureOf(s.resp)
	}
	return s, nil
}
