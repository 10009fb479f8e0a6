package host

import (
	"context"
	"encoding/json"
	"strings"
)

// Cloud is the provider whose machine this is.
type Cloud struct {
	Name   string `json:"name"`   // "aws", "gcp", "azure", "hetzner", ...; "none": none of those we know; "" is unknown
	Source string `json:"source"` // "dmi", "cloud-init", "metadata"; ""
}

// instanceData is what cloud-init tells everybody of the machine; cloudID is the short form.
const (
	instanceData = "/run/cloud-init/instance-data.json"
	cloudID      = "/run/cloud-init/cloud-id"
)

// provider says how a cloud is recognised. DMI's words are those that cloud-init's ds-identify documents; all that are
// given must begin the value. OVH and others who run OpenStack as it comes are "openstack".
type provider struct {
	name     string
	vendor   string   // sys_vendor
	product  string   // product_name
	asset    string   // chassis_asset_tag
	board    string   // board_vendor
	aliases  []string // cloud_name of cloud-init, beside the name
	metadata []question
}

// providers lists the clouds, the special before the general: Vultr has answered as EC2 does, and many sell OpenStack under
// their own name.
func providers() []provider {
	const once = "60" // seconds that a token lives
	google := map[string]string{"Metadata-Flavor": "Google"}
	return []provider{
		{name: "vultr", vendor: "Vultr", metadata: []question{{path: "/v1.json", wants: `"instance-v2-id"`}}},
		{name: "azure", vendor: "Microsoft Corporation", asset: "7783-7084-3265-9085-8269-3286-77", metadata: []question{
			{path: "/metadata/instance/compute/azEnvironment?api-version=2021-02-01&format=text", header: map[string]string{"Metadata": "true"}, wants: "Azure"},
		}},
		{name: "gcp", product: "Google Compute Engine", aliases: []string{"gce"}, metadata: []question{
			{path: "/computeMetadata/v1/instance/id", header: google, answers: google},
		}},
		{name: "digitalocean", vendor: "DigitalOcean", metadata: []question{{path: "/metadata/v1.json", wants: `"droplet_id"`}}},
		{name: "hetzner", vendor: "Hetzner", metadata: []question{{path: "/hetzner/v1/metadata/instance-id", digits: true}}},
		{name: "linode", vendor: "Linode", aliases: []string{"akamai"}, metadata: []question{
			{path: "/v1/token", put: true, header: map[string]string{"Metadata-Token-Expiry-Seconds": once}, token: "Metadata-Token"},
			{path: "/v1/instance", wants: "instance"},
		}},
		{name: "linode", vendor: "Akamai"},
		{name: "oracle", asset: "OracleCloud.com", metadata: []question{
			{path: "/opc/v2/instance/id", header: map[string]string{"Authorization": "Bearer Oracle"}, wants: "ocid1.instance"},
		}},
		{name: "alibaba", product: "Alibaba Cloud ECS", aliases: []string{"aliyun"}},
		{name: "alibaba", vendor: "Alibaba Cloud"},
		{name: "tencent", vendor: "Tencent Cloud", aliases: []string{"tencentcloud"}},
		{name: "scaleway", vendor: "Scaleway"},
		{name: "exoscale", vendor: "Exoscale"},
		{name: "exoscale", product: "Exoscale"},
		{name: "upcloud", vendor: "UpCloud", metadata: []question{{path: "/metadata/v1.json", wants: `"upcloud"`}}},
		{name: "ibm", aliases: []string{"ibmcloud"}, metadata: []question{
			{path: "/instance_identity/v1/token?version=2022-03-01", put: true, header: map[string]string{"Metadata-Flavor": "ibm"}, wants: `"access_token"`},
		}},
		{name: "huawei", asset: "HUAWEICLOUD", aliases: []string{"huaweicloud"}},
		{name: "telekom", asset: "OpenTelekomCloud"},
		{name: "sap", asset: "SAP CCloud VM"},
		{name: "outscale", vendor: "3DS Outscale", product: "3DS Outscale VM"},
		{name: "cloudsigma", product: "CloudSigma"},
		{name: "nwcs", vendor: "NWCS"},
		{name: "e24cloud", vendor: "e24cloud"},
		{name: "brightbox", vendor: "Brightbox"},
		{name: "smartos", product: "SmartDC", aliases: []string{"joyent"}},
		{name: "cloudstack", vendor: "Apache Software Foundation", product: "CloudStack"},
		{name: "aws", vendor: "Amazon EC2", aliases: []string{"ec2"}, metadata: []question{
			{path: "/latest/api/token", put: true, header: map[string]string{"X-aws-ec2-metadata-token-ttl-seconds": once}, token: "X-aws-ec2-metadata-token"},
			{path: "/latest/meta-data/services/domain", wants: "amazonaws.com"},
		}},
		{name: "aws", board: "Amazon EC2"},
		{name: "openstack", product: "OpenStack Nova", metadata: []question{{path: "/openstack/latest/meta_data.json", wants: `"uuid"`}}},
		{name: "openstack", product: "OpenStack Compute"},
		{name: "openstack", asset: "OpenStack Nova"},
		{name: "openstack", asset: "OpenStack Compute"},
	}
}

func cloudProbe() Probe {
	return Probe{Name: "cloud", Run: func(ctx context.Context, s *System) (Part, error) {
		c := readCloud(s)
		if c.Name == "" && s.Live() && s.Network && inVM(s) {
			c = askMetadata(ctx, metadataService(), providers())
		}
		return func(f *Facts) { f.Cloud = c }, nil
	}}
}

// dmi is what DMI says to everybody.
type dmi struct{ vendor, product, asset, board string }

func readDMI(s *System) dmi {
	const dir = "/sys/class/dmi/id/"
	d := dmi{vendor: s.line(dir + "sys_vendor"), product: s.line(dir + "product_name"), board: s.line(dir + "board_vendor")}
	// the tag of a real machine may be its owner's number for it: it does not get into a capture unless a cloud is known by it
	tag := s.unrecorded().line(dir + "chassis_asset_tag")
	for _, p := range providers() {
		if p.asset != "" && strings.HasPrefix(tag, p.asset) {
			d.asset = s.line(dir + "chassis_asset_tag")
			break
		}
	}
	return d
}

// readCloud asks the firmware, then what cloud-init has written down.
func readCloud(s *System) Cloud {
	d := readDMI(s)
	if name := d.provider(); name != "" {
		return Cloud{Name: name, Source: "dmi"}
	}
	name := ""
	if b, err := s.ReadFile(instanceData); err == nil {
		name = ParseInstanceData(b)
	}
	if name == "" {
		name = cloudName(s.line(cloudID))
	}
	switch {
	case name != "":
		return Cloud{Name: name, Source: "cloud-init"}
	case d.vendor != "" && !inVM(s): // who rents out real machines without a name of theirs in DMI is not known here
		return Cloud{Name: "none", Source: "dmi"}
	}
	return Cloud{}
}

func (d dmi) provider() string {
	for _, p := range providers() {
		if p.vendor+p.product+p.asset+p.board != "" && strings.HasPrefix(d.vendor, p.vendor) && strings.HasPrefix(d.product, p.product) &&
			strings.HasPrefix(d.asset, p.asset) && strings.HasPrefix(d.board, p.board) {
			return p.name
		}
	}
	return ""
}

// ParseInstanceData returns the provider that cloud-init found, or "": also for sources that are no clouds, such as a disk with settings.
func ParseInstanceData(b []byte) string {
	var v struct {
		V1 struct {
			CloudName string `json:"cloud_name"`
			Platform  string `json:"platform"`
		} `json:"v1"`
	}
	if json.Unmarshal(b, &v) != nil {
		return ""
	}
	if name := cloudName(v.V1.CloudName); name != "" {
		return name
	}
	return cloudName(v.V1.Platform)
}

// cloudName translates cloud-init's names; those that it does not share with us are unknown.
func cloudName(name string) string {
	name = strings.ToLower(name)
	if i := strings.IndexByte(name, '-'); i > 0 { // "aws-china", "azure-gov"
		name = name[:i]
	}
	for _, p := range providers() {
		if name == p.name {
			return p.name
		}
		for _, alias := range p.aliases {
			if name == alias {
				return p.name
			}
		}
	}
	return ""
}

// inVM tells whether the machine is a virtual one.
func inVM(s *System) bool {
	vms, _ := readVMs(s, readWSL(s).Value)
	return len(vms) > 0
}
