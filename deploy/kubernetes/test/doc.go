// Package test builds the manifests with kustomize and decodes them as strictly
// as an API server may. It is a module of its own so that the exporter's does
// not depend on Kubernetes.
package test
