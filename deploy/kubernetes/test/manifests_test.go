package test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

// built is what a kustomization makes.
type built struct {
	namespace      corev1.Namespace
	serviceAccount corev1.ServiceAccount
	config         corev1.ConfigMap
	daemonSet      appsv1.DaemonSet
	podMonitor     *monitoringv1.PodMonitor
	secrets        map[string]*corev1.Secret
	policy         *networkingv1.NetworkPolicy
	roles          map[string]*rbacv1.ClusterRole
	bindings       map[string]*rbacv1.ClusterRoleBinding
	scraper        corev1.ServiceAccount // of the component auth-proxy
}

// build builds a kustomization and decodes all that it makes, each field of
// which the API must know.
func build(t *testing.T, dir string) built {
	t.Helper()
	resources, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), dir)
	if err != nil {
		t.Fatal(err)
	}
	b := built{secrets: map[string]*corev1.Secret{}, roles: map[string]*rbacv1.ClusterRole{}, bindings: map[string]*rbacv1.ClusterRoleBinding{}}
	for _, r := range resources.Resources() {
		var into any
		switch r.GetKind() {
		case "Namespace":
			into = &b.namespace
		case "ServiceAccount":
			into = &b.serviceAccount
			if r.GetName() == "mglru-exporter-scraper" {
				into = &b.scraper
			}
		case "NetworkPolicy":
			b.policy = &networkingv1.NetworkPolicy{}
			into = b.policy
		case "ClusterRole":
			role := &rbacv1.ClusterRole{}
			b.roles[r.GetName()], into = role, role
		case "ClusterRoleBinding":
			binding := &rbacv1.ClusterRoleBinding{}
			b.bindings[r.GetName()], into = binding, binding
		case "ConfigMap":
			into = &b.config
		case "Secret":
			s := &corev1.Secret{}
			b.secrets[r.GetName()], into = s, s
		case "DaemonSet":
			into = &b.daemonSet
		case "PodMonitor":
			b.podMonitor = &monitoringv1.PodMonitor{}
			into = b.podMonitor
		default:
			t.Fatalf("%s: what is a %s?", dir, r.GetKind())
		}
		text, err := r.AsYAML()
		if err != nil {
			t.Fatal(err)
		}
		if err := yaml.UnmarshalStrict(text, into); err != nil {
			t.Errorf("%s: %s: %v", dir, r.CurId(), err)
		}
	}
	return b
}

// with builds the base with components.
func with(t *testing.T, components ...string) built {
	t.Helper()
	here, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if here, err = filepath.Rel(dir, here); err != nil {
		t.Fatal(err)
	}
	text := "resources: [" + here + "/base]\ncomponents: ["
	for _, c := range components {
		text += here + "/components/" + c + ","
	}
	if err := os.WriteFile(filepath.Join(dir, "kustomization.yaml"), []byte(text+"]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return build(t, dir)
}

// all builds each way in which the manifests can be put together.
func all(t *testing.T) map[string]built {
	t.Helper()
	return map[string]built{
		"default": build(t, ".."),
		"base":    build(t, "../base"),
		"hooks":   with(t, "hooks"),
		"both":    with(t, "hooks", "podmonitor"),
		"policy":  with(t, "networkpolicy"),
	}
}

func TestPodsAreConfined(t *testing.T) {
	for name, b := range all(t) {
		spec := b.daemonSet.Spec.Template.Spec
		if len(spec.Containers) != 1 {
			t.Fatalf("%s: %d containers, want 1", name, len(spec.Containers))
		}
		c := spec.Containers[0]
		sc := c.SecurityContext
		switch {
		case sc == nil || sc.Capabilities == nil || sc.SeccompProfile == nil:
			t.Fatalf("%s: the security context lacks what it should say", name)
		case sc.Privileged == nil || *sc.Privileged:
			t.Errorf("%s: privileged", name)
		case !slices.Equal(sc.Capabilities.Drop, []corev1.Capability{"ALL"}):
			t.Errorf("%s: drops %v, want ALL", name, sc.Capabilities.Drop)
		case sc.ReadOnlyRootFilesystem == nil || !*sc.ReadOnlyRootFilesystem:
			t.Errorf("%s: the root is writable", name)
		case sc.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault:
			t.Errorf("%s: seccomp is %s", name, sc.SeccompProfile.Type)
		case !spec.HostPID || spec.HostNetwork || spec.HostIPC:
			t.Errorf("%s: of the host's namespaces it wants PID alone", name)
		}
		if b.daemonSet.Namespace != b.namespace.Name || spec.ServiceAccountName != b.serviceAccount.Name {
			t.Errorf("%s: namespace %q, service account %q", name, b.daemonSet.Namespace, spec.ServiceAccountName)
		}
		if _, tag, ok := strings.Cut(c.Image, ":"); !ok || tag == "latest" {
			t.Errorf("%s: image %s has no tag of its own", name, c.Image)
		}
	}
}

// TestEachMountHasAVolume, and no volume is left over.
func TestEachMountHasAVolume(t *testing.T) {
	for name, b := range all(t) {
		spec := b.daemonSet.Spec.Template.Spec
		var volumes, mounts []string
		for _, v := range spec.Volumes {
			volumes = append(volumes, v.Name)
			if v.ConfigMap != nil && v.ConfigMap.Name != b.config.Name {
				t.Errorf("%s: volume of ConfigMap %s, which is called %s", name, v.ConfigMap.Name, b.config.Name)
			}
		}
		for _, m := range spec.Containers[0].VolumeMounts {
			mounts = append(mounts, m.Name)
		}
		slices.Sort(volumes)
		slices.Sort(mounts)
		if !slices.Equal(volumes, mounts) || len(mounts) == 0 {
			t.Errorf("%s: volumes %v, mounts %v", name, volumes, mounts)
		}
	}
}

// TestPortsAreTheContainers: probes and PodMonitor name its port, and the
// PodMonitor selects its pods.
func TestPortsAreTheContainers(t *testing.T) {
	for name, b := range all(t) {
		c := b.daemonSet.Spec.Template.Spec.Containers[0]
		port := c.Ports[0]
		if port.ContainerPort != 9934 {
			t.Errorf("%s: port %d", name, port.ContainerPort)
		}
		for _, p := range []*corev1.Probe{c.StartupProbe, c.LivenessProbe, c.ReadinessProbe} {
			if p == nil || p.HTTPGet == nil || p.HTTPGet.Port.StrVal != port.Name || !strings.HasPrefix(p.HTTPGet.Path, "/-/") {
				t.Errorf("%s: probe %v", name, p)
			}
		}
		if b.podMonitor == nil {
			continue
		}
		if got := b.podMonitor.Spec.PodMetricsEndpoints[0].Port; got == nil || *got != port.Name {
			t.Errorf("%s: the PodMonitor's port is %v, want %s", name, got, port.Name)
		}
		for key, value := range b.podMonitor.Spec.Selector.MatchLabels {
			if b.daemonSet.Spec.Template.Labels[key] != value {
				t.Errorf("%s: no pod has label %s=%s", name, key, value)
			}
		}
	}
	if b := build(t, ".."); b.podMonitor == nil {
		t.Error("the default has no PodMonitor")
	}
}

// TestHooks: the base mounts settings of the kernel read-only, and the component makes
// the one writable that hooks must write.
func TestHooks(t *testing.T) {
	for _, tc := range []struct {
		name string
		pods built
		want []string
	}{
		{"base", build(t, "../base"), nil},
		{"hooks", with(t, "hooks"), []string{"/sys/kernel/mm/lru_gen"}},
	} {
		var writable []string
		for _, m := range tc.pods.daemonSet.Spec.Template.Spec.Containers[0].VolumeMounts {
			if !m.ReadOnly {
				writable = append(writable, m.MountPath)
			}
		}
		if !slices.Equal(writable, tc.want) {
			t.Errorf("%s: %v are writable, want %v", tc.name, writable, tc.want)
		}
	}
}

// TestOverlayForPasswordsAndTLS builds the overlay that docs/DEPLOYMENT.md has for
// them: no probe asks for a path, for all of which a password is needed.
func TestOverlayForPasswordsAndTLS(t *testing.T) {
	b := build(t, overlay(t))
	c := b.daemonSet.Spec.Template.Spec.Containers[0]
	for _, p := range []*corev1.Probe{c.StartupProbe, c.LivenessProbe, c.ReadinessProbe} {
		if p == nil || p.HTTPGet != nil || p.TCPSocket == nil || p.TCPSocket.Port.StrVal != c.Ports[0].Name {
			t.Errorf("probe %v", p)
		}
	}
	// Nothing of the base is lost.
	base := build(t, "..").daemonSet.Spec.Template.Spec
	if len(b.daemonSet.Spec.Template.Spec.Volumes) != len(base.Volumes)+1 || len(c.VolumeMounts) != len(base.Containers[0].VolumeMounts)+1 ||
		!slices.Equal(c.Args[:1], base.Containers[0].Args) {
		t.Errorf("args %q, mounts %v", c.Args, c.VolumeMounts)
	}
	var mounted string // as what the flag names
	for _, v := range b.daemonSet.Spec.Template.Spec.Volumes {
		for _, m := range c.VolumeMounts {
			if v.Secret != nil && m.Name == v.Name && strings.HasPrefix(c.Args[1], "--web.config.file="+m.MountPath+"/") {
				mounted = v.Secret.SecretName
			}
		}
	}
	if mounted == "" || b.secrets[mounted] == nil || b.secrets[mounted].Data["web.yaml"] == nil {
		t.Errorf("%q is not in a secret that is there: %q", c.Args[1], mounted)
	}

	endpoint := b.podMonitor.Spec.PodMetricsEndpoints[0]
	if endpoint.Scheme.String() != "https" || endpoint.TLSConfig == nil || endpoint.BasicAuth == nil || len(endpoint.RelabelConfigs) == 0 {
		t.Fatalf("the PodMonitor's endpoint is %+v", endpoint)
	}
	for _, s := range []*corev1.SecretKeySelector{endpoint.TLSConfig.CA.Secret, &endpoint.BasicAuth.Username, &endpoint.BasicAuth.Password} {
		if secret := b.secrets[s.Name]; secret == nil || secret.Data[s.Key] == nil {
			t.Errorf("the PodMonitor refers to %s of %s, which is not there", s.Key, s.Name)
		}
	}
}

// overlay returns a directory with the overlay of docs/DEPLOYMENT.md, on top of
// these manifests, and with all the files that it wants.
func overlay(t *testing.T) string {
	t.Helper()
	guide, err := os.ReadFile("../../../docs/DEPLOYMENT.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(guide), "\n### A password or TLS\n")
	_, section, _ = strings.Cut(section, "```yaml\n")
	text, _, ok := strings.Cut(section, "```\n")
	const yours = "github.com/YOU/mglru_exporter/deploy/kubernetes"
	if !ok || !strings.Contains(text, yours) {
		t.Fatal("docs/DEPLOYMENT.md has no such overlay")
	}
	dir := t.TempDir()
	here, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	if here, err = filepath.Rel(dir, here); err != nil {
		t.Fatal(err)
	}
	files := map[string]string{"kustomization.yaml": strings.ReplaceAll(text, yours, here)}
	for _, name := range []string{"web.yaml", "tls.crt", "tls.key", "ca.crt", "username", "password"} {
		files[name] = name
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}
