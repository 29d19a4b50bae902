package main

import (
	"encoding/json"
	"io"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"
)

// release is the version of a release, set by its build with
// -ldflags "-X main.release=1.2.3".
var release = ""

// nextRelease is the version of a build that nothing says more about.
const nextRelease = "0.4.0-dev"

// version returns the version of this build: what the release says, else the
// module's if it was installed by version.
func version() string {
	if release != "" {
		return release
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		// A build from a checkout names no version, or one that is made of a
		// time and a revision.
		v := strings.TrimPrefix(info.Main.Version, "v")
		if v != "" && v != "(devel)" && !strings.HasPrefix(v, "0.0.0-") {
			return v
		}
	}
	return nextRelease
}

func platform() string { return runtime.GOOS + "/" + runtime.GOARCH }

func versionLine() string {
	return "logd " + version() + " (" + runtime.Version() + ", " + platform() + ")\n"
}

func (a *app) versionCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "version [flags]",
		Short: "Show the version of logd.",
		Example: `  logd version
  logd version -o json`,
		Args: cobra.NoArgs,
		RunE: a.do(func([]string) error {
			if a.json() {
				return outputError(json.NewEncoder(a.stdout).Encode(struct {
					Version  string `json:"version"`
					Go       string `json:"go"`
					Platform string `json:"platform"`
				}{version(), runtime.Version(), platform()}))
			}
			_, err := io.WriteString(a.stdout, versionLine())
			return outputError(err)
		}),
	}
	a.formatFlag(cmd)
	return cmd
}
