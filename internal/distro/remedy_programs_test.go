package distro

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/pipeopshq/pipeops-agent/internal/command"
)

// programs are the programs of a machine in a folder. What they hold lies in the folder below /programs, a line a thing,
// so that a comparison of trees sees it.
type programs struct {
	b     *bench
	calls []string // of those that change something
	die   int      // the crash: before or after that many changes; 0 is never
	off   bool     // firewalls are not running
}

func (p *programs) run(_ context.Context, _ time.Duration, argv ...string) ([]byte, error) {
	out, ended := p.start(argv)
	if ended != 0 {
		return nil, &command.Error{Argv: argv, Exit: ended, Err: fmt.Errorf("exit status %d", ended)}
	}
	return []byte(out), nil
}

func (p *programs) lines(name string) []string {
	text, _ := os.ReadFile(p.b.in.path("/programs/" + name))
	return strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
}

func (p *programs) keep(name string, lines []string) {
	p.b.write("/programs/"+name, strings.Join(lines, "\n")+"\n")
}

// change counts a change, and dies before or after it where it should.
func (p *programs) change(argv []string, do func()) {
	crash := func() {
		if p.die--; p.die == 0 {
			panic("crash")
		}
	}
	p.calls = append(p.calls, strings.Join(argv, " "))
	crash()
	do()
	crash()
}

func (p *programs) add(name string, argv []string, lines ...string) {
	p.change(argv, func() {
		all := p.lines(name)
		for _, l := range lines {
			if !slices.Contains(all, l) {
				all = append(all, l)
			}
		}
		p.keep(name, all)
	})
}

func (p *programs) remove(name string, argv []string, lines ...string) {
	p.change(argv, func() {
		p.keep(name, slices.DeleteFunc(p.lines(name), func(l string) bool { return slices.Contains(lines, l) }))
	})
}

func ended(ok bool) (string, int) {
	if ok {
		return "", 0
	}
	return "", 1
}

func (p *programs) start(argv []string) (string, int) {
	if argv[0] == "env" {
		argv = argv[slices.IndexFunc(argv, func(a string) bool { return !strings.Contains(a, "=") && a != "env" }):]
	}
	line := strings.Join(argv, " ")
	names := slices.DeleteFunc(slices.Clone(argv[1:]), func(a string) bool { return strings.HasPrefix(a, "-") })
	switch argv[0] {
	case "ufw":
		return p.ufw(line, argv)
	case "firewall-cmd":
		if argv[1] == "--state" {
			return ended(!p.off)
		}
		if p.off {
			return "", 252
		}
		what, net, _ := strings.Cut(argv[len(argv)-1], "=")
		file := "firewalld-runtime"
		if argv[1] == "--permanent" {
			file = "firewalld-permanent"
		}
		switch what {
		case "--query-source":
			return ended(slices.Contains(p.lines(file), net))
		case "--add-source":
			p.add(file, argv, net)
		case "--remove-source":
			p.remove(file, argv, net)
		}
	case "iptables", "ip6tables":
		return p.iptables(argv)
	case "modprobe":
		dir := p.b.in.path("/sys/module/" + moduleID(argv[len(argv)-1]))
		p.change(argv, func() {
			if argv[1] == "-r" {
				_ = os.Remove(dir)
			} else {
				_ = os.MkdirAll(dir, 0o755)
			}
		})
	case "grep": // is a module loaded?
		_, err := os.Stat(p.b.in.path("/sys/module/" + strings.Trim(argv[2], "^ ")))
		return ended(err == nil)
	case "dpkg-query":
		if len(argv) == 3 {
			return strings.Join(p.lines("dpkg"), "\n"), 0
		}
		if slices.Contains(p.lines("dpkg"), argv[3]) {
			return "ii ", 0
		}
		return "", 1
	case "apt-get":
		if names[0] == "update" {
			p.add("lists", argv, "there")
			return "", 0
		}
		if !slices.Contains(p.lines("lists"), "there") {
			return "", 100
		}
		p.add("dpkg", argv, append(names[1:], "libdependency")...)
	case "dpkg":
		p.remove("dpkg", argv, names...)
	case "rpm":
		return ended(slices.Contains(p.lines("rpm"), argv[len(argv)-1]))
	case "transactional-update":
		if names[1] == "install" {
			p.add("snapshot", argv, names[2:]...)
		} else {
			p.remove("snapshot", argv, names[2:]...)
		}
	case "systemctl":
		p.change(argv, func() {
			s := p.b.units.states[argv[2]]
			switch argv[1] {
			case "enable":
				s.File = "enabled"
			case "start":
				s.Active = "active"
			}
			p.b.units.states[argv[2]] = s
		})
	case "nmcli":
		p.change(argv, func() {})
	case "rc-update":
		link := p.b.in.path("/etc/runlevels/boot/cgroups")
		p.change(argv, func() {
			if argv[1] == "add" {
				_ = os.Symlink("/etc/init.d/cgroups", link)
			} else {
				_ = os.Remove(link)
			}
		})
	case "rc-service":
		file := p.b.in.path("/sys/fs/cgroup/cgroup.controllers")
		p.change(argv, func() {
			if argv[2] == "start" {
				_ = os.WriteFile(file, []byte("cpu memory\n"), 0o644)
			} else {
				_ = os.Remove(file)
			}
		})
	default:
		return "", 127
	}
	return "", 0
}

func (p *programs) ufw(line string, argv []string) (string, int) {
	rule := strings.Replace(line, " delete", "", 1)
	switch {
	case line == "ufw status" && p.off:
		return "Status: inactive\n", 0
	case line == "ufw status":
		return "Status: active\n\nTo    Action   From\n", 0
	case line == "ufw show added":
		return strings.Join(p.lines("ufw"), "\n"), 0
	case rule != line:
		p.remove("ufw", argv, rule)
	default:
		p.add("ufw", argv, rule)
	}
	return "", 0
}

// iptables holds the chains as -S prints them.
func (p *programs) iptables(argv []string) (string, int) {
	op, chain, rest := argv[2], argv[3], argv[4:]
	file := argv[0] + "-" + chain
	rules := p.lines(file)
	switch op {
	case "-S":
		return strings.Join(rules, "\n"), 0
	case "-C":
		return ended(slices.Contains(rules, "-A "+chain+" "+strings.Join(rest, " ")))
	case "-D":
		p.remove(file, argv, "-A "+chain+" "+strings.Join(rest, " "))
	case "-I":
		var number int
		if _, err := fmt.Sscan(rest[0], &number); err != nil {
			return "", 2
		}
		p.change(argv, func() { // the first line is the policy
			p.keep(file, slices.Insert(rules, number, "-A "+chain+" "+strings.Join(rest[1:], " ")))
		})
	}
	return "", 0
}
