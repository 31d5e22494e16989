package main

import (
	"fmt"
	"strconv"
)

const (
	crdCollection = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
	ciliumGroup   = "/apis/cilium.io/v2"
)

// ciliumKind is a resource of cilium.io/v2.
type ciliumKind struct {
	plural, kind, scope string
}

// ciliumKinds are the resources that every Cilium cluster serves and an audit looks for.
var ciliumKinds = []ciliumKind{
	{"ciliumnodes", "CiliumNode", "Cluster"},
	{"ciliumidentities", "CiliumIdentity", "Cluster"},
	{"ciliumendpoints", "CiliumEndpoint", "Namespaced"},
	{"ciliumnodeconfigs", "CiliumNodeConfig", "Namespaced"},
	{"ciliumloadbalancerippools", "CiliumLoadBalancerIPPool", "Cluster"},
	{"ciliumnetworkpolicies", "CiliumNetworkPolicy", "Namespaced"},
	{"ciliumclusterwidenetworkpolicies", "CiliumClusterwideNetworkPolicy", "Cluster"},
}

func (k ciliumKind) definitionName() string { return k.plural + ".cilium.io" }

// ciliumDefinition is a definition without Cilium's own validation: the objects below are what counts here.
func ciliumDefinition(i int) item {
	kind := ciliumKinds[i]
	open := object{"type": "object", "x-kubernetes-preserve-unknown-fields": true}
	return item{
		collection: crdCollection,
		manager:    "cilium-operator-generic",
		body: object{
			"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
			"metadata": meta("", kind.definitionName(), object{"io.cilium.k8s.crd.schema.version": "1.32.4"}),
			"spec": object{
				"group": "cilium.io", "scope": kind.scope,
				"names":    object{"plural": kind.plural, "kind": kind.kind, "listKind": kind.kind + "List"},
				"versions": list{object{"name": "v2", "served": true, "storage": true, "schema": object{"openAPIV3Schema": open}}},
			},
		},
	}
}

func (c cluster) ciliumNode(i int) item {
	owner := object{"apiVersion": "v1", "kind": "Node", "name": nodeName(i), "uid": uid("node", i)}
	return item{
		collection: ciliumGroup + "/ciliumnodes",
		manager:    "cilium-agent",
		body: object{
			"apiVersion": "cilium.io/v2", "kind": "CiliumNode",
			"metadata": meta("", nodeName(i), nodeLabels(i), object{"ownerReferences": list{owner}}),
			"spec": object{
				"addresses": list{
					object{"type": "InternalIP", "ip": nodeIP(i)},
					object{"type": "CiliumInternalIP", "ip": podIP(i, 1)},
				},
				"alibaba-cloud": object{}, "azure": object{}, "eni": object{}, "encryption": object{}, "ingress": object{},
				"bootid": bootID(i),
				"health": object{"ipv4": podIP(i, 2)},
				"ipam":   object{"podCIDRs": list{nodePodRange(i)}, "pools": object{}},
			},
		},
	}
}

func identity(app int) int { return firstIdentity + app }

func securityLabels(app int) map[string]string {
	return map[string]string{
		"k8s:app.kubernetes.io/name":                                     appName(app),
		"k8s:app.kubernetes.io/version":                                  appVersion(app),
		"k8s:io.cilium.k8s.policy.cluster":                               "large",
		"k8s:io.cilium.k8s.policy.serviceaccount":                        "default",
		"k8s:io.kubernetes.pod.namespace":                                appNamespace(app),
		"k8s:io.cilium.k8s.namespace.labels.kubernetes.io/metadata.name": appNamespace(app),
	}
}

func (c cluster) ciliumIdentity(app int) item {
	labels := object{
		"app.kubernetes.io/name": appName(app), "app.kubernetes.io/version": appVersion(app),
		"io.kubernetes.pod.namespace": appNamespace(app), "io.cilium.k8s.policy.cluster": "large",
		"io.cilium.k8s.policy.serviceaccount": "default",
	}
	return item{
		collection: ciliumGroup + "/ciliumidentities",
		manager:    "cilium-agent",
		body: object{
			"apiVersion": "cilium.io/v2", "kind": "CiliumIdentity",
			"metadata":        meta("", strconv.Itoa(identity(app)), labels),
			"security-labels": securityLabels(app),
		},
	}
}

func (c cluster) ciliumEndpoint(k int) item {
	app, node, name, ip := c.appPod(k)
	labels := list{}
	for key, value := range securityLabels(app) {
		labels = append(labels, key+"="+value)
	}
	owner := object{"apiVersion": "v1", "kind": "Pod", "name": name, "uid": appPodUID(k)}
	return item{
		collection: namespaced(ciliumGroup, appNamespace(app), "ciliumendpoints"),
		manager:    "cilium-agent",
		body: object{
			"apiVersion": "cilium.io/v2", "kind": "CiliumEndpoint",
			"metadata": meta(appNamespace(app), name, appLabels(app), object{
				"ownerReferences": list{owner}, "uid": uid("endpoint", k), "creationTimestamp": startTime, "generation": 1,
			}),
			"status": object{
				"encryption": object{},
				"external-identifiers": object{
					"container-id": hexDigest("sandbox", k), "cni-attachment-id": hexDigest("sandbox", k) + ":eth0",
					"k8s-namespace": appNamespace(app), "k8s-pod-name": name, "pod-name": appNamespace(app) + "/" + name,
				},
				"id":              k%4_000 + 1,
				"identity":        object{"id": identity(app), "labels": labels},
				"named-ports":     list{object{"name": "http", "port": 8080, "protocol": "TCP"}},
				"networking":      object{"addressing": list{object{"ipv4": ip}}, "node": nodeIP(node)},
				"service-account": "default",
				"state":           "ready",
			},
		},
	}
}

func ciliumImage(name string) string {
	return fmt.Sprintf("quay.io/cilium/%s:v%s", name, ciliumVersion)
}
