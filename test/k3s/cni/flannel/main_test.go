package main

import (
	"encoding/json"
	"reflect"
	"testing"
)

func TestDelegate(t *testing.T) {
	c, err := load([]byte(`{"name":"cbr0","cniVersion":"1.0.0","type":"flannel","delegate":{"hairpinMode":true,"mtu":1400}}`))
	if err != nil {
		t.Fatal(err)
	}
	got, err := c.delegate([]byte("FLANNEL_NETWORK=10.42.0.0/16\nFLANNEL_SUBNET=10.42.3.1/24\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n"))
	if err != nil {
		t.Fatal(err)
	}
	want := `{"name":"cbr0","cniVersion":"1.0.0","type":"bridge","isGateway":true,"hairpinMode":true,"mtu":1400,"ipMasq":false,
		"ipam":{"type":"host-local","ranges":[[{"subnet":"10.42.3.0/24"}]],"routes":[{"dst":"10.42.0.0/16"}]}}`
	var a, b any
	if err := json.Unmarshal(got, &a); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(want), &b); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(a, b) {
		t.Errorf("got %s", got)
	}
	for _, env := range []string{"", "FLANNEL_MTU=1450\n", "FLANNEL_MTU=1450\nFLANNEL_SUBNET=x\n"} {
		if _, err := c.delegate([]byte(env)); err == nil {
			t.Errorf("no error for %q", env)
		}
	}
}
