package main

import (
	"io"
	"time"

	"github.com/schollz/progressbar/v3"
)

// bar shows progress on a terminal, or nothing anywhere else. A nil bar is
// one that shows nothing.
type bar struct{ bar *progressbar.ProgressBar }

// progress returns a bar for so many bytes of which data is made that goes to
// out. There must be a terminal to show it on, and out must not be one.
func (a *app) progress(total int64, what string, out io.Writer) *bar {
	if total <= 0 || !isTerminal(a.stderr) || isTerminal(out) {
		return nil
	}
	return &bar{progressbar.NewOptions64(total,
		progressbar.OptionSetWriter(a.stderr),
		progressbar.OptionSetDescription(what),
		progressbar.OptionEnableColorCodes(false), // NO_COLOR, and no color without it
		progressbar.OptionShowBytes(true),
		progressbar.OptionUseIECUnits(true),
		progressbar.OptionThrottle(100*time.Millisecond),
		progressbar.OptionClearOnFinish(),
		progressbar.OptionSetRenderBlankState(true),
		progressbar.OptionSetWidth(30),
	)}
}

func (b *bar) add(n int) {
	if b != nil {
		b.bar.Add(n)
	}
}

// finish takes the bar away. It may be called again.
func (b *bar) finish() {
	if b != nil {
		b.bar.Clear()
	}
}

// timeBar shows on a terminal that time passes, or nothing anywhere else. A
// nil timeBar shows nothing.
type timeBar struct {
	bar      *progressbar.ProgressBar
	duration time.Duration
}

func (a *app) progressTime(duration time.Duration) *timeBar {
	if !isTerminal(a.stderr) {
		return nil
	}
	return &timeBar{progressbar.NewOptions64(duration.Milliseconds(),
		progressbar.OptionSetWriter(a.stderr),
		progressbar.OptionSetDescription("measuring"),
		progressbar.OptionEnableColorCodes(false), // as in progress
		progressbar.OptionSetPredictTime(false),
		progressbar.OptionSetElapsedTime(false),
		progressbar.OptionSetWidth(30),
	), duration}
}

// run lets the bar grow until the function it returns is called.
func (b *timeBar) run() (stop func()) {
	if b == nil {
		return func() {}
	}
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		start := time.Now()
		ticker := time.NewTicker(100 * time.Millisecond)
		defer ticker.Stop()
		for {
			select {
			case now := <-ticker.C:
				b.bar.Set64(min(now.Sub(start), b.duration).Milliseconds())
			case <-quit:
				b.bar.Clear()
				return
			}
		}
	}()
	return func() {
		close(quit)
		<-done
	}
}
