package admin_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"testing"

	"github.com/logd-dev/logd"
	"github.com/logd-dev/logd/admin"
	"github.com/logd-dev/logd/logdtest"
)

// exampleTest lets examples, which are no tests, start a server.
type exampleTest struct {
	testing.TB
	dir      string
	cleanups []func()
}

func (t *exampleTest) Helper()                   {}
func (t *exampleTest) Cleanup(f func())          { t.cleanups = append(t.cleanups, f) }
func (t *exampleTest) TempDir() string           { return t.dir }
func (t *exampleTest) Errorf(f string, a ...any) { log.Printf(f, a...) }
func (t *exampleTest) Fatalf(f string, a ...any) { log.Panicf(f, a...) }

// example starts a server that has three messages in topic t, each in a partition
// of its own, and returns a connection.
func example() (client *logd.Client, stop func()) {
	dir, err := os.MkdirTemp("", "logd-example-")
	if err != nil {
		panic(err)
	}
	t := &exampleTest{dir: dir}
	server := logdtest.Start(t, logdtest.PartitionSize(128))
	client, err = logd.Dial(context.Background(), logd.ClientConfig{Addrs: []string{server.Addr()}})
	for range 3 {
		if err == nil {
			_, err = client.AppendMessage(context.Background(), "t", make([]byte, 60))
		}
	}
	if err != nil {
		panic(err)
	}
	return client, func() {
		client.Close()
		for _, f := range t.cleanups {
			f()
		}
		os.RemoveAll(dir)
	}
}

// What retention would remove, if two partitions were kept.
func ExampleClient_Retention() {
	client, stop := example()
	defer stop()
	ctx := context.Background()

	operator := admin.New(client)
	plan, err := operator.Retention(ctx, "t", admin.RetentionOptions{Partitions: 2})
	if err != nil {
		log.Fatal(err)
	}
	for _, p := range plan {
		fmt.Println(p.Verdict, "partition", p.Base)
	}

	// Output:
	// remove partition 0
	// keep partition 95
	// keep partition 190
}

// The topic that was looked at is deleted, and no other one of its name.
func ExampleClient_Delete() {
	client, stop := example()
	defer stop()
	ctx := context.Background()
	operator := admin.New(client)

	info, err := client.Info(ctx, "t")
	if err != nil {
		log.Fatal(err)
	}
	err = operator.Delete(ctx, "t", admin.DeleteOptions{ID: info.ID})
	switch {
	case err == nil:
		fmt.Println("deleted", info.Messages, "messages")
	case errors.Is(err, logd.ErrNoTopic):
		fmt.Println("somebody was faster")
	default:
		log.Fatal(err)
	}

	// Output:
	// deleted 3 messages
}

// A batch is on stable storage when this server answers, or is not.
func ExampleClient_Config() {
	client, stop := example()
	defer stop()

	cfg, err := admin.New(client).Config(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(cfg.SyncsFirst(), cfg.FlushInterval, cfg.MaxBatchSize)

	// Output:
	// false 1s 128
}
