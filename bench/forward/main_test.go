package main

import (
	"bytes"
	"io"
	"net"
	"strings"
	"testing"
)

func TestChoose(t *testing.T) {
	some, err := choose("json,write")
	if err != nil || len(some) != 2 || some[0].name != "write" || some[1].name != "json" {
		t.Errorf("%+v, %v: want write and json, in the order of the table", some, err)
	}
	if _, err := choose("write,nothing"); err == nil {
		t.Error("a load that there is not was chosen")
	}
	if all, err := choose("all"); err != nil || len(all) != len(loads) {
		t.Errorf("%d loads, %v", len(all), err)
	}
}

// What is sent is as long as the lines of a file, but for how it is framed.
func TestSenders(t *testing.T) {
	for name, test := range map[string]struct {
		send  sender
		frame int // what is around each
	}{
		"syslog": {sendSyslog, len("200 ")},
		"msg":    {sendMSG(false), len("MSG 199\r\n\r\n") - 1}, // a line has its end, too
	} {
		ours, theirs := net.Pipe()
		got := make(chan int64)
		go func() {
			n, _ := io.Copy(io.Discard, theirs)
			got <- n
		}()
		if err := test.send(ours, 10); err != nil {
			t.Fatal(err)
		}
		ours.Close()
		if n := <-got; n != int64(10*(lineLen+test.frame)) {
			t.Errorf("%s: %d bytes", name, n)
		}
	}
}

func TestAnswers(t *testing.T) {
	for text, ok := range map[string]bool{"OK 0\r\nOK 3\r\nOK 10\r\n": true, "OK 0\r\nERR busy\r\n": false, "OK 3\r\n": false} {
		ours, theirs := net.Pipe()
		go func() {
			io.WriteString(theirs, text)
			theirs.Close()
		}()
		if err := answers(ours, 10); (err == nil) != ok {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestPrint(t *testing.T) {
	var out bytes.Buffer
	some, _ := choose("write,file,rsyslog-tcp")
	all := map[string][]result{
		"write": {{lines: 1e6, seconds: 1, cpu: 0.5}, {lines: 1e6, seconds: 2, cpu: 0.5}, {lines: 1e6, seconds: 1, cpu: 0.5}},
		"file":  {{lines: 1e6, seconds: 2, cpu: 1}},
	}
	if err := print(&out, some, all, map[string]error{"rsyslog-tcp": io.EOF}, 1e6); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"write        200 (100–200)  1.00", "file         100            0.50        0.8   1 ", "rsyslog-tcp  -"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in\n%s", want, out.String())
		}
	}
}
