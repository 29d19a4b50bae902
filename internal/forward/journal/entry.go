package journal

import (
	"bytes"
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/logd-dev/logd/internal/forward/feed"
	"github.com/logd-dev/logd/internal/forward/inputs"
)

// entry is an entry of the journal.
type entry struct {
	feed.Message
	cursor string
	// seq is its number among those of id; id is empty if that isn't known. numbered says
	// that journalctl gave the number itself.
	id       string
	seq      uint64
	numbered bool
}

// value is a field of an entry: a string, an array of bytes, or an array of such, if the
// entry has the field more than once.
type value []byte

// UnmarshalJSON implements json.Unmarshaler.
func (v *value) UnmarshalJSON(data []byte) error {
	switch {
	case bytes.Equal(data, []byte("null")):
		*v = nil
		return nil
	case len(data) > 0 && data[0] == '"':
		var s string
		err := json.Unmarshal(data, &s)
		*v = value(s)
		return err
	case len(data) > 1 && data[0] == '[':
		var numbers []uint8 // which encoding/json would take for base64 in a string
		var wide []uint16
		if json.Unmarshal(data, &wide) == nil {
			for _, n := range wide {
				if n > 255 {
					return errors.New("a number in a field is no byte")
				}
				numbers = append(numbers, uint8(n))
			}
			*v = numbers
			return nil
		}
		var several []value
		if err := json.Unmarshal(data, &several); err != nil {
			return err
		}
		var all [][]byte
		for _, one := range several {
			all = append(all, one)
		}
		*v = bytes.Join(all, []byte("\n"))
		return nil
	}
	return errors.New("a field is no string and no array")
}

// parseEntry parses a line of journalctl -o json.
func parseEntry(line []byte) (*entry, error) {
	var f struct {
		Cursor     value `json:"__CURSOR"`
		Seq        value `json:"__SEQNUM"`
		SeqID      value `json:"__SEQNUM_ID"`
		Realtime   value `json:"__REALTIME_TIMESTAMP"`
		Message    value `json:"MESSAGE"`
		Identifier value `json:"SYSLOG_IDENTIFIER"`
		SyslogPID  value `json:"SYSLOG_PID"`
		PID        value `json:"_PID"`
		Unit       value `json:"_SYSTEMD_UNIT"`
		UserUnit   value `json:"_SYSTEMD_USER_UNIT"`
		Facility   value `json:"SYSLOG_FACILITY"`
		Priority   value `json:"PRIORITY"`
	}
	if err := json.Unmarshal(line, &f); err != nil {
		return nil, errors.New("a line is no entry in JSON") // which must not be quoted
	}
	if len(f.Cursor) == 0 || bytes.ContainsAny(f.Cursor, "#\n\x00") {
		return nil, errors.New("an entry has no cursor")
	}
	e := &entry{cursor: string(f.Cursor)}
	e.Body = f.Message
	e.App = string(f.Identifier)
	e.ProcID = string(first(f.SyslogPID, f.PID))
	e.Unit = string(first(f.Unit, f.UserUnit))
	if n, err := strconv.Atoi(string(f.Facility)); err == nil {
		e.Facility = inputs.FacilityName(n)
	}
	if n, err := strconv.Atoi(string(f.Priority)); err == nil {
		e.Severity = inputs.SeverityName(n)
	}
	if n, err := strconv.ParseInt(string(f.Realtime), 10, 64); err == nil && n > 0 {
		e.Sent = time.UnixMicro(n)
	}
	if n, err := strconv.ParseUint(string(f.Seq), 10, 50); err == nil && len(f.SeqID) > 0 {
		e.id, e.seq, e.numbered = string(f.SeqID), n, true
	} else {
		e.id, e.seq, _ = parseCursor(e.cursor)
	}
	return e, nil
}

func first(values ...value) value {
	for _, v := range values {
		if len(v) > 0 {
			return v
		}
	}
	return nil
}

// parseCursor returns the number and the time in a cursor as journald makes them:
// s=<id>;i=<number>;…;t=<microseconds>;… The id is empty of others.
func parseCursor(cursor string) (id string, seq uint64, sent time.Time) {
	for part := range strings.SplitSeq(cursor, ";") {
		name, text, _ := strings.Cut(part, "=")
		n, err := strconv.ParseUint(text, 16, 62)
		switch {
		case name == "s":
			id = text
		case name == "i" && err == nil && n < 1<<50:
			seq = n
		case name == "t" && err == nil && n > 0:
			sent = time.UnixMicro(int64(n))
		}
	}
	if id == "" || seq == 0 {
		return "", 0, time.Time{}
	}
	return id, seq, sent
}
