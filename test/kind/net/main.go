// Command net stands in for kindnetd, which is no Go module of its own: it gives a node of kind its pod network. It configures
// CNI with the node's range, routes those of the other nodes to them, and hides pods behind the node's address where they
// leave the pod network.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

const (
	account  = "/var/run/secrets/kubernetes.io/serviceaccount/"
	cniFile  = "/etc/cni/net.d/10-kindnet.conflist"
	interval = 5 * time.Second // between two looks at the nodes
	maxNodes = 16 << 20        // bytes of a list of nodes
)

func main() {
	log := slog.New(slog.NewTextHandler(os.Stdout, nil))
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		if err := look(ctx, os.Getenv("CONTROL_PLANE_ENDPOINT"), os.Getenv("HOST_IP"), os.Getenv("POD_SUBNET")); err != nil {
			log.Error("the pod network is not as it should be", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// node is what is read of a node.
type node struct {
	Spec struct {
		PodCIDR string `json:"podCIDR"`
	} `json:"spec"`
	Status struct {
		Addresses []struct {
			Type    string `json:"type"`
			Address string `json:"address"`
		} `json:"addresses"`
	} `json:"status"`
}

func (n node) address() string {
	for _, a := range n.Status.Addresses {
		if a.Type == "InternalIP" {
			return a.Address
		}
	}
	return ""
}

// look reads the nodes and makes this one fit.
func look(ctx context.Context, endpoint, own, pods string) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	all, err := nodes(ctx, endpoint)
	if err != nil {
		return err
	}
	var errs []error
	for _, n := range all {
		switch {
		case n.Spec.PodCIDR == "" || n.address() == "":
		case n.address() == own:
			errs = append(errs, configure(n.Spec.PodCIDR))
		default:
			errs = append(errs, run(ctx, "ip", "route", "replace", n.Spec.PodCIDR, "via", n.address()))
		}
	}
	for _, rule := range [][]string{{"POSTROUTING", "-s", pods, "!", "-d", pods, "-j", "MASQUERADE"}} {
		if run(ctx, "iptables", append([]string{"-w", "-t", "nat", "-C"}, rule...)...) != nil {
			errs = append(errs, run(ctx, "iptables", append([]string{"-w", "-t", "nat", "-A"}, rule...)...))
		}
	}
	return errors.Join(errs...)
}

func nodes(ctx context.Context, endpoint string) ([]node, error) {
	ca, err := os.ReadFile(account + "ca.crt")
	if err != nil {
		return nil, err
	}
	token, err := os.ReadFile(account + "token")
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	client := http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}, DisableKeepAlives: true}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+endpoint+"/api/v1/nodes", http.NoBody)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("cannot list the nodes: %s", resp.Status)
	}
	var list struct {
		Items []node `json:"items"`
	}
	err = json.NewDecoder(io.LimitReader(resp.Body, maxNodes)).Decode(&list)
	return list.Items, err
}

// configure writes the configuration of CNI, as kindnetd does, unless it is there.
func configure(podCIDR string) error {
	text := fmt.Sprintf(`{"cniVersion": "0.3.1", "name": "kindnet", "plugins": [
  {"type": "ptp", "ipMasq": false, "mtu": 1500, "ipam": {"type": "host-local", "dataDir": "/run/cni-ipam-state",
    "routes": [{"dst": "0.0.0.0/0"}], "ranges": [[{"subnet": %q}]]}},
  {"type": "portmap", "capabilities": {"portMappings": true}}]}
`, podCIDR)
	if old, err := os.ReadFile(cniFile); err == nil && string(old) == text {
		return nil
	}
	part := filepath.Join(filepath.Dir(cniFile), ".kindnet.part")
	if err := os.WriteFile(part, []byte(text), 0o644); err != nil {
		return err
	}
	return os.Rename(part, cniFile)
}

func run(ctx context.Context, name string, args ...string) error {
	if out, err := exec.CommandContext(ctx, name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("cannot run %s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}
