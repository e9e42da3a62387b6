package main

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/gorilla/websocket"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// How long an application that ends gives its clients.
const grace = 8 * time.Second

// Closed when the application has been asked to end.
var leaving = make(chan struct{})

func serve(listen, name string) error {
	ask := make(chan os.Signal, 1)
	signal.Notify(ask, syscall.SIGTERM)
	web := &http.Server{Addr: listen, Handler: routes(name), Protocols: new(http.Protocols)}
	web.Protocols.SetHTTP1(true)
	web.Protocols.SetUnencryptedHTTP2(true)
	calls := callServer(name)
	tcp, err := net.Listen("tcp", above(listen, 1))
	if err != nil {
		return err
	}
	bytes, err := net.Listen("tcp", above(listen, 2))
	if err != nil {
		return err
	}
	failed := make(chan error, 3)
	go func() { failed <- web.ListenAndServe() }()
	go func() { failed <- calls.Serve(tcp) }()
	go func() { failed <- serveBytes(bytes, name) }()
	select {
	case err := <-failed:
		return err
	case <-ask:
		// What listens is closed below.
	}
	// Streams end when their clients have heard and have all their answers.
	close(leaving)
	_ = bytes.Close()
	ends, cancel := context.WithTimeout(context.Background(), grace)
	defer cancel()
	done := make(chan struct{})
	go func() { calls.GracefulStop(); close(done) }()
	_ = web.Shutdown(ends)
	select {
	case <-done:
	case <-ends.Done():
	}
	open.wait(ends)
	return nil
}

// Says that a request was worked on: none may be twice that its client has sent once.
func did(what string) {
	_, _ = os.Stdout.WriteString("did " + what + "\n")
}

func routes(name string) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		if r.Method == http.MethodPost {
			did(string(body))
		} else {
			body = []byte(r.URL.RawQuery)
		}
		w.Header().Set("x-app", name)
		_, _ = w.Write(body)
	})
	upgrader := websocket.Upgrader{}
	mux.HandleFunc("/socket", func(w http.ResponseWriter, r *http.Request) {
		conn, err := upgrader.Upgrade(w, r, nil)
		if err == nil {
			echo(socket{conn}, name)
		}
	})
	return mux
}

func callServer(name string) *grpc.Server {
	unary := func(_ any, _ context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
		message := &wrapperspb.StringValue{}
		if err := decode(message); err != nil {
			return nil, err
		}
		did(message.GetValue())
		return message, nil
	}
	stream := func(_ any, stream grpc.ServerStream) error {
		echo(call{stream, func() {}}, name)
		return nil
	}
	server := grpc.NewServer()
	server.RegisterService(&grpc.ServiceDesc{
		ServiceName: "test.Faults",
		HandlerType: (*any)(nil),
		Methods:     []grpc.MethodDesc{{MethodName: "Unary", Handler: unary}},
		Streams:     []grpc.StreamDesc{{StreamName: "Stream", ServerStreams: true, ClientStreams: true, Handler: stream}},
	}, nil)
	return server
}

func serveBytes(listener net.Listener, name string) error {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return err
		}
		go echo(plain{conn, bufio.NewReader(conn)}, name)
	}
}

// Sends each message back, and `bye` when the application ends: the client then sends no more, and closes when it has all answers.
func echo(on stream, name string) {
	open.add(1)
	defer open.add(-1)
	defer on.Close()
	came := make(chan string)
	gone := make(chan struct{})
	defer close(gone)
	go func() {
		defer close(came)
		for {
			message, err := on.Recv()
			if err != nil {
				return
			}
			select {
			case came <- message:
			case <-gone:
				return
			}
		}
	}()
	left := leaving
	for {
		select {
		case message, more := <-came:
			if !more {
				return
			}
			if message == "hello" {
				message = "hello " + name
			}
			if on.Send(message) != nil {
				return
			}
		case <-left:
			left = nil
			if on.Send("bye") != nil {
				return
			}
		}
	}
}

// The address with a later port.
func above(address string, by int) string {
	tcp, err := net.ResolveTCPAddr("tcp", address)
	if err != nil {
		panic(err)
	}
	tcp.Port += by
	return tcp.String()
}

// Messages there and back, over whatever it is.
type stream interface {
	Send(message string) error
	Recv() (string, error)
	Close()
}

type plain struct {
	conn  net.Conn
	lines *bufio.Reader
}

func (s plain) Send(message string) error {
	_, err := io.WriteString(s.conn, message+"\n")
	return err
}

func (s plain) Recv() (string, error) {
	line, err := s.lines.ReadString('\n')
	return strings.TrimSuffix(line, "\n"), err
}

func (s plain) Close() { _ = s.conn.Close() }

type socket struct{ conn *websocket.Conn }

func (s socket) Send(message string) error {
	return s.conn.WriteMessage(websocket.TextMessage, []byte(message))
}

func (s socket) Recv() (string, error) {
	_, message, err := s.conn.ReadMessage()
	return string(message), err
}

func (s socket) Close() { _ = s.conn.Close() }

// Either end of a gRPC stream.
type call struct {
	stream grpc.Stream
	cancel func()
}

func (s call) Send(message string) error { return s.stream.SendMsg(wrapperspb.String(message)) }

func (s call) Recv() (string, error) {
	message := &wrapperspb.StringValue{}
	if err := s.stream.RecvMsg(message); err != nil {
		return "", err
	}
	return message.GetValue(), nil
}

func (s call) Close() { s.cancel() }
