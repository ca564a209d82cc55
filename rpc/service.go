package rpc

import (
	"context"
	"fmt"
	"net"
	"reflect"
	"slices"
	"strings"
)

// AuthorizeFunc decides whether a connection may use a service. It runs on the connection's reading goroutine when the service is
// bound, and must not block. A plain error is sent as CodeUnauthenticated.
type AuthorizeFunc func(ctx context.Context, service string, md Metadata, remote net.Addr) error

// Inline runs the service's handlers on the connection's reading goroutine, one after another in the order of arrival, with no
// goroutine switch and no context of their own: deadlines and cancellation do not reach them. They must not block.
func Inline() Option { return func(o *serviceOptions) { o.inline = true } }

// Contract checks at Register that the implementation has every method of the given service struct, with the same types, and
// offers only those. Without it all exported methods that fit are offered.
func Contract(service any) Option { return func(o *serviceOptions) { o.contract = service } }

// Authorize decides who may use this service, in place of ServerOptions.Authorize.
func Authorize(f AuthorizeFunc) Option { return func(o *serviceOptions) { o.authorize = f } }

// service is a registered service.
type service struct {
	name    string
	options serviceOptions
	methods map[string]*method
}

// method is a registered method.
type method struct {
	id       uint64
	name     string // service.method
	service  *service
	shape    *methodShape
	counters *methodCounters
	fn       reflect.Value
	// receiver is the first argument of fn when it is a method, else invalid. (A bound method value would cost an allocation more
	// at each call.)
	receiver reflect.Value
}

// call runs the handler; resp is nil for a one-way method.
func (m *method) call(ctx context.Context, req any) (resp any, err error) {
	args := [3]reflect.Value{m.receiver, reflect.ValueOf(&ctx).Elem(), reflect.ValueOf(req)} // an interface's Value needs no conversion
	in := args[:]
	if !m.receiver.IsValid() {
		in = args[1:]
	}
	out := m.fn.Call(in)
	if e := out[len(out)-1]; !e.IsNil() {
		return nil, e.Interface().(error)
	}
	if m.shape.oneWay {
		return nil, nil
	}
	if out[0].IsNil() {
		return nil, Errorf(CodeInternal, "%s returned neither an answer nor an error", m.name)
	}
	return out[0].Interface(), nil
}

// Register offers impl's methods on the server under a service name. impl is a value with methods of the shape
// func(context.Context, *Req) (*Resp, error), or func(context.Context, *Req) error for one-way messages, or a struct of funcs of
// those shapes. It may be called while the server serves.
func Register(s *Server, name string, impl any, opts ...Option) error {
	o, err := newServiceOptions(name, opts)
	if err != nil {
		return err
	}
	svc := &service{name: name, options: o, methods: map[string]*method{}}
	if err := svc.collect(impl); err != nil {
		return Errorf(CodeInvalid, "register service %q: %v", name, err)
	}
	if o.contract != nil {
		if err := svc.restrict(o.contract); err != nil {
			return Errorf(CodeInvalid, "register service %q: %v", name, err)
		}
	}
	return s.add(svc)
}

func (svc *service) collect(impl any) error {
	v := reflect.ValueOf(impl)
	if !v.IsValid() {
		return fmt.Errorf("the implementation is nil")
	}
	if s := reflect.Indirect(v); s.Kind() == reflect.Struct && v.NumMethod() == 0 {
		return svc.collectFuncs(s)
	}
	for i := range v.NumMethod() {
		if shape, err := shapeOf(v.Method(i).Type()); err == nil {
			svc.addMethod(v.Type().Method(i).Name, shape, v.Type().Method(i).Func, v)
		}
	}
	if len(svc.methods) == 0 {
		return fmt.Errorf("%T has no exported method of the shape func(context.Context, *Req) (*Resp, error)", impl)
	}
	return nil
}

func (svc *service) collectFuncs(s reflect.Value) error {
	fields, err := funcFields(s.Type())
	if err != nil {
		return err
	}
	for _, f := range fields {
		fn := s.Field(f.index)
		if fn.IsNil() {
			if f.shape.signature.Optional {
				continue
			}
			return fmt.Errorf("%v.%s is nil: fill it, or tag it `rpc:\"optional\"`", s.Type(), f.name)
		}
		svc.addMethod(f.name, f.shape, fn, reflect.Value{})
	}
	return nil
}

func (svc *service) addMethod(name string, shape *methodShape, fn, receiver reflect.Value) {
	svc.methods[name] = &method{name: svc.name + "." + name, service: svc, shape: shape, fn: fn, receiver: receiver}
}

// restrict checks the methods against a service struct and drops those that it does not have.
func (svc *service) restrict(contract any) error {
	t := reflect.TypeOf(contract)
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct {
		return fmt.Errorf("a contract must be a struct of funcs, not %T", contract)
	}
	fields, err := funcFields(t)
	if err != nil {
		return err
	}
	kept := map[string]*method{}
	for _, f := range fields {
		m := svc.methods[f.name]
		if m == nil {
			if f.shape.signature.Optional {
				continue
			}
			return fmt.Errorf("the implementation has no method %s%s as %v wants it", f.name, strings.TrimPrefix(t.Field(f.index).Type.String(), "func"), t)
		}
		if why := f.shape.signature.mismatch(m.shape.signature); why != "" {
			return fmt.Errorf("method %s does not fit %v: %s", f.name, t, why)
		}
		kept[f.name] = m
	}
	svc.methods = kept
	return nil
}

// accept compares a stub with the service and gives the ids of its methods.
func (svc *service) accept(req *bindRequest) (*bindResponse, *Error) {
	if req.VersionMin > svc.options.versionMax || req.VersionMax < svc.options.versionMin {
		return nil, Refusal(ReasonVersion, "service %q: the caller speaks versions %d to %d, this server %d to %d: upgrade the older side",
			svc.name, req.VersionMin, req.VersionMax, svc.options.versionMin, svc.options.versionMax)
	}
	resp := &bindResponse{Methods: make(map[string]uint64, len(req.Methods))}
	var missing, differing []string
	for name, sig := range req.Methods {
		m := svc.methods[name]
		switch {
		case sig == nil:
			return nil, Errorf(CodeInvalid, "service %q: method %s has no signature", svc.name, name)
		case m == nil:
			if !sig.Optional {
				missing = append(missing, name)
			}
		default:
			if why := sig.mismatch(m.shape.signature); why != "" {
				differing = append(differing, name+": "+why)
			}
			resp.Methods[name] = m.id
		}
	}
	if len(missing) > 0 {
		slices.Sort(missing)
		return nil, Errorf(CodeNotFound, "service %q has no method %s here", svc.name, strings.Join(missing, ", "))
	}
	if len(differing) > 0 {
		slices.Sort(differing)
		return nil, Refusal(ReasonTypes, "service %q does not fit the caller's stub: %s", svc.name, strings.Join(differing, "; "))
	}
	return resp, nil
}
