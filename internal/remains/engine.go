package remains

import "context"

// Engine lists what a Docker engine leaves beside its folders and its bridge when its package is removed, in the order in which it can be
// removed: after the bridge. On a machine in a folder what is of the kernel is left out.
func Engine(e Env) []Thing {
	if e.Root != "" {
		return nil
	}
	values := e.sysctls()
	values.Kind, values.Title = "engine-sysctls", "values of the kernel for the container engine"
	return []Thing{e.engineRules(), e.engineLegacyRules(), values}
}

// engineLegacyRules removes nothing: what Docker has put into the older back end of iptables goes with the next boot, and that it is
// there until then is told.
func (e Env) engineLegacyRules() Thing {
	return Thing{
		Kind: "engine-rules-legacy", Title: "rules of the container engine (iptables-legacy)",
		List: e.legacyRules().List,
		Remove: func(ctx context.Context, before []string) ([]string, error) {
			now, err := e.legacyRules().List(ctx)
			if err != nil {
				return nil, ctx.Err()
			}
			for _, chain := range since(now, before) {
				if chain == "iptables-legacy filter DOCKER" {
					return []string{"rules of Docker in iptables-legacy: they go with the next boot"}, nil
				}
			}
			return nil, ctx.Err()
		},
	}
}
