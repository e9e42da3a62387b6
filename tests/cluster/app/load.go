package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"sync"
	"time"
)

// outcome is what a load prints at its end.
type outcome struct {
	Requests int            `json:"requests"`
	Failed   int            `json:"failed"`
	Statuses map[int]int    `json:"statuses"`
	Errors   map[string]int `json:"errors"`
	Pods     map[string]int `json:"pods"`
	Seconds  float64        `json:"seconds"`
	P50Ms    float64        `json:"p50Ms"`
	P99Ms    float64        `json:"p99Ms"`
	MaxMs    float64        `json:"maxMs"`

	lock  sync.Mutex
	times []time.Duration
}

// load sends requests at a steady rate, until its duration ends, its standard input (if told) or SIGTERM, and prints the outcome as JSON. What is not
// answered with a 2xx or 3xx is a failure, and one failure is the exit status 1.
func load(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("load", flag.ExitOnError)
	url := flags.String("url", "", "whom to ask")
	rate := flags.Float64("rate", 100, "requests a second")
	connections := flags.Int("connections", 10, "how many connections, and requests at once")
	duration := flags.Duration("duration", 0, "how long; 0 is until SIGTERM")
	http2 := flags.Bool("http2", false, "speaks HTTP/2 without TLS")
	fresh := flags.Bool("fresh", false, "a connection for each request")
	untilEOF := flags.Bool("until-eof", false, "until standard input ends: how kubectl exec can end it")
	progress := flags.Duration("progress", 0, "prints the outcome so far again and again, as one line of JSON; 0 is never")
	timeout := flags.Duration("timeout", 10*time.Second, "for one request")
	_ = flags.Parse(args)
	if *url == "" || *rate <= 0 {
		return errors.New("give a -url, and a -rate above 0")
	}
	if *duration > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, *duration)
		defer cancel()
	}
	if *untilEOF {
		var cancel context.CancelFunc
		ctx, cancel = context.WithCancel(ctx)
		defer cancel()
		go func() {
			_, _ = io.Copy(io.Discard, os.Stdin)
			cancel()
		}()
	}
	carrier := transport(*http2, *connections)
	carrier.DisableKeepAlives = *fresh
	sender := &http.Client{Transport: carrier, Timeout: *timeout, CheckRedirect: keepRedirect}

	result := outcome{Statuses: map[int]int{}, Errors: map[string]int{}, Pods: map[string]int{}}
	if *progress > 0 {
		go result.tell(ctx, *progress)
	}
	start := time.Now()
	due := make(chan struct{}, *connections)
	var workers sync.WaitGroup
	for range *connections {
		workers.Add(1)
		go func() {
			defer workers.Done()
			for range due {
				// Not ctx: what was begun is finished, so that the end of the load is no failure.
				result.one(sender, *url)
			}
		}()
	}
	pace(ctx, *rate, due)
	close(due)
	workers.Wait()
	result.Seconds = time.Since(start).Seconds()
	result.percentiles()
	print(&result)
	if result.Failed > 0 {
		return fmt.Errorf("%d of %d requests failed", result.Failed, result.Requests)
	}
	return nil
}

// pace sends a token for every request that is due. When all workers are busy it waits: the rate is then lower, and the
// requests tell.
func pace(ctx context.Context, rate float64, due chan<- struct{}) {
	start := time.Now()
	for sent := 0; ; sent++ {
		at := start.Add(time.Duration(float64(sent) / rate * float64(time.Second)))
		select {
		case <-ctx.Done():
			return
		case <-time.After(time.Until(at)):
		}
		select {
		case <-ctx.Done():
			return
		case due <- struct{}{}:
		}
	}
}

func (o *outcome) one(sender *http.Client, url string) {
	start := time.Now()
	got, err := askOnce(context.Background(), sender, http.MethodGet, url, "", nil)
	took := time.Since(start)
	o.lock.Lock()
	defer o.lock.Unlock()
	o.Requests++
	o.times = append(o.times, took)
	switch {
	case err != nil:
		o.Failed++
		o.Errors[err.Error()]++
	case got.Status >= 400:
		o.Failed++
		o.Statuses[got.Status]++
		if len(o.Errors) < 20 {
			o.Errors[got.Body]++
		}
	default:
		o.Statuses[got.Status]++
	}
	if pods := got.Headers["X-Pod"]; len(pods) > 0 {
		o.Pods[pods[0]]++
	}
}

// tell prints what there is until the load ends.
func (o *outcome) tell(ctx context.Context, every time.Duration) {
	for ctx.Err() == nil {
		o.lock.Lock()
		line, err := json.Marshal(o)
		// Nobody asks for times before the end, and a load without one must not collect them.
		o.times = o.times[:0]
		o.lock.Unlock()
		if err == nil {
			fmt.Println(string(line))
		}
		time.Sleep(every)
	}
}

func (o *outcome) percentiles() {
	if len(o.times) == 0 {
		return
	}
	slices.Sort(o.times)
	at := func(share float64) float64 {
		return o.times[int(share*float64(len(o.times)-1))].Seconds() * 1000
	}
	o.P50Ms, o.P99Ms, o.MaxMs = at(0.5), at(0.99), at(1)
}
