package read

import (
	"bufio"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/logd-dev/logd"
	"github.com/logd-dev/logd/cmd/log-cli/internal/cli"
	"github.com/logd-dev/logd/internal/exit"
)

// messageTime is how times of messages are printed: to the millisecond, as the
// server keeps them.
const messageTime = "2006-01-02T15:04:05.000Z07:00"

// messageWriter prints messages.
type messageWriter struct {
	out     *bufio.Writer
	topic   string
	json    bool
	numbers bool
	times   bool
	zone    *time.Location
	pattern pattern // instead of all that, if there is one
	several bool    // topics: numbers need the name of theirs
	line    []byte
}

func (w *messageWriter) print(m *logd.Message) error {
	switch {
	case w.json:
		return cli.PrintJSON(w.out, newJSONMessage(w.topic, m))
	case w.pattern != nil:
		w.line = w.pattern.append(w.line[:0], w, m)
		_, err := w.out.Write(w.line)
		return exit.OutputError(err)
	}
	w.line = w.line[:0]
	if w.numbers && w.several {
		w.line = append(append(w.line, w.topic...), ' ')
	}
	if w.numbers {
		w.line = fmt.Appendf(w.line, "%d.%d ", m.Offset, m.Delta)
	}
	if w.times {
		w.line = append(w.appendTime(w.line, m), ' ')
	}
	w.out.Write(w.line)
	w.out.Write(m.Body)
	return exit.OutputError(w.out.WriteByte('\n')) // an error of before comes again
}

// appendTime appends when a message was appended, or - if that is not known.
func (w *messageWriter) appendTime(b []byte, m *logd.Message) []byte {
	if m.Time.IsZero() {
		return append(b, '-')
	}
	return m.Time.In(w.zone).AppendFormat(b, messageTime)
}

func (w *messageWriter) flush() error { return exit.OutputError(w.out.Flush()) }

// pattern is how a message is printed: texts and parts of the message.
type pattern []patternPart

// patternPart is a text, or a part of the message by its letter.
type patternPart struct {
	text   string
	letter byte
}

// patternLetters are the parts of a message.
const patternLetters = "todTs"

// parsePattern parses the value of --format: %t topic, %o offset, %d delta, %T
// time, %s body, %% a percent sign, and \n, \t, \r, \0, \\ and \xHH.
func parsePattern(text string) (pattern, error) {
	var p pattern
	var literal strings.Builder
	for i := 0; i < len(text); i++ {
		rest := text[i+1:]
		switch c := text[i]; {
		case c == '\\':
			b, n, err := escape(rest)
			if err != nil {
				return nil, err
			}
			literal.WriteByte(b)
			i += n
		case c != '%':
			literal.WriteByte(c)
		case strings.HasPrefix(rest, "%"):
			literal.WriteByte('%')
			i++
		case rest != "" && strings.IndexByte(patternLetters, rest[0]) >= 0:
			p = append(p, patternPart{text: literal.String()}, patternPart{letter: rest[0]})
			literal.Reset()
			i++
		default:
			return nil, fmt.Errorf("%q is unknown: want %%t topic, %%o offset, %%d delta, %%T time, %%s body or %%%%", text[i:min(i+2, len(text))])
		}
	}
	return append(p, patternPart{text: literal.String()}), nil
}

// escape returns the byte that an escape stands for, and how many bytes follow
// its backslash.
func escape(rest string) (b byte, n int, err error) {
	if rest != "" {
		if i := strings.IndexByte(`ntr0\`, rest[0]); i >= 0 {
			return "\n\t\r\x00\\"[i], 1, nil
		}
		if rest[0] == 'x' && len(rest) >= 3 {
			if v, err := strconv.ParseUint(rest[1:3], 16, 8); err == nil {
				return byte(v), 3, nil
			}
		}
	}
	return 0, 0, errors.New(`after a backslash want n, t, r, 0, xHH or a backslash`)
}

// wants reports whether the pattern has the part with the letter.
func (p pattern) wants(letter byte) bool {
	for _, part := range p {
		if part.letter == letter {
			return true
		}
	}
	return false
}

func (p pattern) append(b []byte, w *messageWriter, m *logd.Message) []byte {
	for _, part := range p {
		switch part.letter {
		case 't':
			b = append(b, w.topic...)
		case 'o':
			b = strconv.AppendInt(b, m.Offset, 10)
		case 'd':
			b = strconv.AppendInt(b, m.Delta, 10)
		case 'T':
			b = w.appendTime(b, m)
		case 's':
			b = append(b, m.Body...)
		default:
			b = append(b, part.text...)
		}
	}
	return b
}

// jsonMessage is a message as one line of JSON. A body that is not UTF-8 would
// not survive as a string.
type jsonMessage struct {
	Topic      string  `json:"topic"`
	Offset     int64   `json:"offset"`
	Delta      int64   `json:"delta"`
	Body       *string `json:"body,omitempty"`
	BodyBase64 []byte  `json:"body_base64,omitempty"`
	Time       string  `json:"time,omitempty"` // when it was appended, in UTC
}

func newJSONMessage(topic string, m *logd.Message) jsonMessage {
	j := jsonMessage{Topic: topic, Offset: m.Offset, Delta: m.Delta}
	if utf8.Valid(m.Body) {
		body := string(m.Body)
		j.Body = &body
	} else {
		j.BodyBase64 = m.Body
	}
	if !m.Time.IsZero() {
		j.Time = m.Time.UTC().Format(messageTime)
	}
	return j
}

// patternFlag gives the flag -o to a command that takes patterns, too.
func patternFlag(a *cli.App, cmd *cobra.Command, p *pattern) {
	cmd.Flags().VarP(patternValue{&a.Format, p}, "format", "o", "print in this `FORMAT`: text, json (one object a line), or a pattern (see above)")
	cli.CompleteFormat(cmd)
}

// patternValue is a cli.Format that may be a pattern.
type patternValue struct {
	*cli.Format
	pattern *pattern
}

// Set takes the value of --format.
func (f patternValue) Set(text string) (err error) {
	if !strings.Contains(text, "%") {
		if err := f.Format.Set(text); err != nil {
			return fmt.Errorf("%w, or a pattern such as '%%T %%s\\n'", err)
		}
		return nil
	}
	if err := f.Take(text); err != nil {
		return err
	}
	*f.pattern, err = parsePattern(text)
	return err
}
