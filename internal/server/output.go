package server

// flush sends the session's answers. With more, what follows at once is sent
// along with them.
func (c *conn) flush(more bool) error {
	if len(c.out) == 0 {
		return nil
	}
	err := c.sock.Write(c.out, more)
	c.sent()
	return err
}

// sendView sends the session's answers and then the sections of its view.
func (c *conn) sendView() error {
	v := c.view
	c.view = nil
	defer v.Close()
	if err := c.flush(true); err != nil {
		return err
	}
	for i := range v.Sections() {
		if err := c.sock.Section(v.Section(i)); err != nil {
			return err
		}
	}
	return nil
}
