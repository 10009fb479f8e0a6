package host

import (
	"cmp"
	"context"
	"slices"
	"strconv"
	"strings"
)

// Neighbour is something else that lives on this machine and must go on working.
type Neighbour struct {
	Kind     string `json:"kind"` // "panel", "web", "swarm" (by its files; Docker.Swarm is what the engine says), "network"
	Name     string `json:"name"` // "cpanel", "nginx", "docker swarm", "networkmanager"
	Evidence string `json:"evidence"`
}

const (
	networkManager = "NetworkManager"
	nmCloudSetup   = "nm-cloud-setup"
	swarmState     = "/var/lib/docker/swarm/docker-state.json" // only in a swarm; the folder is always there
)

// panel is software that believes the machine is its own. Each path is where its documentation installs it.
type panel struct {
	name  string
	paths []string
}

func panels() []panel {
	return []panel{
		{"cpanel", []string{"/usr/local/cpanel"}},
		{"plesk", []string{"/usr/local/psa", "/opt/psa"}},
		{"directadmin", []string{"/usr/local/directadmin"}},
		{"ispconfig", []string{"/usr/local/ispconfig"}},
		{"cyberpanel", []string{"/usr/local/CyberCP", "/usr/local/CyberPanel"}},
		{"hestiacp", []string{"/usr/local/hestia"}},
		{"vestacp", []string{"/usr/local/vesta"}},
		{"webmin", []string{"/etc/webmin"}},
		{"cloudpanel", []string{"/home/clp"}},
		{"aapanel", []string{"/www/server/panel"}},
		{"froxlor", []string{"/var/www/froxlor"}},
		{"keyhelp", []string{"/etc/keyhelp"}},
		{"yunohost", []string{"/etc/yunohost"}},
		{"runcloud", []string{"/etc/runcloud"}},
		{"casaos", []string{"/etc/casaos"}},
		{"proxmox", []string{"/etc/pve", "/usr/bin/pveversion"}},
		{"coolify", []string{"/data/coolify"}},
		{"caprover", []string{"/captain"}},
		{"dokku", []string{"/var/lib/dokku", "/home/dokku"}},
		{"dokploy", []string{"/etc/dokploy"}},
		{"easypanel", []string{"/etc/easypanel"}},
		{"portainer", []string{"/var/lib/docker/volumes/portainer_data"}},
	}
}

func neighboursProbe() Probe {
	return Probe{Name: "neighbours", Run: func(ctx context.Context, s *System) (Part, error) {
		names, err := processNames(ctx, s)
		var all []Neighbour
		if s.Live() || names != nil {
			all = []Neighbour{}
		}
		for _, p := range panels() {
			if i := slices.IndexFunc(p.paths, s.has); i >= 0 {
				all = append(all, Neighbour{"panel", p.name, p.paths[i]})
			}
		}
		web, webErr := webServers(ctx, s)
		all = append(all, web...)
		if s.has(swarmState) {
			all = append(all, Neighbour{"swarm", "docker swarm", swarmState})
		}
		if slices.Contains(names, networkManager) {
			all = append(all, Neighbour{"network", "networkmanager", "it runs"})
		}
		for _, unit := range []string{nmCloudSetup + ".service", nmCloudSetup + ".timer"} {
			if link := enabledUnit(s, unit); link != "" {
				all = append(all, Neighbour{"network", nmCloudSetup, link})
				break
			}
		}
		return func(f *Facts) { f.Neighbours = all }, cmp.Or(err, webErr)
	}}
}

// webServers names who serves the ports of the web. Clusters are told of elsewhere.
func webServers(ctx context.Context, s *System) ([]Neighbour, error) {
	listeners := s.Snapshot().Listening
	var err error
	if s.Live() {
		if listeners, err = webListeners(ctx, s); err != nil {
			return nil, err
		}
	}
	var all []Neighbour
	for _, l := range listeners {
		if l.Proto != "tcp" || l.Port != 80 && l.Port != 443 {
			continue
		}
		name, _, _ := strings.Cut(l.Owner, " ")
		if slices.ContainsFunc(clusterKinds(), func(k clusterKind) bool { return k.is(name) }) {
			continue
		}
		if !slices.ContainsFunc(all, func(n Neighbour) bool { return n.Name == or(name, "unknown") }) {
			all = append(all, Neighbour{"web", or(name, "unknown"), "tcp port " + strconv.Itoa(l.Port)})
		}
	}
	return all, nil
}

func webListeners(ctx context.Context, s *System) ([]Listener, error) {
	sockets, err := readSockets(s)
	if err != nil {
		return nil, err
	}
	sockets = slices.DeleteFunc(sockets, func(k socket) bool { return k.proto != "tcp" || k.port != 80 && k.port != 443 })
	if len(sockets) == 0 {
		return nil, nil
	}
	owners, err := socketOwners(ctx, s, sockets)
	var all []Listener
	for _, k := range sockets {
		all = append(all, Listener{Proto: k.proto, Port: k.port, Owner: owners[k.inode].Name})
	}
	slices.SortFunc(all, func(a, b Listener) int { return cmp.Or(cmp.Compare(a.Port, b.Port), cmp.Compare(b.Owner, a.Owner)) })
	return slices.CompactFunc(all, func(a, b Listener) bool { return a.Port == b.Port }), err
}
