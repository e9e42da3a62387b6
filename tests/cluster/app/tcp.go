package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"time"
)

// tcp dials an address and prints what comes: `tcp [flags] HOST:PORT`. Without -send it only listens, as a client of a
// protocol in which the server speaks first.
func tcp(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("tcp", flag.ExitOnError)
	send := flags.String("send", "", "text to send")
	first := flags.Bool("server-first", false, "reads a line before it sends")
	ended := flags.Bool("ended", false, "ends its side at once, and prints all that comes: nc HOST PORT </dev/null")
	timeout := flags.Duration("timeout", 10*time.Second, "for all of it")
	_ = flags.Parse(args)
	if flags.NArg() != 1 {
		return errors.New("give one HOST:PORT")
	}
	conn, err := (&net.Dialer{Timeout: *timeout}).DialContext(ctx, "tcp", flags.Arg(0))
	if err != nil {
		return err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(*timeout))
	if *ended {
		_ = conn.(*net.TCPConn).CloseWrite()
		_ = conn.SetReadDeadline(time.Now().Add(2 * time.Second))
		_, err := io.Copy(os.Stdout, conn)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return nil
		}
		return err
	}
	buffer := make([]byte, 64*1024)
	if *first || *send == "" {
		n, err := conn.Read(buffer)
		if err != nil {
			return fmt.Errorf("the server said nothing: %w", err)
		}
		_, _ = os.Stdout.Write(buffer[:n])
	}
	if *send == "" {
		return nil
	}
	if _, err := io.WriteString(conn, *send); err != nil {
		return err
	}
	if half, ok := conn.(*net.TCPConn); ok {
		_ = half.CloseWrite()
	}
	_, err = io.Copy(os.Stdout, conn)
	return err
}

// echoTCP sends the banner at once, then every byte back, until the other side ends.
func echoTCP(conn net.Conn, banner string) {
	defer conn.Close()
	if _, err := io.WriteString(conn, banner); err != nil {
		return
	}
	_, _ = io.Copy(conn, conn)
}
