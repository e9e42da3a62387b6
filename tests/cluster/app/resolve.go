package main

import (
	"context"
	"errors"
	"flag"
	"net"
	"slices"
	"time"
)

// resolve asks the cluster's DNS for a name and prints its addresses, or why there are none: `resolve [flags] NAME`.
func resolve(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("resolve", flag.ExitOnError)
	tcp := flags.Bool("tcp", false, "asks over TCP")
	_ = flags.Parse(args)
	if flags.NArg() != 1 {
		return errors.New("give one name")
	}
	resolver := net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
		if *tcp {
			network = "tcp"
		}
		return (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, network, address)
	}}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	addresses, err := resolver.LookupHost(ctx, flags.Arg(0))
	slices.Sort(addresses)
	found := map[string]any{"addresses": addresses}
	var missing *net.DNSError
	if errors.As(err, &missing) {
		found["error"] = missing.Err
	} else if err != nil {
		return err
	}
	print(found)
	return nil
}
