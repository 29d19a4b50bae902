package admin_test

import (
	"errors"
	"reflect"
	"testing"

	"github.com/logd-dev/logd"
	"github.com/logd-dev/logd/admin"
)

// infoWithID is an answer to INFO for a topic with the id.
func infoWithID(id string) string {
	return body("Oldest: 0\r\nNext: 9\r\nPartitions: 1\r\nBytes: 9\r\nMessages: 1\r\nBatches: 1\r\n" +
		"OldestTime: \r\nNewestTime: \r\nId: " + id + "\r\nState: read only: no room\r\n")
}

func TestDelete(t *testing.T) {
	c, requests := answering(t,
		"OK\r\n", "OK\r\n", infoWithID("0af"), "OK\r\n", "ERR not found\r\n", "ERR not found\r\n",
		body("Oldest: 0\r\nNext: 0\r\nPartitions: 1\r\nBytes: 0\r\nMessages: 0\r\nBatches: 0\r\n"),
	)
	for _, o := range []admin.DeleteOptions{{ID: "12"}, {ID: "12", Now: true}, {}} {
		if err := c.Delete(t.Context(), "t", o); err != nil {
			t.Errorf("delete with %+v: %v", o, err)
		}
	}
	for _, o := range []admin.DeleteOptions{{ID: "12"}, {}} {
		if err := c.Delete(t.Context(), "t", o); !errors.Is(err, logd.ErrNotFound) {
			t.Errorf("delete of no topic with %+v: %v", o, err)
		}
	}
	if err := c.Delete(t.Context(), "t", admin.DeleteOptions{}); err == nil {
		t.Error("deleted a topic of a server that tells no id")
	}
	if err := c.Delete(t.Context(), "../t", admin.DeleteOptions{ID: "12"}); !errors.Is(err, logd.ErrInvalidRequest) {
		t.Errorf("delete with a bad name: %v", err)
	}
	if err := c.Delete(t.Context(), "t", admin.DeleteOptions{ID: "12 now=1"}); err == nil {
		t.Error("an id that is none was sent")
	}
	want := []string{"DELETE t id=12", "DELETE t id=12 now=1", "INFO t", "DELETE t id=0af", "DELETE t id=12", "INFO t", "INFO t"}
	if !reflect.DeepEqual(*requests, want) {
		t.Errorf("requests %q, want %q", *requests, want)
	}
}

func TestTrim(t *testing.T) {
	c, requests := answering(t, "OK 70 0\r\n", "ERR read only\r\n", "OK 1 1\r\n")
	if oldest, err := c.Trim(t.Context(), "t", 90); oldest != 70 || err != nil {
		t.Errorf("oldest is %d (%v), want 70", oldest, err)
	}
	if _, err := c.Trim(t.Context(), "t", 0); !errors.Is(err, logd.ErrReadOnly) {
		t.Errorf("read only: %v", err)
	}
	if _, err := c.Trim(t.Context(), "t", -1); err == nil {
		t.Error("a negative offset was sent")
	}
	if _, err := c.Trim(t.Context(), ".t", 1); !errors.Is(err, logd.ErrInvalidRequest) {
		t.Errorf("trim with a bad name: %v", err)
	}
	if _, err := c.Trim(t.Context(), "t", 7); !errors.Is(err, logd.ErrBadAnswer) {
		t.Errorf("nonsense: %v", err)
	}
	if want := []string{"TRIM t 90", "TRIM t 0", "TRIM t 7"}; !reflect.DeepEqual(*requests, want) {
		t.Errorf("requests %q, want %q", *requests, want)
	}
}
