//go:build !darwin && !netbsd

package glob

import "golang.org/x/sys/unix"

func changed(st *unix.Stat_t) int64 { return st.Ctim.Nano() }

func modified(st *unix.Stat_t) int64 { return st.Mtim.Nano() }
