package commitlog

import (
	"github.com/logd-dev/logd/internal/storage/layout"
	"github.com/logd-dev/logd/internal/storage/partition"
)

// Range is a range of offsets: from the first up to the one behind it.
type Range = layout.Range

// Damaged returns the ranges that are set aside, in order. They are not changed: when
// there are others the pointer is another one.
func (l *Log) Damaged() *[]Range { return l.journal.Damaged() }

// Begin returns where the oldest partition begins: what is before it is not stored.
// Oldest also passes over what is set aside.
func (l *Log) Begin() int64 { return l.parts.Begin() }

// Partitions returns the log's partitions, oldest first, to be checked on the disk.
func (l *Log) Partitions() []partition.OnDisk { return l.parts.OnDisk(&l.synced) }

// Created returns when the topic was made, in milliseconds since 1970.
func (l *Log) Created() int64 { return l.parts.Created }
