// Package distro has the tests that run inside distributions as they are installed:
// what a newcomer does by docs/DEPLOYMENT.md, and what comes of it on each of their
// kernels. TestDistro in test/vm boots them; rootfs installs them.
//
// All of it has the build tag "guest".
package distro
