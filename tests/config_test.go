package tests

import "strconv"

// config is the settings of a server in the system tests. The zero value of a
// field is the server's default.
type config struct {
	name string

	batchSize, partitionSize         int64
	partitions, flushBatches         int
	topics, maxMessages, connections int
	openFiles                        int

	others int // topics that exist beside the one that is tested
}

// configs are what every case runs under.
var configs = []config{
	{name: "default"},
	{name: "sync each", flushBatches: 1},
	{name: "sync some", flushBatches: 3},
	{name: "tiny partitions", batchSize: 512, partitionSize: 1 << 10, partitions: 10_000},
	{name: "tiny batches", batchSize: 256},
	{name: "one topic", topics: 1},
	{name: "many topics", others: 49},
	{name: "few of everything", connections: 12, maxMessages: 100, openFiles: 16},
}

func (c *config) flags() (flags []string) {
	add := func(name string, value int64) {
		if value != 0 {
			flags = append(flags, "--"+name, strconv.FormatInt(value, 10))
		}
	}
	add("batch-size", c.batchSize)
	add("partition-size", c.partitionSize)
	add("partitions", int64(c.partitions))
	add("flush-batches", int64(c.flushBatches))
	add("topics", int64(c.topics))
	add("max-messages", int64(c.maxMessages))
	add("max-connections", int64(c.connections))
	add("open-files", int64(c.openFiles))
	return flags
}

// or returns a setting that was given, else the server's default.
func or[T int | int64](given, otherwise T) T {
	if given != 0 {
		return given
	}
	return otherwise
}

func (c *config) maxBatchSize() int64 { return or(c.batchSize, 65536) }

// rotating makes partitions so small that a case fills several.
func (c *config) rotating() {
	c.partitionSize = min(or(c.partitionSize, 2<<10), 2<<10)
	c.batchSize = min(c.maxBatchSize(), 1<<10)
	c.partitions = 10_000
}

// removing is rotating where only three partitions are kept.
func (c *config) removing() {
	c.rotating()
	c.partitions = 3
}
