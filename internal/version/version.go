// Package version says which build of logd this is. All programs of the module
// have the same version.
package version

import (
	"runtime"
	"runtime/debug"
	"strings"
)

// release is the version of a release, set by its build with
// -ldflags "-X github.com/logd-dev/logd/internal/version.release=1.2.3".
var release = ""

// next is the version of a build that nothing says more about.
const next = "0.4.0-dev"

// String returns the version without a "v": what the release says, else the
// module's if it was installed by version.
func String() string {
	module := ""
	if info, ok := debug.ReadBuildInfo(); ok {
		module = info.Main.Version
	}
	return choose(release, module)
}

func choose(release, module string) string {
	// A build from a checkout names no version, or one that is made of a time
	// and a revision.
	v := strings.TrimPrefix(module, "v")
	switch {
	case release != "":
		return release
	case v != "" && v != "(devel)" && !strings.HasPrefix(v, "0.0.0-"):
		return v
	}
	return next
}

// Platform returns the operating system and architecture that this build is
// for, as "linux/amd64".
func Platform() string { return runtime.GOOS + "/" + runtime.GOARCH }

// Line returns the line that "version" prints for a program, with its line end.
func Line(program string) string {
	return program + " " + String() + " (" + runtime.Version() + ", " + Platform() + ")\n"
}

// Info is what "version -o json" prints.
type Info struct {
	Version  string `json:"version"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

// JSON returns the version for machines.
func JSON() Info { return Info{String(), runtime.Version(), Platform()} }
