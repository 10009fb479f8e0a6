package distro

import (
	"context"

	"github.com/pipeopshq/pipeops-agent/internal/bootstrap/plan"
	"github.com/pipeopshq/pipeops-agent/internal/remains"
)

// openrcTraces is the kind of what a service of OpenRC leaves beside its script: its log, older ones of it, the number of its
// process, and OpenRC's belief that it runs. systemd sees to such things itself. The target is the name of the service.
const openrcTraces plan.Kind = "openrc-traces"

// traceFiles are those of a service.
func (in Install) traceFiles(name string) remains.Thing {
	return in.remains("").Matching(string(openrcTraces), "traces of "+name, "/var/log/"+name+".log*", "/run/"+name+".pid")
}

// traces records what the service will leave, where it is not systemd's.
func (s service) traces(ctx context.Context, r *plan.Recorder) error {
	switch {
	case s.Supervised:
		return s.expectLogs(ctx, r, openrcName(s.name))
	case !s.OpenRC:
		return nil
	}
	name := openrcName(s.name)
	before, err := s.traceFiles(name).List(ctx)
	if err != nil {
		return err
	}
	return r.Expect(openrcTraces, name, before)
}

// removeTraces undoes that. It does not stop the service: an uninstall that goes on by itself runs in one.
func (in Install) removeTraces(ctx context.Context, c plan.Record) ([]string, error) {
	if _, err := in.run(ctx, "rc-service", "--ifexists", c.Target, "zap"); err != nil && ctx.Err() != nil {
		return nil, err
	}
	return in.traceFiles(c.Target).Remove(ctx, c.Before.Names)
}
