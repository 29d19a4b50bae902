package api

import (
	"encoding/base64"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/web/ask"
)

// appendMessage appends a message as a JSON object.
func appendMessage(b []byte, topic string, at ask.Place, millis int64, body []byte) []byte {
	b = append(b, `{"topic":"`...) // whose name needs no escapes
	b = append(b, topic...)
	b = append(b, `","id":`...)
	b = appendID(b, at)
	b = append(b, `,"offset":`...)
	b = strconv.AppendInt(b, at.Offset, 10)
	b = append(b, `,"delta":`...)
	b = strconv.AppendInt(b, at.Delta, 10)
	b = append(b, `,"time":`...)
	b = appendStamp(b, millis)
	if utf8.Valid(body) {
		b = append(b, `,"body":`...)
		b = appendJSONText(b, body)
	} else {
		b = append(b, `,"body_base64":"`...)
		b = base64.StdEncoding.AppendEncode(b, body)
		b = append(b, '"')
	}
	return append(b, '}')
}

func appendID(b []byte, at ask.Place) []byte {
	b = append(b, '"')
	b = strconv.AppendInt(b, at.Offset, 10)
	b = append(b, '.')
	b = strconv.AppendInt(b, at.Delta, 10)
	return append(b, '"')
}

// appendStamp appends a time as answers have it; a negative one is none.
func appendStamp(b []byte, millis int64) []byte {
	if millis < 0 {
		return append(b, "null"...)
	}
	return time.UnixMilli(millis).UTC().AppendFormat(b, `"`+stampLayout+`"`)
}

// appendJSONText appends text, which is UTF-8, as a JSON string.
func appendJSONText(b, text []byte) []byte {
	b = append(b, '"')
	from := 0
	for i, c := range text {
		if c >= ' ' && c != '"' && c != '\\' {
			continue
		}
		b = append(b, text[from:i]...)
		from = i + 1
		switch c {
		case '"', '\\':
			b = append(b, '\\', c)
		case '\n':
			b = append(b, '\\', 'n')
		case '\r':
			b = append(b, '\\', 'r')
		case '\t':
			b = append(b, '\\', 't')
		default:
			const digits = "0123456789abcdef"
			b = append(b, '\\', 'u', '0', '0', digits[c>>4], digits[c&15])
		}
	}
	return append(append(b, text[from:]...), '"')
}

// messagesFrom walks the messages of a batch from a delta on.
func messagesFrom(data []byte, delta int64) func(yield func(delta int64, body []byte) bool) {
	return func(yield func(int64, []byte) bool) {
		for m := (batch.Messages{Data: data}); m.Next(); {
			if m.Delta() >= delta && !yield(m.Delta(), m.Body()) {
				return
			}
		}
	}
}
