// Package deploy gives tests what the files beside it grant the exporter, so that it is
// proved with just that.
package deploy

import (
	_ "embed"
	"fmt"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

var (
	//go:embed systemd/mglru_exporter.service
	unit string
	//go:embed kubernetes/base/daemonset.yaml
	daemonSet []byte
	//go:embed kubernetes/base/config.yaml
	podConfig []byte
	//go:embed kubernetes/components/hooks/kustomization.yaml
	hooksComponent []byte
)

// UnitCapabilities returns the bounding set of the systemd unit, as CAP_NAME.
func UnitCapabilities() []string {
	var names []string
	for line := range strings.Lines(unit) {
		if list, ok := strings.CutPrefix(line, "CapabilityBoundingSet="); ok {
			names = append(names, strings.Fields(list)...)
		}
	}
	slices.Sort(names)
	return names
}

// A Volume is a directory of the host in the container.
type Volume struct {
	// Host and Path are where it is on the host and in the container.
	Host, Path string
	ReadOnly   bool
}

// A Container is what the DaemonSet grants the exporter.
type Container struct {
	// Capabilities are named CAP_NAME.
	Capabilities []string
	Volumes      []Volume
}

// pods is a DaemonSet, or a patch of one.
type pods struct {
	Spec struct {
		Template struct {
			Spec struct {
				Containers []struct {
					SecurityContext struct {
						Capabilities struct{ Add []string }
					} `yaml:"securityContext"`
					VolumeMounts []struct {
						Name      string
						MountPath string `yaml:"mountPath"`
						ReadOnly  bool   `yaml:"readOnly"`
					} `yaml:"volumeMounts"`
				}
				Volumes []struct {
					Name     string
					HostPath struct{ Path string } `yaml:"hostPath"`
				}
			}
		}
	}
}

// BaseContainer returns what the DaemonSet of the base grants. What has no hostPath is
// left out.
func BaseContainer() (Container, error) {
	var c Container
	return c, c.add(daemonSet)
}

// HooksContainer returns what the base grants with the component hooks.
func HooksContainer() (Container, error) {
	c, err := BaseContainer()
	if err != nil {
		return c, err
	}
	var component struct{ Patches []struct{ Patch string } }
	if err := yaml.Unmarshal(hooksComponent, &component); err != nil {
		return c, fmt.Errorf("parse the component hooks: %w", err)
	}
	for _, p := range component.Patches {
		if err := c.add([]byte(p.Patch)); err != nil {
			return c, err
		}
	}
	return c, nil
}

// add adds what a DaemonSet or a patch of one grants.
func (c *Container) add(text []byte) error {
	var ds pods
	if err := yaml.Unmarshal(text, &ds); err != nil {
		return fmt.Errorf("parse the DaemonSet: %w", err)
	}
	pod := ds.Spec.Template.Spec
	if len(pod.Containers) != 1 {
		return fmt.Errorf("the DaemonSet has %d containers, want 1", len(pod.Containers))
	}
	host := map[string]string{}
	for _, v := range pod.Volumes {
		host[v.Name] = v.HostPath.Path
	}
	for _, name := range pod.Containers[0].SecurityContext.Capabilities.Add {
		c.Capabilities = append(c.Capabilities, "CAP_"+name)
	}
	for _, m := range pod.Containers[0].VolumeMounts {
		if host[m.Name] != "" {
			c.Volumes = append(c.Volumes, Volume{Host: host[m.Name], Path: m.MountPath, ReadOnly: m.ReadOnly})
		}
	}
	return nil
}

// PodConfig returns the configuration that the DaemonSet comes with.
func PodConfig() []byte { return podConfig }
