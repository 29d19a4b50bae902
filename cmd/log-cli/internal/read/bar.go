package read

import (
	"context"

	"github.com/logd-dev/logd/cmd/log-cli/internal/cli"
)

// readingBar is how far topics are read whose messages go to a file. A nil one shows
// nothing.
type readingBar struct {
	bar *cli.Bar
	at  map[string]int64
}

// newReadingBar asks how much is to be read, if that is going to be shown.
func newReadingBar(ctx context.Context, readers ...*reader) *readingBar {
	if len(readers) == 0 {
		return nil
	}
	a, f := readers[0].app, readers[0].flags
	if f.follow || f.limit > 0 || !cli.IsTerminal(a.Stderr) || !cli.IsFile(a.Stdout) {
		return nil
	}
	p, total := &readingBar{at: map[string]int64{}}, int64(0)
	for _, r := range readers {
		info, err := r.Client.Info(ctx, r.Topic)
		if err != nil {
			continue // what reads the topic says so
		}
		from, to := max(r.offset, info.Oldest), info.Next
		if r.bounded {
			to = r.to
		}
		total += max(to-from, 0)
		p.at[r.Topic] = from
	}
	p.bar = a.Progress(total, "reading", a.Stdout)
	return p
}

// reach says that the topic is read up to an offset.
func (p *readingBar) reach(topic string, offset int64) {
	if p == nil {
		return
	}
	if from, ok := p.at[topic]; ok && offset > from {
		p.bar.Add(int(offset - from))
		p.at[topic] = offset
	}
}

func (p *readingBar) finish() {
	if p != nil {
		p.bar.Finish()
	}
}
