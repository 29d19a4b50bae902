package diagnose

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/storage/journal"
	"github.com/logd-dev/logd/internal/storage/layout"
	"github.com/logd-dev/logd/internal/storage/scan"
	"github.com/logd-dev/logd/internal/vfs/vfstest"
)

func wireOf(topic, body string) string {
	var b batch.Builder
	b.Add([]byte(body))
	return string(b.Finish(topic))
}

func scanner(file string) *scan.Scanner {
	return &scan.Scanner{File: strings.NewReader(file), Size: int64(len(file)), Topic: "t"}
}

func TestTorn(t *testing.T) {
	whole, foreign := wireOf("t", "whole"), wireOf("u", "foreign")
	end := int64(len(whole))
	for name, test := range map[string]struct {
		tail   string
		synced int64
		want   bool
	}{
		"half a batch":                     {whole[:10], end, true},
		"zeros":                            {"\x00\x00", 0, true},
		"before the mark":                  {whole[:10], end + 1, false},
		"a batch of another topic":         {foreign, 0, false},
		"half a batch of another topic":    {foreign[:len(foreign)-1], 0, true},
		"a damaged batch of another topic": {strings.Replace(foreign, "foreign", "Foreign", 1), 0, true},
	} {
		d := &Log{Journal: &journal.State{Synced: test.synced}, Parts: []layout.Range{{From: 0, To: end + int64(len(test.tail))}}}
		if torn, err := d.Torn(scanner(whole+test.tail), 0, end); err != nil || torn != test.want {
			t.Errorf("%s: %v, %v", name, torn, err)
		}
	}
}

func TestAlive(t *testing.T) {
	whole, foreign := wireOf("t", "whole"), wireOf("u", "foreign")
	for name, test := range map[string]struct {
		file string
		want bool
	}{
		"a batch":                         {whole, true},
		"a batch behind damage":           {"damage" + whole, true},
		"half a batch":                    {whole[:10], false},
		"a batch of another topic":        {foreign, true},
		"a batch of another topic, later": {"damage" + foreign, false},
	} {
		if alive, err := Alive(scanner(test.file)); err != nil || alive != test.want {
			t.Errorf("%s: %v, %v", name, alive, err)
		}
	}
}

func TestContentsOf(t *testing.T) {
	known := journal.NewState()
	known.Synced = 70
	for name, test := range map[string]struct {
		files map[string]string
		want  Contents
	}{
		"nothing":                    {nil, HalfMade},
		"a partition":                {map[string]string{"0.log": ""}, Topic},
		"a journal that knows":       {map[string]string{"journal": string(known.Encode())}, Topic},
		"a journal that was begun":   {map[string]string{"journal": "logd-"}, HalfMade},
		"a damaged journal, aside":   {map[string]string{"journal.damaged": "x"}, Topic},
		"somebody's file":            {map[string]string{"notes": "x", "journal": ""}, Foreign},
		"an index without its topic": {map[string]string{"0.idx": ""}, Foreign},
	} {
		disk := vfstest.New()
		if err := disk.Mkdir("t", 0o700); err != nil {
			t.Fatal(err)
		}
		for file, content := range test.files {
			if err := disk.WriteFile("t/"+file, []byte(content)); err != nil {
				t.Fatal(err)
			}
		}
		if found, err := ContentsOf(disk, "t"); err != nil || found != test.want {
			t.Errorf("%s: %v, %v", name, fmt.Sprint(found), err)
		}
	}
	if _, err := ContentsOf(vfstest.New(), "t"); err == nil || errors.Is(err, layout.ErrLinked) {
		t.Errorf("no folder: %v", err)
	}
}
