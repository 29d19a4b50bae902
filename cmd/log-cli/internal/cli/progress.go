package cli

import (
	"io"
	"os"
	"time"

	"github.com/schollz/progressbar/v3"
)

// Bar shows progress on a terminal, or nothing anywhere else. A nil Bar is
// one that shows nothing.
type Bar struct{ bar *progressbar.ProgressBar }

// Progress returns a bar for so many bytes of which data is made that goes to
// out: how many are done, how many a second, and for how long yet. There must be a terminal to show it on, and out must not be one.
func (a *App) Progress(total int64, what string, out io.Writer) *Bar {
	if total <= 0 || !IsTerminal(a.Stderr) || IsTerminal(out) {
		return nil
	}
	b := &Bar{progressbar.NewOptions64(total,
		progressbar.OptionSetWriter(a.Stderr),
		progressbar.OptionSetDescription(what),
		progressbar.OptionEnableColorCodes(false), // NO_COLOR, and no color without it
		progressbar.OptionShowBytes(true),
		progressbar.OptionShowCount(),
		progressbar.OptionUseIECUnits(true),
		progressbar.OptionThrottle(100*time.Millisecond),
		progressbar.OptionClearOnFinish(),
		progressbar.OptionSetRenderBlankState(true),
		progressbar.OptionSetWidth(30),
	)}
	a.bar.Store(b)
	return b
}

// IsFile reports whether data that goes to out goes to a file, whose size a bar can tell
// of, and not to a program that may show it.
func IsFile(out io.Writer) bool {
	f, ok := out.(*os.File)
	if !ok {
		return false
	}
	st, err := f.Stat()
	return err == nil && st.Mode().IsRegular()
}

// Add grows the bar.
func (b *Bar) Add(n int) {
	if b != nil {
		b.bar.Add(n)
	}
}

// clear takes the bar away until it grows again.
func (b *Bar) clear() {
	if b != nil {
		b.bar.Clear()
	}
}

// Finish takes the bar away. It may be called again.
func (b *Bar) Finish() { b.clear() }

// TimeBar shows on a terminal that time passes, or nothing anywhere else. A
// nil TimeBar shows nothing.
type TimeBar struct {
	bar      *progressbar.ProgressBar
	duration time.Duration
}

// ProgressTime returns a bar for the time that a measurement takes.
func (a *App) ProgressTime(duration time.Duration) *TimeBar {
	if !IsTerminal(a.Stderr) {
		return nil
	}
	return &TimeBar{progressbar.NewOptions64(duration.Milliseconds(),
		progressbar.OptionSetWriter(a.Stderr),
		progressbar.OptionSetDescription("measuring"),
		progressbar.OptionEnableColorCodes(false), // as in Progress
		progressbar.OptionSetPredictTime(false),
		progressbar.OptionSetElapsedTime(false),
		progressbar.OptionSetWidth(30),
	), duration}
}

// Run lets the bar grow until the function it returns is called.
func (b *TimeBar) Run() (stop func()) {
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
