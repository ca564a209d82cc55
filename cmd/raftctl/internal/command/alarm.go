package command

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/raftkv/raftkv/client"
	"github.com/raftkv/raftkv/cmd/raftctl/internal/output"
)

func (a *app) alarmCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "alarm",
		Short:   "Look at alarms and lower them",
		Long:    "An alarm is a state of one member that the whole cluster knows of: no-space (its store is as large as it may be: puts are refused) or\ncorrupt (its state differs from the others').",
		Example: a.examples("alarm list", "alarm disarm"),
		RunE:    needsCommand,
	}
	list := &cobra.Command{
		Use:     "list",
		Short:   "List the alarms that are up",
		Long:    "Lists the alarms that are up.",
		Example: a.examples("alarm list"),
		Args:    exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withStore(cmd, func(ctx context.Context, c *client.Client) error {
				alarms, err := c.Alarms(ctx)
				if err != nil {
					return err
				}
				return a.printAlarms(alarms, "no alarm is up")
			})
		},
	}
	var member string
	disarm := &cobra.Command{
		Use:   "disarm",
		Short: "Lower alarms",
		Long: "Lowers the alarms of all members, or of one. no-space clears by itself once there is room, and comes up again if there is none;\n" +
			"before corrupt is lowered, the member should have been replaced.",
		Example: a.examples("alarm disarm", "alarm disarm --member demo-1"),
		Args:    exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withStore(cmd, func(ctx context.Context, c *client.Client) error {
				var of client.Alarm
				if member != "" {
					m, err := a.memberNamed(ctx, c, member)
					if err != nil {
						return err
					}
					of.Member = m.ID
				}
				if err := c.LowerAlarm(ctx, of); err != nil {
					return err
				}
				alarms, err := c.Alarms(ctx)
				if err != nil {
					return err
				}
				return a.printAlarms(alarms, "no alarm is up any more")
			})
		},
	}
	disarm.Flags().StringVar(&member, "member", "", "only those of this member, by name or ID")
	cmd.AddCommand(list, disarm)
	return cmd
}

func (a *app) printAlarms(alarms []client.Alarm, none string) error {
	type alarm struct {
		Member string `json:"member,omitempty"`
		Type   string `json:"type"`
	}
	type result struct {
		Alarms []alarm `json:"alarms"`
	}
	value := result{Alarms: []alarm{}}
	for _, x := range alarms {
		one := alarm{Type: x.Type.String()}
		if x.Member != 0 {
			one.Member = x.Member.String()
		}
		value.Alarms = append(value.Alarms, one)
	}
	return a.printer().Print(value, func(t *output.Rows) {
		if len(value.Alarms) == 0 {
			t.Text("%s", none)
			return
		}
		t.Row("MEMBER", "ALARM")
		for _, x := range value.Alarms {
			t.Row(x.Member, x.Type)
		}
	})
}
