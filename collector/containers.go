package collector

import (
	"mglru_exporter/internal/heat"
	"mglru_exporter/internal/memcg"
	"mglru_exporter/internal/name"
)

// containers is which container and pod a memcg belongs to.
type containers struct {
	info *family
}

func newContainers() containers {
	return containers{
		info: desc("memcg_container_info",
			"1 for each memcg whose path is one that Kubernetes or a container runtime makes. container_id is the runtime's, without a scheme, and empty for the memcg of a pod itself; runtime is containerd, cri-o, docker or podman, and empty where the path does not say; pod_uid is empty outside of Kubernetes.", "memcg", "container_id", "pod_uid", "runtime"),
	}
}

func (c containers) descs() []*family { return []*family{c.info} }

func (c containers) emit(e *emitter, m *heat.MemcgSnapshot) {
	if found, ok := memcg.FindContainer(m.Path); ok {
		e.gauge(c.info, 1, name.Escape(m.Path), found.ID, found.PodUID, found.Runtime)
	}
}
