package inputs

import (
	"fmt"

	"github.com/logd-dev/logd/internal/socket"
)

// CheckExposed returns why an input may not listen where it says: other machines reach it,
// and nothing keeps them out. insecure is the setting of that name; clientCA tells whether
// senders must show a certificate, which syslog+tls alone can ask for. It may look up the
// name of a host.
func CheckExposed(f From, insecure, clientCA bool) error {
	switch {
	case insecure, f.Network == "", f.Network == "unix", f.Network == "unixgram", f.Network == "tls" && clientCA, socket.OnLoopback(f.Addr):
		return nil
	case f.Network == "tls":
		return fmt.Errorf("%s is reached from other machines, and anybody may send to it: set tls-client-ca, or listen on 127.0.0.1, or set insecure = true if the network keeps strangers out", f)
	}
	return fmt.Errorf("%s is reached from other machines, and anybody may send to it: listen on 127.0.0.1, or use syslog+tls:// with tls-client-ca, or set insecure = true if the network keeps strangers out", f)
}
