// Package zstd has the codec "zstd", for little room: a slow network, or logs that are
// kept for long. To import it is to register it:
//
//	import _ "github.com/logd-dev/logd/codec/zstd"
//
// Then Clients unpack batches that are compressed with it, and
// logd.WriterConfig.Codec may be [Name].
package zstd

import (
	"github.com/logd-dev/logd"
	"github.com/logd-dev/logd/internal/codec"
)

// Name is the codec's name.
const Name = codec.Zstd

func init() { logd.RegisterCodec(codec.NewZstd(codec.Fastest)) }
