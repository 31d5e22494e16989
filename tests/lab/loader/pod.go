package main

import "fmt"

// podGroup is a run of pods from one template: indexes first to first+count-1 of [cluster.pod].
type podGroup struct {
	first, count int
}

// podGroups covers all pods: the two on every node, the singletons of the system, the applications.
func (c cluster) podGroups() []podGroup {
	groups := []podGroup{{0, c.nodes}, {c.nodes, c.nodes}}
	next := daemonSets * c.nodes
	for range singletonPods {
		groups = append(groups, podGroup{next, 1})
		next++
	}
	for ; next < c.pods; next += replicas {
		groups = append(groups, podGroup{next, min(replicas, c.pods-next)})
	}
	return groups
}

func (c cluster) pod(i int) item {
	switch daemons := daemonSets * c.nodes; {
	case i < c.nodes:
		return daemonPod(i, "kube-system", "cilium", object{"k8s-app": "cilium", "app.kubernetes.io/part-of": "cilium"}, agentSpec())
	case i < daemons:
		return daemonPod(i-c.nodes, "monitoring", "node-exporter", object{"app.kubernetes.io/name": "node-exporter"}, exporterSpec())
	case i < daemons+singletonPods:
		return singletonPod(i - daemons)
	default:
		return c.applicationPod(i - daemons - singletonPods)
	}
}

func (c cluster) applicationPod(k int) item {
	app, node, name, ip := c.appPod(k)
	set, _ := replicaSet(app)
	return runningPod(placement{
		uid: appPodUID(k), namespace: appNamespace(app), name: name, node: node, ip: ip, labels: appLabels(app),
		ownerKind: "ReplicaSet", owner: set, ownerUID: uid("replicaset", app), generateName: set + "-",
	}, appSpec(app))
}

// appSpec is the template of an application's pods.
func appSpec(app int) object {
	return object{
		"containers":                   appContainers(app),
		"volumes":                      list{object{"name": "config", "configMap": object{"name": appName(app)}}},
		"automountServiceAccountToken": false,
		"securityContext":              object{"runAsNonRoot": true, "runAsUser": 1000},
	}
}

// appContainers is one container, and a proxy beside it in every eighth application.
func appContainers(app int) list {
	environment := list{
		object{"name": "POD_NAME", "valueFrom": object{"fieldRef": object{"fieldPath": "metadata.name"}}},
		object{"name": "LOG_LEVEL", "value": "info"},
		object{"name": "UPSTREAM", "value": fmt.Sprintf("%s.%s.svc:80", appName(app/2), appNamespace(app/2))},
	}
	containers := list{object{
		"name": "app", "image": appImage(app) + ":" + appVersion(app),
		"args":  list{"--config=/etc/app/application.yaml", "--listen=:8080"},
		"env":   environment,
		"ports": list{port("http", 8080)},
		"resources": object{
			"requests": object{"cpu": "250m", "memory": "512Mi"}, "limits": object{"memory": "1Gi"},
		},
		"volumeMounts": list{mount("config", "/etc/app")},
	}}
	if app%8 == 7 {
		containers = append(containers, object{
			"name": "proxy", "image": "registry.example/platform/proxy:v2.31.0",
			"ports":     list{port("proxy", 15001)},
			"resources": object{"requests": object{"cpu": "50m", "memory": "64Mi"}, "limits": object{"memory": "128Mi"}},
		})
	}
	return containers
}

// placement is what the controllers, the scheduler and the network plugin decided about a pod.
type placement struct {
	// Empty: made from the name.
	uid                    string
	namespace, name        string
	node                   int
	ip                     string
	labels, annotations    object
	ownerKind, owner       string
	ownerUID, generateName string
	hostNetwork            bool
	priorityClass          string
}

// runningPod completes a spec as admission and the scheduler do, and adds the status of a pod that runs and is ready.
func runningPod(p placement, spec object) item {
	spec["nodeName"] = nodeName(p.node)
	if p.hostNetwork {
		spec["hostNetwork"] = true
		p.ip = nodeIP(p.node)
	}
	if p.priorityClass != "" {
		spec["priorityClassName"] = p.priorityClass
	}
	if p.ownerKind != "Node" {
		spec["serviceAccountName"] = "default"
	}
	if p.ownerKind != "Node" && spec["automountServiceAccountToken"] == nil {
		addToken(spec, "kube-api-access-"+letters(5, p.name, 0))
	}
	apiVersion, manager := "apps/v1", "kube-controller-manager"
	if p.ownerKind == "Node" {
		apiVersion, manager = "v1", "kubelet"
	}
	if p.uid == "" {
		p.uid = uid(p.name, 0)
	}
	extra := object{
		"uid": p.uid, "creationTimestamp": startTime, "generation": 1,
		"ownerReferences": list{object{
			"apiVersion": apiVersion, "kind": p.ownerKind, "name": p.owner, "uid": p.ownerUID,
			"controller": true, "blockOwnerDeletion": p.ownerKind != "Node",
		}},
	}
	if p.generateName != "" {
		extra["generateName"] = p.generateName
	}
	if p.annotations != nil {
		extra["annotations"] = p.annotations
	}
	conditions := list{}
	for _, kind := range []string{"PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"} {
		conditions = append(conditions, object{
			"type": kind, "status": "True", "lastProbeTime": nil, "lastTransitionTime": startTime,
		})
	}
	statuses := list{}
	for n, container := range spec["containers"].(list) {
		c := container.(object)
		image := c["image"].(string)
		statuses = append(statuses, object{
			"name": c["name"], "image": image, "ready": true, "started": true, "restartCount": 0, "lastState": object{},
			"containerID": "containerd://" + hexDigest(p.name, n),
			"imageID":     image + "@sha256:" + hexDigest(image, 0),
			"state":       object{"running": object{"startedAt": startTime}},
		})
	}
	return item{
		collection: namespaced("/api/v1", p.namespace, "pods"),
		manager:    manager,
		body: object{
			"apiVersion": "v1", "kind": "Pod",
			"metadata": meta(p.namespace, p.name, p.labels, extra),
			"spec":     spec,
			"status": object{
				"phase": "Running", "startTime": startTime, "observedGeneration": 1,
				"hostIP": nodeIP(p.node), "hostIPs": list{object{"ip": nodeIP(p.node)}},
				"podIP": p.ip, "podIPs": list{object{"ip": p.ip}},
				"conditions": conditions, "containerStatuses": statuses,
			},
		},
	}
}

// addToken mounts the service account's token as the ServiceAccount admission plugin does.
func addToken(spec object, volume string) {
	volumes, _ := spec["volumes"].(list)
	spec["volumes"] = append(volumes, object{"name": volume, "projected": object{
		"defaultMode": 420,
		"sources": list{
			object{"serviceAccountToken": object{"expirationSeconds": 3607, "path": "token"}},
			object{"configMap": object{"name": "kube-root-ca.crt", "items": list{object{"key": "ca.crt", "path": "ca.crt"}}}},
			object{"downwardAPI": object{"items": list{object{
				"path": "namespace", "fieldRef": object{"apiVersion": "v1", "fieldPath": "metadata.namespace"},
			}}}},
		},
	}})
	for _, container := range spec["containers"].(list) {
		c := container.(object)
		mounts, _ := c["volumeMounts"].(list)
		token := mount(volume, "/var/run/secrets/kubernetes.io/serviceaccount")
		token["readOnly"] = true
		c["volumeMounts"] = append(mounts, token)
	}
}

func port(name string, number int) object {
	return object{"name": name, "containerPort": number, "protocol": "TCP"}
}

func mount(volume, path string) object { return object{"name": volume, "mountPath": path} }
