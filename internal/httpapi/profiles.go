package httpapi

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"strings"
	"time"
)

// Profiles are where time and memory of the process go (net/http/pprof). They ask for no key, so they have a
// listener of their own on an address of this host and are no part of the API.
func Profiles() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for name, value := range always {
			w.Header()[name] = value
		}
		if why := tricked(r); why != "" {
			http.Error(w, why, http.StatusForbidden)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// tricked says why a browser was led here by a page of another site; "": it was not.
func tricked(r *http.Request) string {
	host := r.Host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.ToLower(strings.Trim(host, "[]"))
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return fmt.Sprintf("the host %q is not this one: use localhost, through a tunnel if need be", r.Host)
	}
	if site := r.Header.Get("Sec-Fetch-Site"); site != "" && site != "same-origin" && site != "none" {
		return "a page of another site may not ask for profiles"
	}
	return ""
}

// ServeProfiles serves them until ctx ends; a profile that is being taken then is cut off.
func ServeProfiles(l net.Listener) func(ctx context.Context) error {
	return func(ctx context.Context) error {
		srv := &http.Server{Handler: Profiles(), ReadHeaderTimeout: 10 * time.Second, MaxHeaderBytes: 32 << 10}
		stop := context.AfterFunc(ctx, func() { _ = srv.Close() })
		defer stop()
		if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("serving profiles: %w", err)
		}
		return nil
	}
}
