package link

import (
	"fmt"
	"strings"

	"github.com/logd-dev/logd/internal/protocol"
)

// LineCall returns a call with AnswerAny for a request line, given without its line
// end, and the topic that it is about, if any. The error is protocol.ErrInvalidRequest
// if the line could break the connection: the request must have no data after it, and
// its answer no batches.
func (l *Link) LineCall(line string) (cl *Call, topic string, err error) {
	if err := checkLine(line); err != nil {
		return nil, "", fmt.Errorf("%w: %w", protocol.ErrInvalidRequest, err)
	}
	cl = l.calls.get(AnswerAny)
	cl.line = append(cl.line[:0], line...)
	var req protocol.Request
	protocol.ParseRequest(cl.line, &req) // for the command; what is wrong with it is for the server to say
	if req.Command != protocol.Set {     // whose topics are a pattern, and nobody's to lead
		topic = string(req.Topic)
	}
	cl.line = append(cl.line, "\r\n"...)
	cl.sends(req.Command)
	return cl, topic, nil
}

func checkLine(line string) error {
	word, _, _ := strings.Cut(line, " ")
	isControl := func(r rune) bool { return r < ' ' || r == 0x7f }
	switch {
	case len(line) > protocol.MaxLine:
		return fmt.Errorf("a line of %d bytes, of at most %d", len(line), protocol.MaxLine)
	case strings.ContainsFunc(line, isControl):
		return fmt.Errorf("%q has a control character in it", line)
	case word == "" || strings.Trim(word, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != "":
		return fmt.Errorf("%q does not begin with a command in upper case", line)
	}
	switch word {
	case "BATCH", "MSG":
		return fmt.Errorf("data follow %s: use Client.Append", word)
	case "READ", "TAIL":
		return fmt.Errorf("batches follow the answer to %s: use Client.Read or Client.Tail", word)
	case "CLOSE", "HELLO", "AUTH":
		return fmt.Errorf("%s is about the connection, which others share", word)
	}
	return nil
}
