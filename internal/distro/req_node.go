package distro

import (
	"fmt"
	"strings"

	"github.com/pipeopshq/pipeops-agent/internal/reason"
	"github.com/pipeopshq/pipeops-agent/internal/trial"
	"github.com/pipeopshq/pipeops-agent/internal/wire"
)

// etcd reports whether k3s will keep its state in etcd: as its first server, as a further one, or since it does already.
func (c Case) etcd() bool {
	made, _ := ourSettings(c.Facts)
	return c.Request.Node == wire.RoleServer || c.Request.ClusterInit != nil && *c.Request.ClusterInit || made["cluster-init"] == "true"
}

// onlyEtcd asks a requirement only where k3s keeps its state in etcd.
func onlyEtcd(q Requirement) Requirement {
	judge := q.Judge
	q.Judge = func(c Case) Finding {
		if !c.etcd() {
			return met()
		}
		return judge(c)
	}
	return q
}

func memoryOfEtcd() Requirement {
	q := onlyEtcd(memory(etcdMemory))
	q.Name = "etcd-memory"
	return q
}

func portsOfEtcd() Requirement {
	q := onlyEtcd(ports(etcdPorts()))
	q.Name = "etcd-ports"
	return q
}

// diskOfEtcd refuses disks on which etcd would lose its leader over and over (k3s issues 1850, 2853, 8956).
func diskOfEtcd() Requirement {
	return onlyEtcd(Requirement{Name: "etcd-disk", Code: reason.HostDiskSlow, Waivable: true, Judge: func(c Case) Finding {
		p99, ok := c.Trials[trial.Fsync].Value.Get()
		switch {
		case !ok, c.moved():
			return unknown()
		case p99 > etcdFsyncMost:
			f := unmet(fmt.Sprintf("one write in a hundred takes %.3g ms to be on disk; etcd needs %d ms", p99, etcdFsyncMost), "a faster disk")
			if c.Request.Node == "" {
				return f.fixed("use a faster disk, or one server without --cluster-init, which keeps its state in SQLite")
			}
			return f.fixed("use a faster disk, or let this machine be a worker")
		}
		return met()
	}})
}

// diskSlowForEtcd warns of what [diskOfEtcd] lets pass.
func diskSlowForEtcd() Requirement {
	return onlyEtcd(Requirement{Name: "etcd-disk-advised", Code: reason.HostDiskSlow, Advice: true, Judge: func(c Case) Finding {
		p99, ok := c.Trials[trial.Fsync].Value.Get()
		switch {
		case !ok, c.moved():
			return unknown()
		case p99 > etcdFsync && p99 <= etcdFsyncMost:
			return unmet(fmt.Sprintf("one write in a hundred takes %.3g ms to be on disk; %d ms are advised for etcd", p99, etcdFsync), "")
		}
		return met()
	}})
}

// datastore keeps the state of a k3s of ours where it is. From SQLite k3s moves it to etcd by itself when it is started so;
// there is no way back.
func datastore() Requirement {
	return Requirement{Name: "datastore", Code: reason.ClusterDatastore, Judge: func(c Case) Finding {
		made, ours := ourSettings(c.Facts)
		wanted := c.Request.ClusterInit
		switch {
		case !ours || c.Request.Node != "" || made["cluster-init"] != "true":
			return met()
		case wanted != nil && !*wanted:
			return unmet("the k3s of this machine was made with --cluster-init, and there is no way back to SQLite", "--cluster-init")
		}
		return unmet("the cluster was made so", "a new cluster").cured(remedy(RemedyClusterInit, "k3s keeps its state in etcd"))
	}}
}

// ownCluster refuses to make a node of a machine that has a cluster of its own, and a cluster on one that is a node already.
func ownCluster() Requirement {
	return Requirement{Name: "own-cluster", Code: reason.ClusterOwn, Judge: func(c Case) Finding {
		for _, k := range c.Facts.Clusters {
			if k.Name != K3s || !k.Ours.Value || k.Settings == nil {
				continue
			}
			server, member := k.Settings["server"]
			switch {
			case c.Request.Node != "" && !member:
				return unmet("pipeops-agent install has made a cluster of its own here ("+evidence(k)+")", "a machine without a cluster")
			case c.Request.Node == "" && member:
				f := unmet("this machine has joined the cluster of "+server, "a machine that is no node")
				f.Code = reason.ClusterMember
				return f
			case c.Request.Node == wire.RoleWorker && k.Role == "server", c.Request.Node == wire.RoleServer && k.Role == "agent":
				f := unmet(fmt.Sprintf("this machine has joined the cluster of %s in another role than %s", server, c.Request.Node), "")
				f.Code = reason.ClusterMember
				return f
			}
		}
		return met()
	}}
}

// shared is a requirement whose remedy changes what all nodes of a cluster must have alike: for a machine that joins one there
// is none, and that the cluster has it otherwise may make it needless.
func shared(q Requirement) Requirement {
	judge := q.Judge
	q.Judge = func(c Case) Finding {
		f := judge(c)
		if c.Request.Node == "" || f.Verdict != Unmet {
			return f
		}
		f.Remedies = nil
		return f.advice()
	}
	return q
}

// portOfVxlan needs the UDP port of flannel, on which packets come from other nodes. A cluster of one machine never gets any.
func portOfVxlan() Requirement {
	return Requirement{Name: "vxlan-port", Code: reason.NetPortTaken, Judge: func(c Case) Finding {
		l, known := c.Facts.ListenerOn("udp", vxlanPort)
		switch {
		case c.Request.Node == "" || ourK3s(c.Facts):
			return met()
		case !known.OK:
			return unknown()
		case l.Port == 0:
			return met()
		}
		owner := l.Owner
		if owner == "" {
			owner = "the kernel or an unknown program"
		}
		return unmet(fmt.Sprintf("port %d/udp is held by %s", vxlanPort, owner), fmt.Sprintf("port %d/udp free", vxlanPort))
	}}
}

// networksOf returns the networks of the cluster that the machine is a node of, or will be.
func (c Case) networksOf() networks {
	if len(c.Request.Networks) == 2 {
		if n, ok := parseNetworks(c.Request.Networks[0], c.Request.Networks[1]); ok {
			return n
		}
	}
	if c.Request.Node != "" {
		return choices()[0]
	}
	n, _, _ := freeNetworks(c.Facts)
	return n
}

// letIn are the networks whose packets firewalls must let pass: those of pods and services, and of a node the servers.
func (c Case) letIn() []string {
	all := c.networksOf().values()
	for _, address := range c.Request.Peers {
		bits := "/32"
		if strings.Contains(address, ":") {
			bits = "/128"
		}
		all = append(all, address+bits)
	}
	return all
}
