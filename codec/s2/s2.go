// Package s2 has the codec "s2", for little processor time: a fast network, or a busy
// server. It reads what Snappy has packed, too. To import it is to register it:
//
//	import _ "github.com/logd-dev/logd/codec/s2"
//
// Then Clients unpack batches that are compressed with it, and
// logd.WriterConfig.Codec may be [Name].
package s2

import (
	"github.com/logd-dev/logd"
	"github.com/logd-dev/logd/internal/codec"
)

// Name is the codec's name.
const Name = codec.S2

func init() { logd.RegisterCodec(codec.NewS2()) }
