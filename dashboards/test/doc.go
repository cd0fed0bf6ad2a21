// Package test holds dashboards, rules and alerts to what the exporter exports: it
// has a real Prometheus scrape the exporter, which replays a recording, and asks it
// everything that they ask. It is a module of its own so that the exporter's does
// not depend on Prometheus.
package test
