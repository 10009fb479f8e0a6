package distro

import (
	"net/netip"
	"path"
	"regexp"
	"slices"
	"strings"
)

// maxNameServers is how many name servers the C library reads from resolv.conf; the kubelet warns of more.
const maxNameServers = 3

func (k *k3sInstall) setOOMScore(Remedy) error {
	k.oomScore = true
	return nil
}

func (k *k3sInstall) setFlannelBackend(r Remedy) error {
	return k.choose(r, "flannel-backend", "host-gw", "vxlan", "wireguard-native", "none")
}

func (k *k3sInstall) setSnapshotter(r Remedy) error {
	return k.choose(r, "snapshotter", "native", "fuse-overlayfs", "overlayfs")
}

// choose sets a setting to the remedy's value, which must be one of these.
func (k *k3sInstall) choose(r Remedy, key string, values ...string) error {
	v, err := r.one()
	if err != nil {
		return err
	}
	if !slices.Contains(values, v) {
		return r.invalid(v)
	}
	k.settings[key] = v
	return nil
}

// setCIDR sets the networks of pods and services, and the address of the cluster's name server, which k3s has at the tenth
// address of the services.
func (k *k3sInstall) setCIDR(r Remedy) error {
	if len(r.Values) != 2 {
		return r.invalid(strings.Join(r.Values, " "))
	}
	var nets [2]netip.Prefix
	for i, v := range r.Values {
		net, err := netip.ParsePrefix(v)
		if err != nil || net != net.Masked() {
			return r.invalid(v)
		}
		nets[i] = net
	}
	dns := nets[1].Addr()
	for range 10 {
		dns = dns.Next()
	}
	if nets[0].Overlaps(nets[1]) || nets[0].Addr().Is4() != nets[1].Addr().Is4() || !nets[1].Contains(dns) {
		return r.invalid(strings.Join(r.Values, " "))
	}
	k.settings["cluster-cidr"], k.settings["service-cidr"], k.settings["cluster-dns"] = r.Values[0], r.Values[1], dns.String()
	return nil
}

// arguments checks that all values are name=value.
func (r Remedy) arguments() ([]string, error) {
	argument := regexp.MustCompile(`^[a-z][a-z0-9-]*=\S+$`)
	for _, v := range r.Values {
		if !argument.MatchString(v) {
			return nil, r.invalid(v)
		}
	}
	return r.Values, nil
}

func (k *k3sInstall) addKubeletArgs(r Remedy) error {
	args, err := r.arguments()
	k.KubeletArgs = append(slices.Clone(k.KubeletArgs), args...)
	return err
}

func (k *k3sInstall) addKubeProxyArgs(r Remedy) error {
	args, err := r.arguments()
	k.kubeProxyArgs = append(k.kubeProxyArgs, args...)
	return err
}

// setResolvConf makes the resolv.conf of the pods. A server on the loopback is none for them: theirs is another loopback.
func (k *k3sInstall) setResolvConf(r Remedy) error {
	if len(r.Values) == 0 {
		return r.invalid("")
	}
	text := ownMarker + ".\n"
	for _, v := range r.Values[:min(len(r.Values), maxNameServers)] {
		server, err := netip.ParseAddr(v)
		if err != nil || server.IsLoopback() || server.IsUnspecified() || server.IsMulticast() {
			return r.invalid(v)
		}
		text += "nameserver " + server.String() + "\n"
	}
	k.ResolvConf = []byte(text)
	return nil
}

// setNodeName gives the node a name that Kubernetes takes, unless the user has given it one.
func (k *k3sInstall) setNodeName(r Remedy) error {
	name, err := r.one()
	if err != nil {
		return err
	}
	if len(name) > 253 || !regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$`).MatchString(name) {
		return r.invalid(name)
	}
	if k.NodeName == "" {
		k.NodeName = name
	}
	return nil
}

func (k *k3sInstall) setClusterInit(Remedy) error {
	k.ClusterInit = true
	return nil
}

func (k *k3sInstall) setBundledTools(Remedy) error {
	k.settings["prefer-bundled-bin"] = true
	return nil
}

func (k *k3sInstall) addDisable(r Remedy) error {
	part := regexp.MustCompile(`^[a-z][a-z0-9-]*$`)
	k.Disable = slices.Clone(k.Disable)
	for _, v := range r.Values {
		if !part.MatchString(v) {
			return r.invalid(v)
		}
		if !slices.Contains(k.Disable, v) {
			k.Disable = append(k.Disable, v)
		}
	}
	return nil
}

// setBinaryDir puts k3s elsewhere, where /usr is read-only.
func (k *k3sInstall) setBinaryDir(r Remedy) error {
	dir, err := r.one()
	if err != nil {
		return err
	}
	if !regexp.MustCompile(`^(/[A-Za-z0-9_-]+)+$`).MatchString(dir) || path.Clean(dir) != dir {
		return r.invalid(dir)
	}
	k.binDir = dir
	return nil
}

// setEngine names the unit of the container engine, which is started before a cluster is made in it.
func (k *k3sInstall) setEngine(r Remedy) error {
	unit, err := r.one()
	if err != nil {
		return err
	}
	if !regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*\.service$`).MatchString(unit) {
		return r.invalid(unit)
	}
	k.engineUnit = unit
	return nil
}

// setDataDir makes k3s keep its data elsewhere.
func (k *k3sInstall) setDataDir(r Remedy) error {
	dir, err := r.one()
	if err != nil {
		return err
	}
	if !isDataDir(dir) {
		return r.invalid(dir)
	}
	k.dataDir, k.settings["data-dir"] = dir, dir
	return nil
}
