// Package carry has the commands of log-cli that take a topic's batches elsewhere: to
// another topic or server, to a file, and back from there. What a file looks like is for
// package exportfile to say.
//
// What is sent is numbered, by a producer whose id says which batches these are. So
// whoever sends them again, after whatever crash, stores nothing twice: see sender.
package carry

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/logd-dev/logd/cmd/log-cli/internal/cli"
)

// Commands returns the commands, in the order of the help. Each talks to a server.
func Commands(a *cli.App) []*cobra.Command {
	return []*cobra.Command{copyCommand(a), exportCommand(a), importCommand(a)}
}

// mark is a place in what is carried: where a message begins, or a batch.
type mark struct{ offset, delta int64 }

func (m mark) String() string { return fmt.Sprintf("%d.%d", m.offset, m.delta) }

// producer returns the id under which batches are sent that the words tell from all
// others.
func producer(words ...string) string { return "copy-" + hash(27, words...) }

// hash returns so many hexadecimal digits of the words' SHA-256.
func hash(digits int, words ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(words, " ")))
	return hex.EncodeToString(sum[:])[:digits]
}
