package command

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/raftkv/raftkv/client"
	"github.com/raftkv/raftkv/cmd/raftctl/internal/output"
)

func (a *app) watchCommand() *cobra.Command {
	var ranges rangeFlags
	var revision uint64
	var events int
	var previous, noPuts, noDeletes, progress bool
	cmd := &cobra.Command{
		Use:   "watch KEY [END]",
		Short: "Tell each change of a key, or of a range of keys",
		Long: "Tells every change from now on, or from --revision on, in order, until it is stopped or --events were told. It misses and repeats none, also\n" +
			"when a member is lost: it goes on with another. A line each: PUT or DELETE, the revision, key and value; with -o json an object each.\n" +
			"--timeout is how long the watch may take to begin.",
		Example: a.examples("watch greeting", "watch --prefix jobs/ --prev", "watch --prefix jobs/ --revision 42 -o json", "watch greeting --events 1"),
		Args:    between(0, "KEY", "END"),
		RunE: func(cmd *cobra.Command, words []string) error {
			keys, _, err := ranges.keys(a, words)
			if err != nil {
				return err
			}
			if events < 0 {
				return usage("--events %d: must not be below zero", events)
			}
			options := []client.WatchOption{client.WithRevision(revision)}
			if previous {
				options = append(options, client.WithPrevKV())
			}
			if noPuts {
				options = append(options, client.WithoutPuts())
			}
			if noDeletes {
				options = append(options, client.WithoutDeletes())
			}
			if progress {
				options = append(options, client.WithProgress())
			}
			err = a.watch(cmd, keys, options, events)
			if stopped(cmd, err) {
				return nil
			}
			return err
		},
	}
	ranges.add(cmd)
	f := cmd.Flags()
	f.Uint64Var(&revision, "revision", 0, "the first revision of interest, which may be past; 0 for what comes from now on")
	f.IntVar(&events, "events", 0, "end after so many events; 0 for never")
	f.BoolVar(&previous, "prev", false, "show what was before each change")
	f.BoolVar(&noPuts, "no-puts", false, "leave puts out")
	f.BoolVar(&noDeletes, "no-deletes", false, "leave deletions out")
	f.BoolVar(&progress, "progress", false, "tell now and then how far the watch has come when nothing happens")
	return cmd
}

func (a *app) watch(cmd *cobra.Command, keys client.Keys, options []client.WatchOption, most int) error {
	ctx, cancel := a.bounded(cmd)
	defer cancel()
	c, err := a.connect(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	w, err := c.Watch(ctx, keys, options...)
	if err != nil {
		return err
	}
	defer w.Close()
	told := 0
	for {
		batch, err := w.Next(cmd.Context())
		if err != nil {
			if cmd.Context().Err() == nil && told > 0 {
				return fmt.Errorf("the watch ended behind revision %d: %w", w.Revision(), err)
			}
			return err
		}
		if len(batch.Events) == 0 {
			if err := a.printProgress(batch.Revision); err != nil {
				return err
			}
		}
		for _, e := range batch.Events {
			if err := a.printEvent(e); err != nil {
				return err
			}
			if told++; told == most {
				return nil
			}
		}
	}
}

func (a *app) printProgress(revision uint64) error {
	type result struct {
		Type     string `json:"type"`
		Revision uint64 `json:"revision,string"`
	}
	return a.printer().Line(result{"PROGRESS", revision}, func(t *output.Rows) {
		t.Text("PROGRESS %d at %s", revision, time.Now().Format(time.TimeOnly))
	})
}

func (a *app) printEvent(e client.Event) error {
	type result struct {
		Type     string `json:"type"`
		Revision uint64 `json:"revision,string"`
		keyValue
		Prev *keyValue `json:"prev,omitempty"`
	}
	name, put := "DELETE", e.Type == client.EventPut
	if put {
		name = "PUT"
	}
	value := result{Type: name, Revision: e.KV.ModRevision, keyValue: a.keyValue(e.KV, put)}
	if e.Prev != nil {
		prev := a.keyValue(*e.Prev, true)
		value.Prev = &prev
	}
	return a.printer().Line(value, func(t *output.Rows) {
		line := fmt.Sprintf("%s %d %s", name, e.KV.ModRevision, a.shown().Cell(e.KV.Key))
		if put {
			line += " " + a.shown().Cell(e.KV.Value)
		}
		if e.Prev != nil {
			line += " (was " + a.shown().Cell(e.Prev.Value) + ")"
		}
		t.Text("%s", line)
	})
}
