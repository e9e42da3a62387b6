package main

import (
	"net/http"
	"sync"
)

// cases keeps the requests of each case: those with the same header X-Case.
var cases = recorder{byCase: map[string][]seen{}}

type recorder struct {
	lock   sync.Mutex
	byCase map[string][]seen
}

// add returns the request's number within its case, from 1; 0 without a case.
func (r *recorder) add(request seen) int {
	if len(request.Headers["X-Case"]) == 0 {
		return 0
	}
	id := request.Headers["X-Case"][0]
	r.lock.Lock()
	defer r.lock.Unlock()
	if len(r.byCase) >= keptCases {
		clear(r.byCase)
	}
	r.byCase[id] = append(r.byCase[id], request)
	return len(r.byCase[id])
}

// told answers /seen?case=ID with the requests of the case.
func (r *recorder) told(w http.ResponseWriter, request *http.Request) {
	r.lock.Lock()
	requests := append([]seen{}, r.byCase[request.URL.Query().Get("case")]...)
	r.lock.Unlock()
	w.Header().Set("X-Pod", podName())
	answerJSON(w, http.StatusOK, requests)
}

// Enough for a run of the tests.
const keptCases = 20000
