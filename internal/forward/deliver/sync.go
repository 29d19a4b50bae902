package deliver

import (
	"errors"
	"fmt"
	"time"

	"github.com/logd-dev/logd/internal/forward/segment"
)

// spoolAll writes closed batches of what can't be read again to the spool.
func (d *Delivery) spoolAll() {
	if d.spool == nil {
		return
	}
	retry := time.NewTimer(time.Hour)
	defer retry.Stop()
	for {
		again := false
		for _, l := range d.allLanes() {
			again = !l.writeSpool() || again
		}
		if again { // the disk is full
			retry.Reset(100 * time.Millisecond)
		}
		select {
		case <-d.toSpool:
		case <-retry.C:
		case <-d.life.Done():
			return
		}
	}
}

// waitsFor is how long a sender waits for the server's answer before the spool is synced
// for it.
const waitsFor = 20 * time.Millisecond

// syncAll syncs the spool and the ledger, and writes down holes.
func (d *Delivery) syncAll() {
	second := time.NewTicker(time.Second)
	defer second.Stop()
	every := time.NewTicker(max(d.cfg.SpoolSync, time.Millisecond))
	defer every.Stop()
	soon := time.NewTimer(time.Hour)
	defer soon.Stop()
	pending := false
	for {
		select {
		case <-d.toSync:
			if !pending {
				pending = true
				soon.Reset(waitsFor)
			}
		case <-soon.C:
			pending = false
			if d.waiting.Load() > 0 {
				d.syncSpool()
			}
		case <-every.C:
			d.syncSpool()
		case <-second.C:
			d.writeDown()
			if d.ledger != nil {
				d.fail(d.ledger.Sync())
			}
		case <-d.life.Done():
			return
		}
	}
}

// syncSpool makes durable what is in the spool, and tells who waits for it.
func (d *Delivery) syncSpool() {
	if d.spool == nil {
		return
	}
	if err := d.spool.Sync(); err != nil {
		d.fail(err)
		return
	}
	n := d.spool.Synced()
	for _, l := range d.allLanes() {
		l.synced(n)
	}
}

// Sync makes durable all that was taken, if there is a state folder: what is in open
// batches goes to the spool, as far as it can't be read again.
func (d *Delivery) Sync() error {
	d.writeDown()
	if d.spool == nil {
		return nil
	}
	var full error
	for _, l := range d.allLanes() {
		l.closeOpen()
		if !l.writeSpool() {
			full = fmt.Errorf("spool: %w", segment.ErrFull)
		}
	}
	d.syncSpool()
	return errors.Join(full, d.spool.Sync(), d.ledger.Sync())
}
