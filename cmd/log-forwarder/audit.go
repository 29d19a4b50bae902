package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/logd-dev/logd"
	"github.com/logd-dev/logd/cmd/internal/cmdline"
	"github.com/logd-dev/logd/internal/exit"
	"github.com/logd-dev/logd/internal/forward/audit"
	"github.com/logd-dev/logd/internal/forward/dial"
)

// auditFlags are the flags of audit.
type auditFlags struct {
	topic, input string
	since        time.Duration
	quick        bool
}

func (a *app) auditCommand() *cobra.Command {
	var f auditFlags
	cmd := &cobra.Command{
		Use:   "audit [flags]",
		Short: "Compare what the agent has taken with what logd has.",
		Example: `  log-forwarder audit
  log-forwarder audit --input app --since 24h
  log-forwarder audit --quick -o json`,
		Long: `Adds up the ledger in the state folder, whether an agent runs or not, and reads
each batch from logd that the ledger says is stored: its length, its checksum and
the number of its messages have to be those that were sent. It changes nothing.

For each input, source and topic, taken has to be stored, waiting and holes
together. It exits with 0 if that is so, there are no holes, and all was found;
with 4 if not, and with 75 if logd does not answer. What is older than the oldest
batch that logd keeps is expired, which is no fault. An audit proves what was
taken, not what a program never wrote, and it says how far back it goes.`,
		Args:        cobra.NoArgs,
		RunE:        a.Do(func([]string) error { return a.audit(&f) }),
		Annotations: cmdline.TakesSettings,
	}
	cmd.Flags().StringVar(&f.input, "input", "", "look at this `INPUT` alone")
	cmd.Flags().StringVar(&f.topic, "topic", "", "look at this `TOPIC` alone")
	cmd.Flags().DurationVar(&f.since, "since", 0, "look at what was sent in the last `DURATION` alone")
	cmd.Flags().BoolVar(&f.quick, "quick", false, "add up the ledger, and do not ask logd")
	a.FormatFlag(cmd)
	return cmd
}

func (a *app) audit(f *auditFlags) error {
	fsys, dir, err := a.state()
	if err != nil {
		return err
	}
	o := audit.Options{FS: fsys, Topic: f.topic, Input: f.input}
	if f.since > 0 {
		o.Since = time.Now().Add(-f.since)
	}
	c, err := a.load(a.ConfigFile, nil)
	if err != nil {
		return err
	}
	if !f.quick {
		if o.Client, err = logd.NewClient(dial.Config(c, nil)); err != nil {
			return err
		}
		defer o.Client.Close()
	}
	report, err := audit.Run(context.Background(), o)
	if report == nil {
		return err
	}
	if printErr := a.printAudit(report); printErr != nil {
		return exit.OutputError(printErr)
	}
	switch {
	case err != nil:
		if text := dial.Explain(c, err); text != "" {
			err = fmt.Errorf("%w: %s", err, text)
		}
		return exit.With(exit.Temporary, err)
	case report.Clean():
		return nil
	}
	problem := errors.New("not all that was taken is stored or waits, or was found")
	return exit.With(exit.Damage, errors.Join(problem, damaged(dir, report.Damage)))
}

func (a *app) printAudit(r *audit.Report) error {
	if a.JSON() {
		encoder := json.NewEncoder(a.Stdout)
		encoder.SetEscapeHTML(false)
		for _, l := range r.Lines {
			if err := encoder.Encode(l); err != nil {
				return err
			}
		}
		return nil
	}
	w := tabwriter.NewWriter(a.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "INPUT\tSOURCE\tTOPIC\tTAKEN\tSTORED\tWAITING\tHOLES\tVERIFIED\tEXPIRED\tMISSING\tMISMATCHED\tDUPLICATES")
	for _, l := range r.Lines {
		fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\n", l.Input, printable(l.Source), l.Topic,
			l.Taken, l.Stored, l.Waiting, len(l.Holes), l.Verified, l.Expired, l.Missing, l.Mismatched, l.Duplicates)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for _, l := range r.Lines {
		for _, h := range l.Holes {
			messages := fmt.Sprint(h.Messages)
			if h.Messages < 0 {
				messages = "?"
			}
			_, err := fmt.Fprintf(a.Stdout, "hole: %s %s %s: %s, %s messages, %d bytes, %d to %d, %s: %s\n", l.Input, printable(l.Source), l.Topic,
				h.Kind, messages, h.Bytes, h.From, h.To, h.Time.UTC().Format(time.RFC3339), h.Cause)
			if err != nil {
				return err
			}
		}
	}
	if r.Since.IsZero() {
		_, err := fmt.Fprintln(a.Stdout, "nothing was compared with logd")
		return err
	}
	_, err := fmt.Fprintf(a.Stdout, "compared with logd: what was sent since %s\n", r.Since.UTC().Format(time.RFC3339))
	return err
}
