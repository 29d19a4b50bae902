//go:build darwin || netbsd

package glob

import "golang.org/x/sys/unix"

func changed(st *unix.Stat_t) int64 { return unix.TimespecToNsec(unix.Timespec(st.Ctim)) }

func modified(st *unix.Stat_t) int64 { return unix.TimespecToNsec(unix.Timespec(st.Mtim)) }
