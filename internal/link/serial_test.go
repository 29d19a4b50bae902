package link

import (
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// Callbacks come one after another and in order, and nobody waits for a callback of
// another: neither who has one to be called meanwhile, nor a callback that has one
// called itself.
func TestSerial(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s serial
		var order []int
		var wg sync.WaitGroup
		wg.Go(func() {
			s.do(func() {
				s.do(func() { order = append(order, 1) })
				time.Sleep(time.Second)
				order = append(order, 0)
			})
		})
		synctest.Wait()
		for i := range 10 {
			start := time.Now()
			s.do(func() { order = append(order, 2+i) })
			if took := time.Since(start); took != 0 {
				t.Errorf("call %d took %v", i, took)
			}
		}
		wg.Wait()
		if want := []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}; !slices.Equal(order, want) {
			t.Errorf("called in the order %v", order)
		}
	})
}
