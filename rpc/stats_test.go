package rpc

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"
)

type countedService struct {
	Do   func(context.Context, *int) (*int, error)
	Tell func(context.Context, *int) error
}

func statsOf(s CallStats, method string) MethodStats {
	for _, m := range s.Methods {
		if m.Method == method {
			return m
		}
	}
	return MethodStats{}
}

func sum(l Latency) (n uint64) {
	for _, b := range l.Buckets {
		n += b
	}
	return n
}

func TestBothSidesCountCallsAndBytes(t *testing.T) {
	s := NewServer(ServerOptions{})
	release := make(chan struct{})
	told := make(chan struct{}, 3)
	err := Register(s, "counted", countedService{
		Do: func(_ context.Context, n *int) (*int, error) {
			switch *n {
			case 0:
				return nil, errors.New("no")
			case 1:
				<-release
			}
			return n, nil
		},
		Tell: func(context.Context, *int) error {
			told <- struct{}{}
			return nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	calls := new(Calls)
	ours, theirs := net.Pipe()
	go func() { _ = s.ServeConn(theirs) }()
	t.Cleanup(func() { _ = s.Close() })
	c, err := NewClient(t.Context(), ours, ClientOptions{Calls: calls})
	if err != nil {
		t.Fatal(err)
	}
	var svc countedService
	if err := Bind(c, "counted", &svc); err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{0, 2, 3} {
		_, _ = svc.Do(t.Context(), &n)
	}
	for n := range 3 {
		if err := svc.Tell(t.Context(), &n); err != nil {
			t.Fatal(err)
		}
		<-told
	}
	waiting := make(chan error, 1)
	go func() {
		one := 1
		_, err := svc.Do(t.Context(), &one)
		waiting <- err
	}()
	for deadline := time.Now().Add(time.Minute); statsOf(s.Stats(), "counted.Do").Running != 1; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the call does not run")
		}
	}
	if m := statsOf(calls.Stats(), "counted.Do"); m.Running != 1 {
		t.Fatalf("caller: %+v", m)
	}
	close(release)
	if err := <-waiting; err != nil {
		t.Fatal(err)
	}
	for side, stats := range map[string]CallStats{"caller": calls.Stats(), "callee": s.Stats()} {
		m := statsOf(stats, "counted.Do")
		if m.Successes != 3 || m.Failures != 1 || m.Running != 0 || sum(m.Latency) != 4 || m.Latency.Sum <= 0 || m.OneWay {
			t.Errorf("%s: %+v", side, m)
		}
		if stats.Connections != 1 || stats.BytesRead == 0 || stats.BytesWritten == 0 {
			t.Errorf("%s: %+v", side, stats)
		}
	}
	if m := statsOf(calls.Stats(), "counted.Tell"); m.Successes != 3 || !m.OneWay || sum(m.Latency) != 0 {
		t.Errorf("one-way at the caller: %+v", m)
	}
	_ = c.Close()
	if n := calls.Stats().Connections; n != 0 {
		t.Errorf("%d connections", n)
	}
}

func TestLatencyBuckets(t *testing.T) {
	for took, bucket := range map[time.Duration]int{-1: 0, 0: 0, 16 * time.Microsecond: 0, 17 * time.Microsecond: 1, time.Millisecond: 6, time.Hour: LatencyBuckets - 1} {
		if got := bucketOf(took); got != bucket {
			t.Errorf("%v is in bucket %d, want %d", took, got, bucket)
		}
		if bound := LatencyBound(bucket); bound != 0 && took >= bound || bound == 0 && bucket != LatencyBuckets-1 || bucket > 0 && took < LatencyBound(bucket-1) {
			t.Errorf("%v in the bucket below %v", took, bound)
		}
	}
}
