// Command check writes one key to a store, reads it back, and removes it again. `helm test` runs it inside the cluster,
// since an image without a shell has no curl. It retries what the store calls retryable until its timeout, and promises
// to end with 0 only when a linearizable read returned exactly what was written.
package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"
)

const (
	// requestTimeout bounds one try.
	requestTimeout = 5 * time.Second
	// retryInterval is the pause between two tries.
	retryInterval = 500 * time.Millisecond
	// maxBodyBytes is more than this program ever writes.
	maxBodyBytes = 4 << 10
)

func main() {
	url := flag.String("url", "http://127.0.0.1:2379", "`URL` of the store's client port")
	timeout := flag.Duration("timeout", time.Minute, "how long to try")
	flag.Parse()
	ctx, cancel := context.WithTimeout(context.Background(), *timeout)
	defer cancel()
	if err := check(ctx, strings.TrimSuffix(*url, "/"), os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "check:", err)
		os.Exit(1)
	}
}

// check writes, reads and deletes a key that nobody else has.
func check(ctx context.Context, url string, out io.Writer) error {
	key := url + "/v1/kv/raftkv-check-" + rand.Text()
	value := []byte("written by the check: " + rand.Text())

	if _, err := retry(ctx, http.MethodPut, key, value); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	fmt.Fprintf(out, "wrote %d bytes to %s\n", len(value), key)
	got, err := retry(ctx, http.MethodGet, key, nil)
	if err != nil {
		return fmt.Errorf("read: %w", err)
	}
	if !bytes.Equal(got, value) {
		return fmt.Errorf("wrote %q and read %q", value, got)
	}
	fmt.Fprintf(out, "read the same %d bytes\n", len(got))
	if _, err := retry(ctx, http.MethodDelete, key, nil); err != nil {
		return fmt.Errorf("delete: %w", err)
	}
	fmt.Fprintln(out, "removed the key")
	return nil
}

// retry repeats the request until the store answers it with success, refuses it, or the context ends. All three
// requests may be repeated: nobody else writes the key.
func retry(ctx context.Context, method, url string, body []byte) ([]byte, error) {
	for {
		answer, err := request(ctx, method, url, body)
		var refused refusedError
		if err == nil || errors.As(err, &refused) {
			return answer, err
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("no success in time; the last try: %w", err)
		case <-time.After(retryInterval):
		}
	}
}

// refusedError is an answer that another try would not change.
type refusedError struct{ status, body string }

func (e refusedError) Error() string { return "refused with " + e.status + ": " + e.body }

func request(ctx context.Context, method, url string, body []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(response.Body, maxBodyBytes))
	switch {
	case err != nil:
		return nil, err
	case response.StatusCode >= 500:
		return nil, fmt.Errorf("%s: %s", response.Status, bytes.TrimSpace(answer))
	case method == http.MethodDelete && response.StatusCode == http.StatusNotFound:
		return nil, nil // an earlier try removed it, and its answer was lost
	case response.StatusCode >= 300:
		return nil, refusedError{response.Status, string(bytes.TrimSpace(answer))}
	}
	return answer, nil
}
