// Package deploy tells tests what the files beside it grant the exporter, so
// that it is proved with just that.
package deploy

import (
	"embed"
	"fmt"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

var (
	//go:embed systemd
	systemd embed.FS
	//go:embed kubernetes/base/daemonset.yaml
	daemonSet []byte
	//go:embed kubernetes/base/config.yaml
	podConfig []byte
)

// UnitCapabilities returns the bounding set of the systemd unit, as CAP_NAME, as
// the drop-ins change it, which are named without ".conf".
func UnitCapabilities(dropIns ...string) ([]string, error) {
	files := []string{"systemd/mglru_exporter.service"}
	for _, name := range dropIns {
		files = append(files, "systemd/"+name+".conf")
	}
	var names []string
	for _, file := range files {
		text, err := systemd.ReadFile(file)
		if err != nil {
			return nil, err
		}
		for line := range strings.Lines(string(text)) {
			list, ok := strings.CutPrefix(line, "CapabilityBoundingSet=")
			switch list = strings.TrimSpace(list); {
			case !ok:
			case list == "":
				names = nil // so systemd has it
			default:
				names = append(names, strings.Fields(list)...)
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names), nil
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

// DaemonSetContainer reads the DaemonSet. What has no hostPath is left out.
func DaemonSetContainer() (Container, error) {
	var ds struct {
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
	if err := yaml.Unmarshal(daemonSet, &ds); err != nil {
		return Container{}, fmt.Errorf("parse the DaemonSet: %w", err)
	}
	pod := ds.Spec.Template.Spec
	if len(pod.Containers) != 1 {
		return Container{}, fmt.Errorf("the DaemonSet has %d containers, want 1", len(pod.Containers))
	}
	host := map[string]string{}
	for _, v := range pod.Volumes {
		host[v.Name] = v.HostPath.Path
	}
	var c Container
	for _, name := range pod.Containers[0].SecurityContext.Capabilities.Add {
		c.Capabilities = append(c.Capabilities, "CAP_"+name)
	}
	for _, m := range pod.Containers[0].VolumeMounts {
		if host[m.Name] != "" {
			c.Volumes = append(c.Volumes, Volume{Host: host[m.Name], Path: m.MountPath, ReadOnly: m.ReadOnly})
		}
	}
	return c, nil
}

// PodConfig returns the configuration that the DaemonSet comes with.
func PodConfig() []byte { return podConfig }
