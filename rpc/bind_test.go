package rpc_test

import (
	"context"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/raftkv/raftkv/rpc"
)

type versioned struct{ blob }

func (*versioned) WireVersion() uint16 { return 3 }

type person struct {
	Name string    `json:"name"`
	Age  int       `json:"age"`
	Born time.Time `json:"born"`
	Kids []person  `json:"kids"`
	Note []byte    `json:"note"`
	Pets []struct {
		Name string `json:"name"`
	} `json:"pets"`
}

type personService struct {
	Get func(context.Context, *person) (*person, error)
}

func TestBindRefusesWhatDoesNotFit(t *testing.T) {
	s, addr := serve(t, rpc.ServerOptions{}, newImpl())
	echo := func(_ context.Context, p *person) (*person, error) { return p, nil }
	if err := rpc.Register(s, "people", personService{echo}, rpc.Versions(2, 3)); err != nil {
		t.Fatal(err)
	}
	c := dial(t, addr, rpc.ClientOptions{})
	v := rpc.Versions(3, 4)
	for name, k := range map[string]struct {
		service string
		stub    any
		opt     rpc.Option
		code    rpc.Code
		text    string
	}{
		"no such service": {"nobody", &personService{}, v, rpc.CodeNotFound, `there is no service "nobody"`},
		"version":         {"people", &personService{}, rpc.Versions(4, 5), rpc.CodeRefused, "the caller speaks versions 4 to 5, this server 2 to 3"},
		"no such method": {"people", &struct {
			Put func(context.Context, *person) (*person, error)
		}{}, v, rpc.CodeNotFound, "has no method Put"},
		"kind of a field": {"people", &struct {
			Get func(context.Context, *struct {
				Age string `json:"age"`
			}) (*person, error)
		}{}, v, rpc.CodeRefused, `request: field "age" is of kind string at the caller and integer at the callee`},
		"kind of a nested field": {"people", &struct {
			Get func(context.Context, *person) (*struct {
				Pets []struct {
					Name bool `json:"name"`
				} `json:"pets"`
			}, error)
		}{}, v, rpc.CodeRefused, `response: field "pets[].name" is of kind bool`},
		"one-way": {"people", &struct {
			Get func(context.Context, *person) error
		}{}, v, rpc.CodeRefused, "one-way at the caller"},
		"binary against JSON": {"people", &struct {
			Get func(context.Context, *blob) (*person, error)
		}{}, v, rpc.CodeRefused, "the caller sends the binary type rpc_test.blob, the callee takes JSON"},
		"other binary type": {"test", &struct {
			Blob func(context.Context, *versioned) (*blob, error)
		}{}, rpc.Versions(1, 1), rpc.CodeRefused, "rpc_test.versioned"},
		"not a pointer": {"people", personService{}, v, rpc.CodeInvalid, "pointer to a struct of funcs"},
		"no func":       {"people", &struct{ X int }{}, v, rpc.CodeInvalid, "must be an exported func field"},
		"no such shape": {"people", &struct{ Get func(person) }{}, v, rpc.CodeInvalid, "does not fit: want func(context.Context, *Req)"},
		"a func in a type": {"people", &struct {
			Get func(context.Context, *func()) error
		}{}, v, rpc.CodeInvalid, "neither in a binary encoding"},
		"empty versions": {"people", &personService{}, rpc.Versions(2, 1), rpc.CodeInvalid, "version range 2 to 1 is empty"},
	} {
		err := rpc.Bind(c, k.service, k.stub, k.opt)
		if rpc.CodeOf(err) != k.code || !strings.Contains(err.Error(), k.text) {
			t.Errorf("%s: %v", name, err)
		}
	}
	var people personService
	if err := rpc.Bind(c, "people", &people, v); err != nil {
		t.Fatalf("after all that: %v", err)
	}
	born := time.Date(2001, 2, 3, 4, 5, 6, 7, time.UTC)
	got, err := people.Get(t.Context(), &person{Name: "x", Born: born, Kids: []person{{Age: 3}}, Note: []byte{0, 255}})
	if err != nil || got.Name != "x" || !got.Born.Equal(born) || got.Kids[0].Age != 3 || got.Note[1] != 255 {
		t.Fatalf("%+v, %v", got, err)
	}
}

func TestOtherWireVersionIsRefused(t *testing.T) {
	s := rpc.NewServer(rpc.ServerOptions{})
	defer func() { _ = s.Close() }()
	type service struct {
		Put func(context.Context, *versioned) error
	}
	err := rpc.Register(s, "s", struct {
		Put func(context.Context, *versioned) error
	}{func(context.Context, *versioned) error { return nil }}, rpc.Contract(service{}))
	if err != nil {
		t.Fatal(err)
	}
	ours, theirs := net.Pipe()
	go func() { _ = s.ServeConn(theirs) }()
	c, err := rpc.NewClient(t.Context(), ours, rpc.ClientOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	{
		type versioned struct{ otherVersion }
		var stub struct {
			Put func(context.Context, *versioned) error
		}
		err := rpc.Bind(c, "s", &stub)
		if rpc.CodeOf(err) != rpc.CodeRefused || !strings.Contains(err.Error(), "the caller has version 4 of the encoding of rpc_test.versioned, the callee version 3") {
			t.Fatal(err)
		}
	}
}

type otherVersion struct{ blob }

func (*otherVersion) WireVersion() uint16 { return 4 }

func TestTypesMayGrow(t *testing.T) {
	type oldReq struct{ A int }
	type newReq struct {
		A int
		B string
	}
	s := rpc.NewServer(rpc.ServerOptions{})
	defer func() { _ = s.Close() }()
	err := rpc.Register(s, "s", struct {
		Do func(context.Context, *oldReq) (*newReq, error)
	}{func(_ context.Context, r *oldReq) (*newReq, error) { return &newReq{A: r.A, B: "new"}, nil }})
	if err != nil {
		t.Fatal(err)
	}
	ours, theirs := net.Pipe()
	go func() { _ = s.ServeConn(theirs) }()
	c, err := rpc.NewClient(t.Context(), ours, rpc.ClientOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	var stub struct {
		Do    func(context.Context, *newReq) (*oldReq, error)
		Later func(context.Context, *newReq) (*oldReq, error) `rpc:"optional"`
	}
	if err := rpc.Bind(c, "s", &stub); err != nil {
		t.Fatal(err)
	}
	if got, err := stub.Do(t.Context(), &newReq{A: 4, B: "ignored"}); err != nil || got.A != 4 {
		t.Fatalf("%+v, %v", got, err)
	}
	if _, err := stub.Later(t.Context(), &newReq{}); rpc.CodeOf(err) != rpc.CodeNotFound || !rpc.NotSent(err) {
		t.Fatalf("an optional method that is missing: %v", err)
	}
}

func TestRegisterRefusesWhatCannotServe(t *testing.T) {
	s := rpc.NewServer(rpc.ServerOptions{})
	defer func() { _ = s.Close() }()
	for name, k := range map[string]struct {
		impl any
		opts []rpc.Option
		text string
	}{
		"nil":            {nil, nil, "the implementation is nil"},
		"nothing fits":   {time.Now(), nil, "has no exported method of the shape"},
		"nil func":       {personService{}, nil, "Get is nil"},
		"missing method": {newImpl(), []rpc.Option{rpc.Contract(personService{})}, "no method Get(context.Context, *rpc_test.person) (*rpc_test.person, error)"},
		"other type": {newImpl(), []rpc.Option{rpc.Contract(struct {
			Blob func(context.Context, *person) (*blob, error)
		}{})}, "method Blob does not fit"},
	} {
		if err := rpc.Register(s, "x", k.impl, k.opts...); rpc.CodeOf(err) != rpc.CodeInvalid || !strings.Contains(err.Error(), k.text) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := rpc.Register(s, "x", newImpl()); err != nil {
		t.Fatal(err)
	}
	if err := rpc.Register(s, "x", newImpl()); rpc.CodeOf(err) != rpc.CodeInvalid {
		t.Errorf("twice: %v", err)
	}
}

// A contract hides the other methods of the implementation.
func TestContractLimitsWhatIsOffered(t *testing.T) {
	_, addr := serve(t, rpc.ServerOptions{}, newImpl(), rpc.Contract(struct {
		Echo func(context.Context, *echoReq) (*echoResp, error)
	}{}))
	var svc testService
	if err := rpc.Bind(dial(t, addr, rpc.ClientOptions{}), "test", &svc); rpc.CodeOf(err) != rpc.CodeNotFound || !strings.Contains(err.Error(), "Blob, Block, Note") {
		t.Fatal(err)
	}
}
