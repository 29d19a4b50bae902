package deleted

import (
	"encoding/hex"
	"path"
	"strings"
	"time"

	"github.com/logd-dev/logd/internal/batch"
	"github.com/logd-dev/logd/internal/storage/journal"
	"github.com/logd-dev/logd/internal/storage/layout"
)

// Dir is the folder that the files of deleted topics are kept in. No topic can have
// its name.
const Dir = ".deleted"

// Kept is where the files of a deleted topic are. The name of their folder says of
// which, and since when:
//
//	<topic>~<when, in UTC>~<the topic's id>
//
// "now" stands for the time of what is to be removed at once. Of a long name the
// first maxTopic bytes are there. No topic has a ~ in its name.
type Kept struct {
	topic string
	at    time.Time
	now   bool
	id    journal.ID
}

const (
	timeFormat = "20060102T150405.000Z"
	maxTopic   = 255 - len("~"+timeFormat+"~") - 2*len(journal.ID{})
)

// String returns the folder's name within the work directory, nothing if the files
// are not kept.
func (k *Kept) String() string {
	if k.topic == "" || k.now {
		return ""
	}
	return k.path()
}

func (k *Kept) path() string {
	when := "now"
	if !k.now {
		when = k.at.UTC().Format(timeFormat)
	}
	return path.Join(Dir, k.topic[:min(len(k.topic), maxTopic)]+"~"+when+"~"+layout.HexID(k.id))
}

// parseKept parses the name of a folder in .deleted. It reports false for
// one that is not ours.
func parseKept(name string) (k Kept, ok bool) {
	words := strings.Split(name, "~")
	if len(words) != 3 || !batch.ValidTopic(words[0]) {
		return k, false
	}
	k.topic = words[0]
	if n, err := hex.Decode(k.id[:], []byte(words[2][:min(len(words[2]), 2*len(k.id))])); err != nil || n != len(k.id) {
		return k, false
	}
	if k.now = words[1] == "now"; !k.now {
		var err error
		if k.at, err = time.Parse(timeFormat, words[1]); err != nil {
			return k, false
		}
	}
	return k, k.path() == path.Join(Dir, name)
}
