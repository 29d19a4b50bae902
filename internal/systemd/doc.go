// Package systemd is how a service and systemd talk: what the service says of itself,
// by sd_notify's protocol, and the listening sockets that it inherits. Without systemd
// there is nothing to say and nothing to inherit. All of it is safe for concurrent use.
//
// The protocols are those of sd_notify(3) and sd_listen_fds(3).
package systemd
