package lab

import (
	"slices"
	"testing"
)

func TestCgroupFiles(t *testing.T) {
	got := cgroupFiles("9:name=systemd:/plab-a/init.scope\n4:cpu,cpuacct:/plab-a\nno line\n")
	want := []string{
		"/sys/fs/cgroup/systemd/plab-a/init.scope/cgroup.procs",
		"/sys/fs/cgroup/cpu,cpuacct/plab-a/cgroup.procs",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestBoundingSet(t *testing.T) {
	got, err := boundingSet("Name:\tsystemd\nCapBnd:\t0000000000000025\n")
	if want := "-all,+cap_0,+cap_2,+cap_5"; got != want || err != nil {
		t.Errorf("got %q, %v; want %q", got, err, want)
	}
	for _, status := range []string{"", "Name:\tx\n", "CapBnd:\tzz\n"} {
		if _, err := boundingSet(status); err == nil {
			t.Errorf("no error for %q", status)
		}
	}
}
