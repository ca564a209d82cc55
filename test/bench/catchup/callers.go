//go:build linux

package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"time"
)

const (
	callerKeys       = 10_000
	callerValueBytes = 256
	putTimeout       = 30 * time.Second
)

// putter puts values over one connection.
type putter struct {
	client http.Client
	url    string
}

func newPutter(address string) *putter {
	return &putter{client: http.Client{Timeout: putTimeout, Transport: &http.Transport{}}, url: "http://" + address + "/v1/kv/"}
}

func (p *putter) put(ctx context.Context, key string, value []byte) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPut, p.url+key, bytes.NewReader(value))
	if err != nil {
		return err
	}
	response, err := p.client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("put %s: %s: %s", key, response.Status, text)
	}
	return err
}

// randomValue does not compress.
func randomValue() []byte {
	value := make([]byte, 16<<10)
	for i := range value {
		value[i] = byte(rand.Uint32())
	}
	return value
}

// callers put small values one after the other, each of them.
type callers struct {
	cancel context.CancelFunc
	wait   sync.WaitGroup

	mu        sync.Mutex
	since     time.Time
	latencies []time.Duration
	failures  int
}

func startCallers(ctx context.Context, address string, n int) *callers {
	ctx, cancel := context.WithCancel(ctx)
	c := &callers{cancel: cancel, since: time.Now()}
	for range n {
		c.wait.Go(func() {
			p, value := newPutter(address), randomValue()[:callerValueBytes]
			for ctx.Err() == nil {
				began := time.Now()
				err := p.put(ctx, fmt.Sprintf("small/%06d", rand.IntN(callerKeys)), value)
				took := time.Since(began)
				c.mu.Lock()
				if err == nil {
					c.latencies = append(c.latencies, took)
				} else if ctx.Err() == nil {
					c.failures++
				}
				c.mu.Unlock()
			}
		})
	}
	return c
}

func (c *callers) stop() {
	c.cancel()
	c.wait.Wait()
}

// seen is what the callers saw in some time.
type seen struct {
	perSecond float64
	p50, p99  time.Duration
	failures  int
}

// take tells what happened since it was called last.
func (c *callers) take() seen {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := seen{perSecond: float64(len(c.latencies)) / time.Since(c.since).Seconds(), failures: c.failures}
	if n := len(c.latencies); n > 0 {
		slices.Sort(c.latencies)
		s.p50, s.p99 = c.latencies[n/2], c.latencies[n*99/100]
	}
	c.since, c.latencies, c.failures = time.Now(), nil, 0
	return s
}

func (s seen) String() string {
	text := fmt.Sprintf("%.0f/s, %.2f ms, %.2f ms", s.perSecond, s.p50.Seconds()*1000, s.p99.Seconds()*1000)
	if s.failures > 0 {
		text += fmt.Sprintf(", %d failed", s.failures)
	}
	return text
}
