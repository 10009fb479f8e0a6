// Command flannel is the CNI plugin of that name, as k3s configures it: it reads the subnet that the flannel daemon was
// given from /run/flannel/subnet.env and lets the bridge plugin do the work. It follows the CNI specification 1.0 and
// flannel's documentation of the plugin.
package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/containernetworking/cni/pkg/invoke"
	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"
	"github.com/containernetworking/cni/pkg/version"
)

// config is what k3s writes to 10-flannel.conflist.
type config struct {
	types.NetConf
	SubnetFile string         `json:"subnetFile"`
	DataDir    string         `json:"dataDir"`
	Delegate   map[string]any `json:"delegate"`
}

func main() {
	skel.PluginMainFuncs(skel.CNIFuncs{
		Add:   add,
		Del:   del,
		Check: func(*skel.CmdArgs) error { return nil }, // the delegate's state is the kernel's
	}, version.All, "flannel, by way of the bridge plugin")
}

func load(stdin []byte) (config, error) {
	c := config{SubnetFile: "/run/flannel/subnet.env", DataDir: "/var/lib/cni/flannel"}
	if err := json.Unmarshal(stdin, &c); err != nil {
		return c, fmt.Errorf("cannot read the network configuration: %w", err)
	}
	return c, nil
}

func add(args *skel.CmdArgs) error {
	c, err := load(args.StdinData)
	if err != nil {
		return err
	}
	text, err := os.ReadFile(c.SubnetFile)
	if err != nil {
		return fmt.Errorf("cannot read the subnet of this node; is flannel running? %w", err)
	}
	delegate, err := c.delegate(text)
	if err != nil {
		return err
	}
	// what is removed later must be what was made now, whatever the subnet is then
	if err := os.MkdirAll(c.DataDir, 0o700); err != nil {
		return fmt.Errorf("cannot remember the network: %w", err)
	}
	if err := os.WriteFile(filepath.Join(c.DataDir, args.ContainerID), delegate, 0o600); err != nil {
		return fmt.Errorf("cannot remember the network: %w", err)
	}
	result, err := invoke.DelegateAdd(context.Background(), typeOf(delegate), delegate, nil)
	if err != nil {
		return err
	}
	return types.PrintResult(result, c.CNIVersion)
}

func del(args *skel.CmdArgs) error {
	c, err := load(args.StdinData)
	if err != nil {
		return err
	}
	file := filepath.Join(c.DataDir, args.ContainerID)
	delegate, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		return nil // done already
	}
	if err != nil {
		return err
	}
	if err := invoke.DelegateDel(context.Background(), typeOf(delegate), delegate, nil); err != nil {
		return err
	}
	return os.Remove(file)
}

// delegate returns the configuration for the plugin that does the work, from the text of subnet.env.
func (c config) delegate(env []byte) ([]byte, error) {
	values := map[string]string{}
	for scanner := bufio.NewScanner(bytes.NewReader(env)); scanner.Scan(); {
		if name, value, ok := strings.Cut(scanner.Text(), "="); ok {
			values[name] = value
		}
	}
	mtu, err := strconv.Atoi(values["FLANNEL_MTU"])
	if err != nil {
		return nil, fmt.Errorf("FLANNEL_MTU: %w", err)
	}
	var ranges [][]map[string]string
	var routes []map[string]string
	for _, family := range []string{"FLANNEL_", "FLANNEL_IPV6_"} {
		if subnet := values[family+"SUBNET"]; subnet != "" {
			prefix, err := netip.ParsePrefix(subnet)
			if err != nil {
				return nil, fmt.Errorf("%sSUBNET: %w", family, err)
			}
			ranges = append(ranges, []map[string]string{{"subnet": prefix.Masked().String()}})
		}
		for network := range strings.SplitSeq(values[family+"NETWORK"], ",") {
			if network != "" {
				routes = append(routes, map[string]string{"dst": network})
			}
		}
	}
	if len(ranges) == 0 {
		return nil, errors.New("subnet.env names no subnet")
	}
	d := map[string]any{
		"type":      "bridge",
		"isGateway": true,
		"mtu":       mtu,
		"ipMasq":    values["FLANNEL_IPMASQ"] != "true", // one of the two does it
	}
	for name, value := range c.Delegate {
		d[name] = value
	}
	d["name"], d["cniVersion"] = c.Name, c.CNIVersion
	d["ipam"] = map[string]any{"type": "host-local", "ranges": ranges, "routes": routes}
	return json.Marshal(d)
}

func typeOf(delegate []byte) string {
	var d types.NetConf
	_ = json.Unmarshal(delegate, &d) // it is our own
	return d.Type
}
