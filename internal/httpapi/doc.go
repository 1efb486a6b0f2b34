// Package httpapi is the front door: routes, limits, problem+json, server-sent events and the page.
//
// It owns what is said over HTTP and nothing that is decided behind it: events go to a collector,
// questions to a query engine, both named beside their use. Invariants: a plain 202 means that every
// event is durable; an error is never 200 and never cached; the memory that bodies take is bounded
// whatever clients send; nothing of an internal failure but its code and request id leaves the house.
package httpapi
