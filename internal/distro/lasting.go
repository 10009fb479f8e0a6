package distro

import (
	"fmt"
	"slices"
	"strings"

	"github.com/pipeopshq/pipeops-agent/internal/host"
)

// ourSettings returns the settings that a k3s of ours was made with; false if there is none, or none that was configured yet.
func ourSettings(f host.Facts) (map[string]string, bool) {
	i := slices.IndexFunc(f.Clusters, func(c host.Cluster) bool { return c.Name == K3s && c.Ours.Value && c.Settings != nil })
	if i < 0 {
		return nil, false
	}
	return f.Clusters[i].Settings, true
}

// lasting asks a requirement only until the cluster is there. What it was made with then stays, whatever the machine has
// become: with other networks, another backend or another name it would be broken.
func lasting(q Requirement, id string, settings ...string) Requirement {
	judge := q.Judge
	q.Judge = func(c Case) Finding {
		made, ours := ourSettings(c.Facts)
		if !ours {
			return judge(c)
		}
		var values []string
		for _, key := range settings {
			if v := made[key]; v != "" {
				values = append(values, v)
			}
		}
		if len(values) != len(settings) {
			return met()
		}
		what := fmt.Sprintf("%s stays %s", strings.Join(settings, ", "), strings.Join(values, ", "))
		return unmet("the cluster was made so", "a new cluster").cured(remedy(id, what, values...))
	}
	return q
}
