package command

import (
	"time"

	"github.com/spf13/cobra"

	"github.com/raftkv/raftkv/cmd/raftctl/internal/doctor"
	"github.com/raftkv/raftkv/cmd/raftctl/internal/output"
)

func (a *app) doctorCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "doctor CLUSTER",
		Short: "Explain what is wrong with a RaftCluster and what to do",
		Long: "Reads a RaftCluster's conditions, pods, claims and events, asks its nodes, and says what is wrong, the worst first, and what to do. It changes\n" +
			"nothing. Exit code 1 if anything is wrong; remarks are not.",
		Example:           a.examples("doctor demo", "doctor demo -n shop -o json"),
		Args:              exactly("CLUSTER"),
		ValidArgsFunction: a.completeClusters,
		RunE: func(cmd *cobra.Command, words []string) error {
			ctx, cancel := a.bounded(cmd)
			defer cancel()
			k, err := a.kubernetes()
			if err != nil {
				return err
			}
			o, err := k.Observe(ctx, words[0])
			if err != nil {
				return err
			}
			return a.printFindings(words[0], doctor.Diagnose(o, doctor.Context{Program: a.program(), Where: a.where(), Now: time.Now()}))
		},
	}
}

func (a *app) printFindings(name string, findings []doctor.Finding) error {
	type result struct {
		Healthy  bool             `json:"healthy"`
		Findings []doctor.Finding `json:"findings"`
	}
	value := result{doctor.Healthy(findings), findings}
	if value.Findings == nil {
		value.Findings = []doctor.Finding{}
	}
	err := a.printer().Print(value, func(t *output.Rows) {
		if value.Healthy {
			t.Text("nothing is wrong with %s", name)
		}
		for _, f := range findings {
			t.Text("%s: %s: %s", f.Severity, f.Subject, f.Problem)
			for _, step := range f.Advice {
				t.Text("  -> %s", step)
			}
		}
	})
	if err == nil && !value.Healthy {
		return errSilent
	}
	return err
}
