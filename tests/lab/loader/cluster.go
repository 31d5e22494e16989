package main

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
)

// object is a Kubernetes object, or a part of one, as JSON has it.
type object = map[string]any

type list = []any

const (
	namespaces     = 100
	replicas       = 40
	imagesPerNode  = 50 // the most that a kubelet reports
	controlPlanes  = 3
	daemonSets     = 2 // cilium and node-exporter: a pod of each on every node
	singletonPods  = 2*controlPlanes + 2*2
	kubernetes     = "v1.36.3"
	ciliumVersion  = "1.20.0"
	serviceRange   = "10.96.0.0/16"
	podRange       = "10.0.0.0/11"
	firstIdentity  = 65_536 + 256
	startTime      = "2026-01-05T08:00:00Z"
	apiServerPort  = 6443
	firstPodOffset = 10
	lastPodOffset  = 240
)

// cluster is the shape of the cluster: which nodes, applications and pods there are and what they are called.
// Everything follows from an index, so that two loads write the same objects.
type cluster struct {
	nodes, pods int
}

func newCluster(nodes, pods int) (cluster, error) {
	c := cluster{nodes: nodes, pods: pods}
	switch {
	case nodes < controlPlanes+2 || nodes > 8_192:
		return c, errors.New("nodes: 5 to 8,192 (the /24 blocks of the pod range)")
	case c.appPods() < 1:
		return c, fmt.Errorf("pods: at least %d for %d nodes", daemonSets*nodes+singletonPods+1, nodes)
	case (c.appPods()-1)/nodes > lastPodOffset-firstPodOffset:
		return c, fmt.Errorf("pods: too many for the /24 of each of %d nodes", nodes)
	}
	return c, nil
}

// appPods is the number of pods that belong to applications: all but those of the system.
func (c cluster) appPods() int { return c.pods - daemonSets*c.nodes - singletonPods }

// apps is the number of applications, each a Deployment of 40 replicas with a Service.
func (c cluster) apps() int { return (c.appPods() + replicas - 1) / replicas }

func nodeName(node int) string { return fmt.Sprintf("worker-%04d.large.example", node) }

func isControlPlane(node int) bool { return node < controlPlanes }

func zone(node int) string { return fmt.Sprintf("region-1%c", 'a'+rune(node%3)) }

// nodeIP counts up from 172.16.0.10.
func nodeIP(node int) string { return offset(netip.MustParseAddr("172.16.0.10"), node) }

// nodePodRange is the /24 of the pod range that belongs to a node.
func nodePodRange(node int) string { return podIP(node, 0) + "/24" }

func podIP(node, last int) string {
	return offset(netip.MustParsePrefix(podRange).Addr(), node*256+last)
}

func offset(from netip.Addr, by int) string {
	b := from.As4()
	n := int(b[0])<<24 | int(b[1])<<16 | int(b[2])<<8 | int(b[3])
	n += by
	return netip.AddrFrom4([4]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}).String()
}

func namespaceName(i int) string { return fmt.Sprintf("team-%02d", i) }

func appNamespace(app int) string { return namespaceName(app % namespaces) }

func appName(app int) string {
	roles := []string{"api", "frontend", "worker", "cache", "gateway", "search", "billing"}
	return fmt.Sprintf("%s-%04d", roles[app%len(roles)], app)
}

func appImage(app int) string {
	return fmt.Sprintf("registry.example/%s/%s", appNamespace(app), appName(app))
}

// replicaSet is the name that a Deployment's controller gives: the application and the hash of its template.
func replicaSet(app int) (name, hash string) {
	hash = letters(10, "replicaset", app)
	return appName(app) + "-" + hash, hash
}

// appPod says where the k-th application pod is: pods are spread over all nodes in turn.
func (c cluster) appPod(k int) (app, node int, name, ip string) {
	app, node = k/replicas, k%c.nodes
	set, _ := replicaSet(app)
	return app, node, set + "-" + suffix(k), podIP(node, firstPodOffset+k/c.nodes)
}

// appPodUID is the same in the pod, its endpoint slice and its CiliumEndpoint.
func appPodUID(k int) string { return uid("pod", k) }

func digest(kind string, i int) [sha256.Size]byte {
	return sha256.Sum256(fmt.Appendf(nil, "%s/%d", kind, i))
}

func hexDigest(kind string, i int) string {
	sum := digest(kind, i)
	return hex.EncodeToString(sum[:])
}

func uid(kind string, i int) string {
	h := hexDigest(kind, i)
	return h[:8] + "-" + h[8:12] + "-4" + h[13:16] + "-a" + h[17:20] + "-" + h[20:32]
}

// The letters of generated names.
const alphabet = "bcdfghjklmnpqrstvwxz2456789"

// letters is a name suffix that looks like a hash.
func letters(count int, kind string, i int) string {
	sum := digest(kind, i)
	out := make([]byte, count)
	for n := range out {
		out[n] = alphabet[int(sum[n])%len(alphabet)]
	}
	return string(out)
}

// suffix is the last part of a pod's name: five letters in no visible order, different for each index.
func suffix(i int) string {
	const names = 27 * 27 * 27 * 27 * 27
	// No multiple of 3, so that no two indexes meet.
	const stride = 7_654_321
	n := i * stride % names
	out := make([]byte, 5)
	for at := range out {
		out[at] = alphabet[n%len(alphabet)]
		n /= len(alphabet)
	}
	return string(out)
}

// meta is the metadata of an object; extra overrides or adds fields.
func meta(namespace, name string, labels object, extra ...object) object {
	m := object{"name": name, "labels": labels}
	if namespace != "" {
		m["namespace"] = namespace
	}
	for _, fields := range extra {
		for key, value := range fields {
			m[key] = value
		}
	}
	return m
}

func nameOf(o object) string { return o["metadata"].(object)["name"].(string) }

func namespaced(group, namespace, plural string) string {
	return group + "/namespaces/" + namespace + "/" + plural
}
