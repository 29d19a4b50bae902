package node

import (
	"bytes"
	"os"
	"strconv"
	"sync"
	"time"
)

// recovering says what the node does before it is ready.
func (n *Node) recovering() string {
	if w := n.waits.Load(); w != nil {
		return *w
	}
	const doing = "recovering the work directory"
	if p := n.progress.String(); p != "" {
		return doing + ": " + p
	}
	return doing
}

// admission is what a member waits for that nobody has admitted yet.
const admission = "asking to be admitted to the cluster"

// waitFor has the node say that it waits for something else than the work directory.
func (n *Node) waitFor(what string) { n.waits.Store(&what) }

// tellRecovery calls Options.Recovering until the function that it returns is called.
func (n *Node) tellRecovery() (end func()) {
	quit := make(chan struct{})
	var group sync.WaitGroup
	group.Go(func() {
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		moved, _ := bytesMoved()
		for moves := true; ; {
			n.o.Recovering(n.recovering(), moves || n.waits.Load() != nil)
			select {
			case <-quit:
				return
			case <-tick.C:
			}
			now, ok := bytesMoved()
			moves, moved = !ok || now-moved > littleMoved, now
		}
	})
	return func() {
		close(quit)
		group.Wait()
	}
}

// littleMoved is what the process reads and writes in a second without recovering
// anything: answers to who asks how it is.
const littleMoved = 64 << 10

// bytesMoved returns how many bytes the process has read and written since it began, as
// the kernel counts them in /proc/self/io, which proc(5) describes.
func bytesMoved() (n int64, ok bool) {
	b, err := os.ReadFile("/proc/self/io")
	if err != nil {
		return 0, false
	}
	for line := range bytes.Lines(b) {
		name, value, _ := bytes.Cut(bytes.TrimSpace(line), []byte(": "))
		if string(name) != "rchar" && string(name) != "wchar" {
			continue
		}
		v, err := strconv.ParseInt(string(value), 10, 64)
		if err != nil {
			return 0, false
		}
		n, ok = n+v, true
	}
	return n, ok
}
