package distro

import (
	"fmt"

	"github.com/pipeopshq/pipeops-agent/internal/host"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

// dataCauses: what k3s kept of an earlier start does not go with this one.
func dataCauses() []Cause {
	return []Cause{
		{Name: "another-server", Says: []string{"Failed to validate connection to cluster at https://127.0.0.1:6443: token CA hash does not match"}, Code: reason.NetPortTaken,
			Fix: "another k3s of this machine answers on port 6443: see which (ss -ltnp, systemctl list-units 'k3s*'), and stop it"},
		// k3s saves its certificates to etcd while it writes its token file anew, and reads that file meanwhile, empty: seen on a busy
		// disk (pkg/cluster/cluster.go and pkg/server/server.go of v1.33). If it ends of that, the
		// file stays empty, and each start says the same until clearToken has taken it away; so does a token that is none.
		{Name: "token-read-early", Says: []string{"panic: failed to normalize server token", "fatal: ... failed to start cluster: failed to normalize server token"}, Code: reason.K3sToken, Passes: true,
			Fix: "if /var/lib/rancher/k3s/server/token is empty, remove it: k3s makes the same one again at its next start; install does this by itself"},
		{Name: "token-changed", Says: []string{"encrypted with different token", "token CA hash does not match", "failed to normalize server token", "cipher: message authentication failed"},
			Code: reason.K3sToken},
		{Name: "token-malformed", Says: []string{"fatal: ... invalid token", "fatal: ... --token is required"}, Code: reason.K3sToken, Fix: "write the whole token, K10<hash>::server:<secret> or the secret alone, into the configuration of k3s"},
		{Name: "certificate-not-yet-valid", Says: []string{"certificate has expired or is not yet valid ... is before", "certificate is not yet valid"},
			Code: reason.HostClock, Fix: "the clock is behind, or was ahead when the cluster was made: set it right (timedatectl set-ntp true, or install chrony), then systemctl restart k3s", Adds: yearOf},
		{Name: "certificate-expired", Says: []string{"certificate has expired or is not yet valid ... is after", "certificate has expired"},
			Code: reason.K3sCertificate, Fix: "if the clock is right: systemctl stop k3s; k3s certificate rotate; systemctl start k3s; a CA of your own must be renewed with k3s certificate rotate-ca", Adds: yearOf},
		{Name: "certificate-newer", Says: []string{"newer than datastore and could cause a cluster outage"},
			Code: reason.K3sCertificate, Fix: "take the file that is named away (and keep it): k3s makes it anew from its datastore"},
		{Name: "certificate-broken", Says: []string{"tls: failed to find any PEM data", "tls: private key does not match public key", "fatal: ... x509: ", "fatal: ... asn1: ", "fatal: ... PEM block"},
			Code: reason.K3sCertificate},
		{Name: "certificate-stranger", Says: []string{"x509: certificate signed by unknown authority"}, Code: reason.K3sCertificate, Stuck: true},
		{Name: "node-password", Says: []string{"Node password rejected", "unable to verify password for node"}, Code: reason.K3sNodePassword,
			Fix: "if this machine was rebuilt: k3s kubectl -n kube-system delete secret NAME.node-password.k3s (NAME is that of the node); else give it a name of its own by node-name"},
		{Name: "sqlite-damaged", Says: []string{"file is not a database", "database disk image is malformed", "SQLITE_CORRUPT", "SQLITE_NOTADB"}, Code: reason.K3sDatastore},
		{Name: "sqlite-locked", Says: []string{"fatal: ... database is locked", "fatal: ... SQLITE_BUSY", "failed to ... database is locked", "database is locked"},
			Code: reason.K3sDatastore, Fix: "another process has the database open (fuser -v /var/lib/rancher/k3s/server/db/state.db), or the disk is too slow: see which, then restart k3s"},
		{Name: "etcd-damaged", Says: []string{"walpb: crc mismatch", "wal: crc mismatch", "failed to read WAL", "failed to find database snapshot file", "failed to recover v3 backend", "tocommit ... is out of range", ".wal.broken"},
			Code: reason.K3sDatastore, Fix: "restore a snapshot of etcd: k3s server --cluster-reset --cluster-reset-restore-path=/var/lib/rancher/k3s/server/db/snapshots/NAME"},
		{Name: "etcd-moved", Says: []string{"failed to find ... peer URL", "member ... has already been bootstrapped", "the member has been permanently removed", "this server is a not a member of the etcd cluster"},
			Code: reason.K3sDatastore, Fix: "the address of this machine has changed, or it was removed from the cluster: on its only server k3s server --cluster-reset, then systemctl start k3s"},
		{Name: "etcd-learner", Says: []string{"etcd ... learner", "too many learner members"},
			Code: reason.K3sDatastore, Fix: "wait until the other server that joins is done; k3s kubectl get nodes at a healthy one shows it", Stuck: true},
		{Name: "datastore-unknown", Says: []string{"failed to create driver ... unknown driver"},
			Code: reason.K3sConfig, Fix: "let datastore-endpoint in the configuration of k3s begin with mysql://, postgres://, nats://, http:// or https:// (of etcd)"},
		{Name: "datastore-login", Says: []string{"password authentication failed", "Access denied for user", "no pg_hba.conf entry", "server refused TLS connection", "role ... does not exist (SQLSTATE"},
			Code: reason.K3sDatastore, Fix: "correct user, password and sslmode in datastore-endpoint, and what the database allows to this machine"},
		{Name: "datastore-silent", Says: []string{"failed to ping connection: ", "creating storage endpoint: ... connection refused", "creating storage endpoint: ... i/o timeout", "creating storage endpoint: ... no such host", "creating storage endpoint: "},
			Code: reason.K3sDatastore, Fix: "see that the database that datastore-endpoint names runs and can be reached from this machine"},
		{Name: "disk-slow", Says: []string{"apply request took too long", "slow fdatasync", "leader failed to send out heartbeat on time", "etcdserver: request timed out", "Slow SQL", "leaderelection lost"},
			When: slowDisk(), Code: reason.HostDiskSlow, Fix: "put the data directory on an SSD (--data-dir), or take away what else writes to this disk"},
		{Name: "lease-lost", Says: []string{"fatal: leaderelection lost", "fatal: ... leaderelection lost", "etcdserver: request timed out"},
			Code: reason.HostDiskSlow, Passes: true, Fix: "the disk or the CPU could not keep up: see what keeps them busy (iostat -x 1, top), and put the data directory on an SSD"},
		{Name: "server-silent", Says: []string{"failed to get CA certs: ", "failed to validate token: ... /cacerts"},
			Code: reason.K3sConfig, Fix: "the setting server in the configuration of k3s names another server that does not answer; on the only server take it out"},
	}
}

// slowDisk: the data is on a disk of which one knows that it is slow.
func slowDisk() Circumstance {
	return Circumstance{"on a disk that turns, a card or a stick", func(f host.Facts) bool {
		d, ok := dataDisk(f)
		return ok && (d.Rotational.Value || d.Removable.Value) || isPi(f)
	}}
}

func yearOf(_ string, f host.Facts) string {
	if !f.Clock.Year.OK {
		return ""
	}
	s := fmt.Sprintf("this machine is in the year %d", f.Clock.Year.Value)
	if f.Clock.Synchronized.OK && !f.Clock.Synchronized.Value {
		s += " and nobody keeps its clock"
	}
	return s
}
