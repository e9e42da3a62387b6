// A workload and its callers, for a mesh in which things fail: every message has a number, and each that is not answered is told with
// what its sender saw.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"sync/atomic"
	"time"
)

func main() {
	listen := flag.String("listen", "", "where the server listens for HTTP; for gRPC on the next port, for bytes on the one after")
	name := flag.String("name", "", "the name of the workload")
	to := load{}
	flag.StringVar(&to.web, "web", "", "where HTTP requests and WebSockets go")
	flag.StringVar(&to.calls, "calls", "", "where gRPC calls go")
	flag.StringVar(&to.bytes, "bytes", "", "where connections of bytes go")
	flag.Float64Var(&to.rate, "rate", 1, "requests per second, of each kind")
	flag.IntVar(&to.connections, "connections", 3, "connections of bytes; half as many WebSockets and streams")
	length := flag.Duration("for", time.Minute, "how long the client goes on")
	flag.DurationVar(&to.patience, "patience", 10*time.Second, "how long a client waits for an answer")
	flag.Parse()
	if *listen != "" {
		if err := serve(*listen, *name); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		return
	}
	to.name, to.ends = *name, time.Now().Add(*length)
	to.run()
	fmt.Println("connections ended", to.ended.Load())
	fmt.Println("end")
}

// How many streams a server has open.
type count struct{ atomic.Int64 }

var open count

func (c *count) add(n int64) { c.Int64.Add(n) }

func (c *count) wait(ends context.Context) {
	for c.Load() > 0 && ends.Err() == nil {
		time.Sleep(10 * time.Millisecond)
	}
}
