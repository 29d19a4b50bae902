// Package top has the command of log-cli that shows, again and again, what a server is
// doing: its topics, their rates and lags, and the members of its cluster.
//
// A sample is what the server says at a moment. A frame is what two samples mean, and is
// text or JSON. A screen is a terminal on which frames replace each other.
package top

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/logd-dev/logd"
	"github.com/logd-dev/logd/cmd/log-cli/internal/cli"
	"github.com/logd-dev/logd/internal/exit"
)

// flags are the flags of top.
type flags struct {
	interval time.Duration
	sort     string
	count    int64
	once     bool
}

// orders are the orders of topics, in that of the key s.
var orders = []string{"rate", "size", "lag", "name"}

// Command returns the command, which talks to a server.
func Command(a *cli.App) *cobra.Command {
	var f flags
	cmd := &cobra.Command{
		Use:        "top [flags]",
		SuggestFor: []string{"watch", "monitor", "dashboard"},
		Short:      "Show what a server is doing, again and again.",
		Long: `Shows the busiest topics with their rates, sizes and states, how far their
consumers are behind if any has a position, and the members of the cluster.

On a terminal, which should have 80 columns or more: q ends it, s sorts by the
next column, the arrows move through the topics. Elsewhere it prints a frame
each --interval, as text or as a line of JSON.`,
		Example: `  log-cli top
  log-cli top --sort size -n 50
  log-cli top --once -o json`,
		Args: cobra.NoArgs,
		PreRunE: func(*cobra.Command, []string) error {
			switch {
			case f.interval < 100*time.Millisecond:
				return fmt.Errorf("--interval is %v: want 100ms or more", f.interval)
			case !slices.Contains(orders, f.sort):
				return fmt.Errorf("--sort is %q: want %s", f.sort, strings.Join(orders, ", "))
			case f.count < 0:
				return errors.New("-n must not be negative")
			}
			return nil
		},
		RunE: a.Ask(func(ctx context.Context, client *logd.Client) error {
			return run(ctx, a, client, &f)
		}),
	}
	set := cmd.Flags()
	set.DurationVar(&f.interval, "interval", 2*time.Second, "show a frame each `TIME`")
	set.StringVar(&f.sort, "sort", orders[0], "sort topics by `COLUMN`: "+strings.Join(orders, ", "))
	set.VarP((*cli.Number)(&f.count), "count", "n", "show `N` topics; 0 for all")
	f.count = 20
	set.Lookup("count").DefValue = "20"
	set.BoolVar(&f.once, "once", false, "show one frame, after one interval, and end")
	a.FormatFlag(cmd)
	cmd.RegisterFlagCompletionFunc("sort", cobra.FixedCompletions(orders, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func run(ctx context.Context, a *cli.App, client *logd.Client, f *flags) (err error) {
	ctx, stop := exit.UntilClosed(ctx, a.Stdout)
	defer stop()
	v := &view{order: f.sort, count: int(f.count), host: client.Addr(), interval: f.interval}
	var s *screen
	if in, out, ok := terminal(a); ok && !f.once && !a.JSON() {
		// A signal that would leave the terminal as it is ends the command instead.
		ctx, end := signal.NotifyContext(ctx, syscall.SIGQUIT)
		defer end()
		if s, err = openScreen(in, out); err != nil {
			return err
		}
		defer s.close()
		err = s.run(ctx, client, v)
		if ctx.Err() != nil {
			return nil // it has no other end
		}
		return err
	}
	err = frames(ctx, a, client, v, f.once)
	if ctx.Err() != nil && !f.once {
		return nil
	}
	return err
}

// terminal returns the terminal to show frames on, and its keys, if there is one.
func terminal(a *cli.App) (in, out *os.File, ok bool) {
	if !cli.IsTerminal(a.Stdin) || !cli.IsTerminal(a.Stdout) || a.Getenv("TERM") == "dumb" {
		return nil, nil, false
	}
	return a.Stdin.(*os.File), a.Stdout.(*os.File), true
}

// frames prints one frame after another.
func frames(ctx context.Context, a *cli.App, client *logd.Client, v *view, once bool) error {
	for n := 0; ; n++ {
		if err := v.ask(ctx, client); err != nil {
			if once || ctx.Err() != nil || !logd.IsRetryable(err) {
				return err
			}
			a.Note("%s; trying on", cli.Plain(err))
		} else if n > 0 || !once {
			if err := print(a, v.frame(), n > 0 && !once); err != nil || once {
				return err
			}
		}
		select {
		case <-time.After(v.interval):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func print(a *cli.App, f *frame, further bool) error {
	if a.JSON() {
		return cli.PrintJSON(a.Stdout, f.json())
	}
	text := strings.Join(f.lines(0), "\n") + "\n"
	if further {
		text = "\n" + text
	}
	return cli.Printf(a.Stdout, "%s", text)
}
