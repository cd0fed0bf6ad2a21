package memcg

import (
	"slices"
	"strings"
)

// A Container is what a memcg's path says of the container it belongs to.
type Container struct {
	// ID is the runtime's, 64 hexadecimal digits; empty for a pod's own memcg.
	ID string
	// Runtime is "containerd", "cri-o", "docker" or "podman"; empty where the path
	// does not say.
	Runtime string
	// PodUID is the Kubernetes pod's uid as the API server writes it; empty outside
	// of pods.
	PodUID string
}

// runtimes are the prefixes that runtimes give to the names of containers'
// cgroups.
var runtimes = map[string]string{
	"cri-containerd": "containerd",
	"crio":           "cri-o",
	"docker":         "docker",
	"libpod":         "podman",
	"libpod-payload": "podman", // --cgroups=split, as in Quadlet's services
	"nerdctl":        "containerd",
}

// FindContainer returns which container or pod a memcg belongs to, if its path
// has one of the forms that the kubelet (pkg/kubelet/cm) and the runtimes make:
//
//	/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod<uid>.slice/cri-containerd-<id>.scope
//	/kubepods/burstable/pod<uid>/<id>
//	/system.slice/docker-<id>.scope
//	/system.slice/<service>/libpod-payload-<id>
//
// and their like, with systemd or cgroupfs as the driver. Cgroups within a
// container belong to it. Of containers within containers the innermost counts.
func FindContainer(path string) (Container, bool) {
	var c Container
	parent := ""
	for name := range strings.SplitSeq(path, "/") {
		if uid, ok := podUID(name); ok {
			c = Container{PodUID: uid}
		} else if id, runtime, ok := containerID(name, parent); ok {
			if c.ID != "" { // a container within a container
				c = Container{}
			}
			c.ID, c.Runtime = id, runtime
			// With containerd's cgroupfs driver under a kubelet that uses systemd's,
			// one component is slice:prefix:id.
			if slice, _, found := strings.Cut(name, ":"); found {
				if uid, ok := podUID(slice); ok {
					c.PodUID = uid
				}
			}
		}
		parent = name
	}
	return c, c != Container{}
}

// podUID returns the uid in pod<uid>, or in [<root>-]kubepods[-<class>]-pod<uid>.slice.
// The root is the kubelet's --cgroup-root. In names of slices a dash separates levels,
// so the kubelet writes the uid's dashes as underscores.
func podUID(name string) (string, bool) {
	uid, ok := strings.CutPrefix(name, "pod")
	if slice, is := strings.CutSuffix(name, ".slice"); is {
		i := strings.LastIndex(slice, "-pod")
		if i < 0 || !slices.Contains(strings.Split(slice[:i], "-"), "kubepods") {
			return "", false
		}
		uid, ok = strings.ReplaceAll(slice[i+len("-pod"):], "_", "-"), true
	}
	return uid, ok && isUID(uid)
}

// isUID tells whether s is a UUID or, as with static pods, an MD5 sum.
func isUID(s string) bool {
	if len(s) == 32 {
		return isHex(s)
	}
	if len(s) != 36 {
		return false
	}
	for i := range len(s) {
		dash := i == 8 || i == 13 || i == 18 || i == 23
		if dash != (s[i] == '-') || !dash && !isHex(s[i:i+1]) {
			return false
		}
	}
	return true
}

// containerID takes the id and the runtime from a cgroup's name. A bare id is a
// container's within a pod, and where Docker puts its own.
func containerID(name, parent string) (id, runtime string, ok bool) {
	name = strings.TrimSuffix(name, ".scope")
	if i := strings.LastIndexAny(name, "-:"); i >= 0 {
		prefix := name[:i]
		if j := strings.LastIndexByte(prefix, ':'); j >= 0 {
			prefix = prefix[j+1:]
		}
		runtime, ok = runtimes[prefix]
		id = name[i+1:]
	} else {
		id = name
		_, ok = podUID(parent)
		if parent == "docker" {
			runtime, ok = "docker", true
		}
	}
	return id, runtime, ok && len(id) == 64 && isHex(id)
}

func isHex(s string) bool {
	return strings.Trim(s, "0123456789abcdef") == ""
}
