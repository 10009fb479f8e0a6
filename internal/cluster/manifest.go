package cluster

import (
	"fmt"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"
)

// installer is the name of the account that the manifest makes, and of its namespace, role and binding.
const installer = "pipeops-install"

// InstallRole writes what a cluster's administrator applies so that a user may install: a role of all of [InstallNeeds], and its
// binding to the user. Without a user it is bound to a service account that comes with it, and a comment says how to get its
// kubeconfig.
func InstallRole(user string) (string, error) {
	subject := map[string]any{"kind": "User", "apiGroup": rbacGroup, "name": user}
	var objects []map[string]any
	meta := func(name string) map[string]any { return map[string]any{"name": name} }
	if rest, ok := strings.CutPrefix(user, "system:serviceaccount:"); ok {
		namespace, name, _ := strings.Cut(rest, ":")
		subject = map[string]any{"kind": "ServiceAccount", "namespace": namespace, "name": name}
	}
	if user == "" {
		subject = map[string]any{"kind": "ServiceAccount", "namespace": installer, "name": installer}
		own := func() map[string]any { return map[string]any{"name": installer, "namespace": installer} }
		secret := own()
		secret["annotations"] = map[string]any{"kubernetes.io/service-account.name": installer}
		objects = append(objects,
			map[string]any{"apiVersion": "v1", "kind": "Namespace", "metadata": meta(installer)},
			map[string]any{"apiVersion": "v1", "kind": "ServiceAccount", "metadata": own(), "automountServiceAccountToken": false},
			map[string]any{"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/service-account-token", "metadata": secret})
	}
	objects = append(objects,
		map[string]any{"apiVersion": rbacVersion, "kind": "ClusterRole", "metadata": meta(installer), "rules": rules(InstallNeeds())},
		map[string]any{"apiVersion": rbacVersion, "kind": "ClusterRoleBinding", "metadata": meta(installer),
			"roleRef": map[string]any{"apiGroup": rbacGroup, "kind": "ClusterRole", "name": installer}, "subjects": []any{subject}})
	text := manifestHead
	if user == "" {
		text += manifestSteps
	}
	for _, o := range objects {
		content, err := yaml.Marshal(o)
		if err != nil {
			return "", fmt.Errorf("cannot write the manifest: %w", err)
		}
		text += "---\n" + string(content)
	}
	return text, nil
}

const manifestHead = `# What pipeops-agent install does in a cluster that it adopts, as a role. It may give the agent's account its rights (escalate, bind)
# and the gateway's administrators the role cluster-admin (bind): whoever has this role can make themselves an administrator.
# Apply it as an administrator of the cluster, who has those rights already: pipeops-agent access manifest | kubectl apply -f -
`

// The kubeconfig is printed by a template, so that the token stands on no command line.
const manifestSteps = `# Then make the kubeconfig of its service account with these two lines, and bring it to the machine:
#   umask 077; server=$(kubectl config view --minify -o jsonpath='{.clusters[0].cluster.server}')
#   kubectl -n pipeops-install get secret pipeops-install -o go-template='{kind: Config, apiVersion: v1, current-context: i, contexts: [{name: i, context: {cluster: i, user: i}}], clusters: [{name: i, cluster: {server: "'"$server"'", certificate-authority-data: {{index .data "ca.crt"}} }}], users: [{name: i, user: {token: {{.data.token | base64decode}} }}]}' >install.kubeconfig
#   pipeops-agent install --distro existing --kubeconfig install.kubeconfig ...
# The agent works with an account of its own; this one mints a new credential where that one's has ended. It goes with:
#   pipeops-agent access manifest | kubectl delete -f -
`

// rules joins needs that differ in their verb only. A role of the whole cluster holds them, so that they hold in every namespace:
// that of the agent need not be there yet.
func rules(needs []Need) []any {
	var all []any
	var keys []string
	verbs := map[string][]any{}
	for _, n := range needs {
		key := strings.Join([]string{n.Group, n.Resource, n.Name}, "\x00")
		if !slices.Contains(keys, key) {
			keys = append(keys, key)
		}
		if !slices.Contains(verbs[key], any(n.Verb)) {
			verbs[key] = append(verbs[key], n.Verb)
		}
	}
	for _, key := range keys {
		part := strings.Split(key, "\x00")
		rule := map[string]any{"apiGroups": []any{part[0]}, "resources": []any{part[1]}, "verbs": verbs[key]}
		if part[2] != "" {
			rule["resourceNames"] = []any{part[2]}
		}
		all = append(all, rule)
	}
	return all
}
