package rpc

import (
	"context"
	"fmt"
	"reflect"
	"sync"
	"time"
)

// Caller is a connection that a stub can be bound to: a Client or a Peer.
type Caller interface {
	// connection gives a live client; failFast asks not to wait for a connection.
	connection(ctx context.Context, failFast bool) (*Client, error)
	// check compares a new stub with the server now, where there is a connection for good.
	check(ctx context.Context, b *binding) error
}

// DefaultBindTimeout bounds Bind.
const DefaultBindTimeout = 5 * time.Second

type bindRequest struct {
	Service    string                      `json:"service"`
	VersionMin uint16                      `json:"versionMin"`
	VersionMax uint16                      `json:"versionMax"`
	Methods    map[string]*methodSignature `json:"methods"`
}

type bindResponse struct {
	Methods map[string]uint64 `json:"methods"` // ids on this connection
}

// binding is what stubs of one type ask of a service; it does not belong to a connection.
type binding struct {
	request bindRequest
	names   []string
	shapes  []*methodShape
}

// boundMethod is one method of a binding on one connection.
type boundMethod struct {
	name     string
	id       uint64
	known    bool // false: optional, and the callee does not have it
	shape    *methodShape
	counters *methodCounters
}

// boundSet is a binding on one connection; ready is closed once methods or err is set.
type boundSet struct {
	methods []boundMethod
	err     error
	ready   chan struct{}
}

func (b *binding) resolve(resp *bindResponse, calls *Calls) []boundMethod {
	methods := make([]boundMethod, len(b.names))
	for i, name := range b.names {
		id, known := resp.Methods[name]
		full := b.request.Service + "." + name
		methods[i] = boundMethod{name: full, id: id, known: known, shape: b.shapes[i], counters: calls.method(full, b.shapes[i].oneWay)}
	}
	return methods
}

// Option tunes Register and Bind.
type Option func(*serviceOptions)

type serviceOptions struct {
	versionMin, versionMax uint16
	inline                 bool
	contract               any
	authorize              AuthorizeFunc
}

// Versions declares the protocol versions of the service that this side speaks; without it both are 1. The two sides must share one.
func Versions(lowest, highest uint16) Option {
	return func(o *serviceOptions) { o.versionMin, o.versionMax = lowest, highest }
}

func newServiceOptions(name string, opts []Option) (serviceOptions, error) {
	o := serviceOptions{versionMin: 1, versionMax: 1}
	for _, opt := range opts {
		opt(&o)
	}
	if name == "" {
		return o, Errorf(CodeInvalid, "a service needs a name")
	}
	if o.versionMin > o.versionMax {
		return o, Errorf(CodeInvalid, "service %q: version range %d to %d is empty", name, o.versionMin, o.versionMax)
	}
	return o, nil
}

// Bind fills every func field of *stub, a pointer to a struct of funcs, with a call of the same name on the service. On a Client it
// checks with the server now that service, methods, types and versions fit, unless a stub of that type was bound there before; on a Peer it does so on
// every new connection, before the first call, which then returns the error. A field tagged `rpc:"optional"` may be missing at the
// server: calling it then gives CodeNotFound.
func Bind(caller Caller, service string, stub any, opts ...Option) error {
	ctx, cancel := context.WithTimeout(context.Background(), DefaultBindTimeout)
	defer cancel()
	return BindContext(ctx, caller, service, stub, opts...)
}

// BindContext is Bind under a context of the caller's.
func BindContext(ctx context.Context, caller Caller, service string, stub any, opts ...Option) error {
	o, err := newServiceOptions(service, opts)
	if err != nil {
		return err
	}
	v := reflect.ValueOf(stub)
	if v.Kind() != reflect.Pointer || v.IsNil() || v.Elem().Kind() != reflect.Struct {
		return Errorf(CodeInvalid, "service %q: a stub must be a pointer to a struct of funcs, not %T", service, stub)
	}
	fields, err := stubFields(v.Elem().Type())
	if err != nil {
		return Errorf(CodeInvalid, "service %q: %v", service, err)
	}
	b := bindingOf(bindingKey{service, v.Elem().Type(), o.versionMin, o.versionMax}, fields)
	if err := caller.check(ctx, b); err != nil {
		return err
	}
	for i, f := range fields {
		field := v.Elem().Field(f.index)
		field.Set(makeStub(field.Type(), caller, b, i))
	}
	return nil
}

// bindingKey is what makes two bindings the same.
type bindingKey struct {
	service                string
	stub                   reflect.Type
	versionMin, versionMax uint16
}

// bindings are all that were ever made, shared by the stubs of one type: each connection remembers what was bound on it, and somebody who binds a stub
// anew for every call must not make it remember more and more, nor ask the server again.
var bindings sync.Map // bindingKey to *binding

func bindingOf(key bindingKey, fields []funcField) *binding {
	if known, ok := bindings.Load(key); ok {
		return known.(*binding)
	}
	b := &binding{request: bindRequest{Service: key.service, VersionMin: key.versionMin, VersionMax: key.versionMax, Methods: map[string]*methodSignature{}}}
	for _, f := range fields {
		b.names = append(b.names, f.name)
		b.shapes = append(b.shapes, f.shape)
		b.request.Methods[f.name] = f.shape.signature
	}
	shared, _ := bindings.LoadOrStore(key, b)
	return shared.(*binding)
}

type funcField struct {
	index int
	name  string
	shape *methodShape
}

// stubs are the fields of each type of stub that was ever bound: the types of a program are few and what they say of their messages is
// large, so thousands of stubs of one type share it. Nothing changes it once it is here.
var stubs sync.Map // reflect.Type to []funcField

func stubFields(t reflect.Type) ([]funcField, error) {
	if known, ok := stubs.Load(t); ok {
		return known.([]funcField), nil
	}
	fields, err := funcFields(t)
	if err != nil {
		return nil, err
	}
	shared, _ := stubs.LoadOrStore(t, fields)
	return shared.([]funcField), nil
}

// funcFields gives the methods that a struct of funcs declares.
func funcFields(t reflect.Type) ([]funcField, error) {
	var fields []funcField
	for i := range t.NumField() {
		f := t.Field(i)
		if !f.IsExported() || f.Type.Kind() != reflect.Func {
			return nil, fmt.Errorf("%v.%s must be an exported func field", t, f.Name)
		}
		shape, err := shapeOf(f.Type)
		if err != nil {
			return nil, fmt.Errorf("%v.%s: %w", t, f.Name, err)
		}
		switch tag := f.Tag.Get("rpc"); tag {
		case "":
		case "optional":
			shape.signature.Optional = true
		default:
			return nil, fmt.Errorf("%v.%s: unknown tag rpc:%q", t, f.Name, tag)
		}
		fields = append(fields, funcField{index: i, name: f.Name, shape: shape})
	}
	if len(fields) == 0 {
		return nil, fmt.Errorf("%v has no func fields", t)
	}
	return fields, nil
}

// makeStub builds the func of one field.
func makeStub(t reflect.Type, caller Caller, b *binding, i int) reflect.Value {
	shape := b.shapes[i]
	name := b.request.Service + "." + b.names[i]
	noError := reflect.Zero(errorType)
	failed := func(err error) reflect.Value { return reflect.ValueOf(&err).Elem() }
	prepare := func(args []reflect.Value) (context.Context, *Client, *boundMethod, error) {
		ctx, _ := args[0].Interface().(context.Context)
		if ctx == nil {
			return nil, nil, nil, notSentError(Errorf(CodeInvalid, "%s: nil context", name))
		}
		if args[1].IsNil() {
			return nil, nil, nil, notSentError(Errorf(CodeInvalid, "%s: nil request", name))
		}
		c, err := caller.connection(ctx, shape.oneWay)
		if err != nil {
			return nil, nil, nil, err
		}
		set, err := c.bind(ctx, b)
		if err != nil {
			return nil, nil, nil, err
		}
		m := &set.methods[i]
		if !m.known {
			return nil, nil, nil, notSentError(Errorf(CodeNotFound, "the server at %v has no method %s: it is older than this caller", c.RemoteAddr(), name))
		}
		return ctx, c, m, nil
	}
	if shape.oneWay {
		return reflect.MakeFunc(t, func(args []reflect.Value) []reflect.Value {
			ctx, c, m, err := prepare(args)
			if err == nil {
				err = c.post(ctx, m, args[1].Interface())
			}
			if err != nil {
				return []reflect.Value{failed(err)}
			}
			return []reflect.Value{noError}
		})
	}
	noResponse := reflect.Zero(t.Out(0))
	return reflect.MakeFunc(t, func(args []reflect.Value) []reflect.Value {
		ctx, c, m, err := prepare(args)
		if err != nil {
			return []reflect.Value{noResponse, failed(err)}
		}
		resp := reflect.New(shape.resp.elem)
		if err := c.invoke(ctx, m, args[1].Interface(), resp.Interface()); err != nil {
			return []reflect.Value{noResponse, failed(err)}
		}
		return []reflect.Value{resp, noError}
	})
}

// bind gives the binding on this connection, asking the server once; later callers wait for the first. A failure is not kept.
func (c *Client) bind(ctx context.Context, b *binding) (*boundSet, error) {
	for {
		c.mu.Lock()
		set, there := c.bound[b]
		if !there {
			set = &boundSet{ready: make(chan struct{})}
			c.bound[b] = set
		}
		c.mu.Unlock()
		if !there {
			c.bindFirst(ctx, b, set)
			return set, set.err
		}
		select {
		case <-set.ready:
		case <-ctx.Done():
			return nil, contextError(ctx, "while the service was being bound", true)
		}
		if code := CodeOf(set.err); code == CodeCanceled || code == CodeDeadline {
			continue // the first caller's context ended, ours has not
		}
		return set, set.err
	}
}

func (c *Client) bindFirst(ctx context.Context, b *binding, set *boundSet) {
	defer close(set.ready)
	methods, err := c.bindOn(ctx, b)
	if err != nil {
		set.err = err
		c.mu.Lock()
		delete(c.bound, b)
		c.mu.Unlock()
		return
	}
	set.methods = methods
}

func (c *Client) connection(context.Context, bool) (*Client, error) { return c, nil }

func (c *Client) check(ctx context.Context, b *binding) error {
	_, err := c.bind(ctx, b)
	return err
}
