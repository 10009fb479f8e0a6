package lab

import _ "embed"

// openrcInittab is Debian's own without the terminals, which a container has none of: pid 1 starts OpenRC and nothing else.
const openrcInittab = `id:2:initdefault:
si::sysinit:/etc/init.d/rcS
l0:0:wait:/etc/init.d/rc 0
l2:2:wait:/etc/init.d/rc 2
l6:6:wait:/etc/init.d/rc 6
`

//go:embed hardware.openrc
var openrcHardware string

// openrcFiles are those that make Debian with OpenRC boot in a container.
func openrcFiles() []file {
	return []file{
		{"/etc/inittab", openrcInittab, 0o644},
		{"/etc/default/halt", "NETDOWN=no\n", 0o644}, // its network is set up from outside, once
		{"/etc/init.d/mountkernfs.sh", openrcHardware, 0o755},
	}
}

// base returns the packages of a machine that nothing was added to.
func (o Options) base() []string {
	if o.OpenRC {
		return openrcPackages()
	}
	return basePackages()
}

// packages returns all packages of a machine.
func (o Options) packages() []string {
	all := append(o.base(), o.Packages...)
	if o.Docker {
		all = append(all, dockerPackages()...)
	}
	return all
}

// initNames is how pid 1 calls itself.
func (o Options) initNames() []string {
	switch {
	case o.OpenRC:
		return []string{"init"}
	case o.Bare:
		return []string{"lab-init", "lab-first", "pipeops-agent"}
	}
	return []string{"systemd"}
}
