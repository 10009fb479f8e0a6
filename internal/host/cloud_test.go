package host

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func TestCloudByDMI(t *testing.T) {
	for _, c := range []struct {
		d    dmi
		want string
	}{
		{dmi{vendor: "Amazon EC2", product: "t3.micro", asset: "Amazon EC2"}, "aws"},
		{dmi{vendor: "Xen", product: "HVM domU"}, ""},
		{dmi{vendor: "Google", product: "Google Compute Engine"}, "gcp"},
		{dmi{vendor: "Microsoft Corporation", product: "Virtual Machine", asset: "7783-7084-3265-9085-8269-3286-77"}, "azure"},
		{dmi{vendor: "Microsoft Corporation", product: "Virtual Machine"}, ""}, // Hyper-V at home
		{dmi{vendor: "DigitalOcean", product: "Droplet"}, "digitalocean"},
		{dmi{vendor: "Hetzner", product: "vServer"}, "hetzner"},
		{dmi{vendor: "Akamai", product: "Compute Instance"}, "linode"},
		{dmi{vendor: "Linode", product: "Compute Instance"}, "linode"},
		{dmi{vendor: "Vultr", product: "VC2", board: "Amazon EC2"}, "vultr"},
		{dmi{vendor: "QEMU", product: "Standard PC (i440FX + PIIX, 1996)", asset: "OracleCloud.com"}, "oracle"},
		{dmi{vendor: "Alibaba Cloud", product: "Alibaba Cloud ECS"}, "alibaba"},
		{dmi{vendor: "Tencent Cloud", product: "CVM"}, "tencent"},
		{dmi{vendor: "Scaleway", product: "SCW-DEV1-S"}, "scaleway"},
		{dmi{vendor: "Exoscale", product: "Compute Platform"}, "exoscale"},
		{dmi{vendor: "UpCloud", product: "Server"}, "upcloud"},
		{dmi{vendor: "OpenStack Foundation", product: "OpenStack Nova", asset: "HUAWEICLOUD"}, "huawei"},
		{dmi{vendor: "OpenStack Foundation", product: "OpenStack Nova"}, "openstack"},
		{dmi{vendor: "QEMU", product: "Standard PC (Q35 + ICH9, 2009)"}, ""},
		{dmi{}, ""},
	} {
		if got := c.d.provider(); got != c.want {
			t.Errorf("%+v: %q, want %q", c.d, got, c.want)
		}
	}
	names := map[string]bool{}
	for _, p := range providers() {
		names[p.name] = true
	}
	if len(names) < 18 {
		t.Errorf("%d providers", len(names))
	}
}

func TestCloudOfCapture(t *testing.T) {
	const flag = "flags\t\t: fpu hypervisor\n"
	for _, c := range []struct {
		name  string
		files map[string]string
		want  Cloud
	}{
		{"nothing known", map[string]string{"etc/hosts": ""}, Cloud{}},
		{"0-byte DMI", map[string]string{"sys/class/dmi/id/sys_vendor": ""}, Cloud{}},
		{"DMI before cloud-init", map[string]string{"sys/class/dmi/id/sys_vendor": "Vultr\n", instanceData: `{"v1":{"cloud_name":"aws"}}`}, Cloud{"vultr", "dmi"}},
		{"cloud-init", map[string]string{"sys/class/dmi/id/sys_vendor": "QEMU\n", "proc/cpuinfo": flag, instanceData: `{"v1":{"cloud_name":"aliyun","platform":"ec2"}}`}, Cloud{"alibaba", "cloud-init"}},
		{"a disk with settings is no cloud", map[string]string{"sys/class/dmi/id/sys_vendor": "QEMU\n", "proc/cpuinfo": flag, instanceData: `{"v1":{"cloud_name":"nocloud"}}`}, Cloud{}},
		{"short form", map[string]string{cloudID: "azure-gov\n"}, Cloud{"azure", "cloud-init"}},
		{"real machine", map[string]string{"sys/class/dmi/id/sys_vendor": "Dell Inc.\n", "proc/cpuinfo": "flags : fpu\n"}, Cloud{"none", "dmi"}},
	} {
		dir := t.TempDir()
		for path, content := range c.files {
			write(t, dir, path, content)
		}
		if got := Collect(t.Context(), load(t, dir)).Cloud; got != c.want {
			t.Errorf("%s: %+v, want %+v", c.name, got, c.want)
		}
	}
}

// metadataServers plays each service as its documentation has it: without the right headers it refuses.
func metadataServers() map[string]http.HandlerFunc {
	with := func(header, value, method, path, answer string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if r.Method != method || r.URL.Path != path || header != "" && r.Header.Get(header) != value {
				w.WriteHeader(http.StatusForbidden)
				return
			}
			_, _ = w.Write([]byte(answer))
		}
	}
	tokened := func(tokenPath, ttl, header, path, answer string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			switch {
			case r.Method == http.MethodPut && r.URL.Path == tokenPath && r.Header.Get(ttl) != "":
				_, _ = w.Write([]byte("tok3n"))
			case r.Method == http.MethodGet && r.URL.Path == path && r.Header.Get(header) == "tok3n":
				_, _ = w.Write([]byte(answer))
			default:
				w.WriteHeader(http.StatusUnauthorized)
			}
		}
	}
	return map[string]http.HandlerFunc{
		"aws":   tokened("/latest/api/token", "X-Aws-Ec2-Metadata-Token-Ttl-Seconds", "X-Aws-Ec2-Metadata-Token", "/latest/meta-data/services/domain", "amazonaws.com"),
		"azure": with("Metadata", "true", "GET", "/metadata/instance/compute/azEnvironment", "AzurePublicCloud"),
		"gcp": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Metadata-Flavor", "Google")
			with("Metadata-Flavor", "Google", "GET", "/computeMetadata/v1/instance/id", "4711")(w, r)
		},
		"digitalocean": with("", "", "GET", "/metadata/v1.json", `{"droplet_id": 1}`),
		"hetzner":      with("", "", "GET", "/hetzner/v1/metadata/instance-id", "42\n"),
		"linode":       tokened("/v1/token", "Metadata-Token-Expiry-Seconds", "Metadata-Token", "/v1/instance", "instance.id: 1"),
		"vultr":        with("", "", "GET", "/v1.json", `{"instance-v2-id":"x"}`),
		"oracle":       with("Authorization", "Bearer Oracle", "GET", "/opc/v2/instance/id", "ocid1.instance.oc1.x"),
		"upcloud":      with("", "", "GET", "/metadata/v1.json", `{"cloud_name":"upcloud"}`),
		"ibm":          with("Metadata-Flavor", "ibm", "PUT", "/instance_identity/v1/token", `{"access_token":"x"}`),
		"openstack":    with("", "", "GET", "/openstack/latest/meta_data.json", `{"uuid":"x"}`),
		// a service that answers everything with a page, and the first version of Amazon's that needs no token
		"": func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPut {
				w.WriteHeader(http.StatusMethodNotAllowed)
				return
			}
			_, _ = w.Write([]byte("<html>amazonaws.com</html>"))
		},
	}
}

func TestAskMetadata(t *testing.T) {
	t.Setenv("HTTP_PROXY", "http://192.0.2.1:1") // never asked
	for name, handler := range metadataServers() {
		server := httptest.NewServer(handler)
		want := Cloud{}
		if name != "" {
			want = Cloud{name, "metadata"}
		}
		at := metadataService()
		at.base = server.URL
		var got Cloud
		for start := time.Now(); time.Since(start) < 10*time.Second; { // on a busy machine one answer may be late
			got = askMetadata(t.Context(), at, providers())
			if got == want {
				break
			}
		}
		if got != want {
			t.Errorf("%q: %+v", name, got)
		}
		server.Close()
	}
}

func TestMetadataIsBounded(t *testing.T) {
	release := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	defer server.Close()
	defer close(release)
	at := metadataService()
	at.base = server.URL
	start := time.Now()
	if c := askMetadata(context.Background(), at, providers()); c != (Cloud{}) {
		t.Errorf("%+v", c)
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("took %v", took)
	}
	if !strings.HasPrefix(metadataService().base, "http://169.254.169.254") {
		t.Error("metadata is asked elsewhere")
	}
}
