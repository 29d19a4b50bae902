package bench

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/logd-dev/logd"
	"github.com/logd-dev/logd/cmd/log-cli/internal/cli"
	_ "github.com/logd-dev/logd/codec/s2"
	_ "github.com/logd-dev/logd/codec/zstd"
	"github.com/logd-dev/logd/internal/exit"
	"github.com/logd-dev/logd/logdtest"
)

// benchAt runs bench against the server at addr.
func benchAt(t *testing.T, addr string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	a := &cli.App{Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errs, Getenv: func(name string) string { return map[string]string{cli.CLIHostEnv: addr}[name] }}
	code = a.Run(t.Context(), a.Root([]*cobra.Command{Command(a)}, nil), append([]string{"bench"}, args...))
	return code, out.String(), errs.String()
}

// What is told is what the server has, and topics that were there before stay.
func TestBenchTellsTheTruth(t *testing.T) {
	server := logdtest.Start(t)
	client := server.Client(t)
	if _, err := client.AppendMessage(t.Context(), "b-1", []byte("mine")); err != nil {
		t.Fatal(err)
	}
	code, stdout, stderr := benchAt(t, server.Addr(), "--duration", "20ms", "--writers", "3", "--topics", "2", "-t", "b", "-c", "5", "--size", "10", "-o", "json", "--keep")
	if code != exit.Done {
		t.Fatalf("exit code %d: %s", code, stderr)
	}
	var told jsonTally
	if err := json.Unmarshal([]byte(stdout), &told); err != nil {
		t.Fatalf("%v: %s", err, stdout)
	}
	var messages, batches, length int64
	for _, topic := range []string{"b-0", "b-1"} {
		info, err := client.Info(t.Context(), topic)
		if err != nil {
			t.Fatal(err)
		}
		messages, batches, length = messages+info.Messages, batches+info.Batches, length+info.Bytes
	}
	if told.Kind != "write" || told.Messages != messages-1 || told.Batches != batches-1 || told.MessagesPerBatch != 5 || told.Bytes >= length || told.Latency.P50 <= 0 {
		t.Errorf("told %+v, the server has %d messages in %d batches, %d bytes", told, messages, batches, length)
	}

	code, stdout, stderr = benchAt(t, server.Addr(), "--writers", "0", "--readers", "1", "--topics", "1", "-t", "b", "-o", "json")
	info, err := client.Info(t.Context(), "b-0")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(stdout), &told); err != nil || code != exit.Done || told.Kind != "read" || told.Messages != info.Messages || told.Bytes != info.Bytes {
		t.Errorf("read: exit code %d, %s, %v: told %+v of %+v", code, stderr, err, told, info)
	}

	if code, _, stderr := benchAt(t, server.Addr(), "--duration", "10ms", "--writers", "1", "--readers", "1", "--topics", "3", "-t", "b"); code != exit.Done || stderr != "" {
		t.Errorf("exit code %d: %s", code, stderr)
	}
	if topics, err := client.Topics(t.Context()); err != nil || !slices.Equal(topics, []string{"b-0", "b-1"}) {
		t.Errorf("topics %q, %v", topics, err)
	}
}

// With a codec, too: what is stored is what the server has, and shorter.
func TestBenchTellsTheTruthOfCompressed(t *testing.T) {
	server := logdtest.Start(t)
	client := server.Client(t)
	for _, codec := range []string{"s2", "zstd"} {
		topics := []string{codec + "-0", codec + "-1", codec + "-2"}
		code, stdout, stderr := benchAt(t, server.Addr(), "--duration", "20ms", "--writers", "2", "--topics", "3", "-t", codec, "--codec", codec, "-c", "50", "-o", "json", "--keep")
		if code != exit.Done || stderr != "" {
			t.Fatalf("exit code %d: %s", code, stderr)
		}
		var told jsonTally
		if err := json.Unmarshal([]byte(stdout), &told); err != nil {
			t.Fatalf("%v: %s", err, stdout)
		}
		var messages, batches, length int64
		for _, topic := range topics {
			info, err := client.Info(t.Context(), topic)
			if errors.Is(err, logd.ErrNotFound) {
				continue // its turn did not come
			} else if err != nil {
				t.Fatal(err)
			}
			messages, batches, length = messages+info.Messages, batches+info.Batches, length+info.Bytes
		}
		if told.Messages != messages || told.Batches != batches || told.Stored != length || told.MessagesPerBatch != 50 || told.Codec != codec || told.Latency.P50 <= 0 {
			t.Errorf("told %+v, the server has %d messages in %d batches, %d bytes", told, messages, batches, length)
		}
		if plain := messages * 100; told.Bytes < plain || told.Bytes > 2*plain || told.Stored > plain/2 {
			t.Errorf("told %d bytes, and %d stored, of %d in messages", told.Bytes, told.Stored, plain)
		}
	}
}

func TestBenchSaysThatNothingIsCompressed(t *testing.T) {
	server := logdtest.Start(t, logdtest.Codecs("s2"))
	args := []string{"--duration", "10ms", "--writers", "1", "--codec", "zstd"}
	if code, stdout, stderr := benchAt(t, server.Addr(), args...); code != exit.Done || !strings.HasPrefix(stdout, "write: ") || !strings.Contains(stderr, "the server does not take zstd") {
		t.Errorf("exit code %d, %q, %q", code, stdout, stderr)
	}
}

func TestBenchRefuses(t *testing.T) {
	server := logdtest.Start(t, logdtest.BatchSize(1000))
	for args, want := range map[string]int{
		"--writers 0":                   exit.Usage,
		"--writers 10001":               exit.Usage,
		"--topics 0":                    exit.Usage,
		"--in-flight 0":                 exit.Usage,
		"--duration 0s":                 exit.Usage,
		"--batch-size 1001":             exit.Refused,
		"--codec lz4":                   exit.Usage,
		"--codec s2 --in-flight 1025":   exit.Usage,
		"--size 1000 --batch-size 1000": exit.Usage,
		"--writers 0 --readers 1":       exit.NotFound,
	} {
		if code, stdout, stderr := benchAt(t, server.Addr(), strings.Fields(args)...); code != want || stdout != "" || stderr == "" {
			t.Errorf("%s: exit code %d, %q, %q, want %d", args, code, stdout, stderr, want)
		}
	}
}
