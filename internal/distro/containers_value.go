package distro

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"

	"github.com/pipeopshq/pipeops-agent/internal/atomicfile"
	"github.com/pipeopshq/pipeops-agent/internal/bootstrap/plan"
	"github.com/pipeopshq/pipeops-agent/internal/engine"
	"github.com/pipeopshq/pipeops-agent/internal/host"
)

// ClusterName is the name of a cluster of ours whose nodes are containers.
const ClusterName = "pipeops"

// containersEtc is where our files of such a cluster are, each in a folder of its distribution.
const containersEtc = "/etc/pipeops-agent"

// nodeContainers says how a distribution whose nodes are containers of a Docker engine is made, recognised, started and
// removed. Everything that differs between them is here; what they have in common are the steps.
type nodeContainers struct {
	name    string // K3d: also the product in the manifest, and the name of its program
	version string // of the program, as its makers write it

	// about is what an install downloads where no manifest is known yet, in bytes; 0 is nodesAbout.
	about int64

	// images lists what the engine must have before the nodes are made: the nodes' own first.
	images func(Install) []nodeImage
	// config is the text of the file that the nodes are made by. port is that of the API on this machine, engine what the
	// engine is like.
	config func(in Install, port int) ([]byte, error)
	// port reads the port of the API out of such a text; 0 if it has none.
	port func(config []byte) int
	// env is what the program gets into its environment, "NAME=value", beside HOME, which is a folder of our own.
	env func(Install) []string
	// create, kubeconfig and addWorker are how the program is called: to make the cluster by the file, to print the
	// administrator's kubeconfig, and to add the nth worker. A nil addWorker means that a cluster stays as large as it was made.
	create     func(file string) []string
	kubeconfig func() []string
	addWorker  func(in Install, n int) []string

	// arguments are those by which the program makes the cluster out of the file, where it reads none; then create is nil.
	arguments func(config []byte) ([]string, error)
	// kubeconfigCopy is where the program itself writes the kubeconfig, where it prints none; then kubeconfig is nil.
	kubeconfigCopy func(Install) string
	// starts says that only the program can start the nodes, by the same arguments.
	starts bool
	// user runs the program, with a home of its own; "" is root, whose home is in the state folder.
	user, home string
	// single says that there is one node and no other.
	single bool

	// workerLine matches the lines of the file that only say how many workers there are; nil: such a line is like any other.
	workerLine *regexp.Regexp

	// label is on every container of a cluster, with its name; role is on them with the part that they play.
	label, role string
	// order lists the values of role, those that are started first first. What else there is comes last.
	order []string
	// server and worker are the values of role of the nodes; those that serve the API do so at the port apiPort: "6443/tcp".
	server, worker, apiPort string
	// networks and volumes name what is made in the engine beside the containers. What was there before is never removed.
	networks, volumes []string
	// fixed is one of the networks: ours, in which each node keeps the address that it was made with. "": the program sees to that.
	fixed string
	// pinned is one of the networks: the program's, in which it has given some nodes an address to keep and others none, which get the
	// one that they have.
	pinned string

	// mounts are folders of the machine that the nodes see. The engine makes those that are missing, as ours they go again.
	mounts []string

	// repair mends what a start of the containers has broken, once the API answers; nil means nothing.
	repair func(ctx context.Context, n *nodeCluster) error
}

// nodeImage is an image that the engine must have: an archive of the manifest by its role, or else the image by the digest that the
// manifest has for it, or that is built in.
type nodeImage struct {
	ref     string // by which the engine must know it: "rancher/k3s:v1.33.2-k3s1"
	version string // of the entry in the manifest: "v1.33.2+k3s1"
	role    string // of its archive: "node-image"; role+"-digest" is that of an entry whose SHA256 is the digest in a registry
	sha256  string // its digest in a registry, of the list for all architectures; "" is unknown
}

// dir is the folder of our files.
func (d nodeContainers) dir() string { return path.Join(containersEtc, d.name) }

// configFile is what the cluster is made by.
func (d nodeContainers) configFile() string { return d.dir() + "/cluster.yaml" }

// kubeconfigFile is the administrator's kubeconfig.
func (d nodeContainers) kubeconfigFile() string { return d.dir() + "/kubeconfig" }

// target is the name of the cluster in the ledger.
func (d nodeContainers) target() string { return d.name + "/" + ClusterName }

// nodeDistributions lists the distributions whose nodes are containers.
func nodeDistributions() []nodeContainers {
	return []nodeContainers{k3dNodes(), kindNodes(), minikubeNodes()}
}

// nodesOf returns how the nodes of a distribution are made.
func nodesOf(name string) (nodeContainers, bool) {
	all := nodeDistributions()
	i := slices.IndexFunc(all, func(d nodeContainers) bool { return d.name == name })
	if i < 0 {
		return nodeContainers{}, false
	}
	return all[i], true
}

// servers is how many nodes of a cluster serve its API.
func (in Install) servers() int { return max(in.Nodes, 1) }

// engine connects to the engine of this machine.
func (in Install) engine(ctx context.Context) (*engine.Client, error) {
	return engine.Connect(ctx, in.engineSocket())
}

func (in Install) engineSocket() string {
	if in.EngineSocket != "" {
		return in.EngineSocket
	}
	usual := in.path(dockerSocket)
	if _, err := os.Lstat(usual); errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Lstat(in.path(varDockerSocket)); err == nil { // mounted into a container whose /var/run is no link
			return in.path(varDockerSocket)
		}
	}
	return usual
}

// recorded reports whether a change of this target is in force: whether it is our doing.
func (in Install) recorded(target string) bool {
	text, err := atomicfile.Read(filepath.Join(in.Dir, path.Base(host.LedgerFile)), maxLedger)
	return err == nil && host.ParseLedger(bytes.TrimSpace(text))[target]
}

// maxLedger bounds what is read of the ledger, in bytes; it is held to less.
const maxLedger = 64 << 20

// Kinds of changes of these distributions. The target of a cluster is "k3d/pipeops", that of an image its name; before is what there
// was of networks and volumes.
const (
	containerCluster plan.Kind = "container-cluster"
	containerImage   plan.Kind = "container-image"
)
