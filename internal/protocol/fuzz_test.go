package protocol_test

import (
	"bytes"
	"errors"
	"math"
	"math/big"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/protocol"
)

// What follows reads request lines as docs/protocol.md describes them, slowly
// and with other means than the package. The fuzz target compares.

var (
	naiveNumber  = regexp.MustCompile(`^(0|[1-9][0-9]*)$`)
	naiveTopic   = regexp.MustCompile(`^[A-Za-z0-9_-][A-Za-z0-9._-]{0,254}$`)
	naivePattern = regexp.MustCompile(`^[A-Za-z0-9._*-]{1,255}$`)
	naiveID      = regexp.MustCompile(`^[0-9A-Fa-f]+$`)
	naivePID     = regexp.MustCompile(`^[A-Za-z0-9._-]{1,32}$`)
	naiveCodec   = regexp.MustCompile(`^[a-z0-9]{1,16}$`)
	naiveClient  = regexp.MustCompile(`^[A-Za-z0-9._/-]{1,64}$`)
	naiveMember  = regexp.MustCompile(`^[A-Za-z0-9._-]{1,32}$`)
	naiveLabel   = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)
	naiveKey     = regexp.MustCompile(`^([^=]*)=(.*)$`)
)

// naiveCommands lists the positional words of each command and its keys.
var naiveCommands = map[string]struct {
	command protocol.Command
	words   []string
	keys    []string
}{
	"BATCH":  {protocol.Batch, []string{"size", "topic", "crc", "count"}, []string{"codec", "pid", "seq"}},
	"READ":   {protocol.Read, []string{"topic", "offset", "messages"}, []string{"wait", "max-bytes", "verify", "fresh"}},
	"TAIL":   {protocol.Tail, []string{"topic", "messages"}, []string{"wait", "max-bytes", "fresh"}},
	"CONFIG": {protocol.Config, nil, nil},
	"STATS":  {protocol.Stats, nil, nil},
	"CLOSE":  {protocol.Close, nil, nil},
	"PING":   {protocol.Ping, nil, nil},
	"TOPICS": {protocol.Topics, nil, []string{"fresh"}},
	"HELP":   {protocol.Help, nil, nil},
	"INFO":   {protocol.Info, []string{"topic"}, []string{"fresh", "settings"}},
	"SEEK":   {protocol.Seek, []string{"topic", "unix-ms"}, []string{"fresh"}},
	"TIMES":  {protocol.Times, []string{"topic", "offset", "to"}, nil},
	"HOOKS":  {protocol.Hooks, nil, nil},
	"HOOK":   {protocol.Hook, []string{"topic", "offset", "action"}, nil},

	"DELETE": {protocol.Delete, []string{"topic"}, []string{"id", "now"}},
	"TRIM":   {protocol.Trim, []string{"topic", "offset"}, nil},

	"RETENTION": {protocol.Retention, []string{"topic"}, []string{"partitions", "bytes", "age"}},

	"CLUSTER":  {protocol.Cluster, nil, nil},
	"GROUPS":   {protocol.Groups, nil, nil},
	"TRANSFER": {protocol.Transfer, []string{"member"}, []string{"topic", "group"}},
	"DRAIN":    {protocol.Drain, []string{"member"}, []string{"off"}},
	"LEAVE":    {protocol.Leave, []string{"member"}, []string{"force"}},
	"REPLACE":  {protocol.Replace, []string{"member", "with"}, nil},
	"SETTING":  {protocol.Set, []string{"key", "value"}, []string{"topic", "dry-run"}},

	"HELLO": {protocol.Hello, []string{"speaks"}, []string{"codecs", "client"}},
	"AUTH":  {protocol.Auth, []string{"token"}, nil},

	"CREATE":    {protocol.Create, []string{"topic"}, nil},
	"POSITION":  {protocol.Position, []string{"topic", "consumer"}, []string{"fresh", "at", "version", "id", "ttl", "hold", "as", "note", "force", "forget"}},
	"POSITIONS": {protocol.Positions, nil, []string{"topic", "after", "limit"}},
}

func naiveParse(line string) (req protocol.Request, err error) {
	words := strings.Split(line, " ")
	c, ok := naiveCommands[words[0]]
	switch {
	case !ok:
		return req, protocol.ErrInvalidProtocol
	case len(words)-1 < len(c.words) || len(words)-1 > len(c.words)+len(c.keys):
		return req, protocol.ErrInvalidRequest
	}
	values := make(map[string]string)
	for i, word := range words[1:] {
		name := ""
		if i < len(c.words) {
			name = c.words[i]
		} else {
			m := naiveKey.FindStringSubmatch(word)
			if m == nil {
				return req, protocol.ErrInvalidRequest
			}
			for _, key := range c.keys {
				if m[1] == key {
					name, word = key, m[2]
				}
			}
		}
		if c.command == protocol.Set && name == "topic" {
			name = "pattern"
		}
		if _, again := values[name]; name == "" || again || !naiveValue(name, word) {
			return req, protocol.ErrInvalidRequest
		}
		values[name] = word
	}
	if _, ok := values["id"]; c.command == protocol.Delete && !ok {
		return req, protocol.ErrInvalidRequest
	}
	if _, ok := values["pattern"]; values["dry-run"] != "" && !ok {
		return req, protocol.ErrInvalidRequest
	}
	_, hasTopic := values["topic"]
	_, hasGroup := values["group"]
	if c.command == protocol.Transfer && hasTopic == hasGroup { // one of the two
		return req, protocol.ErrInvalidRequest
	}
	if attributes := words[min(len(words), 5):]; c.command == protocol.Batch {
		if values["codec"] != "" {
			if !strings.HasPrefix(attributes[0], "codec=") || naiveRequest(c.command, values).Batch.Messages > math.MaxInt32 {
				return req, protocol.ErrInvalidRequest
			}
			attributes = attributes[1:]
		}
		if n := len(attributes); n > 0 && (n != 2 || !strings.HasPrefix(attributes[0], "pid=") || !strings.HasPrefix(attributes[1], "seq=")) {
			return req, protocol.ErrInvalidRequest // both or none, in this order
		}
	}
	if c.command == protocol.Position && !naivePosition(values) {
		return req, protocol.ErrInvalidRequest
	}
	return naiveRequest(c.command, values), nil
}

// naivePosition tells whether a POSITION has words that go together.
func naivePosition(values map[string]string) bool {
	may := func(keys ...string) bool {
		for key := range values {
			if key != "topic" && key != "consumer" && !slices.Contains(keys, key) {
				return false
			}
		}
		return true
	}
	_, at := values["at"]
	_, hold := values["hold"]
	_, as := values["as"]
	switch _, forget := values["forget"]; {
	case forget:
		return may("forget", "version", "as", "force")
	case at && hold:
		return as && values["fresh"] == ""
	case at:
		return values["fresh"] == ""
	case hold:
		return as && may("hold", "as", "force")
	}
	return may("fresh")
}

func naivePlace(text string) (p batch.Place, ok bool) {
	parts := strings.Split(text, ".")
	if len(parts) != 2 || !naiveValue("offset", parts[0]) || !naiveValue("offset", parts[1]) {
		return p, false
	}
	p.Offset, _ = strconv.ParseInt(parts[0], 10, 64)
	p.Delta, _ = strconv.ParseInt(parts[1], 10, 64)
	return p, true
}

// naiveValue tells whether word is a value that the named word may have.
func naiveValue(name, word string) bool {
	if name == "topic" {
		return naiveTopic.MatchString(word)
	}
	if name == "pattern" {
		return naivePattern.MatchString(word)
	}
	if name == "id" {
		return naiveID.MatchString(word)
	}
	if name == "pid" {
		return naivePID.MatchString(word)
	}
	if name == "codec" {
		return naiveCodec.MatchString(word)
	}
	if name == "codecs" {
		names := strings.Split(word, ",")
		slices.Sort(names)
		good := !slices.ContainsFunc(names, func(name string) bool { return !naiveCodec.MatchString(name) })
		return good && len(names) <= 8 && len(slices.Compact(names)) == strings.Count(word, ",")+1
	}
	if name == "client" {
		return naiveClient.MatchString(word)
	}
	if name == "member" || name == "with" {
		return naiveMember.MatchString(word)
	}
	if name == "key" {
		return word != ""
	}
	if name == "token" {
		return len(word) >= 1 && len(word) <= 512
	}
	if name == "value" {
		return true
	}
	if name == "consumer" || name == "as" || name == "note" {
		return naiveLabel.MatchString(word)
	}
	if name == "at" {
		_, ok := naivePlace(word)
		return ok
	}
	if name == "after" {
		topic, consumer, _ := strings.Cut(word, "/")
		return naiveTopic.MatchString(topic) && naiveLabel.MatchString(consumer)
	}
	if name == "now" || name == "fresh" || name == "off" || name == "force" || name == "forget" || name == "dry-run" || name == "settings" {
		return word == "1"
	}
	if name == "action" {
		return word == "retry" || word == "skip"
	}
	if name == "crc" && word == "-" {
		return true
	}
	if !naiveNumber.MatchString(word) {
		return false
	}
	n, _ := new(big.Int).SetString(word, 10)
	switch {
	case !n.IsInt64():
		return false
	case name == "crc":
		return n.Int64() <= math.MaxUint32
	case name == "count" || name == "seq" || name == "speaks" || name == "ttl":
		return n.Int64() >= 1
	case name == "hold":
		return n.Int64() == 0 || n.Int64() >= 1000 && n.Int64() <= 300_000
	case name == "limit":
		return n.Int64() >= 1 && n.Int64() <= 1000
	case name == "verify":
		return n.Int64() == 1
	}
	return true
}

func naiveRequest(c protocol.Command, values map[string]string) protocol.Request {
	number := func(name string) int64 {
		n, _ := new(big.Int).SetString("0"+strings.TrimPrefix(values[name], "-"), 10)
		return n.Int64()
	}
	req := protocol.Request{Command: c, Topic: []byte(values["topic"])}
	if c == protocol.Batch {
		req.Batch = batch.Header{
			Size: number("size"), Topic: req.Topic, CRC: uint32(number("crc")), Messages: number("count"),
			Codec: values["codec"], PID: []byte(values["pid"]), Seq: number("seq"),
		}
		req.Unsummed = values["crc"] == "-"
		return req
	}
	if c == protocol.Hello {
		req.Speaks, req.Offers, req.Client = number("speaks"), []byte(values["codecs"]), []byte(values["client"])
		for name := range strings.SplitSeq(values["codecs"], ",") {
			req.Codecs |= map[string]batch.Codecs{"s2": batch.S2, "zstd": batch.Zstd}[name]
		}
	}
	req.Token = []byte(values["token"])
	req.Skip = values["action"] == "skip"
	req.ID, req.Now = []byte(values["id"]), values["now"] == "1"
	if c == protocol.Retention {
		req.Keep = protocol.Keep{Partitions: -1, Bytes: -1, Age: -1}
		if _, ok := values["partitions"]; ok {
			req.Keep.Partitions = number("partitions")
		}
		if _, ok := values["bytes"]; ok {
			req.Keep.Bytes = number("bytes")
		}
		if _, ok := values["age"]; ok {
			req.Keep.Age = time.Duration(min(number("age"), math.MaxInt64/1_000_000)) * 1_000_000
		}
	}
	req.Offset, req.Messages, req.Millis = number("offset"), number("messages"), number("unix-ms")
	req.To = number("to")
	if _, ok := values["wait"]; ok {
		req.Waits = true
		req.Wait = time.Duration(min(number("wait"), math.MaxInt64/1_000_000)) * 1_000_000
	}
	if _, ok := values["max-bytes"]; ok {
		req.MaxBytes = max(1, number("max-bytes"))
	}
	_, req.Verify = values["verify"]
	_, req.Fresh = values["fresh"]
	_, req.All = values["settings"]
	_, req.Try = values["dry-run"]
	if c == protocol.Set {
		req.Topic = []byte(values["pattern"])
	}
	_, req.Off = values["off"]
	_, req.Force = values["force"]
	req.Member, req.With = []byte(values["member"]), []byte(values["with"])
	req.Key, req.Value = []byte(values["key"]), []byte(values["value"])
	req.Consumer = []byte(values["consumer"])
	millis := func(name string) time.Duration {
		return time.Duration(min(number(name), math.MaxInt64/1_000_000)) * 1_000_000
	}
	if c == protocol.Position {
		p := &protocol.PositionRequest{
			Version: number("version"), ID: values["id"], TTL: millis("ttl"), Hold: millis("hold"), As: values["as"],
			Note: values["note"], Force: req.Force, Forget: values["forget"] == "1", Let: values["hold"] == "0",
		}
		p.At, p.Set = naivePlace(values["at"])
		_, p.Versioned = values["version"]
		req.Position, req.ID, req.Force = p, nil, false
	}
	if c == protocol.Positions {
		topic, consumer, _ := strings.Cut(values["after"], "/")
		req.Positions = &protocol.PositionsRequest{AfterTopic: topic, AfterConsumer: consumer, Limit: number("limit")}
	}
	if c == protocol.Transfer {
		req.Group = number("group")
		if _, ok := values["group"]; !ok {
			req.Group = -1
		}
	}
	return req
}

func FuzzParseRequest(f *testing.F) {
	for _, line := range []string{
		"", "PING", "CONFIG", "STATS", "CLOSE", "TOPICS", "HELLO 1 codecs=zstd", "HELLO 2 client=a/b codecs=zstd,x,s2", "HELLO 1 codecs=a,a", "HELLO 0", "BATCH 9 t 0 1 codec=s2 pid=1 seq=1", "BATCH 9 t - 2147483648 codec=zstd", "BATCH 9 t 0 1 pid=1 seq=1 codec=s2", "AUTH x", "AUTH " + strings.Repeat("x", 513), "AUTH x y", "INFO t", "SEEK t 1", "TIMES t 0 9",
		"DELETE t id=0aF", "DELETE t now=1 id=0", "DELETE t id=0 id=1", "DELETE t now=1", "TRIM t 5", "TRIM t 5 now=1",
		"HOOKS", "HOOK t 5 retry", "HOOK t 5 skip", "RETENTION t", "RETENTION t partitions=3 bytes=0 age=5", "RETENTION t age=1 age=1",
		"READ t 0 1", "READ t 0 1 wait=5 max-bytes=7", "READ t 0 1 wait=5 wait=5", "READ t 0 1 verify=1 wait=5", "TAIL t 1 verify=1", "TAIL t 3 max-bytes=0 wait=0",
		"BATCH 9 t 4294967295 1", "BATCH 9 t 0 0", "BATCH 9 t 0 1 pid=1 seq=1", "BATCH 9 t - 1 pid=a.b seq=2", "BATCH 9 t 0 1 seq=1 pid=1", "BATCH 9 t 0 1 pid=1", "BATCH 9 t - 1", "BATCH 9 t -1 1", "HELP", "HELP READ", "help", "READ t 0 1 fresh=1", "TOPICS fresh=1", "INFO t fresh=1", "INFO t fresh=0", "SEEK t 1 fresh=1", "TOPICS fresh=1 x",
		"CLUSTER", "GROUPS", "TRANSFER a topic=t", "TRANSFER a group=3", "TRANSFER a", "TRANSFER a topic=t group=3", "DRAIN a off=1", "DRAIN a",
		"LEAVE 3 force=1", "LEAVE b", "REPLACE a 4", "REPLACE a", "SETTING partitions 3", "SETTING partitions - topic=a.*", "SETTING a b dry-run=1 topic=*", "SETTING a b dry-run=1", "SETTING a b topic=a topic=b", "SETTING a b topic=a/b", "INFO t settings=1", "INFO t settings=1 fresh=1", "INFO t fresh=1 fresh=1", "SETTING topics-whitelist ", "SETTING a", "SETTING  b", "READ .t 01 9223372036854775808",
		"CREATE t", "CREATE t t", "CREATE .t", "POSITION t c", "POSITION t c fresh=1", "POSITION t c fresh=1 at=0.0", "POSITION t c at=70.11 version=0 id=0a ttl=1 hold=1000 as=w note=n force=1", "POSITION t c hold=0 as=w", "POSITION t c hold=999 as=w", "POSITION t c hold=1000",
		"POSITION t c forget=1 version=3 force=1", "POSITION t c forget=1 at=0.0", "POSITION t c at=1", "POSITION t c at=1.", "POSITION t c version=3", "POSITION t c/d", "POSITIONS", "POSITIONS topic=t after=t/c limit=1000", "POSITIONS limit=0", "POSITIONS after=t", "READ  t 0 1 ",
	} {
		f.Add([]byte(line))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		var got protocol.Request
		err := protocol.ParseRequest(line, &got)
		want, wantErr := naiveParse(string(line))
		if !errors.Is(err, wantErr) {
			t.Fatalf("ParseRequest(%q): %v, want %v", line, err, wantErr)
		}
		if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); err == nil && diff != "" {
			t.Fatalf("ParseRequest(%q) (-want +got):\n%s", line, diff)
		}
		if err != nil {
			var answer *protocol.Error
			if !errors.As(err, &answer) {
				t.Fatalf("ParseRequest(%q): %v is no answer", line, err)
			}
		}
	})
}

func FuzzParseReply(f *testing.F) {
	for _, line := range []string{"OK", "OK 0 1", "OK 9223372036854775807 0", "MOK 12", "ERR not found", "ERR", "OK 01 1", "MOK 9223372036854775808"} {
		f.Add([]byte(line))
	}
	pattern := regexp.MustCompile(`(?s)^(?:OK|OK (0|[1-9][0-9]*) (0|[1-9][0-9]*)|MOK (0|[1-9][0-9]*)|ERR(?: (.*))?)$`)
	f.Fuzz(func(t *testing.T, line []byte) {
		got, err := protocol.ParseReply(line)
		m := pattern.FindSubmatch(line)
		fits := m != nil
		var n [4]int64
		for i := 1; fits && i <= 3; i++ {
			value, _ := new(big.Int).SetString("0"+string(m[i]), 10)
			fits = value.IsInt64()
			n[i] = value.Int64()
		}
		if fits != (err == nil) {
			t.Fatalf("ParseReply(%q): %+v, %v", line, got, err)
		}
		if err != nil {
			return
		}
		if got.Offset != n[1] || got.Batches != n[2] || got.Size != n[3] || !bytes.Equal(got.Reason, m[4]) {
			t.Fatalf("ParseReply(%q): %+v", line, got)
		}
		var again []byte
		switch got.Kind {
		case protocol.ReplyOK:
			again = protocol.AppendOK(nil)
		case protocol.ReplyOffset:
			again = protocol.AppendOffset(nil, got.Offset, got.Batches)
		case protocol.ReplyBody:
			again = []byte(string(line) + "\r\n") // the body is not here to be appended
		case protocol.ReplyError:
			if again = protocol.AppendError(nil, &protocol.Error{Reason: string(got.Reason)}); string(line) == "ERR" {
				again = []byte("ERR\r\n")
			}
		}
		if string(again) != string(line)+"\r\n" {
			t.Fatalf("%q is written %q", line, again)
		}
	})
}
