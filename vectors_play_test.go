package logd_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/logd-dev/logd"
)

// vectorPeer is a server's side of a connection. Its goroutine reads requests, and
// answers those with a standing answer.
type vectorPeer struct {
	net.Conn
	requests chan [2]string // line and data; closed at the end
}

// vectorServer is a scripted server.
type vectorServer struct {
	play  *vectorPlay
	addr  string
	peers chan *vectorPeer // that no step has accepted
	last  *vectorPeer

	mu       sync.Mutex
	listener net.Listener
	all      []*vectorPeer
}

func (s *vectorServer) listen() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.listener != nil {
		return nil
	}
	ln, err := net.Listen("tcp", s.addr)
	if err != nil {
		return err
	}
	s.listener, s.addr = ln, ln.Addr().String()
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			peer := &vectorPeer{c, make(chan [2]string, 1000)}
			s.mu.Lock()
			s.all = append(s.all, peer)
			s.mu.Unlock()
			go peer.read(s.play)
			s.peers <- peer
		}
	}()
	return nil
}

// gone makes the server stop to listen.
func (s *vectorServer) gone() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.listener != nil {
		s.listener.Close()
		s.listener = nil
	}
}

// standing returns the standing answer to a request, if there is one.
func (p *vectorPlay) standing(line string) (answer []byte, ok bool) {
	line = strings.TrimSuffix(line, " fresh=1")
	if strings.HasPrefix(line, "HELLO ") {
		line = "HELLO"
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	answer, ok = p.answers[line]
	return answer, ok
}

func (peer *vectorPeer) read(p *vectorPlay) {
	defer close(peer.requests)
	in := bufio.NewReader(peer)
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.TrimSuffix(line, "\r\n")
		var size int
		var data []byte
		if n, _ := fmt.Sscanf(line, "BATCH %d ", &size); n == 1 {
			data = make([]byte, size)
			if _, err := io.ReadFull(in, data); err != nil {
				return
			}
		}
		if answer, ok := p.standing(line); ok {
			peer.Write(answer)
			continue
		}
		peer.requests <- [2]string{line, string(data)}
	}
}

// vectorPlay is a vector being played.
type vectorPlay struct {
	ctx     context.Context
	servers map[string]*vectorServer
	current *vectorServer
	client  *logd.Client
	calls   map[string]chan any
	last    string                 // call
	queues  map[string]chan func() // of objects: their calls come one after another

	mu      sync.Mutex
	objects map[string]any
	answers map[string][]byte // standing ones
}

func playVector(v vector) error {
	ctx, cancel := context.WithCancel(context.Background())
	p := &vectorPlay{
		ctx: ctx, servers: make(map[string]*vectorServer), answers: make(map[string][]byte), calls: make(map[string]chan any),
		queues: make(map[string]chan func()), objects: make(map[string]any),
	}
	defer p.end(cancel)
	if err := p.begin(v.Config); err != nil {
		return err
	}
	for i, step := range v.Steps {
		if err := p.step(step); err != nil {
			return fmt.Errorf("step %d, %v: %w", i+1, step, err)
		}
	}
	return p.leftovers()
}

func (p *vectorPlay) begin(config map[string]any) error {
	names := vectorList(config, "servers")
	if len(names) == 0 {
		names = []string{"a"}
	}
	var addrs []string
	for _, name := range append(names, vectorList(config, "others")...) {
		s := &vectorServer{play: p, addr: "127.0.0.1:0", peers: make(chan *vectorPeer, 100)}
		p.servers[name] = s
		if err := s.listen(); err != nil {
			return err
		}
		if len(addrs) < len(names) {
			addrs = append(addrs, s.addr)
		}
	}
	p.current = p.servers[names[0]]
	lines := []string{
		"Host: h:1", "Timeout: 15s", "IdleTimeout: 30s", fmt.Sprint("MaxBatchSize: ", vectorInt(config, "max_batch_size", 65536)),
		fmt.Sprint("Producers: ", vectorInt(config, "producers", 262144)),
	}
	if config["topic_limits"] == true {
		lines = append(lines, "TopicLimits: true")
	}
	if id := vectorText(config, "cluster", ""); id != "" {
		lines = append(lines, "Node: n", "Cluster: "+id, "ElectionTimeout: 1s")
	}
	p.mu.Lock() // those who serve are there already
	p.answers["CONFIG"] = vectorBody(lines...)
	p.answers["CLUSTER"], p.answers["HELLO"] = []byte("ERR invalid request\r\n"), []byte("ERR invalid request\r\n")
	answers, _ := config["answers"].(map[string]any)
	for line, pieces := range answers {
		p.answers[line] = p.bytes(pieces)
	}
	p.mu.Unlock()
	client, _ := config["client"].(map[string]any)
	cfg := logd.ClientConfig{
		Addrs: addrs, ReconnectAttempts: int(vectorInt(client, "attempts", 2)), ReconnectMin: time.Millisecond, ReconnectMax: 10 * time.Millisecond,
		ReadTimeout: time.Duration(vectorInt(client, "read_timeout_ms", 15000)) * time.Millisecond,
	}
	if token := vectorText(client, "token", ""); token != "" {
		cfg.Token = logd.StaticToken(token)
	}
	var err error
	p.client, err = logd.NewPlainClient(cfg)
	return err
}

func (p *vectorPlay) end(cancel func()) {
	cancel()
	p.mu.Lock()
	for _, o := range p.objects {
		switch o := o.(type) {
		case *logd.Writer:
			o.CloseContext(p.ctx)
		case *vectorReader:
			close(o.quit)
			o.scanner.Close()
		}
	}
	p.mu.Unlock()
	for _, q := range p.queues {
		close(q)
	}
	if p.client != nil {
		p.client.Close()
	}
	for _, s := range p.servers {
		s.gone()
		s.mu.Lock()
		for _, peer := range s.all {
			peer.Close()
		}
		s.mu.Unlock()
	}
}

var readsAhead = regexp.MustCompile("^(READ|TAIL|INFO) ")

func (p *vectorPlay) leftovers() error {
	for _, s := range p.servers {
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, peer := range s.all {
			for len(peer.requests) > 0 {
				if r := <-peer.requests; !readsAhead.MatchString(r[0]) {
					return fmt.Errorf("nobody expected %q", r[0])
				}
			}
		}
	}
	return nil
}

// text puts the addresses of the servers into a text.
func (p *vectorPlay) text(text string) string {
	for name, s := range p.servers {
		text = strings.ReplaceAll(text, "{"+name+"}", s.addr)
	}
	return text
}

// bytes returns what pieces stand for.
func (p *vectorPlay) bytes(pieces any) []byte {
	switch v := pieces.(type) {
	case []any:
		var all []byte
		for _, piece := range v {
			all = append(all, p.bytes(piece)...)
		}
		return all
	case string:
		return []byte(p.text(v))
	case map[string]any:
		switch {
		case v["batch"] != nil:
			return vectorBatch(v["batch"].(map[string]any))
		case v["info"] != nil:
			return vectorInfo(v["info"].(map[string]any))
		case v["lines"] != nil:
			lines := vectorList(v, "lines")
			for i := range lines {
				lines[i] = p.text(lines[i])
			}
			return vectorBody(lines...)
		}
	}
	return vectorBytes(pieces)
}

// keep keeps the object that a call has made, and object waits for one.
func (p *vectorPlay) keep(step map[string]any, object any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.objects[step["as"].(string)] = object
}

func (p *vectorPlay) object(name string) any {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.objects[name]
}

func (p *vectorPlay) peer(step map[string]any) (*vectorPeer, error) {
	s := p.current
	if on := vectorText(step, "on", ""); on != "" {
		s = p.servers[on]
	}
	if s.last == nil {
		return nil, errors.New("there is no connection")
	}
	return s.last, nil
}

func (p *vectorPlay) step(step map[string]any) error {
	for kind, play := range map[string]func(map[string]any) error{
		"call": p.begins, "result": p.result, "accept": p.accept, "expect": p.expect, "send": p.send, "close": p.close,
	} {
		if _, ok := step[kind]; ok {
			return play(step)
		}
	}
	return errors.New("there is no such step")
}

func (p *vectorPlay) accept(step map[string]any) error {
	p.current = p.servers[step["accept"].(string)]
	if err := p.current.listen(); err != nil {
		return err
	}
	select {
	case p.current.last = <-p.current.peers:
		return nil
	case <-time.After(vectorPatience):
		return errors.New("nobody connects")
	}
}

func (p *vectorPlay) expect(step map[string]any) error {
	peer, err := p.peer(step)
	if err != nil {
		return err
	}
	var got [2]string
	select {
	case r, ok := <-peer.requests:
		if !ok {
			return errors.New("the client has closed the connection")
		}
		got = r
	case <-time.After(vectorPatience):
		return errors.New("nothing came")
	}
	var line, data string
	switch want := step["expect"].(type) {
	case string:
		line = p.text(want)
		if d, ok := step["data"]; ok {
			data = string(vectorBytes(d))
		}
	case map[string]any:
		head, rest, _ := bytes.Cut(vectorBatch(want["batch"].(map[string]any)), []byte("\r\n"))
		line, data = string(head), string(rest)
	}
	if begin, open := strings.CutSuffix(line, "*"); got[0] != line && !(open && strings.HasPrefix(got[0]+" ", begin)) {
		return fmt.Errorf("the client sent %q", got[0])
	}
	if got[1] != data {
		return fmt.Errorf("the client sent the data %q", got[1])
	}
	return nil
}

func (p *vectorPlay) send(step map[string]any) error {
	peer, err := p.peer(step)
	if err != nil {
		return err
	}
	data := p.bytes(step["send"])
	if step["split"] != true {
		peer.Write(data) // the client may have had enough
		return nil
	}
	for i := range data {
		peer.Write(data[i : i+1])
		time.Sleep(500 * time.Microsecond) // or they arrive together
	}
	return nil
}

func (p *vectorPlay) close(step map[string]any) error {
	s := p.servers[step["close"].(string)]
	if step["how"] == "gone" {
		s.gone()
	}
	if s.last == nil {
		return nil
	}
	peer := s.last
	s.last = nil
	peer.Conn.(*net.TCPConn).CloseWrite()
	defer peer.Close()
	for end := time.After(vectorPatience); ; { // so that the client knows
		select {
		case r, ok := <-peer.requests:
			if !ok {
				return nil
			}
			if !readsAhead.MatchString(r[0]) {
				return fmt.Errorf("nobody expected %q", r[0])
			}
		case <-end:
			return errors.New("the client does not close the connection")
		}
	}
}

// begins begins a call, in the background. Those on an object come one after another.
func (p *vectorPlay) begins(step map[string]any) error {
	name := vectorText(step, "as", step["call"].(string))
	done := make(chan any, 1)
	p.calls[name], p.last = done, name
	call := func() { done <- p.do(step) }
	owner := vectorText(step, "on", "")
	if k := step["call"]; k == "writer" || k == "reader" {
		owner = name
	}
	if owner == "" {
		go call()
		return nil
	}
	if p.queues[owner] == nil {
		q := make(chan func(), 100)
		p.queues[owner] = q
		go func() {
			for f := range q {
				f()
			}
		}()
	}
	p.queues[owner] <- call
	return nil
}

func (p *vectorPlay) result(step map[string]any) error {
	var got any
	select {
	case got = <-p.calls[vectorText(step, "of", p.last)]:
	case <-time.After(vectorPatience):
		return errors.New("the call does not end")
	}
	got, err := p.told(got)
	if err == nil && !p.matches(got, step["result"]) {
		err = fmt.Errorf("the client says %v", got)
	}
	return err
}
