package test

import (
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
)

// TestNetworkPolicy: only Prometheus reaches the metrics' port, and the pods reach
// nobody.
func TestNetworkPolicy(t *testing.T) {
	b := with(t, "networkpolicy", "podmonitor")
	p := b.policy
	if p == nil || p.Namespace != b.daemonSet.Namespace {
		t.Fatalf("policy %+v", p)
	}
	for key, value := range p.Spec.PodSelector.MatchLabels {
		if b.daemonSet.Spec.Template.Labels[key] != value {
			t.Errorf("no pod has label %s=%s", key, value)
		}
	}
	if !slices.Equal(p.Spec.PolicyTypes, []networkingv1.PolicyType{"Ingress", "Egress"}) || len(p.Spec.Egress) != 0 || len(p.Spec.Ingress) != 1 {
		t.Fatalf("%+v", p.Spec)
	}
	in := p.Spec.Ingress[0]
	if len(in.From) != 1 || in.From[0].PodSelector == nil || in.From[0].NamespaceSelector == nil || in.From[0].IPBlock != nil {
		t.Errorf("from %+v, want the pods of a name in a namespace", in.From)
	}
	if port := b.daemonSet.Spec.Template.Spec.Containers[0].Ports[0]; len(in.Ports) != 1 || in.Ports[0].Port.StrVal != port.Name {
		t.Errorf("ports %+v, want %s", in.Ports, port.Name)
	}
}

// TestAuthProxy: nothing but the proxy is reached from outside the pod, it alone has a
// token, probes go through it, and Prometheus's account may read metrics.
func TestAuthProxy(t *testing.T) {
	b := with(t, "networkpolicy", "podmonitor", "auth-proxy")
	spec := b.daemonSet.Spec.Template.Spec
	if len(spec.Containers) != 2 {
		t.Fatalf("%d containers, want 2", len(spec.Containers))
	}
	exporter, proxy := spec.Containers[0], spec.Containers[1]
	base := with(t).daemonSet.Spec.Template.Spec
	if !slices.Contains(exporter.Args, "--web.listen-address=127.0.0.1:9934") || len(exporter.Ports) != 0 || len(exporter.VolumeMounts) != len(base.Containers[0].VolumeMounts) {
		t.Errorf("exporter: args %q, ports %v, mounts %v; want the base's on loopback", exporter.Args, exporter.Ports, exporter.VolumeMounts)
	}
	if len(proxy.Ports) != 1 || proxy.Ports[0].Name != "metrics" || !slices.Contains(proxy.Args, "--upstream=http://127.0.0.1:9934/") {
		t.Fatalf("proxy: args %q, ports %v", proxy.Args, proxy.Ports)
	}
	port := proxy.Ports[0].ContainerPort
	for _, p := range []*corev1.Probe{exporter.StartupProbe, exporter.LivenessProbe, exporter.ReadinessProbe} {
		if p.HTTPGet == nil || p.HTTPGet.Port.IntVal != port || p.HTTPGet.Scheme != corev1.URISchemeHTTPS {
			t.Errorf("probe %v, want HTTPS to port %d", p, port)
		} else if i := slices.IndexFunc(proxy.Args, func(a string) bool { return strings.HasPrefix(a, "--ignore-paths=") }); i < 0 || !strings.Contains(proxy.Args[i], p.HTTPGet.Path) {
			t.Errorf("a probe of %s needs a token: %q", p.HTTPGet.Path, proxy.Args)
		}
	}
	sc := proxy.SecurityContext
	if sc == nil || *sc.AllowPrivilegeEscalation || !*sc.RunAsNonRoot || !*sc.ReadOnlyRootFilesystem || !slices.Equal(sc.Capabilities.Drop, []corev1.Capability{"ALL"}) || len(sc.Capabilities.Add) > 0 {
		t.Errorf("the proxy's security context is %+v", sc)
	}
	if *spec.AutomountServiceAccountToken {
		t.Error("the exporter gets a token")
	}
	if _, tag, ok := strings.Cut(proxy.Image, ":"); !ok || tag == "latest" {
		t.Errorf("image %s has no tag of its own", proxy.Image)
	}
	var volumes []string
	for _, v := range spec.Volumes {
		volumes = append(volumes, v.Name)
	}
	if len(volumes) != len(base.Volumes)+1 || len(proxy.VolumeMounts) != 1 || !slices.Contains(volumes, proxy.VolumeMounts[0].Name) {
		t.Errorf("volumes %v, the proxy's mounts %v", volumes, proxy.VolumeMounts)
	}

	for name, account := range map[string]string{"mglru-exporter-auth-proxy": spec.ServiceAccountName, "mglru-exporter-scraper": b.scraper.Name} {
		role, binding := b.roles[name], b.bindings[name]
		if role == nil || binding == nil || binding.RoleRef.Name != name || len(binding.Subjects) != 1 ||
			binding.Subjects[0].Name != account || binding.Subjects[0].Namespace != b.namespace.Name {
			t.Errorf("%s: role %+v, binding %+v, want it bound to %s", name, role, binding, account)
		}
	}
	if urls := b.roles["mglru-exporter-scraper"].Rules[0].NonResourceURLs; !slices.Equal(urls, []string{"/metrics"}) {
		t.Errorf("the scraper may get %v", urls)
	}
	endpoint := b.podMonitor.Spec.PodMetricsEndpoints[0]
	if endpoint.Scheme.String() != "https" || *endpoint.Port != proxy.Ports[0].Name || endpoint.Authorization == nil || len(endpoint.RelabelConfigs) == 0 {
		t.Fatalf("the PodMonitor's endpoint is %+v", endpoint)
	}
	token := b.secrets[endpoint.Authorization.Credentials.Name]
	if token == nil || token.Type != corev1.SecretTypeServiceAccountToken || token.Annotations[corev1.ServiceAccountNameKey] != b.scraper.Name {
		t.Errorf("the PodMonitor's token is %+v", token)
	}
	if len(b.policy.Spec.Egress) != 1 {
		t.Errorf("the proxy reaches no API server: %+v", b.policy.Spec.Egress)
	}
	// It works without the components that it adapts.
	if alone := with(t, "auth-proxy"); alone.policy != nil || alone.podMonitor != nil || len(alone.daemonSet.Spec.Template.Spec.Containers) != 2 {
		t.Error("it does not stand alone")
	}
}
