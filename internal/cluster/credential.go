package cluster

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/pipeopshq/pipeops-agent/internal/atomicfile"
)

// The files of the resident agent's access, in its state folder: its kubeconfig, and the request for a new one, which
// pipeops-agent-credential.path waits for.
const (
	CredentialFile = "agent.kubeconfig"
	RequestFile    = "credential.request"
)

// TokenLife is how long a token of the account is used: as long as the certificate of the machine's identity. The API server gives
// none that ends sooner than leastLife.
const (
	TokenLife = 24 * time.Hour
	leastLife = 10 * time.Minute
)

// Credential is what a kubeconfig of the agent's says of itself.
type Credential struct {
	Issued, Expires time.Time // of the token, by the clock of the API server
	cluster         clientcmdapi.Cluster
	token           string
}

// ReadCredential reads a kubeconfig that Mint has written. The error is fs.ErrNotExist if there is none.
func ReadCredential(path string) (Credential, error) {
	raw, err := atomicfile.Read(path, maxKubeconfig)
	if err != nil {
		return Credential{}, fmt.Errorf("cannot read the agent's kubeconfig: %w", err)
	}
	return ParseCredential(raw)
}

// ParseCredential reads the content of such a file.
func ParseCredential(raw []byte) (Credential, error) {
	config, err := clientcmd.Load(raw)
	if err != nil {
		return Credential{}, fmt.Errorf("cannot read the agent's kubeconfig: %w", err)
	}
	cluster, user := config.Clusters[Account], config.AuthInfos[Account]
	if cluster == nil || user == nil || user.Token == "" {
		return Credential{}, errors.New("cannot read the agent's kubeconfig: it has no cluster and user " + Account)
	}
	c := Credential{cluster: *cluster, token: user.Token}
	c.Issued, c.Expires, err = tokenTimes(user.Token)
	return c, err
}

// maxTime is a time that no token lives to see; a greater number would not be one.
const maxTime = 1 << 40

// tokenTimes reads from when to when a token is good. It believes what the token says of itself: it is ours, and the API server
// judges it.
func tokenTimes(token string) (issued, expires time.Time, err error) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return issued, expires, errors.New("cannot read the token: it has no three parts")
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return issued, expires, errors.New("cannot read the token: its second part is not base64") // without the text of it
	}
	var claims struct {
		Issued  int64 `json:"iat"`
		Expires int64 `json:"exp"`
	}
	if json.Unmarshal(payload, &claims) != nil || claims.Issued <= 0 || claims.Expires <= claims.Issued || claims.Expires > maxTime {
		return issued, expires, errors.New("cannot read the token: it does not say how long it is good")
	}
	return time.Unix(claims.Issued, 0).UTC(), time.Unix(claims.Expires, 0).UTC(), nil
}

// requestToken asks for a token of the account, bound to it: it dies with it.
func (c *Client) requestToken(ctx context.Context, life time.Duration) (string, error) {
	request := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
		"metadata": map[string]any{"name": Account, "namespace": Namespace},
		"spec":     map[string]any{"expirationSeconds": int64(max(life, leastLife) / time.Second)},
	}}
	answer, err := c.core("serviceaccounts").Namespace(Namespace).Create(ctx, request, metav1.CreateOptions{}, "token")
	if err != nil {
		return "", fmt.Errorf("cannot get a token for %s: %w", Account, err)
	}
	token, _, _ := unstructured.NestedString(answer.Object, "status", "token")
	if _, _, err := tokenTimes(token); err != nil {
		return "", err
	}
	return token, nil
}

// Mint writes the kubeconfig of the account to path, for root only, with a new token that c asks for. It leads where the
// administrator's kubeconfig does, of which it takes the address and the CA.
func (c *Client) Mint(ctx context.Context, path string, life time.Duration) error {
	token, err := c.requestToken(ctx, life)
	if err != nil {
		return err
	}
	return writeCredential(path, c.cluster, token)
}

// Renew writes the kubeconfig of the account anew with a token that the present one asks for.
func Renew(ctx context.Context, path string, life time.Duration) error {
	held, err := ReadCredential(path)
	if err != nil {
		return err
	}
	client, err := Connect(path)
	if err != nil {
		return err
	}
	token, err := client.requestToken(ctx, life)
	if err != nil {
		return err
	}
	return writeCredential(path, held.cluster, token)
}

func writeCredential(path string, cluster clientcmdapi.Cluster, token string) error {
	cluster.LocationOfOrigin, cluster.Extensions = "", nil
	config := clientcmdapi.NewConfig()
	config.Clusters[Account] = &cluster
	config.AuthInfos[Account] = &clientcmdapi.AuthInfo{Token: token}
	config.Contexts[Account] = &clientcmdapi.Context{Cluster: Account, AuthInfo: Account}
	config.CurrentContext = Account
	content, err := clientcmd.Write(*config)
	if err == nil {
		err = atomicfile.Write(path, 0o600, content)
	}
	if err != nil {
		return fmt.Errorf("cannot write the agent's kubeconfig: %w", err)
	}
	return nil
}

// Leads reports whether the credential leads where c does, with the same CA.
func (d Credential) Leads(c *Client) bool {
	a, b := d.cluster, c.cluster
	return a.Server == b.Server && string(a.CertificateAuthorityData) == string(b.CertificateAuthorityData) &&
		a.TLSServerName == b.TLSServerName && a.ProxyURL == b.ProxyURL && a.InsecureSkipTLSVerify == b.InsecureSkipTLSVerify
}

// Ask asks whoever may read the administrator's kubeconfig for a new credential; reason is for the log.
func Ask(path, reason string) error {
	if _, err := os.Lstat(path); err == nil {
		return nil
	}
	return atomicfile.Write(path, 0o600, []byte(reason+"\n"))
}

// contextOf returns the cluster of a context with the files that it names read into it; "" is the current one.
func contextOf(config *clientcmdapi.Config, context string) (clientcmdapi.Cluster, error) {
	held := config.Contexts[context]
	if held == nil || config.Clusters[held.Cluster] == nil {
		return clientcmdapi.Cluster{}, fmt.Errorf("it has no context %q with a cluster; it has %s", context, names(maps.Keys(config.Contexts)))
	}
	cluster := *config.Clusters[held.Cluster]
	if file := cluster.CertificateAuthority; file != "" && len(cluster.CertificateAuthorityData) == 0 {
		content, err := atomicfile.Read(file, maxKubeconfig)
		if err != nil {
			return cluster, fmt.Errorf("cannot read the CA: %w", err)
		}
		cluster.CertificateAuthorityData = content
	}
	cluster.CertificateAuthority = ""
	return cluster, nil
}
