package distro

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/host"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

const (
	startLine = "Starting k3s.service - Lightweight Kubernetes...\n"
	nameLine  = "time=\"2026-11-26T01:50:00Z\" level=info msg=\"Starting k3s v1.33.2+k3s1\"\n"
	fullLine  = "time=\"2026-11-26T01:50:07Z\" level=error msg=\"write /var/lib/x: no space left on device\"\n"
	fatalLine = "time=\"2026-11-26T01:50:07Z\" level=fatal msg=\"write /var/lib/x: no space left on device\"\n"
	deafLine  = "time=\"2026-11-26T01:50:09Z\" level=error msg=\"failed to get CA certs: Get https://10.0.0.9:6443/cacerts: timeout\"\n"
)

func TestSuspect(t *testing.T) {
	for _, tt := range []struct {
		name, said string
		want       reason.Code
	}{
		{"nothing was said", "", ""},
		{"nothing that tells", startLine + nameLine, ""},
		{"it runs and says why", startLine + nameLine + fullLine, reason.HostDiskLow},
		{"it has ended: that is for the end", startLine + nameLine + fatalLine, ""},
		{"the start before said it, and this one does not", startLine + nameLine + fatalLine + startLine + nameLine, ""},
	} {
		d, ok := Suspect(Words{Unit: tt.said}, host.Facts{})
		if ok != (tt.want != "") || d.Cause.Code != tt.want {
			t.Errorf("%s: %v %q", tt.name, ok, d.Cause.Code)
		}
	}
}

// hangingUnits are units of which the start never comes to an end, or does so when the test says.
type hangingUnits struct {
	fakeUnits
	up chan struct{}
}

func (u *hangingUnits) WaitActive(ctx context.Context, _ string) error {
	select {
	case <-u.up:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// hanging is a service of a k3s that hangs, what it says, and what is suspected, each with the time after the start.
func hanging(t *testing.T, said func(after time.Duration) string) (s service, units *hangingUnits, told *[]string) {
	units = &hangingUnits{up: make(chan struct{})}
	told = &[]string{}
	began := time.Now()
	k := &k3sInstall{dataDir: k3sDataDir, Install: Install{Root: t.TempDir(), Units: units,
		LastWords: func(context.Context, string) string { return said(time.Since(began)) },
		Suspect: func(d Diagnosis) {
			*told = append(*told, time.Since(began).String()+" "+string(d.Cause.Code))
		}}}
	return service{Install: k.Install, name: "k3s.service", diagnose: k.diagnose}, units, told
}

// TestAHangIsSuspectedEarly: what a k3s says that does not get ready is told while it is waited for, once, and ends nothing.
func TestAHangIsSuspectedEarly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _, told := hanging(t, func(after time.Duration) string {
			if after <= 3*time.Minute {
				return startLine + nameLine + fullLine
			}
			return startLine + nameLine + deafLine
		})
		ctx, cancel := context.WithTimeout(t.Context(), k3sStartUp)
		defer cancel()
		began := time.Now()
		err := s.prove(ctx)
		if took := time.Since(began); took != k3sStartUp || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("ends after %v: %v", took, err)
		}
		if !reason.Is(err, reason.K3sConfig) {
			t.Errorf("the end tells %v", err)
		}
		if got, want := strings.Join(*told, ", "), "1m0s HOST_DISK_LOW, 3m30s K3S_CONFIG"; got != want {
			t.Errorf("told %s, want %s", got, want)
		}
	})
}

// TestASlowStartIsNotHurt: one that comes up in the end is well, whatever was suspected; one that is quick is not looked at.
func TestASlowStartIsNotHurt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		said := func(time.Duration) string { return startLine + nameLine + fullLine }
		for after, want := range map[time.Duration]int{50 * time.Second: 0, 4 * time.Minute: 1} {
			s, units, told := hanging(t, said)
			time.AfterFunc(after, func() { close(units.up) })
			began := time.Now()
			if err := s.prove(t.Context()); err != nil || time.Since(began) != after {
				t.Errorf("after %v: %v", time.Since(began), err)
			}
			if len(*told) != want {
				t.Errorf("up after %v: told %v", after, *told)
			}
		}
	})
}

// TestALookEndsWithTheWait: a look that is under way does not outlive what is waited for.
func TestALookEndsWithTheWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		looked := make(chan struct{})
		look := func(ctx context.Context) (Diagnosis, bool) {
			close(looked)
			<-ctx.Done()
			return Diagnosis{Cause: K3sCauses()[0]}, true
		}
		err := Suspecting(t.Context(), look, func(Diagnosis) { t.Error("told after the end") }, func(context.Context) error {
			<-looked
			return errors.New("ended")
		})
		if err == nil || err.Error() != "ended" {
			t.Errorf("got %v", err)
		}
	})
}
