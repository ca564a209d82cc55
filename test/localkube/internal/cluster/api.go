package cluster

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/raftkv/raftkv/test/localkube/internal/plan"
)

const (
	apiTimeout = 5 * time.Second
	// maxAnswerBytes bounds what is read of an answer; node objects are some kilobytes each.
	maxAnswerBytes = 16 << 20
)

// api is the little of the Kubernetes API that bringing a cluster up takes; kubectl does the rest.
type api struct {
	client *http.Client
	server string
}

func newAPI(p plan.Plan, port int) (*api, error) {
	pair, err := tls.LoadX509KeyPair(filepath.Join(p.PKI(), "admin.crt"), filepath.Join(p.PKI(), "admin.key"))
	if err != nil {
		return nil, err
	}
	ca, err := os.ReadFile(filepath.Join(p.PKI(), "ca.crt"))
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(ca) {
		return nil, errors.New("ca.crt holds no certificate")
	}
	return &api{
		server: apiURL(port),
		client: &http.Client{Timeout: apiTimeout, Transport: &http.Transport{
			TLSClientConfig: &tls.Config{Certificates: []tls.Certificate{pair}, RootCAs: roots, MinVersion: tls.VersionTLS12},
		}},
	}, nil
}

func apiURL(port int) string { return fmt.Sprintf("https://127.0.0.1:%d", port) }

// do sends a request and decodes the answer into out, which may be nil. A body is sent as a merge patch.
func (a *api) do(ctx context.Context, method, path, body string, out any) error {
	request, err := http.NewRequestWithContext(ctx, method, a.server+path, bytes.NewBufferString(body))
	if err != nil {
		return err
	}
	if body != "" {
		request.Header.Set("Content-Type", "application/merge-patch+json")
	}
	response, err := a.client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, maxAnswerBytes))
	if err != nil {
		return err
	}
	if response.StatusCode >= http.StatusBadRequest {
		return fmt.Errorf("%s %s: %s: %.300s", method, path, response.Status, text)
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(text, out)
}

// nodeObject is what is read of a Node.
type nodeObject struct {
	Metadata struct {
		Name string `json:"name"`
	} `json:"metadata"`
	Spec struct {
		PodCIDR string `json:"podCIDR"`
	} `json:"spec"`
	Status struct {
		Conditions []struct {
			Type    string `json:"type"`
			Status  string `json:"status"`
			Message string `json:"message"`
		} `json:"conditions"`
	} `json:"status"`
}

func (n nodeObject) ready() bool {
	for _, c := range n.Status.Conditions {
		if c.Type == "Ready" {
			return c.Status == "True"
		}
	}
	return false
}

// nodes lists the Node objects by name.
func (a *api) nodes(ctx context.Context) (map[string]nodeObject, error) {
	var list struct {
		Items []nodeObject `json:"items"`
	}
	if err := a.do(ctx, http.MethodGet, "/api/v1/nodes", "", &list); err != nil {
		return nil, err
	}
	nodes := map[string]nodeObject{}
	for _, n := range list.Items {
		nodes[n.Metadata.Name] = n
	}
	return nodes, nil
}

// dnsReady says on how many nodes DNS answers.
func (a *api) dnsReady(ctx context.Context) (int, error) {
	var set struct {
		Status struct {
			NumberReady int `json:"numberReady"`
		} `json:"status"`
	}
	err := a.do(ctx, http.MethodGet, "/apis/apps/v1/namespaces/kube-system/daemonsets/coredns", "", &set)
	return set.Status.NumberReady, err
}
