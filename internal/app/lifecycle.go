package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// role is something that runs until it is told to stop.
type role struct {
	name string
	run  func(ctx context.Context) error
}

// stage is roles that stop together.
type stage []role

// supervise runs the roles of all stages until ctx ends or a role does. Then it stops the stages in
// their order, each before the next, within one budget for all. It returns the first failure.
func supervise(ctx context.Context, log *slog.Logger, budget time.Duration, stages ...stage) error {
	type end struct {
		role string
		err  error
	}
	total := 0
	for _, s := range stages {
		total += len(s)
	}
	ends := make(chan end, total) // roles end in any order
	cancels := make([]context.CancelFunc, len(stages))
	left := make([]map[string]bool, len(stages))
	for i, s := range stages {
		var own context.Context
		own, cancels[i] = context.WithCancel(context.WithoutCancel(ctx))
		defer cancels[i]()
		left[i] = map[string]bool{}
		for _, r := range s {
			left[i][r.name] = true
			go func() { ends <- end{r.name, r.run(own)} }()
		}
	}
	var failed error
	note := func(e end) {
		for _, l := range left {
			delete(l, e.role)
		}
		if e.err != nil {
			failed = errors.Join(failed, e.err)
		}
	}
	select {
	case <-ctx.Done():
	case e := <-ends:
		note(e)
		if e.err == nil {
			failed = fmt.Errorf("%s ended by itself", e.role)
		}
	}
	late := time.NewTimer(budget)
	defer late.Stop()
	for i := range stages {
		cancels[i]()
		for len(left[i]) > 0 {
			select {
			case e := <-ends:
				note(e)
			case <-late.C:
				return errors.Join(failed, fmt.Errorf("stopping took longer than %s: still running: %v", budget, names(left)))
			}
		}
		log.Debug("stopped", "stage", i)
	}
	return failed
}

func names(left []map[string]bool) []string {
	var all []string
	for _, l := range left {
		for n := range l {
			all = append(all, n)
		}
	}
	return all
}
