package deliver

// Room implements feed.Sink.
func (d *Delivery) Room() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	c := make(chan struct{}, 1)
	d.rooms = append(d.rooms, c)
	return c
}

// freed gives memory back and tells who waits for it.
func (d *Delivery) freed(n int64) {
	d.mem.Add(-n)
	d.mu.Lock()
	defer d.mu.Unlock()
	close(d.room)
	d.room = make(chan struct{})
	for _, c := range d.rooms {
		poke(c)
	}
}

func (d *Delivery) nextRoom() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.room
}

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
