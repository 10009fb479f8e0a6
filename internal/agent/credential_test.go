package agent

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/pipeopshq/pipeops-agent/internal/atomicfile"
	"github.com/pipeopshq/pipeops-agent/internal/cluster"
	"github.com/pipeopshq/pipeops-agent/internal/health"
)

// keeping is a keeper in a bubble of time whose renewals write a token of an hour, or fail.
type keeping struct {
	*keeper
	t *testing.T

	mu       sync.Mutex
	renewals []time.Time
	fail     error
	age      time.Duration // of the tokens that renewals write
}

// times are those of the renewals.
func (k *keeping) times() []time.Time {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.renewals)
}

// failing lets renewals fail, or not.
func (k *keeping) failing(err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.fail = err
}

// hold writes a credential with a token that was issued now, less age.
func (k *keeping) hold(life, age time.Duration) {
	issued := time.Now().Add(-age)
	claims := fmt.Sprintf(`{"iat":%d,"exp":%d}`, issued.Unix(), issued.Add(life).Unix())
	token := "e30." + base64.RawURLEncoding.EncodeToString([]byte(claims)) + ".c2ln"
	text := "clusters: [{name: pipeops-agent, cluster: {server: 'https://127.0.0.1:1'}}]\nusers: [{name: pipeops-agent, user: {token: " + token + "}}]\n"
	if err := atomicfile.Write(k.path, 0o600, []byte(text)); err != nil {
		k.t.Fatal(err)
	}
}

// asked reports whether a credential is asked for, and takes the request as the unit of root's does.
func (k *keeping) asked() bool {
	_, err := os.Stat(k.request)
	_ = os.Remove(k.request)
	return err == nil
}

func (k *keeping) wants(status, message string) {
	k.t.Helper()
	if c := k.health.Get(health.ClusterAccess); c.Status != status || !strings.Contains(c.Reason+": "+c.Message, message) {
		k.t.Errorf("%s: the condition is %+v, want %s with %q", time.Now().Format(time.TimeOnly), c, status, message)
	}
}

func inBubble(t *testing.T, test func(k *keeping)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		k := &keeping{t: t}
		k.keeper = newKeeper(Options{Kubeconfig: filepath.Join(dir, cluster.CredentialFile), StateDir: dir, TokenLife: time.Hour, Log: slog.New(slog.DiscardHandler)}, &health.Tracker{})
		k.renew = func(context.Context, string, time.Duration) error {
			k.mu.Lock()
			defer k.mu.Unlock()
			k.renewals = append(k.renewals, time.Now())
			if k.fail == nil {
				k.hold(time.Hour, k.age)
			}
			return k.fail
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- k.run(ctx) }()
		test(k)
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}

func TestTokenIsRenewedInTime(t *testing.T) {
	inBubble(t, func(k *keeping) {
		began := time.Now()
		k.hold(time.Hour, 0)
		k.saw(nil)
		time.Sleep(35 * time.Minute)
		synctest.Wait()
		if k.wants(health.True, "Valid: its token is good until 2000-01-01T01:00:00Z"); len(k.times()) > 0 {
			t.Errorf("renewed after %v", k.times()[0].Sub(began))
		}
		time.Sleep(6 * time.Minute)
		synctest.Wait()
		if len(k.times()) != 1 {
			t.Fatalf("%d renewals", len(k.times()))
		}
		if after := k.times()[0].Sub(began); after < 37*time.Minute || after > 40*time.Minute+keepEvery {
			t.Errorf("renewed after %v", after)
		}
		k.wants(health.True, "Valid")
		time.Sleep(10 * time.Hour)
		synctest.Wait()
		if n := len(k.times()); n < 14 || n > 18 || k.asked() {
			t.Errorf("%d renewals in 10 hours", n)
		}
	})
}

func TestRenewalThatFailsIsTriedAgain(t *testing.T) {
	inBubble(t, func(k *keeping) {
		k.hold(time.Hour, 45*time.Minute)
		k.failing(errors.New("forbidden"))
		k.saw(nil)
		time.Sleep(time.Minute)
		synctest.Wait()
		if k.wants(health.True, "NotRenewed: its token is good until"); len(k.times()) < 2 || len(k.times()) > 3 || k.asked() {
			t.Errorf("%d renewals", len(k.times()))
		}
		k.failing(nil)
		time.Sleep(renewAgain + keepEvery)
		synctest.Wait()
		k.wants(health.True, "Valid")
	})
}

// TestClockAhead: an API server that takes the token knows better than the clock of this machine; renewals do not run wild.
func TestClockAhead(t *testing.T) {
	inBubble(t, func(k *keeping) {
		k.hold(time.Hour, 2*time.Hour)
		k.saw(nil)
		k.mu.Lock()
		k.age = 2 * time.Hour
		k.mu.Unlock()
		for range 60 {
			time.Sleep(time.Second)
			k.saw(nil)
		}
		synctest.Wait()
		if len(k.times()) > 4 {
			t.Errorf("%d renewals in a minute", len(k.times()))
		}
		for range 12 * 60 {
			time.Sleep(keepEvery)
			k.saw(nil)
		}
		synctest.Wait()
		if n := len(k.times()); n < 3 || n > 6 {
			t.Errorf("%d renewals in an hour, of tokens of an hour", n)
		}
	})
}

func TestDeadTokenIsAskedFor(t *testing.T) {
	for name, why := range map[string]error{
		"unauthorized":    apierrors.NewUnauthorized("Unauthorized"),
		"another cluster": fmt.Errorf("get: %w", x509.UnknownAuthorityError{}),
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(k *keeping) {
				k.hold(time.Hour, 0)
				k.saw(why)
				time.Sleep(keepEvery + time.Second)
				synctest.Wait()
				if k.asked() {
					t.Error("asked at once: an API server that starts knows nobody")
				}
				time.Sleep(10 * time.Second)
				k.saw(why)
				synctest.Wait()
				k.wants(health.False, "CLUSTER_ACCESS")
				if !k.asked() {
					t.Error("not asked for")
				}
				asked := 0
				for range 4 * 60 { // it cannot be helped
					time.Sleep(time.Minute)
					k.saw(why)
					if k.asked() {
						asked++
					}
				}
				if asked < 6 || asked > 10 {
					t.Errorf("asked for %d times in 4 hours", asked)
				}
				k.hold(time.Hour, 0)
				k.saw(nil)
				time.Sleep(keepEvery + time.Second)
				synctest.Wait()
				k.wants(health.True, "Valid")
			})
		})
	}
}

func TestEndedTokenIsAskedForAtOnce(t *testing.T) {
	inBubble(t, func(k *keeping) {
		k.hold(time.Hour, 24*time.Hour) // the machine was off
		time.Sleep(keepEvery + time.Second)
		synctest.Wait()
		k.wants(health.False, "has ended at 1999-12-31T01:00:00Z")
		if !k.asked() || len(k.times()) > 0 {
			t.Errorf("%d renewals", len(k.times()))
		}
	})
}

func TestMissingCredential(t *testing.T) {
	inBubble(t, func(k *keeping) {
		time.Sleep(missingFor - keepEvery + time.Second)
		synctest.Wait()
		if k.wants(health.Unknown, "NotMade"); k.asked() {
			t.Error("asked for while an install is about to make it")
		}
		time.Sleep(2 * keepEvery)
		synctest.Wait()
		if k.wants(health.False, "CLUSTER_ACCESS"); !k.asked() {
			t.Error("not asked for")
		}
		if err := os.WriteFile(k.request, nil, 0o600); err != nil { // that nobody takes
			t.Fatal(err)
		}
		k.hold(time.Hour, 0)
		k.saw(nil)
		time.Sleep(keepEvery + time.Second)
		synctest.Wait()
		if k.wants(health.True, "Valid"); k.asked() {
			t.Error("the request stays")
		}
	})
}

// TestSilence: that nobody answers is no fault of the account; after a while it is asked whether the cluster is elsewhere now.
func TestSilence(t *testing.T) {
	inBubble(t, func(k *keeping) {
		k.hold(time.Hour, 0)
		k.saw(nil)
		time.Sleep(keepEvery + time.Second)
		k.saw(errors.New("connection refused"))
		time.Sleep(silentFor - 2*keepEvery)
		synctest.Wait()
		if k.wants(health.True, "Valid"); k.asked() {
			t.Error("asked too early")
		}
		time.Sleep(3 * keepEvery)
		synctest.Wait()
		if k.wants(health.Unknown, "Unreachable"); !k.asked() {
			t.Error("not asked")
		}
	})
}
