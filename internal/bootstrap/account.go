package bootstrap

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/atomicfile"
	"github.com/pipeopshq/pipeops-agent/internal/bootstrap/plan"
	"github.com/pipeopshq/pipeops-agent/internal/cluster"
	"github.com/pipeopshq/pipeops-agent/internal/distro"
	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

// inCluster is the kind of changes that are objects in the cluster, and the two that there are.
const (
	inCluster     plan.Kind = "kubernetes"
	accountTarget           = "Account/" + cluster.Account
	adminsTarget            = "ClusterRoleBinding/" + cluster.AdminsBinding
)

// accountTimeout is how long it may take to make some ten small objects.
const accountTimeout = time.Minute

// sourceOf is the cluster of a decision, with the rights of its administrator.
func sourceOf(d distro.Decision) *cluster.Source {
	return &cluster.Source{Path: d.Kubeconfig, Context: d.Context}
}

// standingTo is how the agent stands to a cluster of a distribution: a node of k3s is the machine itself, those of others are elsewhere.
func standingTo(distribution string) cluster.Standing {
	return cluster.Standing{Adopted: distribution == distro.Existing, Far: distribution != distro.K3s}
}

// accountStep gives the agent an account of its own, with named rights, and the first token of it. From then on the running agent
// works with that one, and renews it.
func (o Options) accountStep(source *cluster.Source, d distro.Decision) plan.Step {
	standing := standingTo(d.Chosen)
	path := filepath.Join(o.StateDir, cluster.CredentialFile)
	return plan.Step{
		ID:      "account",
		Title:   "Give the agent an account of its own in the cluster",
		Changes: []string{"ServiceAccount " + cluster.Account + " with its roles"},
		Timeout: accountTimeout,
		Done: func(ctx context.Context) (bool, error) {
			admin, err := source.Client()
			if err != nil {
				return false, nil // not yet
			}
			if _, good := credentialGood(ctx, path, admin); !good {
				return false, nil
			}
			return admin.AccountMade(ctx, standing)
		},
		Do: func(ctx context.Context, r *plan.Recorder) error {
			admin, err := source.Client()
			if err != nil {
				return err
			}
			give := func() error { return admin.MakeAccount(ctx, standing) }
			if o.Node == nil {
				err = r.Note(inCluster, accountTarget, "absent", "its rights", give)
			} else { // the account is that of all servers: it does not go with one of them
				err = give()
			}
			if err != nil {
				return err
			}
			return o.mint(ctx, admin)
		},
	}
}

// mint gets a token and writes it for the agent, whose request, if it has made one, is answered by that.
func (o Options) mint(ctx context.Context, admin *cluster.Client) error {
	if err := admin.Mint(ctx, filepath.Join(o.StateDir, cluster.CredentialFile), tokenLife(o.TokenLife)); err != nil {
		return err
	}
	return atomicfile.Remove(filepath.Join(o.StateDir, cluster.RequestFile))
}

func tokenLife(life time.Duration) time.Duration {
	if life <= 0 {
		return cluster.TokenLife
	}
	return life
}

// credentialGood reports whether the agent's credential leads where the administrator's kubeconfig does, and is taken there. why says
// what else was seen; the error of a cluster that does not answer is no judgement of the credential.
func credentialGood(ctx context.Context, path string, admin *cluster.Client) (why error, good bool) {
	held, err := cluster.ReadCredential(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return errors.New("there is none yet"), false
	case err != nil:
		return err, false
	case !held.Leads(admin):
		return errors.New("it leads elsewhere than the administrator's kubeconfig"), false
	case time.Now().After(held.Expires):
		return fmt.Errorf("it has ended at %s", held.Expires.Format(time.RFC3339)), false
	}
	client, err := cluster.Connect(path)
	if err == nil {
		err = client.Ready(ctx)
	}
	return err, err == nil
}

// takeBack undoes what was made in a cluster; in one of ours it goes with the cluster.
func takeBack(kubeconfig, contextName string, ours bool) func(context.Context, plan.Record) ([]string, error) {
	return func(ctx context.Context, c plan.Record) ([]string, error) {
		if ours {
			return nil, nil
		}
		ctx, cancel := context.WithTimeout(ctx, takeBackTimeout)
		defer cancel()
		byHand := "kubectl delete clusterrolebinding " + cluster.AdminsBinding
		client, err := cluster.ConnectContext(kubeconfig, contextName)
		var left []string
		switch {
		case err != nil:
		case c.Target == accountTarget:
			byHand = fmt.Sprintf("kubectl delete clusterrolebinding,clusterrole %s; kubectl delete namespace %s", cluster.Account, cluster.Namespace)
			left, err = client.RemoveAccount(ctx, standingTo(distro.Existing))
		default:
			err = client.RevokeAdmins(ctx)
			if err == nil { // the ledger of an older version does not know of the account
				left, err = client.RemoveAccount(ctx, standingTo(distro.Existing))
			}
		}
		if err != nil {
			return []string{fmt.Sprintf("%s: %v; to remove it: %s", c.Target, err, byHand)}, nil
		}
		return left, nil
	}
}

// takeBackTimeout bounds how long a cluster that stays may take to answer.
const takeBackTimeout = 20 * time.Second

// CredentialOptions say whose credential is to be made.
type CredentialOptions struct {
	Distro     string
	Kubeconfig string // of the administrator
	Context    string // of it
	StateDir   string
	TokenLife  time.Duration // 0: [cluster.TokenLife]
	Wait       time.Duration // how long the API server is waited for
}

// RenewCredential makes a new credential for the agent, and its account, if the present one is of no use any more. It returns what it
// did, for people. CLUSTER_ACCESS tells why it could not.
func RenewCredential(ctx context.Context, o CredentialOptions) (done string, err error) {
	path := filepath.Join(o.StateDir, cluster.CredentialFile)
	if err := atomicfile.Remove(filepath.Join(o.StateDir, cluster.RequestFile)); err != nil { // the agent asks again if it must
		return "", fmt.Errorf("cannot take the request: %w", err)
	}
	source := &cluster.Source{Path: o.Kubeconfig, Context: o.Context}
	admin, err := source.Client()
	if err != nil {
		return "", reason.New(reason.ClusterAccess, "the administrator's kubeconfig", err)
	}
	why, good := credentialGood(ctx, path, admin)
	if good {
		return "The agent's credential is good", nil
	}
	ctx, cancel := context.WithTimeout(ctx, max(o.Wait, time.Second)+accountTimeout)
	defer cancel()
	wait, stop := context.WithTimeout(ctx, max(o.Wait, time.Second))
	defer stop()
	_, err = cluster.Until(wait, source, cluster.API())
	if err == nil {
		admin, err = source.Client() // it may be elsewhere by now
	}
	if err == nil { // it may have been the cluster that did not answer
		if why, good = credentialGood(ctx, path, admin); good {
			return "The agent's credential is good", nil
		}
		err = admin.MakeAccount(ctx, standingTo(o.Distro))
	}
	if err == nil {
		err = Options{StateDir: o.StateDir, TokenLife: o.TokenLife}.mint(ctx, admin)
	}
	if err != nil {
		return "", reason.New(reason.ClusterAccess, "no new credential was made with "+o.Kubeconfig, err)
	}
	return fmt.Sprintf("The agent has a new credential; of the old one: %v", why), nil
}
