package main

import (
	"regexp"
	"strings"

	"github.com/spf13/pflag"

	"github.com/pipeopshq/pipeops-agent/internal/reason"
)

// appsFlags say at which host names projects answer.
type appsFlags struct{ domain, certificate, key string }

func (a *appsFlags) add(flags *pflag.FlagSet) {
	flags.StringVar(&a.domain, "apps-domain", "", "domain below which projects have host names: NAME.CLUSTER.<domain>")
	flags.StringVar(&a.certificate, "apps-certificate", "", "file in PEM of a certificate for these names, taken up anew when it changes; the gateway's CA makes some otherwise")
	flags.StringVar(&a.key, "apps-key", "", "file in PEM of the key of --apps-certificate")
}

// check refuses what cannot be, and brings the domain into its usual form.
func (a *appsFlags) check() error {
	a.domain = strings.Trim(strings.ToLower(a.domain), ".")
	domain := regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?(\.[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)*$`)
	switch {
	case a.domain != "" && (!domain.MatchString(a.domain) || len(a.domain) > 170): // 253 without two names of 40
		return reason.Newf(reason.Usage, "--apps-domain %q: want a domain, such as apps.example.com", a.domain)
	case (a.certificate == "") != (a.key == ""):
		return reason.Newf(reason.Usage, "--apps-certificate and --apps-key go together")
	case a.certificate != "" && a.domain == "":
		return reason.Newf(reason.Usage, "--apps-certificate needs --apps-domain")
	}
	return nil
}
