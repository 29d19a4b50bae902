package protocol

import (
	"strconv"
	"time"

	"github.com/logd-dev/logd/internal/batch"
)

// AppendRequest appends the request line of req, its line end included. It is
// the inverse of [ParseRequest]: the line parses to an equal Request. For a
// BATCH it is the envelope alone, which the data follows.
//
// The values are not checked: a Request that ParseRequest would not return
// makes a line that it refuses.
func AppendRequest(dst []byte, req *Request) []byte {
	switch req.Command {
	case Batch:
		if req.Unsummed {
			return batch.AppendTypedHeader(dst, &req.Batch)
		}
		return batch.AppendHeader(dst, &req.Batch)
	case Read:
		dst = appendTopic(dst, req)
		dst = appendWord(dst, req.Offset)
		dst = appendReadArgs(dst, req)
	case Tail:
		dst = appendTopic(dst, req)
		dst = appendReadArgs(dst, req)
	case Seek:
		dst = appendTopic(dst, req)
		dst = appendWord(dst, req.Millis)
		dst = appendFresh(dst, req)
	case Times:
		dst = appendTopic(dst, req)
		dst = appendWord(dst, req.Offset)
		dst = appendWord(dst, req.To)
	case Info:
		dst = appendTopic(dst, req)
		dst = appendFresh(dst, req)
		if req.All {
			dst = append(dst, " settings=1"...)
		}
	case Create:
		dst = appendTopic(dst, req)
	case Topics:
		dst = appendFresh(append(dst, req.Command.String()...), req)
	case Transfer, Drain, Leave, Replace, Set:
		dst = appendClusterCommand(dst, req)
	case Delete:
		dst = appendTopic(dst, req)
		dst = append(dst, " id="...)
		dst = append(dst, req.ID...)
		if req.Now {
			dst = append(dst, " now=1"...)
		}
	case Trim:
		dst = appendTopic(dst, req)
		dst = appendWord(dst, req.Offset)
	case Hook:
		dst = appendTopic(dst, req)
		dst = appendWord(dst, req.Offset)
		if req.Skip {
			dst = append(dst, " skip"...)
		} else {
			dst = append(dst, " retry"...)
		}
	case Auth:
		dst = append(dst, "AUTH "...)
		dst = append(dst, req.Token...)
	case Retention:
		dst = appendTopic(dst, req)
		dst = appendKeep(dst, &req.Keep)
	case Hello:
		dst = appendHelloRequest(dst, req)
	case Position:
		dst = appendPositionRequest(dst, req)
	case Positions:
		dst = appendPositionsRequest(dst, req)
	default:
		dst = append(dst, req.Command.String()...)
	}
	return append(dst, '\r', '\n')
}

func appendTopic(dst []byte, req *Request) []byte {
	dst = append(dst, req.Command.String()...)
	dst = append(dst, ' ')
	return append(dst, req.Topic...)
}

func appendWord(dst []byte, n int64) []byte {
	dst = append(dst, ' ')
	return strconv.AppendInt(dst, n, 10)
}

// appendReadArgs appends what READ and TAIL have in common. A wait of less
// than a millisecond is one of a millisecond: it must not become none.
func appendReadArgs(dst []byte, req *Request) []byte {
	dst = appendWord(dst, req.Messages)
	if req.Waits {
		millis := req.Wait / time.Millisecond
		if req.Wait%time.Millisecond > 0 {
			millis++
		}
		dst = append(dst, " wait="...)
		dst = strconv.AppendInt(dst, int64(millis), 10)
	}
	if req.MaxBytes > 0 {
		dst = append(dst, " max-bytes="...)
		dst = strconv.AppendInt(dst, req.MaxBytes, 10)
	}
	if req.Verify {
		dst = append(dst, " verify=1"...)
	}
	return appendFresh(dst, req)
}

func appendFresh(dst []byte, req *Request) []byte {
	if req.Fresh {
		dst = append(dst, " fresh=1"...)
	}
	return dst
}

// appendKeep appends the arguments of RETENTION.
func appendKeep(dst []byte, k *Keep) []byte {
	for _, arg := range [...]struct {
		key   string
		value int64
	}{
		{" partitions=", k.Partitions}, {" bytes=", k.Bytes}, {" age=", millis(k.Age)},
	} {
		if arg.value >= 0 {
			dst = append(dst, arg.key...)
			dst = strconv.AppendInt(dst, arg.value, 10)
		}
	}
	return dst
}

// millis returns a duration in milliseconds, and what is negative as -1.
func millis(d time.Duration) int64 {
	if d < 0 {
		return -1
	}
	return int64(d / time.Millisecond)
}
