package main

import "fmt"

func (c cluster) namespace(i int) item {
	labels := object{"example/team": namespaceName(i), "pod-security.kubernetes.io/enforce": "baseline"}
	return item{
		collection: "/api/v1/namespaces",
		manager:    "helm",
		body:       object{"apiVersion": "v1", "kind": "Namespace", "metadata": meta("", namespaceName(i), labels)},
	}
}

func selector(app int) object { return object{"app.kubernetes.io/name": appName(app)} }

func templateLabels(app int) object {
	return object{
		"app.kubernetes.io/name": appName(app), "app.kubernetes.io/instance": appName(app),
		"app.kubernetes.io/version": appVersion(app),
	}
}

// appLabels are the labels of an application's pods.
func appLabels(app int) object {
	labels := templateLabels(app)
	_, labels["pod-template-hash"] = replicaSet(app)
	return labels
}

func (c cluster) deployment(app int) item {
	return item{
		collection:    namespaced("/apis/apps/v1", appNamespace(app), "deployments"),
		manager:       "helm",
		statusManager: "kube-controller-manager",
		body: object{
			"apiVersion": "apps/v1", "kind": "Deployment",
			"metadata": meta(appNamespace(app), appName(app), selector(app)),
			"spec": object{
				"replicas": replicas,
				"selector": object{"matchLabels": selector(app)},
				"template": object{"metadata": object{"labels": templateLabels(app)}, "spec": appSpec(app)},
			},
			"status": object{
				"observedGeneration": 1, "replicas": replicas, "readyReplicas": replicas,
				"availableReplicas": replicas, "updatedReplicas": replicas,
			},
		},
	}
}

func (c cluster) service(app int) item {
	return item{
		collection: namespaced("/api/v1", appNamespace(app), "services"),
		manager:    "helm",
		body: object{
			"apiVersion": "v1", "kind": "Service",
			"metadata": meta(appNamespace(app), appName(app), selector(app)),
			"spec": object{
				"selector": selector(app),
				"ports":    list{object{"name": "http", "port": 80, "targetPort": "http", "protocol": "TCP"}},
			},
		},
	}
}

func (c cluster) endpointSlice(app int) item {
	endpoints := list{}
	for k := app * replicas; k < min((app+1)*replicas, c.appPods()); k++ {
		_, node, name, ip := c.appPod(k)
		endpoints = append(endpoints, object{
			"addresses":  list{ip},
			"conditions": object{"ready": true, "serving": true, "terminating": false},
			"nodeName":   nodeName(node), "zone": zone(node),
			"targetRef": object{"kind": "Pod", "namespace": appNamespace(app), "name": name, "uid": appPodUID(k)},
		})
	}
	labels := object{
		"kubernetes.io/service-name":             appName(app),
		"endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
	}
	return item{
		collection: namespaced("/apis/discovery.k8s.io/v1", appNamespace(app), "endpointslices"),
		manager:    "kube-controller-manager",
		body: object{
			"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
			"metadata":    meta(appNamespace(app), appName(app)+"-"+suffix(app), labels),
			"addressType": "IPv4", "endpoints": endpoints,
			"ports": list{object{"name": "http", "port": 8080, "protocol": "TCP"}},
		},
	}
}

func (c cluster) configMap(app int) item {
	return item{
		collection: namespaced("/api/v1", appNamespace(app), "configmaps"),
		manager:    "helm",
		body: object{
			"apiVersion": "v1", "kind": "ConfigMap",
			"metadata": meta(appNamespace(app), appName(app), selector(app)),
			"data": object{
				"application.yaml": fmt.Sprintf("server:\n  port: 8080\nupstream: %s\nlog:\n  level: info\n  format: json\n", appName(app/2)),
			},
		},
	}
}

func (c cluster) networkPolicy(i int) item {
	sameNamespace := list{object{"from": list{object{"podSelector": object{}}}}}
	return item{
		collection: namespaced("/apis/networking.k8s.io/v1", namespaceName(i), "networkpolicies"),
		manager:    "helm",
		body: object{
			"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
			"metadata": meta(namespaceName(i), "same-namespace", object{}),
			"spec":     object{"podSelector": object{}, "policyTypes": list{"Ingress"}, "ingress": sameNamespace},
		},
	}
}
