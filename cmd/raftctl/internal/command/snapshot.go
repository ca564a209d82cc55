package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/raftkv/raftkv/client"
	"github.com/raftkv/raftkv/cmd/raftctl/internal/output"
	"github.com/raftkv/raftkv/controllers/resources"
	"github.com/raftkv/raftkv/kv"
)

func (a *app) snapshotCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "snapshot",
		Short:   "Save and check snapshots",
		Long:    "A snapshot is a file with all keys, their history, and the leases, at one revision. `raftkv-node restore` founds a new cluster from one.",
		Example: a.examples("snapshot save backup.snapshot", "snapshot status backup.snapshot"),
		RunE:    needsCommand,
	}
	cmd.AddCommand(a.snapshotSaveCommand(), a.snapshotStatusCommand())
	return cmd
}

func (a *app) snapshotSaveCommand() *cobra.Command {
	var force, serializable bool
	var from string
	cmd := &cobra.Command{
		Use:   "save FILE",
		Short: "Save a snapshot of one node",
		Long: "Saves a snapshot of one node, with all that was acknowledged before it began. The file appears under its name only when it is whole and was\n" +
			"checked, on its way and on the disk. A file that is there already is not touched without --force. --timeout bounds the whole.\n" +
			"It takes a leader to know what was acknowledged. Where nobody leads, --serializable saves what the node has applied: writes may be missing, also\n" +
			"some that it has in its log and does not know to be committed.",
		Example: a.examples("snapshot save backup.snapshot", "snapshot save --cluster demo --timeout 10m backup.snapshot", "snapshot save --force --from 10.0.0.1:2379 backup.snapshot",
			"snapshot save --serializable --from 10.0.0.1:2379 left.snapshot"),
		Args:              exactly("FILE"),
		ValidArgsFunction: completeFile,
		RunE: func(cmd *cobra.Command, words []string) error {
			if _, err := os.Lstat(words[0]); err == nil && !force {
				return usage("%s is there already: give another name, or --force to replace it", words[0])
			}
			if a.cluster != "" && from != "" && !strings.Contains(from, ":") {
				from = net.JoinHostPort(from, strconv.Itoa(resources.ClientPort))
			}
			return a.withStore(cmd, func(ctx context.Context, c *client.Client) error {
				// What the whole cluster agrees on now is to be in the snapshot: the node that it is taken from may lag behind.
				var least uint64
				if !serializable {
					latest, err := c.Get(ctx, "snapshot")
					if err != nil {
						return err
					}
					least = latest.Revision
				}
				found, err := saveFile(words[0], force, least, func(w io.Writer) error {
					_, err := c.Snapshot(ctx, from, w)
					return err
				})
				if err != nil {
					return err
				}
				return a.printSnapshot(found, words[0]+" is saved and checked")
			})
		},
	}
	cmd.Flags().BoolVar(&force, "force", false, "replace FILE if it is there already")
	cmd.Flags().BoolVar(&serializable, "serializable", false, "what the node itself has applied: works without a quorum, perhaps stale")
	cmd.Flags().StringVar(&from, "from", "", "the node to take it from: host:port, or with --cluster a pod's name; whichever answers if left out")
	return cmd
}

func (a *app) snapshotStatusCommand() *cobra.Command {
	return &cobra.Command{
		Use:               "status FILE",
		Short:             "Check a snapshot file and tell what it holds",
		Long:              "Reads the file to its end, checks every record and checksum in it, and tells what it holds. Exit code 1 says that it is damaged.",
		Example:           a.examples("snapshot status backup.snapshot", "snapshot status backup.snapshot -o json"),
		Args:              exactly("FILE"),
		ValidArgsFunction: completeFile,
		RunE: func(_ *cobra.Command, words []string) error {
			f, err := os.Open(words[0])
			if err != nil {
				return usage("%w", err)
			}
			defer func() { _ = f.Close() }()
			found, err := kv.InspectSnapshot(f)
			if err != nil {
				return fmt.Errorf("%s: %w: take another one", words[0], err)
			}
			return a.printSnapshot(found, words[0]+" is whole")
		},
	}
}

func (a *app) printSnapshot(found kv.SnapshotSummary, headline string) error {
	type result struct {
		ClusterID         string `json:"clusterID"`
		Revision          uint64 `json:"revision,string"`
		CompactedRevision uint64 `json:"compactedRevision,string"`
		Versions          uint64 `json:"versions,string"`
		Leases            uint64 `json:"leases,string"`
		Index             uint64 `json:"index,string"`
		Term              uint64 `json:"term,string"`
		Members           int    `json:"members"`
		Format            uint32 `json:"format"`
		Bytes             int64  `json:"bytes,string"`
	}
	value := result{
		found.ClusterID.String(), found.Revision, found.CompactedRevision, found.Versions, found.Leases,
		uint64(found.Meta.Index), uint64(found.Meta.Term), len(found.Meta.Membership.Members), found.Format, found.Bytes,
	}
	return a.printer().Print(value, func(t *output.Rows) {
		t.Text("%s", headline)
		t.Row("CLUSTER ID", "REVISION", "COMPACTED", "VERSIONS", "LEASES", "INDEX", "TERM", "FORMAT", "SIZE")
		t.Row(value.ClusterID, value.Revision, value.CompactedRevision, value.Versions, value.Leases, value.Index, value.Term, value.Format, megabytes(value.Bytes))
	})
}

// saveFile writes a snapshot beside its place, checks what is on the disk, and gives it its name then. It is to hold the least revision.
func saveFile(path string, force bool, least uint64, write func(io.Writer) error) (found kv.SnapshotSummary, err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".partial-*")
	if err != nil {
		return found, usage("%w", err)
	}
	defer func() {
		_ = f.Close()           // it was synced
		_ = os.Remove(f.Name()) // it has its name by now, or is of no use
	}()
	if err = write(f); err != nil {
		return found, err
	}
	if err = f.Sync(); err != nil {
		return found, fmt.Errorf("write %s: %w", path, err)
	}
	if _, err = f.Seek(0, io.SeekStart); err != nil {
		return found, err
	}
	if found, err = kv.InspectSnapshot(f); err != nil {
		return found, fmt.Errorf("what was written is not what was sent: %w", err)
	}
	if found.Revision < least {
		return found, fmt.Errorf("the node lags behind: its snapshot ends at revision %d, and %d was acknowledged: take it --from another one", found.Revision, least)
	}
	if err = publish(f.Name(), path, force); err != nil {
		return found, err
	}
	return found, syncFolder(filepath.Dir(path))
}

// publish gives the file its name, in one step, and replaces another of that name only by force.
func publish(partial, path string, force bool) error {
	if force {
		return os.Rename(partial, path)
	}
	switch err := os.Link(partial, path); {
	case errors.Is(err, fs.ErrExist):
		return fmt.Errorf("%s has appeared meanwhile: give another name, or --force to replace it", path)
	case err != nil: // a file system without links
		return os.Rename(partial, path)
	}
	return nil
}

func syncFolder(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
