package main

import "fmt"

func (c cluster) node(i int) item {
	labels := nodeLabels(i)
	annotations := object{
		"node.alpha.kubernetes.io/ttl":                           "0",
		"volumes.kubernetes.io/controller-managed-attach-detach": "true",
		"csi.volume.kubernetes.io/nodeid":                        fmt.Sprintf(`{"disk.csi.example":"%s"}`, uid("instance", i)),
	}
	spec := object{"podCIDR": nodePodRange(i), "podCIDRs": list{nodePodRange(i)}}
	if isControlPlane(i) {
		spec["taints"] = list{object{"key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule"}}
	}
	allocatable := object{
		"cpu": "15890m", "memory": "62315820Ki", "ephemeral-storage": "95491281146",
		"hugepages-1Gi": "0", "hugepages-2Mi": "0", "pods": "110",
	}
	capacity := object{
		"cpu": "16", "memory": "65335596Ki", "ephemeral-storage": "104845292Ki",
		"hugepages-1Gi": "0", "hugepages-2Mi": "0", "pods": "110",
	}
	status := object{
		"addresses": list{
			object{"type": "InternalIP", "address": nodeIP(i)},
			object{"type": "Hostname", "address": nodeName(i)},
		},
		"allocatable": allocatable,
		"capacity":    capacity,
		"conditions": list{
			nodeCondition("NetworkUnavailable", "False", "CiliumIsUp", "Cilium is running on this node"),
			nodeCondition("MemoryPressure", "False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
			nodeCondition("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
			nodeCondition("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
			nodeCondition("Ready", "True", "KubeletReady", "kubelet is posting ready status"),
		},
		"daemonEndpoints": object{"kubeletEndpoint": object{"Port": 10250}},
		"images":          c.nodeImages(i),
		"nodeInfo": object{
			"machineID": hexDigest("machine", i)[:32], "systemUUID": uid("machine", i), "bootID": bootID(i),
			"kernelVersion": "6.12.48-cloud-amd64", "osImage": "Debian GNU/Linux 13 (trixie)",
			"containerRuntimeVersion": "containerd://2.2.1", "kubeletVersion": kubernetes, "kubeProxyVersion": "",
			"operatingSystem": "linux", "architecture": "amd64",
		},
		"runtimeHandlers": list{
			object{"name": "", "features": object{"recursiveReadOnlyMounts": true, "userNamespaces": true}},
			object{"name": "runc", "features": object{"recursiveReadOnlyMounts": true, "userNamespaces": true}},
		},
		"features": object{"supplementalGroupsPolicy": true},
	}
	return item{
		collection:    "/api/v1/nodes",
		manager:       "kubeadm",
		statusManager: "kubelet",
		body: object{
			"apiVersion": "v1", "kind": "Node",
			"metadata": meta("", nodeName(i), labels, object{"annotations": annotations}),
			"spec":     spec, "status": status,
		},
	}
}

func nodeLabels(i int) object {
	labels := object{
		"beta.kubernetes.io/arch": "amd64", "beta.kubernetes.io/os": "linux",
		"kubernetes.io/arch": "amd64", "kubernetes.io/os": "linux", "kubernetes.io/hostname": nodeName(i),
		"node.kubernetes.io/instance-type": "standard-16", "node.example/pool": fmt.Sprintf("pool-%d", i%10),
		"topology.kubernetes.io/region": "region-1", "topology.kubernetes.io/zone": zone(i),
	}
	if isControlPlane(i) {
		labels["node-role.kubernetes.io/control-plane"] = ""
	}
	return labels
}

func bootID(i int) string { return uid("boot", i) }

func nodeCondition(kind, status, reason, message string) object {
	return object{
		"type": kind, "status": status, "reason": reason, "message": message,
		"lastHeartbeatTime": startTime, "lastTransitionTime": startTime,
	}
}

// nodeImages is what a kubelet that has been up for a while reports: each image by digest and by tag.
func (c cluster) nodeImages(node int) list {
	images := make(list, imagesPerNode)
	for n := range images {
		app := (node + n*61) % c.apps()
		name := appImage(app)
		images[n] = object{
			"names":     list{name + "@sha256:" + hexDigest("image", app), name + ":" + appVersion(app)},
			"sizeBytes": 500_000_000 - n*7_654_321 + node,
		}
	}
	return images
}

func appVersion(app int) string { return fmt.Sprintf("v1.%d.%d", app%37, app%11) }
