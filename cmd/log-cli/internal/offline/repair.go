package offline

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/logd-dev/logd/cmd/log-cli/internal/cli"
	"github.com/logd-dev/logd/internal/storage/fsck"
	"github.com/logd-dev/logd/internal/storage/layout"
)

func repairCommand(a *cli.App) *cobra.Command {
	var dryRun bool
	cmd := &cobra.Command{
		Use:   "repair DIR [flags]",
		Short: "Mend a work directory, keeping what is taken out of it.",
		Long: `Makes "log-cli check" find no damage in the work directory DIR. Everything that
is valid stays as it is, at its offset.

Damaged bytes are copied to DIR/.repaired. When the copies are on stable
storage, the bytes are overwritten with zeros, or cut off if they are the torn
end of a log. Reads of their offsets answer "not found". Indexes that do not fit
are made again. DIR/.repaired/.report has a line of JSON for each copy. An
interrupted repair is finished by running it again.

No server may have the directory open. Run it as the user that logd runs as.`,
		Example: `  log-cli repair logs --dry-run
  log-cli repair logs`,
		Args: oneArg("DIR"),
		RunE: a.Do(func(ctx context.Context, args []string) error {
			return repair(ctx, a, args[0], dryRun)
		}),
	}
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "show exactly what would be done and do nothing")
	a.FormatFlag(cmd)
	return cmd
}

// jsonAction is a step of a repair as one line of JSON.
type jsonAction struct {
	Type     string  `json:"type"`
	Action   string  `json:"action"`
	Topic    string  `json:"topic"`
	File     string  `json:"file"`
	Position int64   `json:"position"`
	Offset   int64   `json:"offset"`
	Length   int64   `json:"length"`
	Why      string  `json:"why"`
	Saved    string  `json:"saved,omitempty"`
	CRC      *uint32 `json:"crc32,omitempty"`
}

// jsonRepaired is the last line of a repair.
type jsonRepaired struct {
	Type       string `json:"type"`
	DryRun     bool   `json:"dry_run"`
	Topics     int64  `json:"topics"`
	Actions    int64  `json:"actions"`
	SavedBytes int64  `json:"saved_bytes"`
	Failed     int    `json:"failed"`
}

func repair(ctx context.Context, a *cli.App, dir string, dryRun bool) error {
	o, err := openOffline(a, dir, "repairing")
	if err != nil {
		return err
	}
	defer o.close()
	if !dryRun {
		if err := ownedByUs(dir); err != nil {
			return err
		}
	}
	report, err := fsck.Repair(ctx, fsck.RepairOptions{FS: o.fs, DryRun: dryRun, Progress: o.progress}, func(act fsck.Action) {
		o.print(func() error { return printAction(a, &act) })
	})
	if err := o.done(err); err != nil {
		return err
	}
	o.print(func() error { return printRepaired(a, dir, dryRun, &report) })
	if o.printed != nil {
		return o.printed
	}
	for _, err := range report.Failed {
		a.Note("%v%s", err, repairHint(err))
	}
	if n := len(report.Failed); n > 0 {
		return fmt.Errorf("%s could not be repaired; the rest is done, and nothing is lost", cli.Count(int64(n), "topic"))
	}
	return nil
}

// repairHint says what to do about an error, if that is not plain from it.
func repairHint(err error) string {
	if errors.Is(err, fs.ErrPermission) {
		return ": user " + strconv.Itoa(os.Geteuid()) + " may not do that; chown the file to this user, or chmod u+rw it, and run the repair again"
	}
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return ": make room for the copies, and run the repair again"
	}
	return ""
}

// ownedByUs returns an error if logd runs as another user, which could not open
// what a repair makes.
func ownedByUs(dir string) error {
	owner, err := runsAs(dir)
	if err != nil {
		return err
	}
	if us := os.Geteuid(); owner != us {
		return fmt.Errorf("the files in %s are those of user %d and this is user %d: run the repair as user %[2]d, as in: sudo -u '#%[2]d' log-cli repair %[1]s",
			dir, owner, us)
	}
	return nil
}

// runsAs returns as whom logd uses a work directory: whose its lock file is, or
// else, where it has none yet, its files. The directory itself may be another's:
// the root of a volume is.
func runsAs(dir string) (uid int, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return 0, err
	}
	names := slices.Clone(layout.LockNames)
	for _, e := range entries {
		if e.IsDir() && !layout.Reserved(e.Name()) {
			names = append(names, e.Name())
		}
	}
	for _, name := range append(names, ".") {
		st, err := os.Lstat(filepath.Join(dir, name))
		if err != nil {
			continue
		}
		if sys, ok := st.Sys().(*syscall.Stat_t); ok {
			return int(sys.Uid), nil
		}
	}
	return os.Geteuid(), nil
}

func printAction(a *cli.App, act *fsck.Action) error {
	if a.JSON() {
		j := jsonAction{"action", string(act.Kind), act.Topic, act.File, act.Position, act.Offset, act.Length, act.Why, act.SavedAs, nil}
		if act.Kind == fsck.ActSave {
			j.CRC = &act.CRC
		}
		return cli.PrintJSON(a.Stdout, j)
	}
	to := ""
	if act.Kind == fsck.ActSave {
		to = fmt.Sprintf("to %s: ", act.SavedAs)
	}
	return cli.Printf(a.Stdout, "%s: %s: %s%s%s\n", act.Kind, act.File, rangeOf(act.Position, act.Offset, act.Length), to, act.Why)
}

func printRepaired(a *cli.App, dir string, dryRun bool, r *fsck.RepairReport) error {
	if a.JSON() {
		return cli.PrintJSON(a.Stdout, jsonRepaired{"summary", dryRun, r.Topics, r.Actions, r.SavedBytes, len(r.Failed)})
	}
	switch {
	case r.Topics == 0 && len(r.Failed) == 0:
		return cli.Printf(a.Stdout, "nothing to repair\n")
	case r.Topics == 0 && r.Actions == 0:
		return cli.Printf(a.Stdout, "nothing was repaired\n")
	case dryRun:
		return cli.Printf(a.Stdout, "%s to repair in %s; nothing was changed\n", cli.Count(r.Topics, "topic"), cli.Count(r.Actions, "step"))
	}
	saved := ""
	if r.SavedBytes > 0 {
		saved = fmt.Sprintf(", %d bytes kept in %s", r.SavedBytes, filepath.Join(dir, fsck.SavedDir))
	}
	if n := len(r.Failed); n > 0 {
		return cli.Printf(a.Stdout, "%s repaired, %s not; %s done%s\n", cli.Count(r.Topics, "topic"), cli.Count(int64(n), "topic"), cli.Count(r.Actions, "step"), saved)
	}
	return cli.Printf(a.Stdout, "%s repaired in %s%s\n", cli.Count(r.Topics, "topic"), cli.Count(r.Actions, "step"), saved)
}
