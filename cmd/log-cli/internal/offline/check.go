package offline

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/logd-dev/logd/cmd/log-cli/internal/cli"
	"github.com/logd-dev/logd/internal/exit"
	"github.com/logd-dev/logd/internal/storage/fsck"
	"github.com/logd-dev/logd/internal/storage/layout"
)

func checkCommand(a *cli.App) *cobra.Command {
	var online bool
	cmd := &cobra.Command{
		Use:   "check DIR [flags]",
		Short: "Verify every byte of a work directory.",
		Long: `Reads all of the work directory DIR and names each place that is not as logd
left it. Nothing is changed.

"damage" is data that was stored and can't be read. The exit code is 4. "note"
is what loses nothing: the torn end of an append that a crash interrupted, an
index that does not fit (it is a cache, which is made again by itself), a file
that is not logd's. "unchecked" is what could not be read. The exit code is 1 if
there is no damage.

If a server has the directory open, the exit code is 75. With --online the parts
that no longer change are checked meanwhile.`,
		Example: `  log-cli check logs
  log-cli check logs -o json
  log-cli check --online /var/lib/logd`,
		Args: oneArg("DIR"),
		RunE: a.Do(func(ctx context.Context, args []string) error {
			return check(ctx, a, args[0], online)
		}),
	}
	cmd.Flags().BoolVar(&online, "online", false, "check what no longer changes, while a server may have it open: all before the last sync that is on record")
	a.FormatFlag(cmd)
	return cmd
}

// oneArg makes a command take one argument.
func oneArg(name string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) != 1 {
			return fmt.Errorf("want one %s", name)
		}
		return nil
	}
}

// jsonFinding is a finding as one line of JSON.
type jsonFinding struct {
	Type     string `json:"type"`
	Level    string `json:"level"`
	Kind     string `json:"kind"`
	Topic    string `json:"topic"`
	File     string `json:"file"`
	Position int64  `json:"position"`
	Offset   int64  `json:"offset"`
	Length   int64  `json:"length"`
	Why      string `json:"why"`
}

// jsonChecked is the last line of a check.
type jsonChecked struct {
	Type         string `json:"type"`
	Topics       int64  `json:"topics"`
	Partitions   int64  `json:"partitions"`
	Batches      int64  `json:"batches"`
	Messages     int64  `json:"messages"`
	Bytes        int64  `json:"bytes"`
	Damages      int64  `json:"damages"`
	DamagedBytes int64  `json:"damaged_bytes"`
	Notes        int64  `json:"notes"`
	Unchecked    int64  `json:"unchecked"`
	Unmarked     int64  `json:"bytes_since_mark,omitempty"`
}

func check(ctx context.Context, a *cli.App, dir string, online bool) error {
	o, err := openOffline(a, dir, "checking")
	if err != nil {
		return err
	}
	defer o.close()
	report, err := fsck.Check(ctx, fsck.CheckOptions{FS: o.fs, Online: online, Progress: o.progress}, func(f fsck.Finding) {
		o.print(func() error { return printFinding(a, &f) })
	})
	if err := o.done(err); err != nil {
		return err
	}
	if addr := layout.ServerOf(o.fs); online && addr != "" {
		o.print(func() error { return askServer(ctx, a, dir, addr, &report) })
	}
	o.print(func() error { return printChecked(a, &report) })
	switch {
	case o.printed != nil:
		return o.printed
	case report.Damages > 0:
		return exit.With(exit.Damage, fmt.Errorf("%s is damaged; \"log-cli repair --dry-run\" shows what can be done", dir))
	case report.Unchecked > 0:
		return fmt.Errorf("%s could not be checked wholly", dir)
	}
	return nil
}

func printFinding(a *cli.App, f *fsck.Finding) error {
	if a.JSON() {
		return cli.PrintJSON(a.Stdout, jsonFinding{
			"finding", f.Level.String(), string(f.Kind), f.Topic, f.File, f.Position, f.Offset, f.Length, f.Why,
		})
	}
	return cli.Printf(a.Stdout, "%s: %s: %s%s\n", f.Level, f.File, rangeOf(f.Position, f.Offset, f.Length), f.Why)
}

// rangeOf says where a range is, if it is not a file as a whole.
func rangeOf(position, offset, length int64) string {
	switch {
	case position < 0:
		return ""
	case offset < 0:
		return fmt.Sprintf("position %d, %d bytes: ", position, length)
	}
	return fmt.Sprintf("position %d, offset %d, %d bytes: ", position, offset, length)
}

func printChecked(a *cli.App, r *fsck.CheckReport) error {
	if a.JSON() {
		return cli.PrintJSON(a.Stdout, jsonChecked{
			"summary", r.Topics, r.Partitions, r.Batches, r.Messages, r.Bytes, r.Damages, r.DamagedBytes, r.Notes, r.Unchecked, r.Unmarked,
		})
	}
	result := "no damage"
	if r.Damages > 0 {
		result = fmt.Sprintf("damage in %s, %d bytes", cli.Count(r.Damages, "place"), r.DamagedBytes)
	}
	if r.Notes > 0 {
		result += "; " + cli.Count(r.Notes, "note")
	}
	if r.Unchecked > 0 {
		result += fmt.Sprintf("; %d unchecked", r.Unchecked)
	}
	if r.Unmarked > 0 {
		result += fmt.Sprintf("; %d bytes not checked, written since the last mark", r.Unmarked)
	}
	return cli.Printf(a.Stdout, "%s, %s, %d bytes, %s, %s: %s\n", cli.Count(r.Topics, "topic"), cli.Count(r.Partitions, "partition"), r.Bytes,
		cli.Plural(r.Batches, "batch", "batches"), cli.Count(r.Messages, "message"), result)
}
