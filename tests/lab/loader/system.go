package main

import (
	_ "embed"
	"encoding/json"
	"fmt"
)

// What Cilium's own chart writes for VXLAN and the Kubernetes IPAM mode, with cluster name `large` and id 1.
//
//go:embed cilium-config.json
var ciliumConfig []byte

// systemObjects are the objects there is one of, in kube-system and monitoring.
func (c cluster) systemObjects() []item {
	var configuration object
	if err := json.Unmarshal(ciliumConfig, &configuration); err != nil {
		panic(err) // embedded: cannot differ from one run to the next
	}
	kubeadm := fmt.Sprintf("apiVersion: kubeadm.k8s.io/v1beta4\nkind: ClusterConfiguration\nclusterName: large\n"+
		"kubernetesVersion: %s\nnetworking:\n  dnsDomain: cluster.local\n  podSubnet: %s\n  serviceSubnet: %s\n",
		kubernetes, podRange, serviceRange)
	corefile := ".:53 {\n    errors\n    health\n    ready\n    kubernetes cluster.local in-addr.arpa ip6.arpa {\n" +
		"       pods insecure\n       fallthrough in-addr.arpa ip6.arpa\n       ttl 30\n    }\n" +
		"    forward . /etc/resolv.conf\n    cache 30\n    loop\n    reload\n    loadbalance\n}\n"
	return []item{
		{collection: "/api/v1/namespaces", manager: "helm", body: object{
			"apiVersion": "v1", "kind": "Namespace", "metadata": meta("", "monitoring", object{}),
		}},
		systemConfigMap("cilium-config", configuration),
		systemConfigMap("kubeadm-config", object{"ClusterConfiguration": kubeadm}),
		systemConfigMap("coredns", object{"Corefile": corefile}),
		c.daemonSet("kube-system", "cilium", object{"k8s-app": "cilium"}, agentSpec()),
		systemDeployment("cilium-operator", object{"io.cilium/app": "operator"}, operatorSpec()),
		systemDeployment("coredns", object{"k8s-app": "kube-dns"}, corednsSpec()),
	}
}

func systemConfigMap(name string, data object) item {
	return item{
		collection: namespaced("/api/v1", "kube-system", "configmaps"),
		manager:    "helm",
		body: object{
			"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta("kube-system", name, object{}), "data": data,
		},
	}
}

func (c cluster) daemonSet(namespace, name string, labels, spec object) item {
	return item{
		collection:    namespaced("/apis/apps/v1", namespace, "daemonsets"),
		manager:       "helm",
		statusManager: "kube-controller-manager",
		body: object{
			"apiVersion": "apps/v1", "kind": "DaemonSet",
			"metadata": meta(namespace, name, labels),
			"spec": object{
				"selector": object{"matchLabels": labels},
				"template": object{"metadata": object{"labels": labels}, "spec": spec},
			},
			"status": object{
				"currentNumberScheduled": c.nodes, "desiredNumberScheduled": c.nodes, "numberReady": c.nodes,
				"numberAvailable": c.nodes, "updatedNumberScheduled": c.nodes, "numberMisscheduled": 0, "observedGeneration": 1,
			},
		},
	}
}

func systemDeployment(name string, labels, spec object) item {
	return item{
		collection:    namespaced("/apis/apps/v1", "kube-system", "deployments"),
		manager:       "helm",
		statusManager: "kube-controller-manager",
		body: object{
			"apiVersion": "apps/v1", "kind": "Deployment",
			"metadata": meta("kube-system", name, labels),
			"spec": object{
				"replicas": 2, "selector": object{"matchLabels": labels},
				"template": object{"metadata": object{"labels": labels}, "spec": spec},
			},
			"status": object{
				"observedGeneration": 1, "replicas": 2, "readyReplicas": 2, "availableReplicas": 2, "updatedReplicas": 2,
			},
		},
	}
}

func daemonPod(node int, namespace, name string, labels, spec object) item {
	labels["controller-revision-hash"] = letters(9, name, 0)
	labels["pod-template-generation"] = "1"
	spec["tolerations"] = list{object{"operator": "Exists"}}
	return runningPod(placement{
		namespace: namespace, name: name + "-" + suffix(node), generateName: name + "-",
		node: node, labels: labels, ownerKind: "DaemonSet", owner: name, ownerUID: uid("daemonset/"+name, 0),
		hostNetwork: true, priorityClass: "system-node-critical",
	}, spec)
}

// singletonPod gives the static pods of the control planes, then two pods each of the operator and of CoreDNS.
func singletonPod(i int) item {
	if i < 2*controlPlanes {
		node, name, spec := i/2, "kube-apiserver", apiServerSpec()
		if i%2 == 1 {
			name, spec = "kube-controller-manager", controllerManagerSpec()
		}
		hash := hexDigest(name, node)[:32]
		spec["tolerations"] = list{object{"operator": "Exists", "effect": "NoExecute"}}
		return runningPod(placement{
			namespace: "kube-system", name: name + "-" + nodeName(node), node: node,
			labels:    object{"component": name, "tier": "control-plane"},
			ownerKind: "Node", owner: nodeName(node), ownerUID: uid("node", node),
			annotations: object{
				"kubernetes.io/config.hash": hash, "kubernetes.io/config.mirror": hash,
				"kubernetes.io/config.seen": startTime, "kubernetes.io/config.source": "file",
			},
			hostNetwork: true, priorityClass: "system-node-critical",
		}, spec)
	}
	node := controlPlanes + i%2
	name, labels, spec, hostNetwork := "cilium-operator", object{"io.cilium/app": "operator"}, operatorSpec(), true
	if i >= 2*controlPlanes+2 {
		name, labels, spec, hostNetwork = "coredns", object{"k8s-app": "kube-dns"}, corednsSpec(), false
	}
	hash := letters(10, name, 0)
	labels["pod-template-hash"] = hash
	return runningPod(placement{
		namespace: "kube-system", name: name + "-" + hash + "-" + suffix(i), generateName: name + "-" + hash + "-",
		node: node, ip: podIP(node, lastPodOffset+1), labels: labels,
		ownerKind: "ReplicaSet", owner: name + "-" + hash, ownerUID: uid("replicaset/"+name, 0),
		hostNetwork: hostNetwork, priorityClass: "system-cluster-critical",
	}, spec)
}

func apiServerSpec() object {
	return staticSpec("kube-apiserver", "--advertise-address=172.16.0.10", "--allow-privileged=true",
		"--authorization-mode=Node,RBAC", "--etcd-servers=https://127.0.0.1:2379",
		fmt.Sprintf("--secure-port=%d", apiServerPort), "--service-cluster-ip-range="+serviceRange)
}

func controllerManagerSpec() object {
	return staticSpec("kube-controller-manager", "--allocate-node-cidrs=true", "--cluster-cidr="+podRange,
		"--cluster-name=large", "--service-cluster-ip-range="+serviceRange, "--use-service-account-credentials=true")
}

func staticSpec(name string, arguments ...string) object {
	command := list{name}
	for _, argument := range arguments {
		command = append(command, argument)
	}
	return object{
		"containers": list{object{
			"name": name, "image": "registry.k8s.io/" + name + ":" + kubernetes, "command": command,
			"resources":    object{"requests": object{"cpu": "250m"}},
			"volumeMounts": list{mount("k8s-certs", "/etc/kubernetes/pki")},
		}},
		"volumes": list{hostPath("k8s-certs", "/etc/kubernetes/pki")},
	}
}

func operatorSpec() object {
	return object{"containers": list{object{
		"name": "cilium-operator", "image": ciliumImage("operator-generic"), "command": list{"cilium-operator-generic"},
		"args": list{"--config-dir=/tmp/cilium/config-map", "--debug=$(CILIUM_DEBUG)"},
	}}}
}

func corednsSpec() object {
	return object{
		"containers": list{object{
			"name": "coredns", "image": "registry.k8s.io/coredns/coredns:v1.13.1", "args": list{"-conf", "/etc/coredns/Corefile"},
			"ports":        list{object{"name": "dns", "containerPort": 53, "protocol": "UDP"}, port("dns-tcp", 53), port("metrics", 9153)},
			"volumeMounts": list{mount("config-volume", "/etc/coredns")},
		}},
		"volumes": list{object{"name": "config-volume", "configMap": object{"name": "coredns"}}},
	}
}

func agentSpec() object {
	paths := []struct{ name, path string }{
		{"cilium-run", "/var/run/cilium"}, {"cilium-netns", "/var/run/netns"}, {"bpf-maps", "/sys/fs/bpf"},
		{"hostproc", "/proc"}, {"cilium-cgroup", "/run/cilium/cgroupv2"}, {"cni-path", "/opt/cni/bin"},
		{"etc-cni-netd", "/etc/cni/net.d"}, {"lib-modules", "/lib/modules"}, {"xtables-lock", "/run/xtables.lock"},
		{"host-proc-sys-net", "/proc/sys/net"}, {"host-proc-sys-kernel", "/proc/sys/kernel"},
	}
	volumes, mounts := list{}, list{}
	for _, p := range paths {
		volumes = append(volumes, hostPath(p.name, p.path))
		mounts = append(mounts, mount(p.name, "/host"+p.path))
	}
	health := object{
		"httpGet":       object{"host": "127.0.0.1", "path": "/healthz", "port": 9879, "scheme": "HTTP"},
		"periodSeconds": 30, "failureThreshold": 10,
	}
	return object{
		"containers": list{object{
			"name": "cilium-agent", "image": ciliumImage("cilium"),
			"command": list{"cilium-agent"}, "args": list{"--config-dir=/tmp/cilium/config-map"},
			"env": list{
				object{"name": "K8S_NODE_NAME", "valueFrom": object{"fieldRef": object{"fieldPath": "spec.nodeName"}}},
				object{"name": "CILIUM_K8S_NAMESPACE", "valueFrom": object{"fieldRef": object{"fieldPath": "metadata.namespace"}}},
				object{"name": "CILIUM_CLUSTERMESH_CONFIG", "value": "/var/lib/cilium/clustermesh/"},
			},
			"livenessProbe": health, "readinessProbe": health,
			"ports": list{
				object{"name": "health", "containerPort": 9879, "hostPort": 9879, "protocol": "TCP"},
				object{"name": "peer-service", "containerPort": 4244, "hostPort": 4244, "protocol": "TCP"},
			},
			"securityContext": object{"capabilities": object{
				"add":  list{"CHOWN", "KILL", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "SYS_MODULE", "SYS_ADMIN", "SYS_RESOURCE"},
				"drop": list{"ALL"},
			}},
			"volumeMounts": mounts,
		}},
		"hostNetwork": true,
		"volumes":     volumes,
	}
}

func exporterSpec() object {
	return object{
		"containers": list{object{
			"name": "node-exporter", "image": "registry.example/platform/node-exporter:v1.10.2",
			"args":         list{"--path.procfs=/host/proc", "--path.sysfs=/host/sys", "--web.listen-address=:9100"},
			"ports":        list{object{"name": "metrics", "containerPort": 9100, "hostPort": 9100, "protocol": "TCP"}},
			"resources":    object{"requests": object{"cpu": "50m", "memory": "64Mi"}, "limits": object{"memory": "128Mi"}},
			"volumeMounts": list{mount("proc", "/host/proc"), mount("sys", "/host/sys")},
		}},
		"hostPID": true,
		"volumes": list{hostPath("proc", "/proc"), hostPath("sys", "/sys")},
	}
}

func hostPath(name, path string) object {
	return object{"name": name, "hostPath": object{"path": path, "type": ""}}
}
