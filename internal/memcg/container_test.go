package memcg

import (
	"strings"
	"testing"
)

const (
	testID     = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	innerID    = "fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210"
	testUID    = "2c48913c-b29f-11e7-9350-020968147796"
	testUIDEsc = "2c48913c_b29f_11e7_9350_020968147796"
	staticUID  = "d8b6f1a0c3e4459fa7d2b1c0e9f8a7b6"
)

// containerPaths are the forms that kubelets and runtimes make, and some that
// only look like them.
var containerPaths = []struct {
	path string
	want Container
}{
	// Kubernetes, driver systemd.
	{"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" + testUIDEsc + ".slice/cri-containerd-" + testID + ".scope", Container{testID, "containerd", testUID}},
	{"/kubepods.slice/kubepods-pod" + testUIDEsc + ".slice/cri-containerd-" + testID + ".scope", Container{testID, "containerd", testUID}},
	{"/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod" + staticUID + ".slice/docker-" + testID + ".scope", Container{testID, "docker", staticUID}},
	{"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" + testUIDEsc + ".slice", Container{PodUID: testUID}},
	{"/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-burstable.slice/kubelet-kubepods-burstable-pod" + testUIDEsc + ".slice/cri-containerd-" + testID + ".scope", Container{testID, "containerd", testUID}},
	{"/system.slice/containerd.service/kubepods-burstable-pod" + testUIDEsc + ".slice:cri-containerd:" + testID, Container{testID, "containerd", testUID}},
	// CRI-O, and crun's cgroup within.
	{"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" + testUIDEsc + ".slice/crio-" + testID + ".scope", Container{testID, "cri-o", testUID}},
	{"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" + testUIDEsc + ".slice/crio-" + testID + ".scope/container", Container{testID, "cri-o", testUID}},
	{"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" + testUIDEsc + ".slice/crio-conmon-" + testID + ".scope", Container{PodUID: testUID}},
	// Kubernetes, driver cgroupfs.
	{"/kubepods/burstable/pod" + testUID + "/" + testID, Container{testID, "", testUID}},
	{"/kubepods/pod" + testUID + "/" + testID + "/init.scope", Container{testID, "", testUID}},
	{"/kubepods/besteffort/pod" + testUID + "/crio-" + testID, Container{testID, "cri-o", testUID}},
	{"/kubepods/besteffort/pod" + testUID, Container{PodUID: testUID}},
	// A kubelet with --cgroup-root=/pods, or /lab/team-a, and the driver systemd.
	{"/pods.slice/pods-kubepods.slice/pods-kubepods-burstable.slice/pods-kubepods-burstable-pod" + testUIDEsc + ".slice/cri-containerd-" + testID + ".scope", Container{testID, "containerd", testUID}},
	{"/pods.slice/pods-kubepods.slice/pods-kubepods-pod" + staticUID + ".slice", Container{PodUID: staticUID}},
	{"/lab.slice/lab-team_a.slice/lab-team_a-kubepods.slice/lab-team_a-kubepods-pod" + testUIDEsc + ".slice/crio-" + testID + ".scope/container", Container{testID, "cri-o", testUID}},
	{"/system.slice/containerd.service/pods-kubepods-besteffort-pod" + testUIDEsc + ".slice:cri-containerd:" + testID, Container{testID, "containerd", testUID}},
	{"/pods/kubepods/burstable/pod" + testUID + "/" + testID, Container{testID, "", testUID}},
	// Runtimes by themselves.
	{"/system.slice/docker-" + testID + ".scope", Container{testID, "docker", ""}},
	{"/docker/" + testID, Container{testID, "docker", ""}},
	{"/machine.slice/libpod-" + testID + ".scope/container", Container{testID, "podman", ""}},
	{"/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-" + testID + ".scope", Container{testID, "podman", ""}},
	{"/machine.slice/libpod-conmon-" + testID + ".scope", Container{}},
	{"/system.slice/nerdctl-" + testID + ".scope", Container{testID, "containerd", ""}},
	// Quadlet: podman's --cgroups=split, in the service that systemd made; conmon is in
	// the cgroup "runtime", a systemd within the container in init.scope.
	{"/system.slice/web.service/libpod-payload-" + testID, Container{testID, "podman", ""}},
	{"/system.slice/web.service/libpod-payload-" + testID + "/init.scope", Container{testID, "podman", ""}},
	{"/system.slice/web.service/libpod-payload-" + testID + "/container", Container{testID, "podman", ""}},
	{"/user.slice/user-1000.slice/user@1000.service/app.slice/web.service/libpod-payload-" + testID, Container{testID, "podman", ""}},
	{"/system.slice/web.service/runtime", Container{}},
	{"/system.slice/web.service/libpod-payload-" + testID[1:], Container{}},
	// A cluster's node that is a container itself.
	{"/docker/" + innerID + "/kubelet/kubepods/burstable/pod" + testUID + "/" + testID, Container{testID, "", testUID}},
	{"/docker/" + innerID + "/system.slice/docker-" + testID + ".scope", Container{testID, "docker", ""}},
	// Neither container nor pod.
	{"/", Container{}},
	{"/kubepods.slice", Container{}},
	{"/kubepods.slice/kubepods-burstable.slice", Container{}},
	{"/system.slice/memcached.service", Container{}},
	{"/system.slice/" + testID, Container{}},
	{"/system.slice/docker-" + testID[1:] + ".scope", Container{}},
	{"/system.slice/docker-" + strings.ToUpper(testID) + ".scope", Container{}},
	{"/system.slice/podman.service", Container{}},
	{"/kubepods/burstable/pod2c48913c-b29f-11e7-9350", Container{}},
	{"/kubepods/burstable/pod2c48913c+b29f-11e7-9350-020968147796", Container{}},
	{"/system.slice/system-pod" + testUIDEsc + ".slice", Container{}},
	{"/system.slice/system-notkubepods-pod" + testUIDEsc + ".slice", Container{}},
	{"/pods.slice/pods-kubepods.slice", Container{}},
}

func TestFindContainer(t *testing.T) {
	for _, c := range containerPaths {
		got, ok := FindContainer(c.path)
		if got != c.want || ok != (c.want != Container{}) {
			t.Errorf("%s\n got %+v, %v\nwant %+v", c.path, got, ok, c.want)
		}
	}
}

func FuzzFindContainer(f *testing.F) {
	for _, c := range containerPaths {
		f.Add(c.path)
	}
	f.Fuzz(func(t *testing.T, path string) {
		c, ok := FindContainer(path)
		if ok != (c != Container{}) {
			t.Errorf("%q: %+v, %v", path, c, ok)
		}
		if c.ID != "" && (len(c.ID) != 64 || !strings.Contains(path, c.ID)) {
			t.Errorf("%q: id %q", path, c.ID)
		}
		if c.PodUID != "" && !strings.Contains(strings.ReplaceAll(path, "_", "-"), c.PodUID) {
			t.Errorf("%q: pod %q", path, c.PodUID)
		}
	})
}
