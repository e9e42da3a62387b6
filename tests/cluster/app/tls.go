package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"net/http"
	"time"
)

// serveTLS answers HTTP/1 inside of TLS: the application's own, which the mesh passes on as it is.
func serveTLS(addr string, handler http.Handler) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	now := time.Now()
	template := x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: now.Add(-time.Hour), NotAfter: now.Add(1000 * time.Hour)}
	certificate, err := x509.CreateCertificate(rand.Reader, &template, &template, key.Public(), key)
	if err != nil {
		return err
	}
	own := tls.Certificate{Certificate: [][]byte{certificate}, PrivateKey: key}
	config := &tls.Config{Certificates: []tls.Certificate{own}, NextProtos: []string{"http/1.1"}}
	server := http.Server{Addr: addr, Handler: handler, TLSConfig: config}
	return server.ListenAndServeTLS("", "")
}
