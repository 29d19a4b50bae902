package system

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
)

// buildTool builds the program of a package of this module's tools into the
// folder bin. Its error is ErrNotInstalled: the source may not be here.
func buildTool(ctx context.Context, bin, pkg, name string) (path string, err error) {
	path = filepath.Join(bin, name)
	if _, err = output(ctx, "", "go", "build", "-o", path, pkg); err != nil {
		return "", fmt.Errorf("%w: %w", ErrNotInstalled, err)
	}
	return path, nil
}

// output runs a program in the folder dir and returns what it prints.
func output(ctx context.Context, dir, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, bytes.TrimSpace(errs.Bytes()))
	}
	return strings.TrimSpace(out.String()), nil
}

// version returns the first line that a program prints for --version.
func version(ctx context.Context, path string) (string, error) {
	out, err := output(ctx, "", path, "--version")
	line, _, _ := strings.Cut(out, "\n")
	return line, err
}
