package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/logd-dev/logd/cmd/internal/cmdline"
	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/exit"
	"github.com/logd-dev/logd/internal/forward/segment"
	"github.com/logd-dev/logd/internal/forward/spool"
	"github.com/logd-dev/logd/internal/vfs"
)

func (a *app) spoolCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "spool",
		Short: "Check or show what waits on the disk.",
		Example: `  log-forwarder spool check
  log-forwarder spool dump`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return errors.New("which one: log-forwarder spool check or log-forwarder spool dump?")
		},
	}
	check := &cobra.Command{
		Use:   "check [flags]",
		Short: "Read the spool, and tell what of it is damaged.",
		Example: `  log-forwarder spool check
  log-forwarder spool check --state-dir /var/lib/log-forwarder`,
		Long: `Reads the whole spool, whether an agent runs or not, and changes nothing. It exits
with 0 if all can be read, and with 4 after it has named what can't.`,
		Args:        cobra.NoArgs,
		RunE:        a.Do(a.spoolCheck),
		Annotations: cmdline.TakesSettings,
	}
	var bodies bool
	dump := &cobra.Command{
		Use:   "dump [flags]",
		Short: "Show the batches in the spool, or the messages in them.",
		Example: `  log-forwarder spool dump
  log-forwarder spool dump -o json
  log-forwarder spool dump --bodies`,
		Long: `Reads the spool, whether an agent runs or not, and changes nothing. A batch is
shown as long as its file is there, also if it is stored by now.`,
		Args:        cobra.NoArgs,
		RunE:        a.Do(func([]string) error { return a.spoolDump(bodies) }),
		Annotations: cmdline.TakesSettings,
	}
	dump.Flags().BoolVar(&bodies, "bodies", false, "print the messages, each on a line, and nothing else")
	a.FormatFlag(dump)
	for _, c := range []*cobra.Command{check, dump} {
		c.DisableFlagsInUseLine = true
		cmd.AddCommand(c)
	}
	return cmd
}

// state opens the state folder, which has to be there.
func (a *app) state() (vfs.FS, string, error) {
	a.sources.NoInputs = true
	c, err := a.load(a.ConfigFile, nil)
	if err != nil {
		return nil, "", err
	}
	if st, err := os.Stat(c.StateDir); err != nil || !st.IsDir() {
		if err == nil {
			err = errors.New("not a folder")
		}
		return nil, "", exit.With(exit.Config, fmt.Errorf("the state folder %s (%s): %w", c.StateDir, c.Origin("state-dir"), err))
	}
	fsys, err := vfs.OpenOS(c.StateDir, 0o700)
	return fsys, c.StateDir, err
}

// readSpool calls f with all batches of the spool, and then says what is damaged.
func (a *app) readSpool(f func(spool.Record, []byte) error) error {
	fsys, dir, err := a.state()
	if err != nil {
		return err
	}
	damage, err := spool.Each(fsys, f)
	if err != nil {
		return err
	}
	return damaged(dir, damage)
}

// damaged is the error for damage, nil if there is none.
func damaged(dir string, damage []segment.Damage) error {
	var problems []error
	for _, d := range damage {
		problems = append(problems, fmt.Errorf("%s/%s", dir, d))
	}
	if len(problems) == 0 {
		return nil
	}
	return exit.With(exit.Damage, errors.Join(problems...))
}

func (a *app) spoolCheck([]string) error {
	batches, messages, size := 0, int64(0), int64(0)
	err := a.readSpool(func(r spool.Record, raw []byte) error {
		batches++
		messages += r.Messages
		size += r.Size
		return nil
	})
	if code, ok := errors.AsType[*exit.Error](err); err == nil || ok && code.Code == exit.Damage {
		if _, err := fmt.Fprintf(a.Stdout, "%d batches, %d messages, %d bytes\n", batches, messages, size); err != nil {
			return exit.OutputError(err)
		}
	}
	return err
}

// dumped is a batch as spool dump prints it.
type dumped struct {
	Segment  uint64    `json:"segment"`
	At       int64     `json:"at"`
	Topic    string    `json:"topic"`
	Messages int64     `json:"messages"`
	Bytes    int64     `json:"bytes"`
	Time     time.Time `json:"time"`
}

func (a *app) spoolDump(bodies bool) error {
	w := tabwriter.NewWriter(a.Stdout, 0, 0, 2, ' ', 0)
	encoder := json.NewEncoder(a.Stdout)
	if _, _, err := a.state(); err != nil {
		return err
	}
	if !bodies && !a.JSON() {
		fmt.Fprintln(w, "SEGMENT\tAT\tTOPIC\tMESSAGES\tBYTES\tTAKEN")
	}
	err := a.readSpool(func(r spool.Record, raw []byte) error {
		if bodies {
			return a.printBodies(raw)
		}
		d := dumped{r.Ref.Segment, r.Ref.At, r.Topic, r.Messages, r.Size, time.Unix(0, r.Time).UTC()}
		if a.JSON() {
			return encoder.Encode(d)
		}
		_, err := fmt.Fprintf(w, "%d\t%d\t%s\t%d\t%d\t%s\n", d.Segment, d.At, d.Topic, d.Messages, d.Bytes, d.Time.Format(time.RFC3339))
		return err
	})
	return errors.Join(exit.OutputError(w.Flush()), exit.OutputError(err))
}

func (a *app) printBodies(raw []byte) error {
	h, n, err := batch.Parse(raw)
	if err != nil {
		return err
	}
	m := batch.Messages{Data: raw[n-h.Size : n]}
	for m.Next() {
		if _, err := io.WriteString(a.Stdout, string(m.Body())+"\n"); err != nil {
			return err
		}
	}
	return m.Err()
}
