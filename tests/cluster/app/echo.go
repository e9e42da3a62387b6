package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// seen is the answer to a request: what the server got.
type seen struct {
	Pod     string              `json:"pod"`
	Method  string              `json:"method"`
	Path    string              `json:"path"`
	Target  string              `json:"target"`
	Query   string              `json:"query,omitempty"`
	Host    string              `json:"host"`
	Proto   string              `json:"proto"`
	Remote  string              `json:"remote"`
	Headers map[string][]string `json:"headers"`
	Bytes   int64               `json:"bytes"`
	Start   string              `json:"start,omitempty"`
	Next    json.RawMessage     `json:"next,omitempty"`
}

func see(r *http.Request) seen {
	start, _ := io.ReadAll(io.LimitReader(r.Body, 1000))
	more, _ := io.Copy(io.Discard, r.Body)
	return seen{
		Pod: podName(), Method: r.Method, Path: r.URL.Path, Target: r.RequestURI, Query: r.URL.RawQuery, Host: r.Host,
		Proto: r.Proto, Remote: r.RemoteAddr, Headers: r.Header, Bytes: int64(len(start)) + more, Start: string(start),
	}
}

// echo answers what it saw. Parameters of the query change the answer: delay=2s waits first, status=503 is the status,
// size=1000 sends as many bytes in place of the JSON, stream=10s sends a line every 100 ms for that long, burn=20ms uses so
// much CPU time first, answer=NAME:VALUE is one more header. Requests with the same header X-Case are counted: fail=2 lets only the
// first two of them have the status, status=503,500 is one for each, late=1 lets only the first wait, and with
// only=v2 all that is for pods whose names start so. gRPC is answered with the
// JSON in the place of a message.
func echo(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	answer := see(r)
	number := cases.add(answer)
	for _, header := range query["answer"] {
		name, value, _ := strings.Cut(header, ":")
		w.Header().Add(name, value)
	}
	if strings.HasPrefix(r.Header.Get("Content-Type"), "application/grpc") {
		w.Header().Set("X-Pod", podName())
		answerGRPC(w, answer)
		return
	}
	within := func(name string) bool {
		limit, err := strconv.Atoi(query.Get(name))
		return (err != nil || number <= limit) && strings.HasPrefix(podName(), query.Get("only"))
	}
	if delay, err := time.ParseDuration(query.Get("delay")); err == nil && within("late") {
		select {
		case <-time.After(delay):
		case <-r.Context().Done():
			return
		}
	}
	if amount, err := time.ParseDuration(query.Get("burn")); err == nil {
		burn(amount)
	}
	w.Header().Set("X-Pod", podName())
	status := http.StatusOK
	statuses := strings.Split(query.Get("status"), ",")
	if wanted, err := strconv.Atoi(statuses[max(0, min(number, len(statuses))-1)]); err == nil && within("fail") {
		status = wanted
	}
	if size, err := strconv.ParseInt(query.Get("size"), 10, 64); err == nil {
		w.Header().Set("Content-Length", strconv.FormatInt(size, 10))
		w.WriteHeader(status)
		_, _ = io.CopyN(w, zeros{}, size)
		return
	}
	if length, err := time.ParseDuration(query.Get("stream")); err == nil {
		w.WriteHeader(status)
		stream(w, r, length)
		return
	}
	answerJSON(w, status, answer)
}

func stream(w http.ResponseWriter, r *http.Request, length time.Duration) {
	ticks := time.NewTicker(100 * time.Millisecond)
	defer ticks.Stop()
	end := time.After(length)
	for line := 0; ; line++ {
		if _, err := fmt.Fprintf(w, "%d\n", line); err != nil {
			return
		}
		_ = http.NewResponseController(w).Flush()
		select {
		case <-ticks.C:
		case <-end:
			fmt.Fprintln(w, "end")
			return
		case <-r.Context().Done():
			return
		}
	}
}

// call asks the URL of the parameter `next` and answers what it saw with the other's answer inside. It passes on the
// headers of a trace, as an instrumented application does.
func call(w http.ResponseWriter, r *http.Request) {
	answer := see(r)
	next := r.URL.Query().Get("next")
	if next == "" {
		answerJSON(w, http.StatusOK, answer)
		return
	}
	request, err := http.NewRequestWithContext(r.Context(), http.MethodGet, next, nil)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	for _, name := range traceHeaders {
		if value := r.Header.Get(name); value != "" {
			request.Header.Set(name, value)
		}
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	if json.Valid(body) {
		answer.Next = body
	} else {
		answer.Next, _ = json.Marshal(string(body))
	}
	answerJSON(w, response.StatusCode, answer)
}

// burn uses CPU, by the clock of the thread: on a busy machine it takes longer and uses no less.
func burn(amount time.Duration) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for start := threadTime(); threadTime()-start < amount; {
	}
}

func threadTime() time.Duration {
	const thisThread = 1
	var usage syscall.Rusage
	_ = syscall.Getrusage(thisThread, &usage)
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

func answerJSON(w http.ResponseWriter, status int, value any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(value)
}

type zeros struct{}

func (zeros) Read(buffer []byte) (int, error) {
	for i := range buffer {
		buffer[i] = '0'
	}
	return len(buffer), nil
}

var traceHeaders = []string{
	"traceparent", "tracestate", "baggage", "b3", "x-b3-traceid", "x-b3-spanid", "x-b3-parentspanid", "x-b3-sampled",
	"x-request-id",
}
