package write

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/logd-dev/logd"
	"github.com/logd-dev/logd/backlog"
	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/codec"
	"github.com/logd-dev/logd/logdtest"
	"github.com/logd-dev/logd/logdtest/script"
)

// Each batch of which nobody knows whether it is stored is looked for, whatever is
// known of those before it, and only what is not there is sent.
func TestResolveLooksForEach(t *testing.T) {
	client := logdtest.Start(t).Client(t)
	for i, tt := range []struct {
		sent   string // in upper case what nobody knows of
		stored string
		left   string // what is sent again
	}{
		{"aBC", "bc", "a"},
		{"ABC", "bc", "a"},
		{"ABC", "ac", "b"},
		{"aBcD", "d", "abc"},
		{"AAB", "ab", "a"},
		{"ABC", "", "abc"},
		{"AbC", "ac", "b"},
	} {
		for _, disk := range []bool{false, true} {
			topic := fmt.Sprintf("t%d-%v", i, disk)
			d := &delivery{ledger: ledger{client: client, topic: topic, life: t.Context()}, last: -1}
			if disk {
				b, err := backlog.OpenDisk(backlog.DiskConfig{Path: filepath.Join(t.TempDir(), "backlog")})
				if err != nil {
					t.Fatal(err)
				}
				defer b.Close()
				d.spool.backlog = b
			}
			for i, c := range tt.sent {
				var b logd.Batch
				b.Add([]byte(strings.ToLower(string(c))))
				d.keep(kept{first: int64(i + 1), messages: 1, unknown: 'A' <= c && c <= 'Z'}, b.Raw(topic), errAway)
			}
			for _, c := range tt.stored {
				if _, err := client.AppendMessage(t.Context(), topic, []byte(string(c))); err != nil {
					t.Fatal(err)
				}
			}
			if err := d.resolve(t.Context()); err != nil {
				t.Fatal(err)
			}
			if d.spool.backlog != nil && d.spool.backlog.Len() != int64(len(d.spool.kept)) || !disk && d.spool.bytes == 0 {
				t.Errorf("%+v: the spool is %+v", tt, d.spool)
			}
			if err := d.deliver(t.Context()); err != nil {
				t.Fatal(err)
			}
			got := ""
			in, err := logd.NewScanner(t.Context(), client, topic, logd.ScannerConfig{})
			if err != nil {
				t.Fatal(err)
			}
			for in.Scan() {
				got += string(in.Message().Body)
			}
			if err := errors.Join(in.Err(), in.Close()); err != nil {
				t.Error(err)
			}
			if want := tt.stored + tt.left; got != want {
				t.Errorf("%+v, on disk %v: stored %q, want %q", tt, disk, got, want)
			}
			if d.spool.bytes != 0 || len(d.spool.kept) != 0 {
				t.Errorf("%+v: the spool is %+v", tt, d.spool)
			}
			if got, want := d.account.report("line"), fmt.Sprintf("lines 1 to %d are stored; no other line is stored", len(tt.sent)); got != want {
				t.Errorf("%+v: %s", tt, got)
			}
		}
	}
}

// A compressed batch that waited is sent as it was before that, and is the same batch
// when it is looked for.
func TestResolveFindsWhatWasPacked(t *testing.T) {
	client := logdtest.Start(t).Client(t)
	d := &delivery{ledger: ledger{client: client, topic: "t", life: t.Context()}, last: -1}
	var plain logd.Batch
	plain.Add([]byte("one"))
	plain.Add([]byte("two"))
	raw := plain.Raw("t")
	h, n, err := batch.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	packed := codec.NewS2().Encode(nil, raw[n-h.Size:])
	h.Codec, h.Size, h.CRC = codec.S2, int64(len(packed)), batch.Checksum(packed)
	d.keep(kept{first: 1, messages: 2, unknown: true}, append(batch.AppendHeader(nil, &h), packed...), errAway)
	if _, err := client.Append(t.Context(), "t", &plain); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(d.resolve(t.Context()), d.deliver(t.Context())); err != nil {
		t.Fatal(err)
	}
	if info, err := client.Info(t.Context(), "t"); err != nil || info.Messages != 2 {
		t.Errorf("%d messages, %v", info.Messages, err)
	}
}

// While no server is there, only so much input is taken.
func TestWriteTakesNoMoreThanItCanKeep(t *testing.T) {
	life, interrupt := context.WithCancel(t.Context())
	interrupt() // where it would wait, it ends
	d := &delivery{ledger: ledger{topic: "t", limit: 1 << 16, target: 1 << 16, retry: -1, life: life, note: t.Logf}}
	d.goneAway(errors.New("no server"))
	body := make([]byte, 1<<10)
	var err error
	taken := 0
	for ; err == nil && taken < 4*spoolBytes; taken += len(body) {
		err = d.add(t.Context(), body)
	}
	if err != errInterrupted || taken < spoolBytes/2 || taken > spoolBytes+2*int(d.limit) {
		t.Errorf("%d bytes were taken, then %v", taken, err)
	}
}

// awayWith returns a delivery that waits with a batch for a server whose script has
// begun, and the client to it.
func awayWith(t *testing.T, s *script.Script, body string) *delivery {
	client, err := logd.NewClient(logd.ClientConfig{Addrs: []string{s.Addr()}, ReconnectAttempts: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	life, end := context.WithTimeout(t.Context(), 5*time.Second)
	t.Cleanup(end)
	d := &delivery{ledger: ledger{client: client, topic: "t", life: life, retry: -1, note: t.Logf, limit: 1 << 16, target: 1 << 16}, last: -1}
	var b logd.Batch
	b.Add([]byte(body))
	d.goneAway(errAway)
	d.keep(kept{first: 1, messages: 1}, b.Raw("t"), errAway)
	return d
}

// When all is stored, the end of the input is the end of the command, also if the
// server goes away again at that moment.
func TestWriteEndsWhenAllIsStored(t *testing.T) {
	s := script.New(t)
	s.Play(script.Accept(), script.ExpectBatch("t", "x"), script.Refuse(), script.Answer("OK 0 1\r\n"), script.Reset())
	d := awayWith(t, s, "x")
	if err := d.finish(t.Context()); err != nil {
		t.Errorf("finish: %v", err)
	}
	if got := d.account.report("line"); got != "line 1 is stored; no other line is stored" {
		t.Error(got)
	}
}

// If the server that comes back takes smaller batches, smaller ones are made.
func TestWriteTakesTheSmallerLimit(t *testing.T) {
	s := script.New(t)
	s.Play(
		script.Accept(), script.ExpectBatch("t", "x"), script.Answer("OK 0 1\r\n"),
		script.Expect("CONFIG"), script.AnswerConfig(1000), script.Expect("CONFIG"), script.AnswerConfig(1000),
	)
	d := awayWith(t, s, "x")
	d.reach()
	if d.err != nil || d.writer == nil || d.limit != 1000 || d.target != 1000 {
		t.Fatalf("limit %d, target %d, %v", d.limit, d.target, d.err)
	}
	defer d.close()
	if err := d.add(t.Context(), make([]byte, 1000)); err != errTooLong {
		t.Errorf("a message that is too long now: %v", err)
	}
}
