//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	netrpc "net/rpc"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/raftkv/raftkv/rpc"
)

// system is one way to make calls.
type system struct {
	name  string
	serve func() (address string, err error)
	dial  func(ctx context.Context, address string, connections, callers int) (callFunc, func(), error)
}

var systems = []system{
	{"raftkv rpc", serveOurs(), dialOurs},
	{"raftkv rpc, inline", serveOurs(rpc.Inline()), dialOurs},
	{"gRPC", serveGRPC, dialGRPC},
	{"net/rpc", serveNetRPC, dialNetRPC},
	{"JSON over HTTP/1.1", serveHTTP, dialHTTP},
}

var errWrongAnswer = errors.New("the answer is not what was sent")

func check(got, want []byte) error {
	if !bytes.Equal(got, want) {
		return errWrongAnswer
	}
	return nil
}

func listen() (net.Listener, error) { return net.Listen("tcp", "127.0.0.1:0") }

// message is a payload in a binary encoding of its own, as services that are called often have it.
type message struct{ data []byte }

func (m *message) AppendBinary(b []byte) ([]byte, error) { return append(b, m.data...), nil }

func (m *message) UnmarshalBinary(b []byte) error {
	m.data = append([]byte(nil), b...)
	return nil
}

type echoService struct {
	Echo func(context.Context, *message) (*message, error)
}

func serveOurs(opts ...rpc.Option) func() (string, error) {
	return func() (string, error) {
		l, err := listen()
		if err != nil {
			return "", err
		}
		s := rpc.NewServer(rpc.ServerOptions{})
		err = rpc.Register(s, "echo", echoService{func(_ context.Context, m *message) (*message, error) { return m, nil }}, opts...)
		go func() { _ = s.Serve(l) }() // ends with the process
		return l.Addr().String(), err
	}
}

func dialOurs(ctx context.Context, address string, connections, _ int) (callFunc, func(), error) {
	stubs := make([]echoService, connections)
	var clients []*rpc.Client
	closeAll := func() {
		for _, c := range clients {
			_ = c.Close()
		}
	}
	for i := range stubs {
		c, err := rpc.Dial(ctx, address, rpc.ClientOptions{})
		if err == nil {
			clients = append(clients, c)
			err = rpc.Bind(c, "echo", &stubs[i])
		}
		if err != nil {
			closeAll()
			return nil, nil, err
		}
	}
	return func(ctx context.Context, caller int, payload []byte) error {
		answer, err := stubs[caller%connections].Echo(ctx, &message{payload})
		if err != nil {
			return err
		}
		return check(answer.data, payload)
	}, closeAll, nil
}

// echoGRPC is what protoc would generate for a service of one method on google.protobuf.BytesValue.
var echoGRPC = grpc.ServiceDesc{
	ServiceName: "bench.Echo", HandlerType: (*any)(nil),
	Methods: []grpc.MethodDesc{{MethodName: "Echo", Handler: func(_ any, _ context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
		in := new(wrapperspb.BytesValue)
		if err := decode(in); err != nil {
			return nil, err
		}
		return &wrapperspb.BytesValue{Value: in.GetValue()}, nil
	}}},
}

func serveGRPC() (string, error) {
	l, err := listen()
	if err != nil {
		return "", err
	}
	s := grpc.NewServer()
	s.RegisterService(&echoGRPC, struct{}{})
	go func() { _ = s.Serve(l) }() // ends with the process
	return l.Addr().String(), nil
}

func dialGRPC(_ context.Context, address string, connections, _ int) (callFunc, func(), error) {
	var clients []*grpc.ClientConn
	closeAll := func() {
		for _, c := range clients {
			_ = c.Close()
		}
	}
	for range connections {
		c, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			closeAll()
			return nil, nil, err
		}
		clients = append(clients, c)
	}
	return func(ctx context.Context, caller int, payload []byte) error {
		out := new(wrapperspb.BytesValue)
		if err := clients[caller%connections].Invoke(ctx, "/bench.Echo/Echo", &wrapperspb.BytesValue{Value: payload}, out); err != nil {
			return err
		}
		return check(out.GetValue(), payload)
	}, closeAll, nil
}

// Echo is net/rpc's service.
type Echo struct{}

// Echo is its method.
func (Echo) Echo(in []byte, out *[]byte) error {
	*out = in
	return nil
}

func serveNetRPC() (string, error) {
	l, err := listen()
	if err != nil {
		return "", err
	}
	s := netrpc.NewServer()
	err = s.Register(Echo{})
	go s.Accept(l)
	return l.Addr().String(), err
}

func dialNetRPC(_ context.Context, address string, connections, _ int) (callFunc, func(), error) {
	var clients []*netrpc.Client
	closeAll := func() {
		for _, c := range clients {
			_ = c.Close()
		}
	}
	for range connections {
		c, err := netrpc.Dial("tcp", address)
		if err != nil {
			closeAll()
			return nil, nil, err
		}
		clients = append(clients, c)
	}
	return func(_ context.Context, caller int, payload []byte) error {
		var out []byte
		if err := clients[caller%connections].Call("Echo.Echo", payload, &out); err != nil {
			return err
		}
		return check(out, payload)
	}, closeAll, nil
}

type jsonMessage struct {
	Data []byte `json:"data"`
}

func serveHTTP() (string, error) {
	l, err := listen()
	if err != nil {
		return "", err
	}
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var m jsonMessage
		if err := json.NewDecoder(r.Body).Decode(&m); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(m) // the caller sees that
	})}
	go func() { _ = s.Serve(l) }() // ends with the process
	return l.Addr().String(), nil
}

func dialHTTP(_ context.Context, address string, _, callers int) (callFunc, func(), error) {
	t := &http.Transport{MaxIdleConns: callers, MaxIdleConnsPerHost: callers, MaxConnsPerHost: callers}
	client := &http.Client{Transport: t}
	url := "http://" + address + "/echo"
	return func(ctx context.Context, _ int, payload []byte) error {
		body, err := json.Marshal(jsonMessage{payload})
		if err != nil {
			return err
		}
		request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
		if err != nil {
			return err
		}
		response, err := client.Do(request)
		if err != nil {
			return err
		}
		defer response.Body.Close()
		if response.StatusCode != http.StatusOK {
			return fmt.Errorf("status %s", response.Status)
		}
		text, err := io.ReadAll(response.Body)
		if err != nil {
			return err
		}
		var m jsonMessage
		if err := json.Unmarshal(text, &m); err != nil {
			return err
		}
		return check(m.Data, payload)
	}, t.CloseIdleConnections, nil
}
