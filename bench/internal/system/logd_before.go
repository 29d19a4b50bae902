package system

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// LogdBefore is logd as it was at a revision: what the changes since then cost.
type LogdBefore struct {
	Logd
	Revision string // as git names it; empty: not installed
}

// Name implements System.
func (s *LogdBefore) Name() string { return s.Logd.Name() + "-before" }

// Find implements System.
func (s *LogdBefore) Find(ctx context.Context, bin string) error {
	if s.Revision == "" {
		return fmt.Errorf("%w: no revision is named (-before)", ErrNotInstalled)
	}
	root, err := moduleRoot(ctx)
	if err != nil {
		return err
	}
	source := filepath.Join(bin, "before")
	if err := os.MkdirAll(source, 0o700); err != nil {
		return err
	}
	archive := filepath.Join(bin, "before.tar")
	if _, err := output(ctx, root, "git", "archive", "-o", archive, s.Revision); err != nil {
		return err
	}
	if out, err := exec.CommandContext(ctx, "tar", "-xf", archive, "-C", source).CombinedOutput(); err != nil {
		return fmt.Errorf("tar: %w: %s", err, out)
	}
	s.path = filepath.Join(bin, "logd-before")
	return s.build(ctx, source)
}
