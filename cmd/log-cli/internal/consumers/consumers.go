// Package consumers has the commands of log-cli about the positions of consumers, which
// the server keeps: where they are, how far behind, and moving them.
package consumers

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/logd-dev/logd"
	"github.com/logd-dev/logd/cmd/log-cli/internal/cli"
	"github.com/logd-dev/logd/internal/exit"
)

// Commands returns the commands, in the order of the help. Each talks to a server.
func Commands(a *cli.App) []*cobra.Command {
	return []*cobra.Command{positionsCommand(a), lagCommand(a), positionCommand(a)}
}

// jsonPosition is a position as one line of JSON.
type jsonPosition struct {
	Topic       string    `json:"topic"`
	Consumer    string    `json:"consumer"`
	At          string    `json:"at"`
	Version     int64     `json:"version"`
	State       string    `json:"state"`
	LagBytes    int64     `json:"lag_bytes"`
	LagMessages *int64    `json:"lag_messages"` // null if it can't be told exactly
	LagMS       *int64    `json:"lag_ms"`
	LostBytes   int64     `json:"lost_bytes"`
	Updated     time.Time `json:"updated"`
	By          *string   `json:"by"`
	Holder      *string   `json:"holder"`
	HoldMS      *int64    `json:"hold_ms"`
	TTLMS       *int64    `json:"ttl_ms"`
	Note        *string   `json:"note"`
}

func printJSON(a *cli.App, p *logd.ConsumerPosition) error {
	number := func(n int64, is bool) *int64 {
		if !is {
			return nil
		}
		return &n
	}
	text := func(s string) *string {
		if s == "" {
			return nil
		}
		return &s
	}
	return cli.PrintJSON(a.Stdout, jsonPosition{
		Topic: p.Topic, Consumer: p.Consumer, At: p.At.String(), Version: p.Version, State: p.State,
		LagBytes: p.LagBytes, LagMessages: number(p.LagMessages, p.LagMessages >= 0), LagMS: number(p.Lag.Milliseconds(), p.Lag >= 0),
		LostBytes: p.LostBytes, Updated: p.Updated, By: text(p.By), Holder: text(p.Holder),
		HoldMS: number(p.HoldLeft.Milliseconds(), p.Holder != ""), TTLMS: number(p.TTL.Milliseconds(), p.TTL > 0), Note: text(p.Note),
	})
}

// all returns the positions of some topics, or of all.
func all(ctx context.Context, client *logd.Client, topics []string) (found []logd.ConsumerPosition, err error) {
	if len(topics) == 0 {
		return client.Positions(ctx, "")
	}
	for _, name := range topics {
		some, err := client.Positions(ctx, name)
		if err != nil {
			return nil, err
		}
		if len(some) == 0 {
			if _, err := client.Info(ctx, name); errors.Is(err, logd.ErrNotFound) {
				return nil, cli.NoTopic(ctx, client, name)
			}
		}
		found = append(found, some...)
	}
	return found, nil
}

func positionsCommand(a *cli.App) *cobra.Command {
	cmd := &cobra.Command{
		Use:        "positions [TOPIC...] [flags]",
		SuggestFor: []string{"consumers", "groups", "offsets"},
		Short:      "Show where the consumers of topics are.",
		Long: `Without a topic, those of all topics. AT is the first message that a consumer
has not done, BEHIND what is stored from there on, and AGE how old that message
is. LOST is what was removed before it was done.`,
		Example: `  log-cli positions
  log-cli positions orders -o json`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.Ask(func(ctx context.Context, client *logd.Client) error {
				found, err := all(ctx, client, args)
				if err != nil {
					return err
				}
				if a.JSON() {
					for i := range found {
						if err := printJSON(a, &found[i]); err != nil {
							return err
						}
					}
					return nil
				}
				if len(found) == 0 {
					a.Note("no consumer has a position")
					return nil
				}
				now := time.Now()
				return a.PrintTable("TOPIC\tCONSUMER\tAT\tVERSION\tSTATE\tBEHIND\tMESSAGES\tAGE\tLOST\tSAVED\tBY\tHELD BY", func(row func(format string, args ...any)) {
					for i := range found {
						p := &found[i]
						row("%s\t%s\t%s\t%d\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s", p.Topic, p.Consumer, p.At, p.Version, p.State,
							cli.FormatBytes(float64(p.LagBytes)), messages(p.LagMessages), age(p.Lag), lost(p.LostBytes), cli.When(p.Updated, now), word(p.By), word(p.Holder))
					}
				})
			})(cmd, args)
		},
	}
	a.CompleteTopics(cmd, 1<<20)
	a.FormatFlag(cmd)
	return cmd
}

func messages(n int64) string {
	if n < 0 {
		return "-"
	}
	return humanize.Comma(n)
}

func age(d time.Duration) string {
	if d < 0 {
		return "-"
	}
	return d.Round(time.Millisecond).String()
}

func lost(n int64) string {
	if n == 0 {
		return "-"
	}
	return cli.FormatBytes(float64(n))
}

func word(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// limit is a flag's number of messages, or of bytes if it has a unit.
type limit struct {
	set      bool
	messages int64
	bytes    int64 // if messages is -1
	text     string
}

// Set parses a limit.
func (l *limit) Set(text string) error {
	var n cli.Number
	var size cli.Size
	if n.Set(text) == nil && n >= 0 {
		*l = limit{set: true, messages: int64(n), text: text}
		return nil
	}
	if err := size.Set(text); err != nil {
		return errors.New("want a number of messages such as 1000, or of bytes such as 64MiB")
	}
	*l = limit{set: true, messages: -1, bytes: int64(size), text: text}
	return nil
}

func (l *limit) String() string { return l.text }

// Type names the kind of value in --help.
func (l *limit) Type() string { return "N|SIZE" }

// above reports whether a consumer is further behind. Where the number of messages is not
// known it is above unless nothing is left.
func (l *limit) above(p *logd.ConsumerPosition) bool {
	switch {
	case !l.set:
		return false
	case l.messages < 0:
		return p.LagBytes > l.bytes
	case p.LagMessages < 0:
		return p.LagBytes > 0
	}
	return p.LagMessages > l.messages
}

func lagCommand(a *cli.App) *cobra.Command {
	var consumer string
	var most limit
	var oldest time.Duration
	cmd := &cobra.Command{
		Use:   "lag [TOPIC...] [flags]",
		Short: "Show how far behind consumers are; fail if it is too far.",
		Long: `Prints a line for each consumer. With --max or --max-age the exit code is 1 if
one of them is further behind, or if what it wants next was removed. --max is a
number of messages, or a size with its unit.`,
		Example: `  log-cli lag
  log-cli lag orders --consumer mailer --max 1000
  log-cli lag --max 64MiB --max-age 5m`,
		Args: cobra.ArbitraryArgs,
		PreRunE: func(cmd *cobra.Command, _ []string) error {
			if oldest < 0 {
				return errors.New("--max-age must not be negative")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.Ask(func(ctx context.Context, client *logd.Client) error {
				found, err := all(ctx, client, args)
				if err != nil {
					return err
				}
				bad, shown := 0, 0
				check := most.set || cmd.Flags().Changed("max-age")
				report := func(p *logd.ConsumerPosition) error {
					if a.JSON() {
						return printJSON(a, p)
					}
					return cli.Printf(a.Stdout, "%s %s: %s, %s messages, %s%s\n", p.Topic, p.Consumer, cli.FormatBytes(float64(p.LagBytes)), messages(p.LagMessages), age(p.Lag), remark(p))
				}
				for i := range found {
					p := &found[i]
					if consumer != "" && p.Consumer != consumer {
						continue
					}
					shown++
					if check && (p.State == "gone" || most.above(p) || cmd.Flags().Changed("max-age") && p.Lag > oldest) {
						bad++
					}
					if err := report(p); err != nil {
						return err
					}
				}
				switch {
				case shown == 0 && consumer != "":
					return exit.With(exit.NotFound, fmt.Errorf("consumer %q has no position there", consumer))
				case shown == 0:
					a.Note("no consumer has a position")
				case bad > 0:
					return exit.With(exit.Failed, fmt.Errorf("%s too far behind", cli.Plural(int64(bad), "consumer is", "consumers are")))
				}
				return nil
			})(cmd, args)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&consumer, "consumer", "", "only this `CONSUMER`")
	flags.Var(&most, "max", "fail if one is further behind than this number of messages, or this size")
	flags.DurationVar(&oldest, "max-age", 0, "fail if what one wants next is older than this `TIME`")
	a.CompleteTopics(cmd, 1<<20)
	a.FormatFlag(cmd)
	return cmd
}

// remark says what is out of the ordinary.
func remark(p *logd.ConsumerPosition) string {
	switch p.State {
	case "gone":
		return fmt.Sprintf("; %s were removed before they were done", cli.FormatBytes(float64(p.LostBytes)))
	case "ahead":
		return "; ahead of what this server has"
	case "stale":
		return "; not saved for " + time.Since(p.Updated).Round(time.Second).String()
	}
	return ""
}
