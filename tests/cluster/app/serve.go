package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"time"
)

// serve answers HTTP/1, HTTP/2 without TLS and gRPC on one port, HTTP/1 inside of TLS on another, and TCP on two more.
func serve(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("serve", flag.ExitOnError)
	httpAddr := flags.String("http", ":8080", "address of the HTTP server; empty for none")
	tlsAddr := flags.String("https", ":8443", "address of the same inside of TLS, with a certificate of its own; empty for none")
	echoAddr := flags.String("tcp-echo", ":9090", "address that sends back what it gets; empty for none")
	bannerAddr := flags.String("tcp-banner", ":9091", "address that speaks first, then echoes; empty for none")
	readyAfter := flags.Duration("ready-after", 0, "how long /ready and the gRPC health check say no")
	listenAfter := flags.Duration("listen-after", 0, "how long nothing listens: a slow start")
	linger := flags.Duration("linger", time.Second, "how long it still accepts after SIGTERM")
	drain := flags.Duration("drain", 25*time.Second, "how long requests in flight may take after that")
	_ = flags.Parse(args)

	select {
	case <-time.After(*listenAfter):
	case <-ctx.Done():
		return nil
	}
	failed := make(chan error, 4)
	if *echoAddr != "" {
		go func() { failed <- serveTCP(*echoAddr, "") }()
	}
	if *bannerAddr != "" {
		go func() { failed <- serveTCP(*bannerAddr, "220 "+podName()+" ready\r\n") }()
	}
	server := httpServer(*httpAddr, time.Now().Add(*readyAfter))
	if *httpAddr != "" {
		go func() { failed <- server.ListenAndServe() }()
	}
	if *tlsAddr != "" {
		go func() { failed <- serveTLS(*tlsAddr, server.Handler) }()
	}
	log.Printf("%s serves http on %q, tcp on %q and %q", podName(), *httpAddr, *echoAddr, *bannerAddr)

	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	// The kernel resets what waits to be accepted when a listener closes: a server that ends well lets callers learn first.
	time.Sleep(*linger)
	late, cancel := context.WithTimeout(context.Background(), *drain)
	defer cancel()
	if err := server.Shutdown(late); err != nil && !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("requests in flight after %s: %w", *drain, err)
	}
	return nil
}

func httpServer(addr string, readyAt time.Time) *http.Server {
	routes := http.NewServeMux()
	routes.HandleFunc("/", echo)
	routes.HandleFunc("/call", call)
	routes.HandleFunc("/seen", cases.told)
	routes.HandleFunc("/live", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "live") })
	routes.HandleFunc("/ready", func(w http.ResponseWriter, _ *http.Request) {
		if time.Now().Before(readyAt) {
			http.Error(w, "not ready yet", http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ready")
	})
	routes.HandleFunc("/grpc.health.v1.Health/Check", func(w http.ResponseWriter, _ *http.Request) {
		grpcHealth(w, !time.Now().Before(readyAt))
	})
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	return &http.Server{Addr: addr, Handler: routes, Protocols: &protocols}
}

// grpcHealth is the answer of grpc.health.v1: one message, field 1 is SERVING (1) or NOT_SERVING (2).
func grpcHealth(w http.ResponseWriter, ready bool) {
	status := byte(2)
	if ready {
		status = 1
	}
	w.Header().Set("Content-Type", "application/grpc")
	w.Header().Set("Trailer", "Grpc-Status")
	_, _ = w.Write([]byte{0, 0, 0, 0, 2, 8, status})
	w.Header().Set("Grpc-Status", "0")
}

func serveTCP(addr, banner string) error {
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	for {
		conn, err := listener.Accept()
		if err != nil {
			return err
		}
		go echoTCP(conn, banner)
	}
}

func podName() string {
	if name := os.Getenv("POD_NAME"); name != "" {
		return name
	}
	name, _ := os.Hostname()
	return name
}
