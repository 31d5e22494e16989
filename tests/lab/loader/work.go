package main

import (
	"context"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// inParallel does jobs 0..count-1 with several workers and says how long they took. The first failure ends it.
func inParallel(ctx context.Context, what string, workers, count int, job func(context.Context, int) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	started := time.Now()
	var next, done atomic.Int64
	var running sync.WaitGroup
	for range workers {
		running.Go(func() {
			for ctx.Err() == nil {
				i := int(next.Add(1)) - 1
				if i >= count {
					return
				}
				if err := job(ctx, i); err != nil {
					cancel(fmt.Errorf("%s %d: %w", what, i, err))
					return
				}
				done.Add(1)
			}
		})
	}
	finished := make(chan struct{})
	go func() {
		running.Wait()
		close(finished)
	}()
	tick := time.NewTicker(10 * time.Second)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			fmt.Fprintf(os.Stderr, "  %s: %d of %d\n", what, done.Load(), count)
		case <-finished:
			if err := context.Cause(ctx); err != nil {
				return err
			}
			fmt.Fprintf(os.Stderr, "%s: %d in %.1f s\n", what, count, time.Since(started).Seconds())
			return nil
		}
	}
}
