// Package guest has the tests that run inside the guest of test/vm, and what
// they share: a workload that knows which pages it touched.
//
// All of it has the build tag "guest"; see CONTRIBUTING.md for how to run it.
package guest
