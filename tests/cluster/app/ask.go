package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"
)

// question is one request of `ask`.
type question struct {
	// h1, h2 (prior knowledge), grpc, tls (HTTP/1.1 inside of TLS) or tcp (reads the first line that the server says).
	Client string `json:"client"`
	Method string `json:"method"`
	// Where to connect; what the request says of its host is for URL and headers to say.
	Dial string `json:"dial"`
	URL  string `json:"url"`
	// Names go out as they are written, but for HTTP/2, which knows lower case only.
	Headers [][2]string `json:"headers"`
	Body    string      `json:"body"`
}

// ask sends the requests that standard input has, one a line as JSON, and prints an answer a line in the same order. Each has a
// connection of its own. Requests that got no answer have an error in its place.
func ask(ctx context.Context, _ []string) error {
	var questions []question
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var q question
		if err := json.Unmarshal(lines.Bytes(), &q); err != nil {
			return fmt.Errorf("%s: %w", lines.Text(), err)
		}
		questions = append(questions, q)
	}
	if err := lines.Err(); err != nil {
		return err
	}
	answers := make([]answer, len(questions))
	var wait sync.WaitGroup
	turns := make(chan struct{}, 16)
	for i, q := range questions {
		turns <- struct{}{}
		wait.Add(1)
		go func() {
			defer func() { <-turns; wait.Done() }()
			ctx, cancel := context.WithTimeout(ctx, 25*time.Second)
			defer cancel()
			var err error
			if answers[i], err = q.send(ctx); err != nil {
				answers[i] = answer{Error: err.Error()}
			}
		}()
	}
	wait.Wait()
	for _, answer := range answers {
		print(answer)
	}
	return nil
}

func (q question) send(ctx context.Context) (answer, error) {
	if q.Client == "tcp" {
		return q.line(ctx)
	}
	body := io.Reader(strings.NewReader(q.Body))
	if q.Client == "grpc" {
		body = strings.NewReader(frame(q.Body))
	}
	request, err := http.NewRequestWithContext(ctx, q.Method, q.URL, body)
	if err != nil {
		return answer{}, err
	}
	if q.Client == "grpc" {
		request.Header.Set("Content-Type", "application/grpc")
		request.Header.Set("Te", "trailers")
	}
	for _, header := range q.Headers {
		if strings.EqualFold(header[0], "host") {
			request.Host = header[1]
			continue
		}
		request.Header[header[0]] = append(request.Header[header[0]], header[1])
	}
	carrier := transport(q.Client == "h2" || q.Client == "grpc", 1)
	carrier.TLSClientConfig = &tls.Config{InsecureSkipVerify: true}
	dial := carrier.DialContext
	carrier.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
		return dial(ctx, network, q.Dial)
	}
	defer carrier.CloseIdleConnections()
	response, err := carrier.RoundTrip(request)
	if err != nil {
		return answer{}, err
	}
	defer response.Body.Close()
	said, err := io.ReadAll(response.Body)
	if err != nil {
		return answer{}, err
	}
	got := answer{Status: response.StatusCode, Proto: response.Proto, Headers: response.Header, Body: string(said)}
	if q.Client == "grpc" {
		if got.Grpc = response.Trailer.Get("Grpc-Status"); got.Grpc == "" {
			got.Grpc = response.Header.Get("Grpc-Status")
		}
		if len(said) >= 5 {
			got.Body = string(said[5:])
		}
	}
	return got, nil
}

func (q question) line(ctx context.Context) (answer, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", q.Dial)
	if err != nil {
		return answer{}, err
	}
	defer conn.Close()
	if deadline, set := ctx.Deadline(); set {
		_ = conn.SetDeadline(deadline)
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return answer{}, err
	}
	return answer{Proto: "TCP", Body: line}, nil
}
