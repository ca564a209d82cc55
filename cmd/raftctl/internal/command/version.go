package command

import (
	"runtime"

	"github.com/spf13/cobra"

	"github.com/raftkv/raftkv/cmd/raftctl/internal/output"
)

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Print the version of this program",
		Long:    "Prints the version of this program. Those of the nodes are in `status`.",
		Example: a.examples("version", "version -o json"),
		Args:    exactly(),
		RunE: func(*cobra.Command, []string) error {
			type result struct {
				Version  string `json:"version"`
				Go       string `json:"go"`
				Platform string `json:"platform"`
			}
			v := result{a.Version, runtime.Version(), runtime.GOOS + "/" + runtime.GOARCH}
			return a.printer().Print(v, func(t *output.Rows) { t.Text("%s %s %s %s", a.program(), v.Version, v.Go, v.Platform) })
		},
	}
}
