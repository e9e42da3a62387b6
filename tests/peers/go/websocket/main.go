// Command websocket is a WebSocket server and client on gorilla/websocket, an implementation that shares no code with
// the mesh. `serve` echoes; `dial` exercises what a proxy can break and exits 0 when all of it came through.
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/gorilla/websocket"
)

const (
	subprotocol = "echo.outrigger.io"
	// Longer than any buffer on the way, and in many frames.
	longMessage = 1 << 20
	// Only a broken path waits this long.
	patience = 30 * time.Second
)

func main() {
	log.SetFlags(0)
	listen := flag.String("listen", "127.0.0.1:8080", "serve: address to listen on")
	idle := flag.Duration("idle", 100*time.Millisecond, "dial: silence in the middle of the connection")
	flag.Usage = func() {
		fmt.Fprintln(os.Stderr, "usage: websocket [flags] serve | dial ws://HOST:PORT/PATH")
		flag.PrintDefaults()
	}
	flag.Parse()
	switch {
	case flag.NArg() == 1 && flag.Arg(0) == "serve":
		log.Fatal(serve(*listen))
	case flag.NArg() == 2 && flag.Arg(0) == "dial":
		if err := dial(flag.Arg(1), *idle); err != nil {
			log.Fatalf("websocket: %v", err)
		}
		fmt.Println("ok")
	default:
		flag.Usage()
		os.Exit(2)
	}
}

// serve echoes messages; it speaks first, with the Host and the subprotocol that reached it.
func serve(address string) error {
	upgrader := websocket.Upgrader{
		Subprotocols:      []string{subprotocol},
		EnableCompression: true,
		CheckOrigin:       func(*http.Request) bool { return true },
	}
	http.HandleFunc("/refused", func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "no upgrade here", http.StatusForbidden)
	})
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		conn, err := upgrader.Upgrade(w, r, nil)
		if err != nil {
			return // Upgrade has answered
		}
		defer conn.Close()
		greeting := "hello " + r.Host + " " + conn.Subprotocol()
		if conn.WriteMessage(websocket.TextMessage, []byte(greeting)) != nil {
			return
		}
		for {
			kind, message, err := conn.ReadMessage()
			if err != nil {
				return // the default close handler has echoed the close frame
			}
			if conn.WriteMessage(kind, message) != nil {
				return
			}
		}
	})
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	return http.Serve(listener, nil)
}

func dial(url string, idle time.Duration) error {
	dialer := websocket.Dialer{
		HandshakeTimeout:  patience,
		Subprotocols:      []string{subprotocol},
		EnableCompression: true,
	}
	conn, response, err := dialer.Dial(url, nil)
	if err != nil {
		if response != nil {
			return fmt.Errorf("handshake: %w: status %s", err, response.Status)
		}
		return fmt.Errorf("handshake: %w", err)
	}
	defer conn.Close()
	if err := conn.SetReadDeadline(time.Now().Add(patience + idle)); err != nil {
		return err
	}
	if conn.Subprotocol() != subprotocol {
		return fmt.Errorf("subprotocol %q was negotiated, not %q", conn.Subprotocol(), subprotocol)
	}
	if !strings.Contains(response.Header.Get("Sec-WebSocket-Extensions"), "permessage-deflate") {
		return errors.New("the extension permessage-deflate was lost on the way")
	}
	_, greeting, err := conn.ReadMessage()
	if err != nil {
		return fmt.Errorf("the server's first word: %w", err)
	}
	if !strings.HasPrefix(string(greeting), "hello ") {
		return fmt.Errorf("the server's first word was %q", greeting)
	}
	for _, kind := range []int{websocket.TextMessage, websocket.BinaryMessage} {
		for _, length := range []int{0, 1, 125, 126, 65535, 65536, longMessage} {
			if err := echo(conn, kind, bytes.Repeat([]byte{'x'}, length)); err != nil {
				return fmt.Errorf("message of %d bytes: %w", length, err)
			}
		}
	}
	if err := fragments(conn); err != nil {
		return fmt.Errorf("fragmented message: %w", err)
	}
	time.Sleep(idle)
	if err := ping(conn); err != nil {
		return fmt.Errorf("ping after %v of silence: %w", idle, err)
	}
	return closeHandshake(conn)
}

func echo(conn *websocket.Conn, kind int, message []byte) error {
	if err := conn.WriteMessage(kind, message); err != nil {
		return err
	}
	return expect(conn, kind, message)
}

func expect(conn *websocket.Conn, kind int, message []byte) error {
	gotKind, got, err := conn.ReadMessage()
	if err != nil {
		return err
	}
	if gotKind != kind || !bytes.Equal(got, message) {
		return fmt.Errorf("sent type %d, %d bytes; got type %d, %d bytes", kind, len(message), gotKind, len(got))
	}
	return nil
}

// fragments sends one message in several frames, each flushed on its own.
func fragments(conn *websocket.Conn) error {
	writer, err := conn.NextWriter(websocket.BinaryMessage)
	if err != nil {
		return err
	}
	var whole []byte
	for i := range 5 {
		part := bytes.Repeat([]byte{byte(i)}, 10_000) // above gorilla's write buffer: a frame each
		if _, err := writer.Write(part); err != nil {
			return err
		}
		whole = append(whole, part...)
	}
	if err := writer.Close(); err != nil {
		return err
	}
	return expect(conn, websocket.BinaryMessage, whole)
}

// ping sends a ping, then a message: the pong has to come before the echo.
func ping(conn *websocket.Conn) error {
	var pong string
	conn.SetPongHandler(func(data string) error {
		pong = data
		return nil
	})
	if err := conn.WriteControl(websocket.PingMessage, []byte("still there?"), time.Now().Add(patience)); err != nil {
		return err
	}
	if err := echo(conn, websocket.TextMessage, []byte("after the ping")); err != nil {
		return err
	}
	if pong != "still there?" {
		return fmt.Errorf("the pong carries %q", pong)
	}
	return nil
}

// closeHandshake closes with a code of its own and waits for the same code back, then for the end of the stream.
func closeHandshake(conn *websocket.Conn) error {
	frame := websocket.FormatCloseMessage(4001, "enough")
	if err := conn.WriteControl(websocket.CloseMessage, frame, time.Now().Add(patience)); err != nil {
		return fmt.Errorf("close: %w", err)
	}
	_, _, err := conn.ReadMessage()
	var closed *websocket.CloseError
	if !errors.As(err, &closed) || closed.Code != 4001 {
		return fmt.Errorf("the close frame came back as: %w", err)
	}
	if _, err := conn.NetConn().Read(make([]byte, 1)); err == nil {
		return errors.New("bytes after the close frame")
	}
	return nil
}
