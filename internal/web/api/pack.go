package api

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/web/problem"
)

// form is how messages stand in a body.
type form uint8

const (
	lines   form = iota // a message is a line without its LF
	whole               // the body is one message
	objects             // a message is a line of JSON that has it
)

// packer makes batches of the messages in a body, in order, each as full as the limit
// allows. What it makes is a function of the form, the limit and the bytes, however they
// arrive. It keeps what is begun of a message, and the batch that may get another one.
type packer struct {
	form     form
	topic    string
	limit    int64 // bytes of a batch, envelope and data
	numbered bool  // room is kept for a number in the envelope
	emit     func(*packed) error

	b        batch.Builder
	rest     []byte // the beginning of a message
	messages int64  // that were taken
	taken    int64  // bytes of the body in them
	last     int64  // delta of the newest
	failed   bool
}

// packed is a batch that gets no further message.
type packed struct {
	b        *batch.Builder
	messages int64
	last     int64 // delta of the last of them
	end      int64 // bytes of the body in it and in all before it
}

// room is what is counted of an envelope whose number is not known yet.
var room = batch.Header{PID: bytes.Repeat([]byte{'x'}, batch.MaxPIDLen), Seq: maxSeq}

// maxSeq is the highest number for which there is room.
const maxSeq = 9_999_999_999

// fits reports whether so many messages in so many bytes of data make a batch.
func (p *packer) fits(size, messages int64) bool {
	h := batch.Header{Size: size, CRC: 1<<32 - 1, Messages: messages}
	if p.numbered {
		h.PID, h.Seq = room.PID, room.Seq
	}
	return int64(h.Len()+len(p.topic))+size <= p.limit
}

// write takes the next bytes of the body. After an error there is nothing more to take.
func (p *packer) write(chunk []byte) error {
	for len(chunk) > 0 {
		i := -1
		if p.form != whole {
			i = bytes.IndexByte(chunk, '\n')
		}
		if i < 0 {
			if p.tooLong(int64(len(p.rest) + len(chunk))) {
				return p.refuse()
			}
			p.rest = append(p.rest, chunk...)
			return nil
		}
		line := chunk[:i]
		if len(p.rest) > 0 {
			if p.tooLong(int64(len(p.rest) + i)) {
				return p.refuse()
			}
			line = append(p.rest, line...)
			p.rest = line[:0]
		}
		if err := p.take(line, 1); err != nil {
			return err
		}
		chunk = chunk[i+1:]
	}
	return nil
}

// end takes the end of the body, which has come as it should.
func (p *packer) end() error {
	if len(p.rest) > 0 {
		if err := p.take(p.rest, 0); err != nil {
			return err
		}
	}
	if p.messages == 0 {
		return problem.New(problem.InvalidRequest, "There is no message in the body. To store an empty one, send an empty line as text/plain.")
	}
	return p.finish()
}

// tooLong reports whether what is begun can be no message any more, by its length alone.
func (p *packer) tooLong(n int64) bool {
	if p.form == objects { // of which a byte may be written as six, and other keys stand beside it
		n = (n - maxJSON) / 6
	}
	return n >= p.limit
}

// take takes what stands in the body for one message, and behind it so many bytes that
// belong to none.
func (p *packer) take(text []byte, behind int64) error {
	body := text
	if p.form == objects {
		var err error
		if body, err = parseObject(text, p.messages+1); err != nil {
			p.failed = true
			return err
		}
	}
	n := batch.MessageLen(len(body))
	if !p.fits(p.b.Size()+n, p.b.Messages()+1) {
		if !p.fits(n, 1) {
			return p.refuse()
		}
		if err := p.finish(); err != nil {
			return err
		}
	}
	p.last = p.b.Add(body)
	p.messages++
	p.taken += int64(len(text)) + behind
	return nil
}

// refuse refuses a message that is too long for any batch. Those before it have a batch
// that can't get another one.
func (p *packer) refuse() error {
	if err := p.finish(); err != nil {
		return err
	}
	p.failed = true
	what := "The body"
	if p.form != whole {
		what = fmt.Sprintf("Line %d", p.messages+1)
	}
	pr := problem.New(problem.TooLarge, fmt.Sprintf("%s is too long for a message: a batch of one message has at most %d bytes with its envelope.", what, p.limit))
	if p.form != whole {
		pr.With("line", p.messages+1)
	}
	return pr
}

// finish gives the batch away, if it has messages.
func (p *packer) finish() error {
	if p.b.Messages() == 0 {
		return nil
	}
	err := p.emit(&packed{&p.b, p.b.Messages(), p.last, p.taken})
	p.b.Reset()
	p.failed = p.failed || err != nil
	return err
}

// readKeys are the keys that a line has which was read, besides its body.
var readKeys = []string{"topic", "id", "offset", "delta", "time"}

// parseObject returns the body of the message that line n of the form objects has.
func parseObject(text []byte, n int64) ([]byte, error) {
	wrong := func(format string, args ...any) error {
		return problem.New(problem.InvalidRequest, fmt.Sprintf("Line %d ", n)+fmt.Sprintf(format, args...)).With("line", n)
	}
	if !utf8.Valid(text) {
		return nil, wrong("is not UTF-8; bytes that are not stand in body_base64.")
	}
	members, err := parseJSON(text)
	if err != nil {
		return nil, wrong("is no JSON object: %v.", err)
	}
	var body []byte
	found := ""
	for _, m := range members {
		switch m.key {
		case "body", "body_base64":
			if found != "" {
				return nil, wrong("has both %s and %s.", found, m.key)
			}
			found = m.key
			text, ok := jsonText(m.value)
			if !ok {
				return nil, wrong("has no text as its %s, or one that is no Unicode.", m.key)
			}
			if body = []byte(text); m.key == "body_base64" {
				if body, err = base64.StdEncoding.Strict().DecodeString(text); err != nil {
					return nil, wrong("has a body_base64 that is none.")
				}
			}
		default:
			if !slices.Contains(readKeys, m.key) {
				return nil, wrong("has a key %q; it may have body or body_base64, and of what was read %s.", clip(m.key), strings.Join(readKeys, ", "))
			}
		}
	}
	if found == "" {
		return nil, wrong("has no body; to store the lines themselves send text/plain.")
	}
	return body, nil
}

// jsonText returns the text of a JSON string. It is not one if package json has to put
// something in the place of what is no Unicode.
func jsonText(raw json.RawMessage) (string, bool) {
	var text string
	if len(raw) == 0 || raw[0] != '"' || json.Unmarshal(raw, &text) != nil {
		return "", false
	}
	const replacement = "\ufffd"
	made := strings.Count(text, replacement)
	if made > 0 {
		made -= strings.Count(string(raw), replacement) + strings.Count(strings.ToLower(string(raw)), `\ufffd`)
	}
	return text, made <= 0
}

// jsonMember is a key of a JSON object and its value as it stands there.
type jsonMember struct {
	key   string
	value json.RawMessage
}

// parseJSON takes a JSON object apart, which is all of text. A key that is there twice is
// an error.
func parseJSON(text []byte) ([]jsonMember, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	t, err := d.Token()
	if err != nil || t != json.Delim('{') {
		return nil, fmt.Errorf("it does not begin with {")
	}
	var members []jsonMember
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return nil, fmt.Errorf("it can't be taken apart at byte %d", d.InputOffset())
		}
		m := jsonMember{key: key.(string)} // or d would have failed
		if err := d.Decode(&m.value); err != nil {
			return nil, fmt.Errorf("it can't be taken apart at byte %d", d.InputOffset())
		}
		for _, other := range members {
			if other.key == m.key {
				return nil, fmt.Errorf("it has the key %q twice", clip(m.key))
			}
		}
		members = append(members, m)
	}
	if _, err := d.Token(); err != nil {
		return nil, fmt.Errorf("it does not end with }")
	}
	if rest := bytes.TrimLeft(text[d.InputOffset():], " \t\r\n"); len(rest) > 0 {
		return nil, fmt.Errorf("something follows it")
	}
	return members, nil
}
