package carry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/logd-dev/logd"
	"github.com/logd-dev/logd/admin"
	"github.com/logd-dev/logd/cmd/log-cli/internal/cli"
	"github.com/logd-dev/logd/cmd/log-cli/internal/exportfile"
	"github.com/logd-dev/logd/cmd/log-cli/internal/places"
	"github.com/logd-dev/logd/internal/durable"
	"github.com/logd-dev/logd/internal/exit"
	"github.com/logd-dev/logd/internal/place"
)

// exportFlags are the flags of export.
type exportFlags struct {
	topic    cli.Topic
	from, to places.Flag
	output   string
	orOldest bool
}

func exportCommand(a *cli.App) *cobra.Command {
	var f exportFlags
	cmd := &cobra.Command{
		Use:        "export TOPIC [flags]",
		SuggestFor: []string{"backup", "save"},
		Short:      "Write a topic's batches to a file.",
		Long: `Writes the batches as they are stored, from the oldest to what is the end at the
start of the command, with where and when each stood. "import" checks such a
file, byte for byte, and stores its messages again.

Only whole batches are written: a PLACE inside one stands for all of it. With
--output the file is complete and synced when it gets its name; else a command
that fails leaves a file without its last line, which import does not take.`,
		Example: `  log-cli export greetings -O greetings.logd
  log-cli export greetings --from yesterday --to today | gzip > yesterday.gz`,
		Args: cli.OnlyTopic(&f.topic),
		RunE: a.Ask(func(ctx context.Context, client *logd.Client) error {
			return export(ctx, a, client, &f)
		}),
	}
	flags := cmd.Flags()
	a.TopicFlag(cmd, &f.topic)
	flags.Var(&f.from, "from", "begin at this `PLACE`: see \"log-cli read --help\" (default start)")
	flags.Var(&f.to, "to", "end before this `PLACE` (default end)")
	flags.StringVarP(&f.output, "output", "O", "", "write to `FILE` (default standard output)")
	flags.BoolVar(&f.orOldest, "or-oldest", false, "go on with the next batch if the wanted one is gone or damaged")
	a.FormatFlag(cmd)
	for _, name := range []string{"from", "to"} {
		cmd.RegisterFlagCompletionFunc(name, places.Complete)
	}
	return cmd
}

// jsonExported is what was exported, as a line of JSON.
type jsonExported struct {
	Topic    string `json:"topic"`
	ID       string `json:"id"`
	From     int64  `json:"from"`
	To       int64  `json:"to"`
	Batches  int64  `json:"batches"`
	Messages int64  `json:"messages"`
	Bytes    int64  `json:"bytes"`
}

func export(ctx context.Context, a *cli.App, client *logd.Client, f *exportFlags) (err error) {
	if f.output == "" && cli.IsTerminal(a.Stdout) {
		return exit.With(exit.Usage, errors.New("an export is not for a terminal: use --output FILE, or > FILE"))
	}
	src, info, err := newSource(ctx, a, client, f.topic.Name, f.orOldest)
	if err != nil {
		return err
	}
	h := exportfile.Header{Topic: f.topic.Name, ID: info.ID, From: info.Oldest, To: info.Next}
	if f.from.IsSet() {
		from, _, err := src.Find(ctx, f.from.Place)
		if gone, ok := errors.AsType[*logd.GoneError](err); ok && f.orOldest {
			from, err = gone.Oldest, nil
		}
		if err != nil {
			return src.Explain(ctx, err, hint)
		}
		h.From = from
	}
	if f.to.IsSet() && f.to.Kind != place.AtEnd {
		to, err := src.whole(ctx, f.to.Place)
		if err != nil {
			return src.Explain(ctx, err, "")
		}
		h.To = to
	}
	if h.To < h.From {
		return exit.With(exit.Usage, fmt.Errorf("--from is %d, behind --to, %d", h.From, h.To))
	}
	out := a.Stdout
	if f.output != "" {
		file, err := durable.Create(f.output, 0o600)
		if err != nil {
			return err
		}
		defer func() {
			file.Close()
			os.Remove(file.Name()) // if it is still there
		}()
		out = file
	}
	sum, err := src.export(ctx, h, out)
	if err != nil || f.output == "" {
		return err
	}
	file := out.(*os.File)
	if err := errors.Join(file.Sync(), durable.Place(file, f.output), durable.SyncFolder(f.output)); err != nil {
		return err
	}
	if a.JSON() {
		return cli.PrintJSON(a.Stdout, jsonExported{h.Topic, h.ID, h.From, h.To, sum.Batches, sum.Messages, sum.Bytes})
	}
	return cli.Printf(a.Stdout, "%s, %s, %d bytes, from %d to %d\n",
		cli.Plural(sum.Batches, "batch", "batches"), cli.Count(sum.Messages, "message"), sum.Bytes, h.From, h.To)
}

// whole returns the offset of a place, behind the batch if it is inside one.
func (s *source) whole(ctx context.Context, p place.Place) (int64, error) {
	offset, delta, err := s.Find(ctx, p)
	if err != nil || delta == 0 {
		return offset, err
	}
	r, err := s.Client.Read(ctx, s.Topic, offset, logd.ReadOptions{Messages: 1})
	if err != nil || len(r.Batches) == 0 {
		return offset, err
	}
	defer r.Release()
	return r.Batches[0].Next(), nil
}

// export writes the batches of the header to out.
func (s *source) export(ctx context.Context, h exportfile.Header, out io.Writer) (exportfile.Summary, error) {
	w, err := exportfile.NewWriter(out, h)
	if err != nil {
		return exportfile.Summary{}, exit.OutputError(err)
	}
	bar := s.app.Progress(h.To-h.From, "exporting", out)
	defer bar.Finish()
	for at := h.From; at < h.To; {
		r, err := s.read(ctx, at, logd.ReadOptions{})
		if err != nil {
			return exportfile.Summary{}, err
		}
		if len(r.Batches) == 0 && r.Offset < h.To {
			return exportfile.Summary{}, fmt.Errorf("topic %q ends at %d now", s.Topic, at)
		}
		if len(r.Batches) > 0 {
			err = s.exportAll(ctx, w, r, h.To)
		}
		bar.Add(int(min(r.Next, h.To) - at))
		at = r.Next
		r.Release()
		if err != nil {
			return exportfile.Summary{}, err
		}
	}
	if err := s.same(ctx); err != nil {
		return exportfile.Summary{}, err
	}
	sum, err := w.Close()
	return sum, exit.OutputError(err)
}

// exportAll writes the batches that were read, as far as they begin before to.
func (s *source) exportAll(ctx context.Context, w *exportfile.Writer, r *logd.Result, to int64) error {
	marks, err := admin.New(s.Client).Times(ctx, s.Topic, r.Batches[0].Offset, min(r.Next, to))
	if err != nil {
		return err
	}
	millis := int64(exportfile.NoTime)
	for i := range r.Batches {
		b := &r.Batches[i]
		if b.Offset >= to {
			break
		}
		for len(marks) > 0 && marks[0].Offset <= b.Offset {
			millis, marks = marks[0].Time.UnixMilli(), marks[1:]
		}
		if err := w.Batch(b.Offset, millis, b.Raw()); err != nil {
			return exit.OutputError(err)
		}
	}
	return nil
}
