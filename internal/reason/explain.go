package reason

// Explain says in one to three sentences what a code means and how it is found out; "" for a code that it does not know.
// The codes are written out here, so that an explanation may come before its entry in the catalogue.
func Explain(code Code) string {
	for _, explain := range []func(Code) string{explainHost, explainKernel, explainNet, explainCluster, explainJoin, explainNode, explainK3s, explainInstall, explainManifest, explainGateway} {
		if text := explain(code); text != "" {
			return text
		}
	}
	return ""
}
