package web_test

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/logd-dev/logd/internal/server"
	"github.com/logd-dev/logd/internal/testkit"
	"github.com/logd-dev/logd/internal/topic/topictest"
	"github.com/logd-dev/logd/internal/web"
)

// rawRequests are what proxies and servers have read in different ways. Each has a batch of
// topic t; what would be another request, if the end of the first were elsewhere, has one
// of topic hidden.
func rawRequests() map[string]struct {
	text string
	runs int // how many batches of t are stored
} {
	batch, hidden := testkit.Batch("t", "x"), testkit.Batch("hidden", "x")
	n := len(batch)
	const line, host, kind = "POST /log HTTP/1.1\r\n", "Host: logd\r\n", "Content-Type: application/logd\r\n"
	post := func(head, body string) string { return line + host + kind + head + "\r\n" + body }
	length := fmt.Sprintf("Content-Length: %d\r\n", n)
	chunked := "Transfer-Encoding: chunked\r\n"
	chunk := func(data, extension string) string { return fmt.Sprintf("%x%s\r\n%s\r\n", len(data), extension, data) }
	whole := chunk(batch, "") + "0\r\n\r\n"
	second := line + host + kind + fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(hidden), hidden)
	both := batch + second
	type raw = struct {
		text string
		runs int
	}
	return map[string]raw{
		"good":                    {post(length, batch), 1},
		"good, chunked":           {post(chunked, whole), 1},
		"a byte a chunk":          {post(chunked, bytewise(batch)+"0\r\n\r\n"), 1},
		"a trailer":               {post(chunked, chunk(batch, "")+"0\r\nX: y\r\n\r\n"), 1},
		"an extension":            {post(chunked, chunk(batch, ";a=b")+"0\r\n\r\n"), 1},
		"an extension in quotes":  {post(chunked, chunk(batch, `;a="b"`)+"0\r\n\r\n"), 1},
		"no length":               {post("", batch), 0},
		"no length, and a second": {post("", second), 0},

		// Lengths.
		"the same length twice":     {post(length+length, batch), 1},
		"the same length in a list": {post(fmt.Sprintf("Content-Length: %d, %d\r\n", n, n), batch), 0},
		"a longer one first":        {post(fmt.Sprintf("Content-Length: %d\r\n", len(both))+length, both), 0},
		"a shorter one first":       {post(length+fmt.Sprintf("Content-Length: %d\r\n", len(both)), both), 0},
		"a list of two":             {post(fmt.Sprintf("Content-Length: %d, %d\r\n", n, len(both)), both), 0},
		"plus":                      {post(fmt.Sprintf("Content-Length: +%d\r\n", n), batch), 0},
		"minus":                     {post(fmt.Sprintf("Content-Length: -%d\r\n", n), batch), 0},
		"hexadecimal":               {post(fmt.Sprintf("Content-Length: 0x%x\r\n", n), batch), 0},
		"octal, or not":             {post(fmt.Sprintf("Content-Length: 0%d\r\n", n), batch), 1},
		"a point":                   {post(fmt.Sprintf("Content-Length: %d.0\r\n", n), batch), 0},
		"an exponent":               {post("Content-Length: 1e2\r\n", batch), 0},
		"a space inside":            {post("Content-Length: 4 2\r\n", batch), 0},
		"too many digits":           {post("Content-Length: 99999999999999999999\r\n", batch), 0},
		"around":                    {post(fmt.Sprintf("Content-Length: %d\r\n", uint64(1<<63)+uint64(n)), batch), 0},
		"empty":                     {post("Content-Length:\r\n", batch), 0},
		"a word":                    {post("Content-Length: all\r\n", batch), 0},
		"too short":                 {post(fmt.Sprintf("Content-Length: %d\r\n", n-1), batch), 0},
		"too long":                  {post(fmt.Sprintf("Content-Length: %d\r\n", n+1), batch), 0},
		"none":                      {post("Content-Length: 0\r\n", batch), 0},

		// Framings.
		"both, chunks":             {post(length+chunked, whole), 1},
		"both, two that are good":  {post(fmt.Sprintf("Content-Length: %d\r\n", len(whole+second))+chunked, whole+second), 1},
		"chunks, and a second":     {post(chunked, whole+second), 1},
		"both, of another page":    {strings.Replace(post(fmt.Sprintf("Content-Length: %d\r\n", len(whole+second))+chunked, whole+second), "POST /log", "GET /healthz", 1), 0},
		"both, no chunks":          {post(length+chunked, batch), 0},
		"both, a second":           {post(fmt.Sprintf("Content-Length: %d\r\n", len(whole))+chunked, "0\r\n\r\n"+second), 0},
		"chunked twice":            {post("Transfer-Encoding: chunked, chunked\r\n", whole), 0},
		"chunked in two":           {post(chunked+chunked, whole), 0},
		"identity":                 {post("Transfer-Encoding: identity\r\n"+length, batch), 0},
		"identity and chunked":     {post("Transfer-Encoding: identity, chunked\r\n", whole), 0},
		"gzip and chunked":         {post("Transfer-Encoding: gzip, chunked\r\n", whole), 0},
		"chunked is not last":      {post("Transfer-Encoding: chunked, gzip\r\n", whole), 0},
		"chunked, misspelt":        {post("Transfer-Encoding: xchunked\r\n"+length, batch), 0},
		"chunked, a tab":           {post("Transfer-Encoding:\tchunked\r\n", whole), 1},
		"chunked, capital letters": {post("TRANSFER-ENCODING: CHUNKED\r\n", whole), 1},
		"a space before the colon": {post("Transfer-Encoding : chunked\r\n"+length, batch), 0},
		"a vertical tab":           {post("Transfer-Encoding: \x0bchunked\r\n"+length, batch), 0},
		"chunked of 1.0":           {strings.Replace(post(chunked, whole), "1.1", "1.0", 1), 0},

		// Chunks.
		"a size with plus":          {post(chunked, "+"+whole), 0},
		"a size with 0x":            {post(chunked, "0x"+whole), 0},
		"a size around":             {post(chunked, "10000000000000000"+whole), 0},
		"a size that is negative":   {post(chunked, "-1\r\n"+whole), 0},
		"a size that is empty":      {post(chunked, "\r\n"+whole), 0},
		"a space before the size":   {post(chunked, " "+whole), 0},
		"a chunk too short":         {post(chunked, fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", n-1, batch)), 0},
		"a chunk too long":          {post(chunked, fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", n+1, batch)), 0},
		"a chunk without its end":   {post(chunked, fmt.Sprintf("%x\r\n%s0\r\n\r\n", n, batch)), 0},
		"no last chunk":             {post(chunked, chunk(batch, "")), 0},
		"a long extension":          {post(chunked, chunk(batch, ";"+strings.Repeat("x", 100_000))+"0\r\n\r\n"), 0},
		"many extensions":           {post(chunked, strings.Repeat(chunk("B", ";"+strings.Repeat("x", 3000)), 100)), 0},
		"LF in an extension":        {post(chunked, chunk(batch, ";\nx")+"0\r\n\r\n"), 0},
		"LF ends a size":            {post(chunked, fmt.Sprintf("%x\n%s\r\n0\r\n\r\n", n, batch)), 0},
		"a length among trailers":   {post(chunked, chunk(batch, "")+"0\r\nContent-Length: 5\r\n\r\n"), 1},
		"trailers without an end":   {post(chunked, chunk(batch, "")+"0\r\n"+strings.Repeat("X: y\r\n", 20_000)), 0},
		"two requests in one chunk": {post(chunked, chunk(batch+batch, "")+"0\r\n\r\n"), 0},

		// Lines and headers.
		"folding":                  {post("X: a\r\n b\r\n"+length, batch), 1},
		"a folded length":          {post(fmt.Sprintf("Content-Length:\r\n %d\r\n", n), batch), 1},
		"folding at the beginning": {line + " X: a\r\n" + host + kind + length + "\r\n" + batch, 0},
		"bare LF":                  {strings.ReplaceAll(line+host+kind+length+"\r\n", "\r\n", "\n") + batch, 1},
		"bare CR in a value":       {post("X: a\rb\r\n"+length, batch), 0},
		"bare CR ends a line":      {post(strings.TrimSuffix(length, "\n"), batch), 0},
		"NUL in a value":           {post("X: a\x00b\r\n"+length, batch), 0},
		"NUL in a name":            {post("X\x00: a\r\n"+length, batch), 0},
		"NUL in the target":        {strings.Replace(post(length, batch), "/log", "/lo\x00g", 1), 0},
		"a name with a space":      {post("X Y: a\r\n"+length, batch), 0},
		"no name":                  {post(": a\r\n"+length, batch), 0},
		"no colon":                 {post("X\r\n"+length, batch), 0},
		"a letter beyond ASCII":    {post("Xé: a\r\n"+length, batch), 0},
		"a long header":            {post("X: "+strings.Repeat("x", 100_000)+"\r\n"+length, batch), 0},
		"many headers":             {post(strings.Repeat("X: y\r\n", 20_000)+length, batch), 0},
		"a long target":            {strings.Replace(post(length, batch), "/log", "/log?"+strings.Repeat("x", 100_000), 1), 0},
		"empty lines before":       {"\r\n\r\n" + post(length, batch), 0},
		"another version":          {strings.Replace(post(length, batch), "HTTP/1.1", "HTTP/1.11", 1), 0},
		"version 2":                {strings.Replace(post(length, batch), "HTTP/1.1", "HTTP/2.0", 1), 0},
		"no version":               {strings.Replace(post(length, batch), " HTTP/1.1", "", 1), 0},
		"the preface of version 2": {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + post(length, batch), 0},
		"an upgrade to version 2":  {post("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n"+length, batch), 1},
		"two spaces":               {strings.Replace(post(length, batch), "POST ", "POST  ", 1), 0},
		"a method of one's own":    {strings.Replace(post(length, batch), "POST", "BATCH", 1), 0},
		"a small method":           {strings.Replace(post(length, batch), "POST", "post", 1), 0},
		"the method is a header's": {strings.Replace(post("X-HTTP-Method-Override: POST\r\n"+length, batch), "POST", "GET", 1), 0},
		"two requests in a body":   {post(fmt.Sprintf("Content-Length: %d\r\n", 2*n), batch+batch), 0},
		"HTTP in a body":           {post(fmt.Sprintf("Content-Length: %d\r\n", len(both)), both), 0},
		"a request and some of it": {post(fmt.Sprintf("Content-Length: %d\r\n", n+2), batch+"\r\n"), 0},

		// Targets and hosts.
		"an absolute target":          {strings.Replace(post(length, batch), "/log", "http://logd/log", 1), 1},
		"an absolute target, another": {strings.Replace(post(length, batch), "/log", "http://attacker.example/log", 1), 0},
		"a host that is another":      {strings.Replace(post(length, batch), "Host: logd", "Host: attacker.example", 1), 0},
		"no host":                     {strings.Replace(post(length, batch), host, "", 1), 0},
		"two hosts":                   {post(host+length, batch), 0},
		"two hosts, one another":      {post("Host: attacker.example\r\n"+length, batch), 0},
		"a host with a path":          {strings.Replace(post(length, batch), "Host: logd", "Host: logd/x", 1), 0},
		"a host with a name before":   {strings.Replace(post(length, batch), "Host: logd", "Host: logd@attacker.example", 1), 0},
		"a host of a proxy":           {strings.Replace(post("X-Forwarded-Host: logd\r\n"+length, batch), "Host: logd", "Host: attacker.example", 1), 0},
		"an origin":                   {post("Origin: http://attacker.example\r\n"+length, batch), 0},
		"no origin":                   {post("Origin: null\r\n"+length, batch), 0},
		"two origins":                 {post("Origin: http://logd\r\nOrigin: http://attacker.example\r\n"+length, batch), 0},
		"a site":                      {post("Sec-Fetch-Site: cross-site\r\n"+length, batch), 0},
		"dots":                        {strings.Replace(post(length, batch), "/log", "/x/../log", 1), 0},
		"two slashes":                 {strings.Replace(post(length, batch), "/log", "//log", 1), 0},
		"a slash behind":              {strings.Replace(post(length, batch), "/log", "/log/", 1), 0},
		"an encoded target":           {strings.Replace(post(length, batch), "/log", "/%6cog", 1), 1},
		"CONNECT":                     {strings.Replace(post(length, batch), "POST /log", "CONNECT logd:1775", 1), 0},

		// Expectations and content types.
		"100-continue":               {post("Expect: 100-continue\r\n"+length, batch), 1},
		"another expectation":        {post("Expect: the-best\r\n"+length, batch), 0},
		"no content type":            {line + host + length + "\r\n" + batch, 0},
		"the content type of a form": {strings.Replace(post(length, batch), "application/logd", "text/plain", 1), 0},
		"two content types":          {post("Content-Type: text/plain\r\n"+length, batch), 0},
		"a list of content types":    {strings.Replace(post(length, batch), "application/logd", "text/plain, application/logd", 1), 0},
		"a content encoding":         {post("Content-Encoding: gzip\r\n"+length, batch), 1},
	}
}

// bytewise returns data in chunks of a byte each.
func bytewise(data string) string {
	var b strings.Builder
	for i := range len(data) {
		fmt.Fprintf(&b, "1\r\n%s\r\n", data[i:i+1])
	}
	return b.String()
}

// TestRawRequests: of what can be read in more than one way nothing is done, or what the
// first request says and nothing more. No answer is one of a second request.
func TestRawRequests(t *testing.T) {
	for name, test := range rawRequests() {
		t.Run(name, func(t *testing.T) {
			inWebBubble(t, server.Options{}, func(t *testing.T, s *server.Server, store *topictest.Memory, _ *web.Server, dial func() *client) {
				c := dial()
				got := make(chan []byte)
				go func() {
					b, _ := io.ReadAll(c.in)
					got <- b
				}()
				go io.WriteString(c.nc, test.text)
				synctest.Wait()
				c.nc.Close()
				answers := <-got
				time.Sleep(time.Second) // what net/http gives who has not read an answer
				synctest.Wait()

				if n := length(store, "hidden"); n >= 0 {
					t.Errorf("what is hidden was stored; the answers are %.600q", answers)
				}
				batch := testkit.Batch("t", "x")
				if n := max(0, length(store, "t")); n != test.runs*len(batch) {
					t.Errorf("%d bytes are stored, want %d; the answers are %.600q", n, test.runs*len(batch), answers)
				}
				if n := bytes.Count(answers, []byte("HTTP/1.1 200")); n > 1 || n < test.runs {
					t.Errorf("%d good answers, want %d: %.600q", n, test.runs, answers)
				}
				if bytes.Contains(answers, []byte("Access-Control")) {
					t.Errorf("a page of another site may read %.600q", answers)
				}
			})
		})
	}
	if n := len(rawRequests()); n < 60 {
		t.Errorf("%d requests", n)
	}
}
