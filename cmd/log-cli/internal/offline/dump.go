package offline

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/logd-dev/logd/cmd/log-cli/internal/cli"
	"github.com/logd-dev/logd/internal/exit"
	"github.com/logd-dev/logd/internal/storage/fsck"
)

// dumpFlags are the flags of dump.
type dumpFlags struct {
	topic            string
	offset, limit    int64
	messages, bodies bool
}

func dumpCommand(a *cli.App) *cobra.Command {
	var o dumpFlags
	cmd := &cobra.Command{
		Use:   "dump FILE [flags]",
		Short: "Print the batches of a partition file.",
		Long: `Prints a line for each batch of FILE, and for each range of bytes that is none.
FILE is named <base offset>.log. Every checksum is verified. Times are those of
the index beside the file, if there is one.

FILE may be a copy anywhere. If it is in a work directory, no server may have
that directory open. Compressed batches are unpacked.`,
		Example: `  log-cli dump logs/greetings/0.log
  log-cli dump logs/greetings/0.log --offset 47 --limit 1 --bodies
  log-cli dump logs/greetings/0.log -o json`,
		Args: oneArg("FILE"),
		RunE: a.Do(func(ctx context.Context, args []string) error {
			if o.offset < 0 || o.limit < 0 {
				return exit.With(exit.Usage, errors.New("--offset and --limit must not be negative"))
			}
			return dump(ctx, a, args[0], &o)
		}),
	}
	flags := cmd.Flags()
	flags.Var((*cli.Number)(&o.offset), "offset", "begin with the first batch at or after this `OFFSET`")
	flags.Var((*cli.Number)(&o.limit), "limit", "end after `N` batches; 0 for all")
	flags.BoolVarP(&o.messages, "messages", "m", false, "print a line for each message, too")
	flags.BoolVarP(&o.bodies, "bodies", "b", false, "the same, with the messages' bodies")
	flags.StringVarP(&o.topic, "topic", "t", "", "the `TOPIC` of the batches (default: that of the first)")
	a.FormatFlag(cmd)
	return cmd
}

// jsonBatch is a batch of a partition file as one line of JSON.
type jsonBatch struct {
	Type     string `json:"type"`
	Topic    string `json:"topic"`
	Offset   int64  `json:"offset"`
	Position int64  `json:"position"`
	Length   int64  `json:"length"`
	Messages int64  `json:"messages"`
	CRC      uint32 `json:"crc32"`
	Time     string `json:"time,omitempty"`
	Codec    string `json:"codec,omitempty"`
	Size     int64  `json:"size,omitempty"`
	Unpacked int64  `json:"uncompressed_size,omitempty"`
	Content  string `json:"content,omitempty"`
}

// jsonDamage is a range of a partition file that is no batch.
type jsonDamage struct {
	Type     string `json:"type"`
	Topic    string `json:"topic"`
	Offset   int64  `json:"offset"`
	Position int64  `json:"position"`
	Length   int64  `json:"length"`
	Why      string `json:"why"`
}

// jsonDumpedMessage is a message as one line of JSON, as read prints it, with
// its length.
type jsonDumpedMessage struct {
	Type       string  `json:"type"`
	Topic      string  `json:"topic"`
	Offset     int64   `json:"offset"`
	Delta      int64   `json:"delta"`
	Length     int     `json:"length"`
	Body       *string `json:"body,omitempty"`
	BodyBase64 []byte  `json:"body_base64,omitempty"`
}

func dump(ctx context.Context, a *cli.App, file string, o *dumpFlags) error {
	path, err := filepath.Abs(file)
	if err != nil {
		return err
	}
	// The index and the lock are found from the work directory.
	topicDir := filepath.Dir(path)
	dir := filepath.Dir(topicDir)
	fsys, err := openWorkDir(dir)
	if err != nil {
		return err
	}
	defer fsys.Close()
	name, err := filepath.Rel(dir, path)
	if err != nil {
		return err
	}
	err = fsck.Dump(ctx, fsck.DumpOptions{
		FS: fsys, File: filepath.ToSlash(name), Topic: o.topic, Offset: o.offset, Limit: o.limit,
	}, func(d *fsck.Dumped) error { return printDumped(a, d, o) })
	switch {
	case errors.Is(err, exit.ErrQuiet):
		return exit.ErrQuiet
	case errors.Is(err, fs.ErrNotExist):
		return exit.With(exit.NotFound, fmt.Errorf("there is no file %s", file))
	case err != nil:
		return explainOffline(dir, err)
	}
	return nil
}

func printDumped(a *cli.App, d *fsck.Dumped, o *dumpFlags) error {
	if err := printBatch(a, d); err != nil {
		return err
	}
	if d.Damage != "" || (!o.messages && !o.bodies) {
		return nil
	}
	for delta, body := range d.Bodies() {
		if err := printDumpedMessage(a, d, delta, body, o.bodies); err != nil {
			return err
		}
	}
	return nil
}

func printBatch(a *cli.App, d *fsck.Dumped) error {
	when := ""
	if !d.Time.IsZero() {
		when = d.Time.Format("2006-01-02T15:04:05.000Z07:00")
	}
	switch {
	case a.JSON() && d.Damage != "":
		return cli.PrintJSON(a.Stdout, jsonDamage{"damage", d.Topic, d.Offset, d.Position, d.Length, d.Damage})
	case a.JSON():
		j := jsonBatch{
			Type: "batch", Topic: d.Topic, Offset: d.Offset, Position: d.Position, Length: d.Length,
			Messages: d.Messages, CRC: d.CRC, Time: when,
		}
		if d.Codec != "" {
			j.Codec, j.Size, j.Unpacked = d.Codec, d.Size, d.Unpacked
		}
		if d.Content != nil {
			j.Content = d.Content.Error()
		}
		return cli.PrintJSON(a.Stdout, j)
	case d.Damage != "":
		return cli.Printf(a.Stdout, "damage %d: %d bytes: %s\n", d.Offset, d.Length, d.Damage)
	}
	if when != "" {
		when = ", appended " + when
	}
	packed := ""
	switch {
	case d.Content != nil:
		packed = fmt.Sprintf(", %s, which can't be unpacked: %v", d.Codec, d.Content)
	case d.Codec != "":
		packed = fmt.Sprintf(", %s: %d bytes for %d", d.Codec, d.Size, d.Unpacked)
	}
	return cli.Printf(a.Stdout, "batch %d: %d bytes, %s, checksum %d ok%s%s\n",
		d.Offset, d.Length, cli.Count(d.Messages, "message"), d.CRC, packed, when)
}

func printDumpedMessage(a *cli.App, d *fsck.Dumped, delta int64, body []byte, withBody bool) error {
	if a.JSON() {
		j := jsonDumpedMessage{Type: "message", Topic: d.Topic, Offset: d.Offset, Delta: delta, Length: len(body)}
		if withBody && utf8.Valid(body) {
			text := string(body)
			j.Body = &text
		} else if withBody {
			j.BodyBase64 = body
		}
		return cli.PrintJSON(a.Stdout, j)
	}
	if withBody {
		return cli.Printf(a.Stdout, "  %d.%d: %d bytes: %q\n", d.Offset, delta, len(body), body)
	}
	return cli.Printf(a.Stdout, "  %d.%d: %d bytes\n", d.Offset, delta, len(body))
}
