package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

// answer is what a client prints of a response.
type answer struct {
	Status  int                 `json:"status"`
	Proto   string              `json:"proto"`
	Headers map[string][]string `json:"headers"`
	Body    string              `json:"body"`
	Grpc    string              `json:"grpc,omitempty"`
	Error   string              `json:"error,omitempty"`
}

// client sends one request and prints the answer as JSON: `client [flags] URL`. Any answer is a success.
func client(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("client", flag.ExitOnError)
	method := flags.String("method", http.MethodGet, "")
	data := flags.String("data", "", "the request's body")
	http2 := flags.Bool("http2", false, "speaks HTTP/2 without TLS")
	timeout := flags.Duration("timeout", 30*time.Second, "for all of it")
	retryFor := flags.Duration("retry-for", 0, "how long to try again while nothing answers")
	headers := http.Header{}
	flags.Func("header", "a header, as `NAME: VALUE`; may be repeated", func(header string) error {
		name, value, found := strings.Cut(header, ":")
		if !found {
			return errors.New("write it as NAME: VALUE")
		}
		headers.Add(strings.TrimSpace(name), strings.TrimSpace(value))
		return nil
	})
	_ = flags.Parse(args)
	if flags.NArg() != 1 {
		return errors.New("give one URL")
	}
	sender := &http.Client{Transport: transport(*http2, 1), Timeout: *timeout, CheckRedirect: keepRedirect}
	for end := time.Now().Add(*retryFor); ; {
		got, err := askOnce(ctx, sender, *method, flags.Arg(0), *data, headers)
		if err == nil {
			print(got)
			return nil
		}
		if time.Now().After(end) || ctx.Err() != nil {
			return err
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// job sends a few requests and ends: 0 when each was answered with a 2xx.
// start tells when it started, in milliseconds since 1970, and stays.
func start(ctx context.Context, _ []string) error {
	print(map[string]int64{"startedUnixMs": time.Now().UnixMilli()})
	<-ctx.Done()
	return nil
}

func job(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("job", flag.ExitOnError)
	url := flags.String("url", "", "whom to ask; nobody when empty")
	count := flags.Int("count", 1, "how many requests")
	lasts := flags.Duration("for", 0, "how long the work takes besides")
	_ = flags.Parse(args)
	select {
	case <-time.After(*lasts):
	case <-ctx.Done():
		return errors.New("ended before the work was done")
	}
	if *url == "" {
		return nil
	}
	sender := &http.Client{Transport: transport(false, 1), Timeout: 10 * time.Second}
	for i := range *count {
		got, err := askOnce(ctx, sender, http.MethodGet, *url, "", nil)
		if err != nil {
			return fmt.Errorf("request %d: %w", i+1, err)
		}
		if got.Status/100 != 2 {
			return fmt.Errorf("request %d: status %d: %s", i+1, got.Status, got.Body)
		}
	}
	print(map[string]int{"requests": *count})
	return nil
}

func askOnce(ctx context.Context, sender *http.Client, method, url, data string, headers http.Header) (answer, error) {
	request, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(data))
	if err != nil {
		return answer{}, err
	}
	for name, values := range headers {
		request.Header[name] = values
		if name == "Host" {
			request.Host = values[0]
		}
	}
	response, err := sender.Do(request)
	if err != nil {
		return answer{}, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return answer{}, err
	}
	return answer{Status: response.StatusCode, Proto: response.Proto, Headers: response.Header, Body: string(body)}, nil
}

func transport(http2 bool, connections int) *http.Transport {
	var protocols http.Protocols
	protocols.SetHTTP1(!http2)
	protocols.SetUnencryptedHTTP2(http2)
	return &http.Transport{
		Protocols:           &protocols,
		DialContext:         (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
		MaxIdleConnsPerHost: connections,
		MaxConnsPerHost:     connections,
	}
}

func keepRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
