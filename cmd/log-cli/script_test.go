package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/logd-dev/logd"
	"github.com/logd-dev/logd/admin"
	"github.com/logd-dev/logd/internal/config"
	"github.com/logd-dev/logd/internal/node"
	"github.com/logd-dev/logd/internal/protocol"
	"github.com/logd-dev/logd/internal/testkit"
)

// raceOptions keeps a process under the race detector from sleeping for a
// second before it exits.
const raceOptions = "atexit_sleep_ms=0"

func TestMain(m *testing.M) {
	os.Setenv("GORACE", raceOptions)
	testscript.Main(m, map[string]func(){"log-cli": main})
}

// TestScripts runs the scripts of testdata/script. Beyond the commands of
// testscript they have:
//
//	server [SETTING=VALUE…]  start a server, or restart it where it was, on
//	                         $WORK/data; LOGD_HOST is its address
//	other [SETTING=VALUE…]   the same with a second server, on $WORK/other; OTHER_HOST is
//	                         its address
//	fake ANSWER…             start a server that does nothing but answer, one
//	                         ANSWER to each BATCH: "ok", "drop" to close the
//	                         connection, or the words of an error with dashes
//	cluster [end]            start a cluster of three members that do no more than
//	                         answer, or end the follower: see cluster_test.go
//	asked MEMBER REQUEST     such a request was sent to that member of it
//	waiting N                wait until the server has N reads that wait
//	pending N                wait until N partitions have a hook that failed
//	ask REQUEST              ask the server for a request of the protocol
//	code N PROGRAM ARG…      run the program, which must exit with N
//	bytes FILE "GO STRING"   make a file of any bytes
//
// The files in $CERTS are certificates and keys: of an authority (ca), of a server and a
// client that it has signed, of a server whose certificate has ended (ended), and of a
// client that another authority has signed (stranger).
func TestScripts(t *testing.T) {
	certs := issueCertificates(t)
	testscript.Run(t, testscript.Params{
		Dir:      "testdata/script",
		Deadline: time.Now().Add(8 * time.Minute),
		Setup: func(env *testscript.Env) error {
			env.Setenv("LOGD_HOST", "")
			env.Setenv("CERTS", certs)
			env.Setenv("GORACE", raceOptions)
			return nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"server":  func(ts *testscript.TestScript, _ bool, args []string) { scriptServer(ts, "data", "LOGD_HOST", args) },
			"other":   func(ts *testscript.TestScript, _ bool, args []string) { scriptServer(ts, "other", "OTHER_HOST", args) },
			"fake":    scriptFake,
			"cluster": scriptCluster,
			"asked":   scriptAsked,
			"code":    scriptCode,
			"waiting": scriptWaiting,
			"pending": scriptPending,
			"ask":     scriptAsk,
			"bytes": func(ts *testscript.TestScript, _ bool, args []string) {
				text, err := strconv.Unquote(strings.Join(args[1:], " "))
				ts.Check(err)
				ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(text), 0o600))
			},
		},
	})
}

func issueCertificates(t *testing.T) (dir string) {
	a, other := testkit.NewAuthority(t), testkit.NewAuthority(t)
	dir = filepath.Dir(a.File)
	names := []string{"localhost", "127.0.0.1"}
	a.Issue(t, "server", names)
	a.Issue(t, "ended", names, testkit.Ends(time.Now().Add(-time.Hour)))
	a.Issue(t, "client", nil)
	cert, key := other.Issue(t, "stranger", nil)
	for _, file := range []string{cert, key} {
		data, err := os.ReadFile(file)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, filepath.Base(file)), data, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func scriptCode(ts *testscript.TestScript, neg bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	got := 0
	if err != nil {
		exit, ok := errors.AsType[*exec.ExitError](err)
		if !ok {
			ts.Fatalf("%v", err)
		}
		got = exit.ExitCode()
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// servers holds each script's servers, to stop one when it is started again.
var servers sync.Map // of the work directory to *testServer

func scriptServer(ts *testscript.TestScript, dir, env string, args []string) {
	work := filepath.Join(ts.Getenv("WORK"), dir)
	host := "127.0.0.1:0"
	if old, ok := servers.Load(work); ok {
		host = old.(*testServer).addr
		ts.Check(old.(*testServer).stop())
	}
	s, err := startServer(work, host, args...)
	ts.Check(err)
	if _, again := servers.Swap(work, s); !again {
		ts.Defer(func() {
			last, _ := servers.LoadAndDelete(work)
			ts.Check(last.(*testServer).stop())
		})
	}
	ts.Setenv(env, s.addr)
}

func scriptPending(ts *testscript.TestScript, neg bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	client, err := logd.Dial(ctx, logd.ClientConfig{Addrs: []string{ts.Getenv("LOGD_HOST")}})
	ts.Check(err)
	defer client.Close()
	for {
		hooks, err := admin.New(client).Hooks(ctx)
		ts.Check(err)
		failed := slices.DeleteFunc(slices.Clone(hooks), func(h admin.PendingHook) bool { return h.State != "failed" })
		if len(failed) == want && len(hooks) == want {
			return
		}
	}
}

// scriptAsk asks the server for a request of the protocol, which it must answer.
func scriptAsk(ts *testscript.TestScript, _ bool, args []string) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	client, err := logd.Dial(ctx, logd.ClientConfig{Addrs: []string{ts.Getenv("LOGD_HOST")}})
	ts.Check(err)
	defer client.Close()
	_, err = client.Command(ctx, strings.Join(args, " "))
	ts.Check(err)
}

func scriptWaiting(ts *testscript.TestScript, neg bool, args []string) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	client, err := logd.Dial(ctx, logd.ClientConfig{Addrs: []string{ts.Getenv("LOGD_HOST")}})
	ts.Check(err)
	defer client.Close()
	want := admin.Field{Name: "reads.waiting", Value: args[0]}
	for {
		fields, err := admin.New(client).Stats(ctx)
		ts.Check(err)
		if slices.Contains(fields, want) {
			return
		}
	}
}

// testServer is a running logd.
type testServer struct {
	node *node.Node
	addr string
}

func startServer(workDir, host string, settings ...string) (*testServer, error) {
	flags := map[string][]string{"host": {host}, "http-host": {""}, "workdir": {workDir}}
	for _, s := range settings {
		name, value, _ := strings.Cut(s, "=")
		flags[name] = append(flags[name], value)
	}
	c, _, err := config.Load(config.Sources{Flags: flags})
	if err != nil {
		return nil, err
	}
	n, err := node.Start(context.Background(), node.Options{Config: c})
	// A process that is being started has a copy of a former server's listener
	// for a moment.
	for begun := time.Now(); errors.Is(err, syscall.EADDRINUSE) && time.Since(begun) < 10*time.Second; {
		time.Sleep(time.Millisecond)
		n, err = node.Start(context.Background(), node.Options{Config: c})
	}
	if err != nil {
		return nil, err
	}
	return &testServer{node: n, addr: n.Addr().String()}, nil
}

func (s *testServer) stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return s.node.Shutdown(ctx)
}

func scriptFake(ts *testscript.TestScript, neg bool, args []string) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	var group sync.WaitGroup
	group.Go(func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			group.Go(func() {
				defer nc.Close()
				fakeAnswers(nc, args)
			})
		}
	})
	ts.Defer(func() {
		ln.Close()
		group.Wait()
	})
	ts.Setenv("LOGD_HOST", ln.Addr().String())
}

// fakeAnswers serves one connection with the answers of a script.
func fakeAnswers(nc net.Conn, answers []string) {
	br := bufio.NewReader(nc)
	for {
		line, err := br.ReadString('\n')
		if err != nil {
			return
		}
		var req protocol.Request
		if protocol.ParseRequest([]byte(strings.TrimSuffix(line, "\r\n")), &req) != nil {
			return
		}
		if req.Command != protocol.Batch {
			body := "MaxBatchSize: 65536\r\n"
			fmt.Fprintf(nc, "MOK %d\r\n%s\r\n", len(body), body)
			continue
		}
		if _, err := io.CopyN(io.Discard, br, req.Batch.Size); err != nil || len(answers) == 0 {
			return
		}
		answer := answers[0]
		answers = answers[1:]
		switch answer {
		case "drop":
			// Closed with something unread it would be reset, and the answers
			// before be lost with it, or not.
			nc.(*net.TCPConn).CloseWrite()
			io.Copy(io.Discard, br)
			return
		case "ok":
			fmt.Fprint(nc, "OK 0 1\r\n")
		default:
			fmt.Fprintf(nc, "ERR %s\r\n", strings.ReplaceAll(answer, "-", " "))
		}
	}
}
