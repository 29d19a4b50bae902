// Package topictest has what tests of topics need: one suite that every
// topic.Store passes, and a store in memory.
package topictest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/topic"
)

// Test tests a kind of store. open returns an empty one that takes topics of any
// name, and closes it with the test.
func Test(t *testing.T, open func(t *testing.T) topic.Store) {
	tests := []struct {
		name string
		f    func(t *testing.T, s store)
	}{
		{"NoTopic", testNoTopic},
		{"Names", testNames},
		{"Read", testRead},
		{"AppendAt", testAppendAt},
		{"AppendAtOnce", testAppendAtOnce},
		{"AppendAll", testAppendAll},
		{"Watch", testWatch},
		{"Times", testTimes},
		{"Info", testInfo},
		{"Numbers", testNumbers},
		{"Codecs", testCodecs},
		{"Trim", testTrim},
		{"Delete", testDelete},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) { test.f(t, store{open(t), t}) })
	}
}

// store is one under test.
type store struct {
	topic.Store
	t *testing.T
}

// log is a topic of it.
type log struct {
	topic.Log
	t    *testing.T
	name string
}

func (s store) create(name string) log {
	s.t.Helper()
	l, err := s.Create(s.t.Context(), []byte(name))
	if err != nil {
		s.t.Fatalf("Create(%q): %v", name, err)
	}
	return log{l, s.t, name}
}

// batchOf returns a batch with a message for each body.
func batchOf(name string, bodies ...string) []byte {
	var b batch.Builder
	for _, body := range bodies {
		b.Add([]byte(body))
	}
	return bytes.Clone(b.Finish(name))
}

// append appends a batch of its own for each group of bodies, all with one call,
// and returns them and where they are.
func (l log) append(groups ...[]string) (data []byte, at topic.Appended) {
	l.t.Helper()
	var extents []batch.Extent
	for _, bodies := range groups {
		b := batchOf(l.name, bodies...)
		extents = append(extents, batch.Extent{Len: int64(len(b)), Messages: int32(len(bodies))})
		data = append(data, b...)
	}
	given := bytes.Clone(data)
	at, err := l.Append(context.Background(), given, extents)
	if err == nil {
		err = l.Commit(context.Background(), at)
	}
	clear(given) // it is ours again
	if err != nil || at.Batches != len(groups) || at.End-at.Offset != int64(len(data)) {
		l.t.Fatalf("%d batches of %d bytes are appended as %+v, %v", len(groups), len(data), at, err)
	}
	return data, at
}

// read returns the bytes of a read and the number of batches.
func (l log) read(offset, messages, maxBytes int64) (data []byte, batches int64, err error) {
	l.t.Helper()
	for _, read := range []func(int64, int64, int64) (topic.View, error){l.Verify, l.Read} {
		v, err := read(offset, messages, maxBytes)
		if err != nil {
			return nil, 0, err
		}
		data, batches = nil, v.Batches()
		for i := range v.Sections() {
			r, pos, n := v.Section(i)
			p := make([]byte, n)
			if _, err := r.ReadAt(p, pos); err != nil {
				l.t.Errorf("section %d: %v", i, err)
			}
			data = append(data, p...)
		}
		if v.Offset() != offset || v.Len() != int64(len(data)) {
			l.t.Errorf("a read of offset %d has offset %d and %d bytes, and %d bytes in its sections", offset, v.Offset(), v.Len(), len(data))
		}
		v.Close()
	}
	return data, batches, nil
}

func (l log) wantRead(offset, messages, maxBytes int64, want []byte, wantBatches int64) {
	l.t.Helper()
	got, batches, err := l.read(offset, messages, maxBytes)
	if err != nil || !bytes.Equal(got, want) || batches != wantBatches {
		l.t.Errorf("read(%d, %d, %d) = %q, %d batches, %v, want %q and %d", offset, messages, maxBytes, got, batches, err, want, wantBatches)
	}
}

func wantError(t *testing.T, what string, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

func (l log) wantReadError(offset int64, want error) {
	l.t.Helper()
	_, _, err := l.read(offset, 1, 0)
	wantError(l.t, "read", err, want)
}

func (l log) info() topic.Info {
	l.t.Helper()
	in, err := l.Info(context.Background())
	if err != nil {
		l.t.Fatalf("Info: %v", err)
	}
	return in
}

func testNoTopic(t *testing.T, s store) {
	_, err := s.Log([]byte("t"))
	wantError(t, "Log", err, topic.ErrNotFound)
	wantError(t, "Delete", s.Delete(context.Background(), "t", "00", false), topic.ErrNotFound)
	if in, ok := s.BrokenInfo("t"); ok {
		t.Errorf("BrokenInfo = %+v", in)
	}
	if names := s.Topics(); len(names) > 0 {
		t.Errorf("Topics = %q", names)
	}
	if n := s.Counts(); n != (topic.Counts{}) {
		t.Errorf("Counts = %+v", n)
	}
}

func testNames(t *testing.T, s store) {
	for _, name := range []string{"", ".", ".t", "a/b", "a b", strings.Repeat("t", batch.MaxTopicLen+1)} {
		_, err := s.Create(s.t.Context(), []byte(name))
		wantError(t, "Create", err, topic.ErrName)
	}
	name := []byte("u")
	l, err := s.Create(s.t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	clear(name) // it is ours again
	s.create("t")
	if again := s.create("u"); again.Log != l {
		t.Error("a topic that is there is made once more")
	}
	if found, err := s.Log([]byte("u")); err != nil || found != l {
		t.Errorf("Log: %v, %v", found, err)
	}
	if names := s.Topics(); !slices.Equal(names, []string{"t", "u"}) {
		t.Errorf("Topics = %q", names)
	}
	if n := s.Counts(); n.Topics != 2 {
		t.Errorf("Counts = %+v", n)
	}
}

func testRead(t *testing.T, s store) {
	l, other := s.create("t"), s.create("other")
	l.wantReadError(0, topic.ErrEnd)
	l.wantReadError(1, topic.ErrNotFound)
	first, at := l.append([]string{"one", "two"})
	if at.Offset != 0 || at.Batches != 1 {
		t.Errorf("the first batch is appended as %+v", at)
	}
	other.append([]string{"not for t"})
	rest, at2 := l.append([]string{"three"}, []string{"four", ""})
	second := batchOf("t", "three")
	next := int64(len(second)) + at2.Offset
	if at2.Offset != at.End {
		t.Errorf("the second append begins at %d, the first ends at %d", at2.Offset, at.End)
	}
	all := slices.Concat(first, rest)
	l.wantRead(0, 1, 0, first, 1)
	l.wantRead(0, 2, 0, first, 1)
	l.wantRead(0, 3, 0, slices.Concat(first, second), 2)
	l.wantRead(0, 100, 0, all, 3)
	l.wantRead(at2.Offset, 100, 0, rest, 2)
	l.wantRead(next, 1, 0, rest[len(second):], 1)
	l.wantRead(0, 100, 1, first, 1) // one batch in any case
	l.wantRead(0, 100, next, all[:next], 2)
	l.wantRead(0, 100, next-1, first, 1)
	missed := s.Counts().Misses
	l.wantReadError(1, topic.ErrNotFound)
	l.wantReadError(at2.End+1, topic.ErrNotFound)
	l.wantReadError(at2.End, topic.ErrEnd)
	if n := s.Counts().Misses - missed; n != 2 {
		t.Errorf("%d misses are counted, want 2", n)
	}
	if l.Oldest() != 0 {
		t.Errorf("Oldest = %d", l.Oldest())
	}
}

// waker counts how often it was woken.
type waker chan struct{}

func (w waker) Wake() { w <- struct{}{} }

func testWatch(t *testing.T, s store) {
	l := s.create("t")
	a, b := make(waker, 10), make(waker, 10)
	if !l.Watch(0, a) || !l.Watch(0, b) {
		t.Fatal("an empty log is said to go on")
	}
	l.Unwatch(b)
	_, at := l.append([]string{"one"})
	if len(a) != 1 || len(b) != 0 {
		t.Errorf("woken %d times, and %d times after Unwatch, want 1 and 0", len(a), len(b))
	}
	if l.Watch(0, a) {
		t.Error("Watch waits for what is there")
	}
	l.append([]string{"two"})
	if len(a) != 1 {
		t.Errorf("woken %d times by one Watch", len(a))
	}
	if !l.Watch(at.End*2, a) {
		t.Fatal("Watch does not wait at the end")
	}
	if err := s.Delete(context.Background(), "t", l.info().ID, true); err != nil {
		t.Fatal(err)
	}
	if len(a) != 2 {
		t.Errorf("woken %d times, the last time by the end of the topic, want 2", len(a))
	}
	if l.Watch(at.End*2, a) {
		t.Error("Watch waits for a topic that was deleted")
	}
}

// Each part of an AppendAll has what Append of it would have, whatever becomes of the
// others.
func testAppendAll(t *testing.T, s store) {
	l := s.create("t")
	g, ok := l.Log.(topic.Gatherer)
	if !ok {
		t.Skip("it takes appends one by one")
	}
	l.append([]string{"before"})
	var parts []topic.Part
	var want []byte
	batches := 0
	for i := range 4 { // few enough for retention to leave them
		var data []byte
		var extents []batch.Extent
		for k := range 1 + i%3 {
			b := batchOf("t", fmt.Sprint(i), fmt.Sprint(k))
			extents = append(extents, batch.Extent{Len: int64(len(b)), Messages: 2})
			data = append(data, b...)
			batches++
		}
		want = append(want, data...)
		parts = append(parts, topic.Part{Data: data, Extents: extents, Err: topic.ErrBusy, Appended: topic.Appended{Batches: 99}})
	}
	begin := l.Readable()
	g.AppendAll(t.Context(), parts)
	var got []byte
	next := begin
	for i, p := range parts {
		if p.Err != nil || p.Appended.Offset != next || p.Appended.Batches != len(p.Extents) || p.Ticket != nil {
			t.Fatalf("part %d: %+v, %v, want it at %d", i, p.Appended, p.Err, next)
		}
		if err := l.Commit(t.Context(), p.Appended); err != nil {
			t.Fatal(err)
		}
		next = p.Appended.End
		got = append(got, p.Data...)
		clear(p.Data) // it is ours again
	}
	if !bytes.Equal(got, want) {
		t.Error("the data was changed")
	}
	l.wantRead(begin, 1000, 0, want, int64(batches))

	done, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Delete(t.Context(), "t", l.HexID(), false); err != nil {
		t.Fatal(err)
	}
	b := batchOf("t", "x")
	for _, ctx := range []context.Context{t.Context(), done} {
		parts = []topic.Part{
			{Data: b, Extents: []batch.Extent{{Len: int64(len(b)), Messages: 1}}},
			{Data: b, Extents: []batch.Extent{{Len: int64(len(b)), Messages: 1}}},
		}
		g.AppendAll(ctx, parts)
		for i, p := range parts {
			if p.Err == nil || ctx == t.Context() && !errors.Is(p.Err, topic.ErrDeleted) || p.Appended.Batches != 0 {
				t.Errorf("part %d of a topic that is deleted: %+v, %v", i, p.Appended, p.Err)
			}
		}
	}
}

func testTimes(t *testing.T, s store) {
	l := s.create("t")
	if marks, err := l.Times(0, 100, 10); err != nil || len(marks) > 0 {
		t.Errorf("Times of an empty log: %v, %v", marks, err)
	}
	begun := time.Now().Add(-time.Second)
	l.append([]string{"one"}, []string{"two"})
	second := int64(len(batchOf("t", "one")))
	_, last := l.append([]string{"three"})
	over := time.Now().Add(time.Second)
	for _, test := range []struct {
		t    time.Time
		want int64
	}{{time.UnixMilli(0), 0}, {begun, 0}, {over, last.End}} {
		if got, err := l.Seek(test.t); err != nil || got != test.want {
			t.Errorf("Seek(%v) = %d, %v, want %d", test.t, got, err, test.want)
		}
	}
	marks, err := l.Times(0, last.End+5, 10)
	if err != nil || len(marks) == 0 || marks[0].Offset != 0 {
		t.Fatalf("Times: %v, %v", marks, err)
	}
	for i, m := range marks {
		if m.Offset >= last.End || m.Millis < begun.UnixMilli() || m.Millis > over.UnixMilli() ||
			i > 0 && (m.Offset <= marks[i-1].Offset || m.Millis == marks[i-1].Millis) {
			t.Errorf("mark %d of %v", i, marks)
		}
	}
	for _, test := range []struct {
		from, to int64
		limit    int
		first    int64 // -1: none
	}{{1, last.End, 1, second}, {0, 1, 10, 0}, {0, 0, 10, -1}, {last.End, last.End + 9, 10, -1}, {last.Offset, last.End, 10, last.Offset}} {
		marks, err := l.Times(test.from, test.to, test.limit)
		if err != nil || test.first < 0 && len(marks) > 0 || test.first >= 0 && (len(marks) != 1 || marks[0].Offset != test.first) {
			t.Errorf("Times(%d, %d, %d) = %v, %v, want one at %d", test.from, test.to, test.limit, marks, err, test.first)
		}
	}
}

func testInfo(t *testing.T, s store) {
	l, other := s.create("t"), s.create("u")
	empty := l.info()
	if empty.ID == "" || empty.ID == other.info().ID {
		t.Errorf("ids of two topics: %q and %q", empty.ID, other.info().ID)
	}
	if empty.Oldest != 0 || empty.Next != 0 || empty.Messages != 0 || empty.Batches != 0 || !empty.OldestTime.IsZero() || empty.ReadOnly != nil {
		t.Errorf("an empty topic: %+v", empty)
	}
	_, at := l.append([]string{"one", "two"}, []string{"three"})
	in := l.info()
	if in.ID != empty.ID || in.Oldest != 0 || in.Next != at.End || in.Bytes != at.End || in.Partitions < 1 || in.Messages != 3 || in.Batches != 2 ||
		in.OldestTime.IsZero() || in.NewestTime.Before(in.OldestTime) || in.Damaged != 0 || in.Synced < 0 || in.Synced > in.Next || in.ReadOnly != nil {
		t.Errorf("two batches of %d bytes: %+v", at.End, in)
	}
	end := int64(0)
	for i, p := range l.Plan(topic.Limits{}) {
		if p.Base != end || p.End < p.Base || p.Remove != topic.Keep || p.Held {
			t.Errorf("partition %d without limits: %+v, want one that is kept and begins at %d", i, p, end)
		}
		end = p.End
	}
	if end != in.Next {
		t.Errorf("the plan ends at %d, the log at %d", end, in.Next)
	}
}

func testTrim(t *testing.T, s store) {
	l := s.create("t")
	data, at := l.append([]string{"one"}, []string{"two"})
	if oldest, err := l.Trim(context.Background(), 0); err != nil || oldest != 0 {
		t.Errorf("Trim(0) = %d, %v", oldest, err)
	}
	l.wantRead(0, 100, 0, data, 2)
	for _, to := range []int64{at.End, at.End + 100} {
		if oldest, err := l.Trim(context.Background(), to); err != nil || oldest != at.End || l.Oldest() != at.End {
			t.Errorf("Trim(%d) = %d, %v, and Oldest is %d, want %d", to, oldest, err, l.Oldest(), at.End)
		}
	}
	l.wantReadError(0, topic.ErrNotFound)
	l.wantReadError(at.End, topic.ErrEnd)
	more, at2 := l.append([]string{"three"})
	if at2.Offset != at.End {
		t.Errorf("after a Trim the log goes on at %d, want %d", at2.Offset, at.End)
	}
	l.wantRead(at.End, 100, 0, more, 1)
	if in := l.info(); in.Oldest != at.End || in.Next != at2.End || in.Batches != 1 || in.Messages != 1 {
		t.Errorf("Info = %+v", in)
	}
}

func testDelete(t *testing.T, s store) {
	ctx := context.Background()
	l := s.create("t")
	_, at := l.append([]string{"one"})
	id := l.info().ID
	wantError(t, "Delete of another id", s.Delete(ctx, "t", "0"+id, false), topic.ErrNotFound)
	if l.Deleted() {
		t.Fatal("another id has deleted the topic")
	}
	if err := s.Delete(ctx, "t", strings.ToUpper(id), false); err != nil {
		t.Fatalf("Delete: %v", err)
	}
	if !l.Deleted() || len(s.Topics()) > 0 {
		t.Errorf("Deleted = %t, Topics = %q", l.Deleted(), s.Topics())
	}
	_, err := s.Log([]byte("t"))
	wantError(t, "Log", err, topic.ErrNotFound)
	if err := s.Delete(ctx, "t", id, false); err != nil {
		wantError(t, "Delete once more", err, topic.ErrNotFound)
	}

	b := batchOf("t", "two")
	_, err = l.Append(ctx, b, []batch.Extent{{Len: int64(len(b)), Messages: 1}})
	wantError(t, "Append", err, topic.ErrDeleted)
	l.wantReadError(0, topic.ErrDeleted)
	_, err = l.Trim(ctx, at.End)
	wantError(t, "Trim", err, topic.ErrDeleted)

	anew := s.create("t")
	if anew.info().ID == id {
		t.Error("another topic has the same id")
	}
	data, at := anew.append([]string{"three"})
	if at.Offset != 0 {
		t.Errorf("the new topic begins at %d", at.Offset)
	}
	anew.wantRead(0, 1, 0, data, 1)
}

// testNumbers: a numbered batch is appended if it is the next one of its producer.
func testNumbers(t *testing.T, s store) {
	l := s.create("t")
	var data []byte
	var extents []batch.Extent
	add := func(pid string, seq int64, body string) int64 {
		var b batch.Builder
		b.Add([]byte(body))
		wire := b.FinishNumbered(l.name, pid, seq)
		data = append(data, wire...)
		extents = append(extents, batch.Extent{Len: int64(len(wire)), Messages: 1, Numbered: true})
		return int64(len(wire))
	}
	send := func() []topic.Outcome {
		t.Helper()
		a, err := l.Append(context.Background(), data, extents)
		if err != nil || a.Batches != len(extents) {
			t.Fatalf("%+v, %v", a, err)
		}
		out := a.Outcomes
		for i := range out {
			if err := l.Commit(context.Background(), out[i].Appended()); err != nil {
				t.Fatal(err)
			}
		}
		if out == nil {
			if err := l.Commit(context.Background(), a); err != nil {
				t.Fatal(err)
			}
			offset := a.Offset
			for _, x := range extents {
				out = append(out, topic.Outcome{Offset: offset})
				offset += x.Len
			}
		}
		data, extents = nil, nil
		return out
	}
	first := add("a", 1, "x")
	second := add("a", 2, "y")
	if out := send(); out[0].Offset != 0 || out[1].Offset != first {
		t.Errorf("the first two are at %d and %d", out[0].Offset, out[1].Offset)
	}
	add("a", 2, "y") // once more
	third := add("a", 3, "z")
	add("a", 1, "x")
	add("a", 3, "z")
	add("a", 2, "other")
	add("a", 5, "too early")
	add("b", 2, "too early")
	add("b", 1, "x")
	out := send()
	for i, want := range []int64{first, first + second, 0, first + second, -1, 4, 1, first + second + third} {
		order, isOrder := errors.AsType[*topic.OutOfOrderError](out[i].Err)
		switch i {
		case 4:
			if !errors.Is(out[i].Err, topic.ErrConflict) {
				t.Errorf("other bytes: %+v", out[i])
			}
		case 5, 6:
			if !isOrder || order.Next != want {
				t.Errorf("too early: %+v, want %d", out[i], want)
			}
		default:
			if out[i].Err != nil || out[i].Offset != want {
				t.Errorf("batch %d: %+v, want it at %d", i, out[i], want)
			}
		}
	}
	if _, batches, err := l.read(0, 100, 0); err != nil || batches != 4 {
		t.Errorf("%d batches are stored, %v", batches, err)
	}
}
