package cluster

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"time"

	"github.com/raftkv/raftkv/controllers/resources"
)

// LogOptions say which lines of the logs.
type LogOptions struct {
	Follow, Previous bool
	// TailLines is how many of each pod's last lines; nil for all. SinceSeconds is how old the oldest may be; nil for any age.
	TailLines, SinceSeconds *int64
	// SinceTime is the time, to the second, of the oldest; zero for any.
	SinceTime time.Time
}

// PodNames are the cluster's pods.
func (k *Kubernetes) PodNames(ctx context.Context, name string) ([]string, error) {
	if _, err := k.Get(ctx, name); err != nil {
		return nil, err
	}
	pods, err := k.pods(ctx, name)
	if err != nil {
		return nil, err
	}
	var names []string
	for i := range pods {
		if _, ours := resources.Ordinal(name, pods[i].Name); ours {
			names = append(names, pods[i].Name)
		}
	}
	slices.Sort(names)
	return names, nil
}

// Logs streams a pod's log; each line begins with its time.
func (k *Kubernetes) Logs(ctx context.Context, pod string, o LogOptions) (io.ReadCloser, error) {
	parameters := map[string]string{"timestamps": "true"}
	if o.Follow {
		parameters["follow"] = "true"
	}
	if o.Previous {
		parameters["previous"] = "true"
	}
	if o.TailLines != nil {
		parameters["tailLines"] = strconv.FormatInt(*o.TailLines, 10)
	}
	if o.SinceSeconds != nil {
		parameters["sinceSeconds"] = strconv.FormatInt(*o.SinceSeconds, 10)
	}
	if !o.SinceTime.IsZero() {
		parameters["sinceTime"] = o.SinceTime.UTC().Format(time.RFC3339)
	}
	stream, err := k.api.logs(ctx, k.Namespace, pod, parameters)
	if err != nil {
		return nil, fmt.Errorf("read the log of %s: %w", pod, err)
	}
	return stream, nil
}
