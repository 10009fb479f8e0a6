package host

import "context"

// Modules is what the running kernel can load. A container sees its host's kernel but seldom its modules.
type Modules struct {
	Present Known[bool] `json:"present"` // whether /lib/modules/RELEASE of the running kernel is there
	// States gives each module of interest "loaded", "builtin", "loadable" or "missing"; null: unknown. A name that could not
	// be judged is not in it.
	States map[string]string `json:"states"`
}

func modulesProbe() Probe {
	return Probe{Name: "modules", Run: func(_ context.Context, s *System) (Part, error) {
		return nil, nil
	}}
}
