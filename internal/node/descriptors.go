package node

import "syscall"

// descriptors says how many of the files that a process may have open are for
// connections, so that however many clients come, the store can open what it
// reads and writes.
type descriptors struct {
	connections int // of the protocol
	http        int
	files       int // of the store
}

// httpWaits is how many reads over HTTP may wait.
func (d descriptors) httpWaits() int { return max(d.http/2, 1) }

// spareDescriptors is what a process has open besides connections and the
// store's files: listeners, folders, the log, profiles, delete hooks, spare
// connections of HTTP.
const spareDescriptors = 64

// shareDescriptors parts limit, the number of files that a process may have open. The
// store gets openFiles if that is no more than half of the limit. Of the rest
// clients that are being refused are given some, HTTP gets an eighth and no more than
// mostHTTP, and neither of the two kinds of connections more than most. What is left
// is the store's as well, for files that wait to be synced.
func shareDescriptors(limit, openFiles, most, mostHTTP int) descriptors {
	rest := limit - min(openFiles+spareDescriptors, limit/2)
	const refused = 64 // at most half as many as connections
	d := descriptors{
		connections: max(min(most, max(rest/2, rest-rest/8-refused)), 1),
		http:        max(min(most, mostHTTP, rest/8), 1),
	}
	taken := d.connections + d.http + min(refused, d.connections/2) + min(spareDescriptors, limit/4)
	d.files = max(limit-taken, limit/4)
	return d
}

// descriptorLimit returns how many files the process may have open (getrlimit(2)).
// The Go runtime has raised the soft limit to the hard one.
func descriptorLimit() (int, error) {
	var r syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &r); err != nil {
		return 0, err
	}
	const most = 1 << 30 // RLIM_INFINITY does not fit
	return int(min(r.Cur, most)), nil
}
