// Package offline has the commands of log-cli that work on files without a
// server: check, dump and repair. What is wrong with files, and how it is mended, is
// for internal/storage/fsck to say.
package offline

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"github.com/logd-dev/logd/cmd/log-cli/internal/cli"
	"github.com/logd-dev/logd/internal/exit"
	"github.com/logd-dev/logd/internal/storage/fsck"
	"github.com/logd-dev/logd/internal/storage/layout"
	"github.com/logd-dev/logd/internal/vfs"
)

// Commands returns the commands, in the order of the help.
func Commands(a *cli.App) []*cobra.Command {
	return []*cobra.Command{checkCommand(a), dumpCommand(a), repairCommand(a)}
}

// offline is a work directory that a command reads without the server. On a
// terminal a bar shows how much of it has been read. Unlike other bars it is
// cleared for each line of output, which may go to the same terminal.
type offline struct {
	app     *cli.App
	dir     string
	fs      *vfs.OS
	doing   string
	bar     *cli.Bar
	read    int64
	printed error // the first failure to print
}

// openOffline opens a work directory. doing is what the bar says.
func openOffline(a *cli.App, dir, doing string) (*offline, error) {
	fsys, err := openWorkDir(dir)
	if err != nil {
		return nil, err
	}
	return &offline{app: a, dir: dir, fs: fsys, doing: doing}, nil
}

// progress shows how much has been read.
func (o *offline) progress(read, total int64) {
	if o.bar == nil {
		o.bar = o.app.Progress(total, o.doing, io.Discard)
	}
	o.bar.Add(int(read - o.read))
	o.read = read
}

// print calls a function that prints, unless one has failed before.
func (o *offline) print(print func() error) {
	o.bar.Finish()
	if o.printed == nil {
		o.printed = print()
	}
}

// done ends the bar, and explains an error.
func (o *offline) done(err error) error {
	o.bar.Finish()
	if err != nil {
		return explainOffline(o.dir, err)
	}
	return nil
}

func (o *offline) close() {
	o.bar.Finish()
	o.fs.Close()
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
