// A server and a client of the ordinary: a client that keeps its connection, one that reads events, one whose WebSocket is silent, a pool of
// connections that are silent as well. The client ends with 0 when nothing of it has ended before its time.
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"
)

const pool = 5

func main() {
	listen := flag.String("listen", "", "where the server listens for HTTP; for bytes on the port above")
	web := flag.String("web", "", "where the client sends requests")
	live := flag.String("live", "", "where its events, its WebSocket and its pool are; bytes on the port above")
	length := flag.Duration("for", time.Minute, "how long the client goes on")
	flag.Parse()
	var err error
	if *listen != "" {
		err = serve(*listen)
	} else {
		err = client(*web, *live, *length)
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

func serve(listen string) error {
	upgrader := websocket.Upgrader{}
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) })
	http.HandleFunc("/events", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("content-type", "text/event-stream")
		for n := 0; r.Context().Err() == nil; n++ {
			fmt.Fprintf(w, "data: %d\n\n", n)
			w.(http.Flusher).Flush()
			select {
			case <-r.Context().Done():
			case <-time.After(3 * time.Second):
			}
		}
	})
	http.HandleFunc("/quiet", func(w http.ResponseWriter, r *http.Request) {
		conn, err := upgrader.Upgrade(w, r, nil)
		if err != nil {
			return
		}
		defer conn.Close()
		for {
			kind, message, err := conn.ReadMessage()
			if err != nil || conn.WriteMessage(kind, message) != nil {
				return
			}
		}
	})
	bytes, err := net.Listen("tcp", above(listen))
	if err != nil {
		return err
	}
	go func() {
		for {
			conn, err := bytes.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				_, _ = io.Copy(conn, conn)
			}()
		}
	}()
	return http.ListenAndServe(listen, nil)
}

// The address with the next port.
func above(address string) string {
	tcp, err := net.ResolveTCPAddr("tcp", address)
	if err != nil {
		panic(err)
	}
	tcp.Port++
	return tcp.String()
}

func client(web, live string, length time.Duration) error {
	ends := time.Now().Add(length)
	all := map[string]func() error{
		"keep-alive": func() error { return keepAlive(web, ends) },
		"events":     func() error { return events(live, ends) },
		"WebSocket":  func() error { return quiet(live, ends) },
		"pool":       func() error { return silent(live, ends) },
	}
	done := make(chan error)
	for name, run := range all {
		go func() {
			err := run()
			if err != nil {
				err = fmt.Errorf("%s, %v before the end: %w", name, time.Until(ends).Round(time.Second), err)
			}
			done <- err
		}()
	}
	var errs []error
	for range all {
		errs = append(errs, <-done)
	}
	return errors.Join(errs...)
}

func keepAlive(web string, ends time.Time) error {
	var connections atomic.Int32
	trace := &httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) {
		if !info.Reused {
			connections.Add(1)
		}
	}}
	requests := 0
	for ; time.Now().Before(ends); requests++ {
		body := fmt.Sprintf("request %d", requests)
		ctx, cancel := context.WithTimeout(httptrace.WithClientTrace(context.Background(), trace), 20*time.Second)
		request, err := http.NewRequestWithContext(ctx, "POST", "http://"+web+"/", strings.NewReader(body))
		if err != nil {
			return err
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			return err
		}
		got, err := io.ReadAll(response.Body)
		cancel()
		if err != nil || response.StatusCode != 200 || string(got) != body {
			return fmt.Errorf("%q answered by %d %q: %v", body, response.StatusCode, got, err)
		}
		time.Sleep(700 * time.Millisecond)
	}
	fmt.Printf("keep-alive: %d requests on %d connections\n", requests, connections.Load())
	if connections.Load() != 1 {
		return errors.New("the connection was not kept")
	}
	return nil
}

func events(live string, ends time.Time) error {
	response, err := http.Get("http://" + live + "/events")
	if err != nil {
		return err
	}
	defer response.Body.Close()
	lines := bufio.NewReader(response.Body)
	n := 0
	for ; time.Now().Before(ends); n++ {
		line, err := lines.ReadString('\n')
		if err != nil {
			return err
		}
		if line != fmt.Sprintf("data: %d\n", n) {
			return fmt.Errorf("event %d is %q", n, line)
		}
		if _, err := lines.ReadString('\n'); err != nil {
			return err
		}
	}
	fmt.Printf("events: %d\n", n)
	return nil
}

func quiet(live string, ends time.Time) error {
	conn, _, err := websocket.DefaultDialer.Dial("ws://"+live+"/quiet", nil)
	if err != nil {
		return err
	}
	defer conn.Close()
	ended := make(chan error, 1)
	heard := make(chan string, 1)
	go func() {
		_, message, err := conn.ReadMessage()
		if err != nil {
			ended <- err
			return
		}
		heard <- string(message)
	}()
	select {
	case err := <-ended:
		return err
	case <-time.After(time.Until(ends)):
	}
	if err := conn.WriteMessage(websocket.TextMessage, []byte("still there?")); err != nil {
		return err
	}
	select {
	case err := <-ended:
		return err
	case message := <-heard:
		fmt.Printf("WebSocket: %s\n", message)
		return nil
	case <-time.After(20 * time.Second):
		return errors.New("no answer")
	}
}

func silent(live string, ends time.Time) error {
	var conns [pool]net.Conn
	for n := range conns {
		conn, err := net.Dial("tcp", above(live))
		if err != nil {
			return err
		}
		defer conn.Close()
		// What a pool does when it makes a connection.
		if err := echoed(conn, "hello"); err != nil {
			return err
		}
		conns[n] = conn
	}
	time.Sleep(time.Until(ends))
	for n, conn := range conns {
		if err := echoed(conn, "still there?"); err != nil {
			return fmt.Errorf("connection %d: %w", n, err)
		}
	}
	fmt.Printf("pool: %d connections\n", pool)
	return nil
}

func echoed(conn net.Conn, words string) error {
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	defer conn.SetDeadline(time.Time{})
	if _, err := io.WriteString(conn, words); err != nil {
		return err
	}
	got := make([]byte, len(words))
	if _, err := io.ReadFull(conn, got); err != nil {
		return err
	}
	if string(got) != words {
		return fmt.Errorf("%q came back as %q", words, got)
	}
	return nil
}
