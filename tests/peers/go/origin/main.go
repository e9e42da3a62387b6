// Command origin is a server on net/http that prints each request as it read it: one line of JSON. It shares no code with the mesh.
package main

import (
	"encoding/json"
	"flag"
	"io"
	"log"
	"net/http"
	"os"
	"strings"
	"sync"
)

// seen is what the tests compare; bytes are written as Latin-1.
type seen struct {
	Method string  `json:"method"`
	Target string  `json:"target"`
	Host   string  `json:"host"`
	Body   *string `json:"body"`
	Whole  bool    `json:"whole"`
}

func main() {
	listen := flag.String("listen", "127.0.0.1:8080", "address to listen on")
	flag.Parse()
	var lock sync.Mutex
	out := json.NewEncoder(os.Stdout)
	// Not a ServeMux: that redirects what it takes for another path.
	serve := func(w http.ResponseWriter, r *http.Request) {
		told := seen{Method: r.Method, Target: r.RequestURI, Host: r.Host, Whole: true}
		// An early answer leaves the body to net/http.
		if !strings.Contains(r.RequestURI, "/early") {
			body, err := io.ReadAll(r.Body)
			text := latin1(body)
			told.Body, told.Whole = &text, err == nil
		}
		lock.Lock()
		err := out.Encode(told)
		lock.Unlock()
		if err != nil {
			log.Fatal(err)
		}
		_, _ = io.WriteString(w, r.RequestURI+" ")
	}
	server := http.Server{Addr: *listen, Handler: http.HandlerFunc(serve), ErrorLog: log.New(io.Discard, "", 0)}
	log.Fatal(server.ListenAndServe())
}

func latin1(bytes []byte) string {
	runes := make([]rune, len(bytes))
	for i, b := range bytes {
		runes[i] = rune(b)
	}
	return string(runes)
}
