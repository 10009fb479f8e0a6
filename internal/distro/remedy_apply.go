package distro

import (
	"fmt"
	"slices"

	"github.com/pipeopshq/pipeops-agent/internal/bootstrap/plan"
)

// application is what an install of k3s does for a remedy: it changes what k3s is configured with, or makes a step that
// comes before k3s, or both.
type application struct {
	id   string
	set  func(*k3sInstall, Remedy) error
	step func(*k3sInstall, Remedy) (plan.Step, error)
	at   stage

	scripted bool // under OpenRC the script of k3s does it, without a step
}

// stage says when the step of a remedy comes.
type stage int

const (
	atOnce        stage = iota // before k3s is downloaded
	beforeBoot                 // before those, since a reboot may have to follow
	afterDownload              // what opens the machine is not done for a download that fails
)

// applications lists what is done for each remedy, in the order of its execution: what the kernel lacks, then what is in
// the way, then what k3s is told.
func applications() []application {
	return []application{
		{id: RemedyPackage, step: (*k3sInstall).packages, at: beforeBoot},
		{id: RemedyOpenRCCgroups, step: (*k3sInstall).openrcCgroups, at: beforeBoot},
		{id: RemedyKernelCmdline, step: (*k3sInstall).kernelCmdline, at: beforeBoot},
		{id: RemedyModules, step: (*k3sInstall).modules},
		{id: RemedySysctl, set: (*k3sInstall).addLimits},
		{id: RemedyServiceOff, step: (*k3sInstall).servicesOff, at: afterDownload},
		{id: RemedySharedRoot, step: (*k3sInstall).sharedRoot, at: afterDownload, scripted: true},
		{id: RemedyNetManager, step: (*k3sInstall).unmanaged, at: afterDownload},
		{id: RemedyUFW, step: (*k3sInstall).ufw, at: afterDownload},
		{id: RemedyFirewalld, step: (*k3sInstall).firewalld, at: afterDownload},
		{id: RemedyAcceptRules, step: (*k3sInstall).acceptRules, at: afterDownload},
		{id: RemedyEngineStart, set: (*k3sInstall).setEngine},
		{id: RemedyBinaryDir, set: (*k3sInstall).setBinaryDir},
		{id: RemedyDataDir, set: (*k3sInstall).setDataDir},
		{id: RemedyOOMScore, set: (*k3sInstall).setOOMScore},
		{id: RemedyFlannelBackend, set: (*k3sInstall).setFlannelBackend},
		{id: RemedyCIDR, set: (*k3sInstall).setCIDR},
		{id: RemedyKubeletArg, set: (*k3sInstall).addKubeletArgs},
		{id: RemedyKubeProxyArg, set: (*k3sInstall).addKubeProxyArgs},
		{id: RemedySnapshotter, set: (*k3sInstall).setSnapshotter},
		{id: RemedyResolvConf, set: (*k3sInstall).setResolvConf},
		{id: RemedyNodeName, set: (*k3sInstall).setNodeName},
		{id: RemedyClusterInit, set: (*k3sInstall).setClusterInit},
		{id: RemedyBundledTools, set: (*k3sInstall).setBundledTools},
		{id: RemedyDisable, set: (*k3sInstall).addDisable},
	}
}

// applyRemedies changes the configuration as the remedies say, and returns the steps that come before and after the download.
func (k *k3sInstall) applyRemedies() (early, late []plan.Step, err error) {
	wanted := merged(k.Remedies)
	var steps [afterDownload + 1][]plan.Step
	for _, a := range applications() {
		i := slices.IndexFunc(wanted, func(r Remedy) bool { return r.ID == a.id })
		if i < 0 {
			continue
		}
		r := wanted[i]
		wanted = slices.Delete(wanted, i, i+1)
		if a.set != nil {
			if err := a.set(k, r); err != nil {
				return nil, nil, err
			}
		}
		if a.step != nil && (!a.scripted || !k.OpenRC && !k.Supervised) {
			step, err := a.step(k, r)
			if err != nil {
				return nil, nil, err
			}
			steps[a.at] = append(steps[a.at], step)
		}
	}
	if len(wanted) > 0 {
		return nil, nil, fmt.Errorf("cannot apply the remedy %q: this version does not know it", wanted[0].ID)
	}
	if len(k.cmdline) > 0 || len(k.packageNames) > 0 {
		steps[beforeBoot] = append(steps[beforeBoot], k.reboot())
	}
	return append(steps[beforeBoot], steps[atOnce]...), steps[afterDownload], nil
}

// invalid tells of a value that a requirement has made wrongly, or that came out of a file of the machine.
func (r Remedy) invalid(value string) error {
	return fmt.Errorf("cannot apply the remedy %s: %q is no value for it", r.ID, value)
}

// one returns the only value.
func (r Remedy) one() (string, error) {
	if len(r.Values) != 1 || r.Values[0] == "" {
		return "", fmt.Errorf("cannot apply the remedy %s: %q is not one value", r.ID, r.Values)
	}
	return r.Values[0], nil
}
