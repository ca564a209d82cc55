//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// tryTimeout bounds one request. It is longer than an election, so that a request which waits for one gets its answer,
// and short enough that a request into a network that was cut does not hide the pause.
const tryTimeout = 2 * time.Second

// newHTTPClient sends requests from inside the member's network.
func newHTTPClient(member string) *http.Client {
	return &http.Client{
		Timeout:   tryTimeout,
		Transport: &http.Transport{DialContext: machine.dialer(member), MaxIdleConnsPerHost: 16},
	}
}

func hostPort(ip string, port int) string { return net.JoinHostPort(ip, strconv.Itoa(port)) }

// get reads a body and checks the answer's status.
func get(ctx context.Context, c *http.Client, url string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	response, err := c.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s: %s", url, response.Status, bytes.TrimSpace(body))
	}
	return body, err
}

// status is the part of a node's /v1/status that these tests look at.
type status struct {
	Name     string `json:"name"`
	MemberID string `json:"memberID"`
	Role     string `json:"role"`
	Term     uint64 `json:"term,string"`
	Applied  string `json:"applied"`
	Ready    bool   `json:"ready"`
	// ClusterVersion is the feature level that was committed.
	ClusterVersion uint32 `json:"clusterVersion"`
}

func nodeStatus(ctx context.Context, pod corev1.Pod) (status, error) {
	var s status
	if pod.Status.PodIP == "" {
		return s, fmt.Errorf("pod %s has no address", pod.Name)
	}
	client := newHTTPClient(control)
	defer client.CloseIdleConnections()
	body, err := get(ctx, client, "http://"+hostPort(pod.Status.PodIP, 8080)+"/v1/status")
	if err != nil {
		return s, err
	}
	return s, json.Unmarshal(body, &s)
}

// keysOn lists all keys below the prefix with their values, as the pod itself holds them.
func keysOn(ctx context.Context, pod corev1.Pod, prefix string) (map[string]string, error) {
	client := newHTTPClient(control)
	defer client.CloseIdleConnections()
	found := make(map[string]string)
	next := ""
	for {
		query := url.Values{"prefix": {"true"}, "serializable": {"true"}, "limit": {"1000"}}
		if next != "" {
			query.Set("continue", next)
		}
		body, err := get(ctx, client, "http://"+hostPort(pod.Status.PodIP, 2379)+"/v1/kv/"+prefix+"?"+query.Encode())
		if err != nil {
			return nil, err
		}
		var page struct {
			Items []struct {
				Key   []byte `json:"key"`
				Value []byte `json:"value"`
			} `json:"items"`
			More     bool   `json:"more"`
			Continue string `json:"continue"`
		}
		if err := json.Unmarshal(body, &page); err != nil {
			return nil, err
		}
		for _, item := range page.Items {
			found[string(item.Key)] = string(item.Value)
		}
		if !page.More {
			return found, nil
		}
		next = page.Continue
	}
}
