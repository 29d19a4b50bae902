package offline

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/logd-dev/logd"
	"github.com/logd-dev/logd/cmd/log-cli/internal/cli"
	"github.com/logd-dev/logd/internal/storage/fsck"
	"github.com/logd-dev/logd/internal/storage/layout"
)

// askServer adds to a check what the server that has the directory open knows of
// its topics and the files can't tell: that they are gone, or that the server
// takes no more appends. That there is no server any more is no error.
func askServer(ctx context.Context, a *cli.App, dir, addr string, report *fsck.CheckReport) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	client, err := logd.Dial(ctx, logd.ClientConfig{Addrs: []string{addr}, ConnectTimeout: time.Second, ReconnectAttempts: 1})
	if err != nil {
		if lockPID(dir) > 0 { // else the address is that of a server that has ended
			a.Note("the server is not asked: %s", cli.Plain(err))
		}
		return nil
	}
	defer client.Close()
	topics, err := client.Topics(ctx)
	if err != nil {
		a.Note("the server at %s is not asked: %s", addr, cli.Plain(err))
		return nil
	}
	for _, topic := range topics {
		f := fsck.Finding{Level: fsck.Note, Kind: fsck.FoundServer, Topic: topic, File: topic, Position: -1, Offset: -1}
		info, err := client.Info(ctx, topic)
		_, stat := os.Lstat(filepath.Join(dir, topic))
		switch {
		case errors.Is(err, logd.ErrNotFound):
			continue // deleted meanwhile
		case err == nil && errors.Is(stat, fs.ErrNotExist):
			f.Level, f.Why = fsck.Damage, fmt.Sprintf("the folder is gone, and the server at %s still has the topic", addr)
		case err != nil:
			f.Why = fmt.Sprintf("the server at %s can't tell of the topic: %s", addr, cli.Plain(err))
		case strings.HasPrefix(info.State, "read only"):
			f.Why = fmt.Sprintf("the server at %s says: %s", addr, info.State)
			if layout.IsDisplaced(info.State) {
				f.Level = fsck.Damage
			}
		default:
			continue
		}
		if f.Level == fsck.Damage {
			report.Damages++
		} else {
			report.Notes++
		}
		if err := printFinding(a, &f); err != nil {
			return err
		}
	}
	return nil
}
