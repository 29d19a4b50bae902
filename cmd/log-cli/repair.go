package main

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

	"github.com/logd-dev/logd/internal/storage/fsck"
	"github.com/logd-dev/logd/internal/storage/layout"
)

func (a *app) repairCommand() *cobra.Command {
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
		RunE: a.do(func(ctx context.Context, args []string) error {
			return a.repair(ctx, args[0], dryRun)
		}),
	}
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "show exactly what would be done and do nothing")
	a.formatFlag(cmd)
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

func (a *app) repair(ctx context.Context, dir string, dryRun bool) error {
	o, err := a.openOffline(dir, "repairing")
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
		o.print(func() error { return a.printAction(&act) })
	})
	if err := o.done(err); err != nil {
		return err
	}
	o.print(func() error { return a.printRepaired(dir, dryRun, &report) })
	if o.printed != nil {
		return o.printed
	}
	for _, err := range report.Failed {
		a.note("%v%s", err, repairHint(err))
	}
	if n := len(report.Failed); n > 0 {
		return fmt.Errorf("%s could not be repaired; the rest is done, and nothing is lost", count(int64(n), "topic"))
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

func (a *app) printAction(act *fsck.Action) error {
	if a.json() {
		j := jsonAction{"action", string(act.Kind), act.Topic, act.File, act.Position, act.Offset, act.Length, act.Why, act.SavedAs, nil}
		if act.Kind == fsck.ActSave {
			j.CRC = &act.CRC
		}
		return printJSON(a.stdout, j)
	}
	to := ""
	if act.Kind == fsck.ActSave {
		to = fmt.Sprintf("to %s: ", act.SavedAs)
	}
	return printf(a.stdout, "%s: %s: %s%s%s\n", act.Kind, act.File, rangeOf(act.Position, act.Offset, act.Length), to, act.Why)
}

func (a *app) printRepaired(dir string, dryRun bool, r *fsck.RepairReport) error {
	if a.json() {
		return printJSON(a.stdout, jsonRepaired{"summary", dryRun, r.Topics, r.Actions, r.SavedBytes, len(r.Failed)})
	}
	switch {
	case r.Topics == 0 && len(r.Failed) == 0:
		return printf(a.stdout, "nothing to repair\n")
	case r.Topics == 0 && r.Actions == 0:
		return printf(a.stdout, "nothing was repaired\n")
	case dryRun:
		return printf(a.stdout, "%s to repair in %s; nothing was changed\n", count(r.Topics, "topic"), count(r.Actions, "step"))
	}
	saved := ""
	if r.SavedBytes > 0 {
		saved = fmt.Sprintf(", %d bytes kept in %s", r.SavedBytes, filepath.Join(dir, fsck.SavedDir))
	}
	if n := len(r.Failed); n > 0 {
		return printf(a.stdout, "%s repaired, %s not; %s done%s\n", count(r.Topics, "topic"), count(int64(n), "topic"), count(r.Actions, "step"), saved)
	}
	return printf(a.stdout, "%s repaired in %s%s\n", count(r.Topics, "topic"), count(r.Actions, "step"), saved)
}
