package server

import (
	"bufio"
	"context"
	"net/http"
	"strings"
	"testing"

	"github.com/raftkv/raftkv/client"
)

// A member that is left alone hears of nothing any more: whoever watches there is told so, and misses nothing once there is a leader again.
func TestWatchesAtAMemberThatIsLeftAloneEnd(t *testing.T) {
	nodes := staticCluster(t, "a", "b", "c")
	ctx := testContext(t)
	left, gone := nodes[0], nodes[1:]
	c := openClient(t, []*instance{left}, func(c *client.Config) { c.StaticEndpoints = true })
	native, err := c.Watch(ctx, client.Key("k"))
	if err != nil {
		t.Fatal(err)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+left.client+"/v1/watch/k", nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	left.mustPut("k", "before")
	for _, i := range gone {
		i.mustStop()
	}
	var last string
	for lines := bufio.NewScanner(answer.Body); lines.Scan(); {
		if strings.HasPrefix(lines.Text(), "event: ") {
			last = lines.Text()
		}
	}
	if last != "event: canceled" || ctx.Err() != nil {
		t.Errorf("the last word of REST was %q, %v", last, ctx.Err())
	}
	if r, err := left.request(http.MethodGet, "/v1/watch/k", ""); err != nil || r.code != http.StatusServiceUnavailable {
		t.Errorf("a watch without a leader: %+v, %v", r, err)
	}
	gone[0].start()
	left.awaitReady()
	left.mustPut("k", "after")
	if told := valuesOf(ctx, t, native, "after"); told != "before after" {
		t.Errorf("the native watch told %q", told)
	}
}

// valuesOf are the values that a watch tells, up to the last, each once where it was put again because its outcome was unknown.
func valuesOf(ctx context.Context, t *testing.T, w *client.Watcher, last string) string {
	t.Helper()
	var told []string
	for e, err := range w.Events(ctx) {
		if err != nil {
			t.Fatal(err)
		}
		value := string(e.KV.Value)
		if len(told) == 0 || told[len(told)-1] != value {
			told = append(told, value)
		}
		if value == last {
			break
		}
	}
	return strings.Join(told, " ")
}
