// test-app is whatever a test needs in a pod: a server, a client, a load, a job, a resolver. `test-app MODE -h` lists a mode's flags.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

// A mode ends when its work is done or ctx is (SIGTERM, SIGINT); its error is the exit status 1.
var modes = map[string]func(ctx context.Context, args []string) error{
	"serve":   serve,
	"client":  client,
	"ask":     ask,
	"tcp":     tcp,
	"load":    load,
	"job":     job,
	"resolve": resolve,
	"start":   start,
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	args := os.Args[1:]
	if len(args) == 0 {
		args = []string{"serve"}
	}
	mode, known := modes[args[0]]
	if !known {
		fmt.Fprintf(os.Stderr, "no mode %q; there are serve, client, ask, tcp, load, job, resolve and start\n", args[0])
		os.Exit(2)
	}
	if err := mode(ctx, args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

// print writes one line of JSON to stdout.
func print(value any) {
	if err := json.NewEncoder(os.Stdout).Encode(value); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
	}
}
