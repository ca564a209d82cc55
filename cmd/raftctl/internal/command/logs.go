package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/raftkv/raftkv/cmd/raftctl/internal/cluster"
	"github.com/raftkv/raftkv/cmd/raftctl/internal/merge"
	"github.com/raftkv/raftkv/cmd/raftctl/internal/output"
)

const (
	// reopenPause is the time between two attempts to follow the log of a pod that has ended, or has none yet.
	reopenPause = time.Second
	// newPodsPause is the time between two looks for pods that are new.
	newPodsPause = 2 * time.Second
)

func (a *app) logsCommand() *cobra.Command {
	var follow, previous bool
	var since time.Duration
	var tail int64
	cmd := &cobra.Command{
		Use:   "logs CLUSTER",
		Short: "Show the logs of all pods of a RaftCluster as one, by time",
		Long: "Shows the logs of all pods, put together in the order of time; each line begins with the pod's name. With --follow it goes on, also with pods\n" +
			"that are restarted and pods that are new, until it is stopped; a line may then come up to half a second late, to be put in order.",
		Example:           a.examples("logs demo", "logs demo --follow --since 5m", "logs demo --tail 100", "logs demo --previous"),
		Args:              exactly("CLUSTER"),
		ValidArgsFunction: a.completeClusters,
		RunE: func(cmd *cobra.Command, words []string) error {
			if since < 0 {
				return usage("--since %v: must not be below zero", since)
			}
			if tail < -1 {
				return usage("--tail %d: must be a number of lines, or -1 for all", tail)
			}
			o := cluster.LogOptions{Follow: follow, Previous: previous}
			if since > 0 {
				o.SinceSeconds = new(max(int64(since/time.Second), 1))
			}
			if tail >= 0 {
				o.TailLines = &tail
			}
			err := a.logs(cmd, words[0], o)
			if stopped(cmd, err) {
				return nil
			}
			return err
		},
	}
	f := cmd.Flags()
	f.BoolVarP(&follow, "follow", "f", false, "go on with what is written from now on")
	f.BoolVarP(&previous, "previous", "p", false, "of the containers before the last restart")
	f.DurationVar(&since, "since", 0, "only what is not older than this")
	f.Int64Var(&tail, "tail", -1, "only so many of each pod's last lines; -1 for all")
	cmd.MarkFlagsMutuallyExclusive("follow", "previous")
	return cmd
}

func (a *app) logs(cmd *cobra.Command, name string, o cluster.LogOptions) error {
	ctx, cancel := a.bounded(cmd)
	defer cancel()
	k, err := a.kubernetes()
	if err != nil {
		return err
	}
	pods, err := k.PodNames(ctx, name)
	if err != nil {
		return err
	}
	if len(pods) == 0 && !o.Follow {
		return fmt.Errorf("%s has no pods: see why with: %s doctor %s -n %s", name, a.program()+a.where(), name, k.Namespace)
	}
	streaming, stop := context.WithCancel(cmd.Context())
	defer stop()
	var sources []merge.Source
	var failed []error
	for _, pod := range pods {
		if o.Follow {
			sources = append(sources, merge.Source{Name: pod, From: a.following(streaming, k, pod, o)})
			continue
		}
		from, err := k.Logs(streaming, pod, o)
		if err != nil {
			failed = append(failed, err)
			continue
		}
		sources = append(sources, merge.Source{Name: pod, From: from})
	}
	patience := time.Duration(0)
	var more chan merge.Source
	if o.Follow {
		patience, more = merge.Patience, make(chan merge.Source)
		go a.newPods(streaming, k, name, pods, o, more)
	}
	width := 0
	for _, pod := range pods {
		width = max(width, len(pod))
	}
	err = merge.Lines(streaming, sources, more, patience, func(l merge.Line) error { return a.printLog(l, width) })
	return errors.Join(append(failed, err)...)
}

// newPods follows pods that come while others are followed: all that they write, since it is new. It ends with the context.
func (a *app) newPods(ctx context.Context, k *cluster.Kubernetes, name string, known []string, o cluster.LogOptions, more chan<- merge.Source) {
	o.TailLines, o.SinceSeconds = nil, nil
	known = slices.Clone(known)
	tick := time.NewTicker(newPodsPause)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		asking, cancel := context.WithTimeout(ctx, a.timeout)
		pods, err := k.PodNames(asking, name)
		cancel()
		if err != nil {
			continue // the API server may be away for a while: what is followed goes on
		}
		for _, pod := range pods {
			if slices.Contains(known, pod) {
				continue
			}
			known = append(known, pod)
			from := a.following(ctx, k, pod, o)
			select {
			case more <- merge.Source{Name: pod, From: from}:
			case <-ctx.Done():
				_ = from.Close()
				return
			}
		}
	}
}

func (a *app) printLog(l merge.Line, width int) error {
	type result struct {
		Pod  string          `json:"pod"`
		Time time.Time       `json:"time"`
		Line string          `json:"line,omitempty"`
		Log  json.RawMessage `json:"log,omitempty"`
	}
	value := result{Pod: l.Source, Time: l.At}
	if json.Valid([]byte(l.Text)) {
		value.Log = json.RawMessage(l.Text)
	} else {
		value.Line = l.Text
	}
	if a.printer().Format == output.JSON {
		return a.printer().Line(value, nil)
	}
	_, err := fmt.Fprintf(a.Out, "%-*s  %s\n", width, l.Source, l.Text)
	return err
}

// following is a pod's log that goes on when its container, or the pod itself, is restarted. It ends with the context.
func (a *app) following(ctx context.Context, k *cluster.Kubernetes, pod string, o cluster.LogOptions) io.ReadCloser {
	reader, writer := io.Pipe()
	go func() {
		var last time.Time
		for ctx.Err() == nil {
			if from, err := k.Logs(ctx, pod, o); err == nil {
				// How it ended is seen when it is opened again.
				last, _ = merge.Continue(writer, from, last)
				_ = from.Close()
			}
			select {
			case <-ctx.Done():
			case <-time.After(reopenPause):
			}
			if !last.IsZero() {
				o.TailLines, o.SinceSeconds, o.SinceTime = nil, nil, last
			}
		}
		_ = writer.CloseWithError(ctx.Err()) // it returns none
	}()
	return reader
}
