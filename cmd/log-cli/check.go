package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"github.com/logd-dev/logd/internal/exit"
	"github.com/logd-dev/logd/internal/storage/fsck"
	"github.com/logd-dev/logd/internal/storage/layout"
	"github.com/logd-dev/logd/internal/vfs"
)

func (a *app) checkCommand() *cobra.Command {
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
		RunE: a.do(func(ctx context.Context, args []string) error {
			return a.check(ctx, args[0], online)
		}),
	}
	cmd.Flags().BoolVar(&online, "online", false, "check what no longer changes, while a server may have it open: all before the last sync that is on record")
	a.formatFlag(cmd)
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

func (a *app) check(ctx context.Context, dir string, online bool) error {
	fsys, err := openWorkDir(dir)
	if err != nil {
		return err
	}
	defer fsys.Close()
	bar := a.offlineBar("checking")
	defer bar.clear()
	var printed error
	report, err := fsck.Check(ctx, fsck.CheckOptions{FS: fsys, Online: online, Progress: bar.progress}, func(f fsck.Finding) {
		bar.clear()
		if printed == nil {
			printed = a.printFinding(&f)
		}
	})
	bar.clear()
	if err != nil {
		return explainOffline(dir, err)
	}
	if addr := layout.ServerOf(fsys); online && addr != "" && printed == nil {
		printed = a.askServer(ctx, dir, addr, &report)
	}
	if printed == nil {
		printed = a.printChecked(&report)
	}
	switch {
	case printed != nil:
		return printed
	case report.Damages > 0:
		return exit.With(exit.Damage, fmt.Errorf("%s is damaged; \"log-cli repair --dry-run\" shows what can be done", dir))
	case report.Unchecked > 0:
		return fmt.Errorf("%s could not be checked wholly", dir)
	}
	return nil
}

func (a *app) printFinding(f *fsck.Finding) error {
	if a.json() {
		return printJSON(a.stdout, jsonFinding{
			"finding", f.Level.String(), string(f.Kind), f.Topic, f.File, f.Position, f.Offset, f.Length, f.Why,
		})
	}
	return printf(a.stdout, "%s: %s: %s%s\n", f.Level, f.File, rangeOf(f.Position, f.Offset, f.Length), f.Why)
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

func (a *app) printChecked(r *fsck.CheckReport) error {
	if a.json() {
		return printJSON(a.stdout, jsonChecked{
			"summary", r.Topics, r.Partitions, r.Batches, r.Messages, r.Bytes, r.Damages, r.DamagedBytes, r.Notes, r.Unchecked, r.Unmarked,
		})
	}
	result := "no damage"
	if r.Damages > 0 {
		result = fmt.Sprintf("damage in %s, %d bytes", count(r.Damages, "place"), r.DamagedBytes)
	}
	if r.Notes > 0 {
		result += "; " + count(r.Notes, "note")
	}
	if r.Unchecked > 0 {
		result += fmt.Sprintf("; %d unchecked", r.Unchecked)
	}
	if r.Unmarked > 0 {
		result += fmt.Sprintf("; %d bytes not checked, written since the last mark", r.Unmarked)
	}
	return printf(a.stdout, "%s, %s, %d bytes, %s, %s: %s\n", count(r.Topics, "topic"), count(r.Partitions, "partition"), r.Bytes,
		plural(r.Batches, "batch", "batches"), count(r.Messages, "message"), result)
}

func count(n int64, what string) string { return plural(n, what, what+"s") }

func plural(n int64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// openWorkDir opens a folder that must be there.
func openWorkDir(dir string) (*vfs.OS, error) {
	st, err := os.Stat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, exit.With(exit.NotFound, fmt.Errorf("there is no folder %s", dir))
	}
	if err == nil && !st.IsDir() {
		return nil, exit.With(exit.Usage, fmt.Errorf("%s is no folder: want a work directory of logd", dir))
	}
	if err != nil {
		return nil, err
	}
	return vfs.OpenOS(dir, 0o700)
}

// explainOffline turns an error of an offline command into one that says what
// to do.
func explainOffline(dir string, err error) error {
	switch {
	case errors.Is(err, vfs.ErrLocked):
		return exit.With(exit.Temporary, fmt.Errorf("%s is in use by %s: stop it first, or use "+
			"\"log-cli check --online\", which checks the parts that no longer change", dir, lockHolder(dir)))
	case errors.Is(err, layout.ErrStarted):
		return exit.With(exit.Temporary, fmt.Errorf("%s: a server has begun to use it; what was found may not hold", dir))
	case errors.Is(err, fsck.ErrNoWorkDir):
		return exit.With(exit.Usage, fmt.Errorf("%s is a topic's folder: want the work directory that it is in", dir))
	}
	return fmt.Errorf("%s: %w", dir, err)
}

// offlineBar shows how much of a work directory has been read, on a terminal.
// Unlike other bars it is cleared for each line of output, which may go to
// the same terminal.
type offlineBar struct {
	app  *app
	what string
	bar  *bar
	done int64
}

func (a *app) offlineBar(what string) *offlineBar { return &offlineBar{app: a, what: what} }

func (b *offlineBar) progress(done, total int64) {
	if b.bar == nil {
		b.bar = b.app.progress(total, b.what, io.Discard)
	}
	b.bar.add(int(done - b.done))
	b.done = done
}

func (b *offlineBar) clear() { b.bar.finish() }
