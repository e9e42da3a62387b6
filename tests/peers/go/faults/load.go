package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/gorilla/websocket"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// Messages that are sent when they are due, whether others were answered or not.
type load struct {
	name, web, calls, bytes string
	rate                    float64
	connections             int
	ends                    time.Time
	patience                time.Duration
	numbers                 atomic.Int64
	// Connections of HTTP that the other side has ended.
	ended atomic.Int64
}

func (l *load) run() {
	var all sync.WaitGroup
	if l.web != "" {
		first, second := new(http.Protocols), new(http.Protocols)
		first.SetHTTP1(true)
		second.SetUnencryptedHTTP2(true)
		http1 := &http.Client{Transport: &http.Transport{Protocols: first, MaxIdleConnsPerHost: 8, DialContext: l.dial}}
		http2 := &http.Client{Transport: &http.Transport{Protocols: second, DialContext: l.dial}}
		start(&all, l.each("get", func(ctx context.Context, id string) (string, error) { return l.request(ctx, http1, "GET", id) }))
		start(&all, l.each("post", func(ctx context.Context, id string) (string, error) { return l.request(ctx, http1, "POST", id) }))
		start(&all, l.each("http2", func(ctx context.Context, id string) (string, error) { return l.request(ctx, http2, "POST", id) }))
		for range (l.connections + 1) / 2 {
			start(&all, func() { l.stream("websocket", l.openSocket) })
		}
	}
	if l.calls != "" {
		unary := connect(l.calls)
		start(&all, l.each("unary", func(ctx context.Context, id string) (string, error) {
			answer := &wrapperspb.StringValue{}
			err := unary.Invoke(ctx, "/test.Faults/Unary", wrapperspb.String(id), answer)
			return answer.GetValue(), err
		}))
		for range (l.connections + 1) / 2 {
			streams := connect(l.calls)
			start(&all, func() {
				l.stream("stream", func(ctx context.Context) (stream, error) { return openCall(ctx, streams) })
			})
		}
	}
	if l.bytes != "" {
		for range l.connections {
			start(&all, func() { l.stream("bytes", l.openBytes) })
		}
		start(&all, l.each("dial", func(ctx context.Context, id string) (string, error) {
			on, err := l.opened(l.openBytes)
			if err != nil {
				return "", err
			}
			on.Close()
			return id, nil
		}))
	}
	all.Wait()
}

// Sends requests of a kind, each on a goroutine of its own.
func (l *load) each(kind string, ask func(context.Context, string) (string, error)) func() {
	return func() {
		var all sync.WaitGroup
		pause := time.Duration(float64(time.Second) / l.rate)
		for due := time.Now().Add(pause); due.Before(l.ends); due = due.Add(pause) {
			time.Sleep(time.Until(due))
			sent, id := time.Now(), l.next(kind)
			start(&all, func() {
				ctx, cancel := context.WithTimeout(context.Background(), l.patience)
				defer cancel()
				answer, err := ask(ctx, id)
				if err == nil && answer != id {
					err = failure{"wrong", answer}
				}
				report(kind, id, sent, sent, err)
			})
		}
		all.Wait()
	}
}

// A number that nobody else has.
func (l *load) next(kind string) string {
	return fmt.Sprintf("%s:%s:%d", l.name, kind, l.numbers.Add(1))
}

func (l *load) request(ctx context.Context, client *http.Client, method, id string) (string, error) {
	url, body := "http://"+l.web+"/?"+id, io.Reader(nil)
	if method == "POST" {
		url, body = "http://"+l.web+"/", strings.NewReader(id)
	}
	request, err := http.NewRequestWithContext(ctx, method, url, body)
	if err != nil {
		return "", err
	}
	response, err := client.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	got, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != 200 {
		err = failure{fmt.Sprintf("status-%d", response.StatusCode), string(got)}
	}
	return string(got), err
}

// Keeps a stream open, and sends messages on it.
func (l *load) stream(kind string, open func(context.Context) (stream, error)) {
	for time.Now().Before(l.ends) {
		sent, id := time.Now(), l.next(kind)
		on, err := l.opened(open)
		report(kind, id, sent, sent, err)
		if err != nil {
			time.Sleep(200 * time.Millisecond)
			continue
		}
		l.talk(kind, on)
		on.Close()
		time.Sleep(50 * time.Millisecond)
	}
}

// Opens a stream and hears who is there.
func (l *load) opened(open func(context.Context) (stream, error)) (stream, error) {
	ctx, cancel := context.WithTimeout(context.Background(), l.patience)
	defer cancel()
	type result struct {
		on  stream
		err error
	}
	done := make(chan result, 1)
	go func() {
		on, err := open(ctx)
		if err == nil {
			err = on.Send("hello")
		}
		if err == nil {
			var hello string
			hello, err = on.Recv()
			if err == nil && hello != "bye" && !strings.HasPrefix(hello, "hello ") {
				err = failure{"wrong", hello}
			}
		}
		done <- result{on, err}
	}()
	select {
	case result := <-done:
		return result.on, result.err
	case <-ctx.Done():
		go func() {
			if late := <-done; late.on != nil {
				late.on.Close()
			}
		}()
		return nil, ctx.Err()
	}
}

// Sends until the stream, the server or the load ends.
func (l *load) talk(kind string, on stream) {
	type sent struct {
		id string
		at time.Time
	}
	opened := time.Now()
	came, failed := make(chan string, 16), make(chan error, 1)
	quit := make(chan struct{})
	defer close(quit)
	go func() {
		for {
			message, err := on.Recv()
			if err != nil {
				failed <- err
				return
			}
			select {
			case came <- message:
			case <-quit:
				return
			}
		}
	}()
	var waiting []sent
	lost := func(err error) {
		for _, message := range waiting {
			report(kind, message.id, message.at, opened, err)
		}
	}
	bye, last := false, opened
	beat := time.NewTicker(time.Duration(float64(2*time.Second) / l.rate))
	defer beat.Stop()
	for {
		if len(waiting) == 0 && (bye || time.Now().After(l.ends)) {
			return
		}
		late := time.Hour
		if len(waiting) > 0 {
			late = time.Until(waiting[0].at.Add(l.patience))
		}
		select {
		case message := <-came:
			if message == "bye" {
				bye = true
				continue
			}
			if len(waiting) == 0 || waiting[0].id != message {
				lost(failure{"wrong", message})
				return
			}
			report(kind, message, waiting[0].at, opened, nil)
			waiting, last = waiting[1:], time.Now()
		case err := <-failed:
			if len(waiting) == 0 {
				// Silent as it was, it should have stayed.
				waiting = append(waiting, sent{l.next(kind), last})
			}
			lost(err)
			return
		case <-time.After(late):
			lost(context.DeadlineExceeded)
			return
		case <-beat.C:
			if bye || time.Now().After(l.ends) {
				continue
			}
			message := sent{l.next(kind), time.Now()}
			waiting = append(waiting, message)
			if err := on.Send(message.id); err != nil && !errors.Is(err, io.EOF) {
				lost(err)
				return
			}
		}
	}
}

func (l *load) openSocket(ctx context.Context) (stream, error) {
	conn, response, err := websocket.DefaultDialer.DialContext(ctx, "ws://"+l.web+"/socket", nil)
	if err == nil {
		return socket{conn}, nil
	}
	if response != nil {
		body, _ := io.ReadAll(response.Body)
		err = failure{fmt.Sprintf("status-%d", response.StatusCode), string(body)}
	}
	return nil, err
}

func (l *load) openBytes(ctx context.Context) (stream, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", l.bytes)
	if err != nil {
		return nil, err
	}
	return plain{conn, bufio.NewReader(conn)}, nil
}

func connect(to string) *grpc.ClientConn {
	soon := backoff.Config{BaseDelay: 50 * time.Millisecond, Multiplier: 1.5, Jitter: 0.2, MaxDelay: 500 * time.Millisecond}
	connection, err := grpc.NewClient("passthrough:///"+to,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: soon, MinConnectTimeout: 10 * time.Second}))
	if err != nil {
		panic(err)
	}
	return connection
}

func openCall(_ context.Context, on *grpc.ClientConn) (stream, error) {
	ctx, cancel := context.WithCancel(context.Background())
	opened, err := on.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, "/test.Faults/Stream")
	if err != nil {
		cancel()
		return nil, err
	}
	return call{opened, cancel}, nil
}

func (l *load) dial(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return &watched{Conn: conn, ended: &l.ended}, nil
}

// A connection of which it is counted when its peer ends it.
type watched struct {
	net.Conn
	ended  *atomic.Int64
	closed atomic.Bool
}

func (w *watched) Read(into []byte) (int, error) {
	n, err := w.Conn.Read(into)
	if err != nil && !w.closed.Swap(true) {
		w.ended.Add(1)
	}
	return n, err
}

func (w *watched) Close() error {
	w.closed.Store(true)
	return w.Conn.Close()
}

// What a client saw instead of its answer.
type failure struct{ outcome, text string }

func (f failure) Error() string { return f.outcome + ": " + f.text }

var stdout sync.Mutex

// One line a message: number, milliseconds since 1970 when its stream was opened and when it was sent, microseconds until its end, what became of
// it, and why.
func report(kind, id string, sent, opened time.Time, err error) {
	outcome, text := "ok", ""
	if err != nil {
		outcome, text = outcomeOf(err), strings.Join(strings.Fields(err.Error()), " ")
	}
	stdout.Lock()
	defer stdout.Unlock()
	fmt.Fprintf(os.Stdout, "message %s %s %d %d %d %s %s\n", kind, id, opened.UnixMilli(), sent.UnixMilli(), time.Since(sent).Microseconds(), outcome, text)
}

func outcomeOf(err error) string {
	var own failure
	var timeout net.Error
	if errors.As(err, &own) {
		return own.outcome
	}
	if told, ok := status.FromError(err); ok {
		switch {
		case strings.Contains(told.Message(), "outrigger:"):
			return fmt.Sprintf("grpc-%d", told.Code())
		case told.Code() == codes.DeadlineExceeded:
			return "deadline"
		case told.Code() == codes.Unavailable && strings.Contains(told.Message(), "refused"):
			return "refused"
		case told.Code() == codes.Unavailable:
			return "ended"
		}
		return fmt.Sprintf("grpc-%d", told.Code())
	}
	if errors.Is(err, context.DeadlineExceeded) || (errors.As(err, &timeout) && timeout.Timeout()) {
		return "deadline"
	}
	if errors.Is(err, syscall.ECONNREFUSED) {
		return "refused"
	}
	return "ended"
}

func start(group *sync.WaitGroup, work func()) {
	group.Add(1)
	go func() {
		defer group.Done()
		work()
	}()
}
