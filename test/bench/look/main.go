// Command look times what people wait for when they ask what a machine is: probe, plan of a captured machine, and the
// trials (as root), each as a process of its own, interleaved, beside the shortest command of the same program. It prints the
// medians, and the medians as multiples of that shortest command.
package main

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"time"
)

func main() {
	program := flag.String("program", "bin/pipeops-agent", "the agent")
	machine := flag.String("machine", "internal/host/testdata/machines/rhel9", "captured machine that is planned for")
	rounds := flag.Int("rounds", 15, "rounds")
	flag.Parse()
	if err := run(*program, *machine, *rounds); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

type contender struct {
	name string
	args []string
	took []time.Duration
}

func run(program, machine string, rounds int) error {
	all := []*contender{
		{name: "version", args: []string{"version"}},
		{name: "plan --root", args: []string{"plan", "--root", machine, "-o", "json"}},
		{name: "probe", args: []string{"probe", "-o", "json"}},
	}
	if os.Geteuid() == 0 {
		all = append(all, &contender{name: "probe --trials", args: []string{"probe", "--trials", "-o", "json"}})
	}
	for range rounds {
		for _, c := range all {
			began := time.Now()
			if out, err := exec.Command(program, c.args...).CombinedOutput(); err != nil { //nolint:noctx // a benchmark that is interrupted ends with its children
				return fmt.Errorf("cannot run %s: %w\n%s", c.name, err, out)
			}
			c.took = append(c.took, time.Since(began))
		}
	}
	fmt.Printf("%-16s %10s %10s %10s %10s\n", "", "median", "least", "most", "x version")
	for _, c := range all {
		slices.Sort(c.took)
		median := c.took[len(c.took)/2]
		fmt.Printf("%-16s %8.1fms %8.1fms %8.1fms %10.1f\n", c.name, ms(median), ms(c.took[0]), ms(c.took[len(c.took)-1]),
			float64(median)/float64(all[0].took[len(all[0].took)/2]))
	}
	return nil
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
