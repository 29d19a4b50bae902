package bench

import (
	"time"

	"github.com/logd-dev/logd/cmd/log-cli/internal/cli"
)

// jsonTally is a tally as one line of JSON.
type jsonTally struct {
	Kind              string      `json:"kind"`
	Connections       int         `json:"connections"`
	InFlight          int         `json:"in_flight"`
	Topics            int         `json:"topics"`
	MessageSize       int64       `json:"message_size"`
	MessagesPerBatch  float64     `json:"messages_per_batch"`
	Seconds           float64     `json:"seconds"`
	Bytes             int64       `json:"bytes"`
	Messages          int64       `json:"messages"`
	Batches           int64       `json:"batches"`
	BytesPerSecond    float64     `json:"bytes_per_second"`
	Codec             string      `json:"codec,omitempty"`
	Stored            int64       `json:"stored_bytes,omitempty"` // with a codec
	StoredPerSecond   float64     `json:"stored_bytes_per_second,omitempty"`
	MessagesPerSecond float64     `json:"messages_per_second"`
	BatchesPerSecond  float64     `json:"batches_per_second"`
	Latency           jsonLatency `json:"latency_us"`
}

// jsonLatency are percentiles, in microseconds.
type jsonLatency struct {
	Min  float64 `json:"min"`
	P50  float64 `json:"p50"`
	P99  float64 `json:"p99"`
	P999 float64 `json:"p99_9"`
	Max  float64 `json:"max"`
}

// printTally prints what n connections did.
func printTally(a *cli.App, kind string, n int, f *benchFlags, t *tally) error {
	j := jsonTally{
		Kind: kind, Connections: n, InFlight: 1, Topics: f.topics, MessageSize: int64(f.messageSize),
		Seconds: t.elapsed.Seconds(), Bytes: t.bytes, Messages: t.messages, Batches: t.batches,
		BytesPerSecond:    float64(t.bytes) / t.elapsed.Seconds(),
		MessagesPerSecond: float64(t.messages) / t.elapsed.Seconds(),
		BatchesPerSecond:  float64(t.batches) / t.elapsed.Seconds(),
		MessagesPerBatch:  float64(t.messages) / float64(max(t.batches, 1)),
	}
	speed := cli.FormatBytes(j.BytesPerSecond) + "/s"
	if kind == "write" {
		j.InFlight = f.inFlight
		if f.codec != "" {
			j.Codec, j.Stored, j.StoredPerSecond = f.codec, t.stored, float64(t.stored)/t.elapsed.Seconds()
			speed += " uncompressed, " + cli.FormatBytes(j.StoredPerSecond) + "/s stored with " + f.codec
		}
	} else {
		j.MessageSize = t.bytes / max(t.messages, 1)
	}
	micros := func(nanos int64) float64 { return float64(nanos) / 1e3 }
	j.Latency = jsonLatency{
		Min:  micros(t.latency.Min()),
		P50:  micros(t.latency.ValueAtQuantile(50)),
		P99:  micros(t.latency.ValueAtQuantile(99)),
		P999: micros(t.latency.ValueAtQuantile(99.9)),
		Max:  micros(t.latency.Max()),
	}
	if a.JSON() {
		return cli.PrintJSON(a.Stdout, j)
	}
	round := func(us float64) time.Duration {
		d := time.Duration(us * 1e3)
		switch {
		case d >= 100*time.Millisecond:
			return d.Round(time.Millisecond)
		case d >= time.Millisecond:
			return d.Round(10 * time.Microsecond)
		}
		return d.Round(100 * time.Nanosecond)
	}
	l := &j.Latency
	return cli.Printf(a.Stdout, `%s: %d connections, %d in flight on each, %.1f messages per batch, %.2f s
  %s  %.0f messages/s  %.0f batches/s
  latency p50 %v  p99 %v  p99.9 %v  max %v
`, kind, n, j.InFlight, j.MessagesPerBatch, j.Seconds,
		speed, j.MessagesPerSecond, j.BatchesPerSecond,
		round(l.P50), round(l.P99), round(l.P999), round(l.Max))
}
