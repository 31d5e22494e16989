package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"

	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
)

// store is the API server's etcd. What there are hundreds of thousands of is written there, in the form in which the
// server keeps it: through the API, with two writes for each pod, it would take about half an hour.
type store struct {
	url string
}

// entry is one key and its value.
type entry struct {
	Key   []byte `json:"key"`
	Value []byte `json:"value"`
}

// The most that fit into a transaction: etcd allows 128 operations and 1.5 MiB.
const entriesPerTransaction = 100

func (s store) put(ctx context.Context, entries []entry) error {
	type operation struct {
		Put entry `json:"requestPut"`
	}
	for len(entries) > 0 {
		count := min(len(entries), entriesPerTransaction)
		operations := make([]operation, count)
		for i := range operations {
			operations[i].Put = entries[i]
		}
		entries = entries[count:]
		body, err := json.Marshal(map[string]any{"success": operations})
		if err != nil {
			return err
		}
		request, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url+"/v3/kv/txn", bytes.NewReader(body))
		if err != nil {
			return err
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			return err
		}
		answer, err := io.ReadAll(response.Body)
		response.Body.Close()
		if err != nil {
			return err
		}
		if response.StatusCode != http.StatusOK {
			return fmt.Errorf("etcd: %s: %s", response.Status, answer)
		}
	}
	return nil
}

// podWriter stamps out pods from what the API server makes of the first of each group.
type podWriter struct {
	cluster cluster
	api     *api
	store   store
	encoder runtime.Encoder
}

func newPodWriter(c cluster, a *api, s store) (*podWriter, error) {
	scheme := runtime.NewScheme()
	if err := core.AddToScheme(scheme); err != nil {
		return nil, err
	}
	return &podWriter{cluster: c, api: a, store: s, encoder: protobuf.NewSerializer(scheme, scheme)}, nil
}

func (w *podWriter) write(ctx context.Context, group podGroup) error {
	var template core.Pod
	if err := w.api.tryOut(ctx, w.cluster.pod(group.first), &template); err != nil {
		return err
	}
	entries := make([]entry, group.count)
	for n := range entries {
		pod, err := stamp(&template, w.cluster.pod(group.first+n))
		if err != nil {
			return err
		}
		var value bytes.Buffer
		if err := w.encoder.Encode(pod, &value); err != nil {
			return err
		}
		entries[n] = entry{Key: []byte("/registry/pods/" + pod.Namespace + "/" + pod.Name), Value: value.Bytes()}
	}
	return w.store.put(ctx, entries)
}

// stamp is the template with all that is a pod's own: name and identity, node, token volume and status.
//
// Managed fields are left out. They would double a pod, and kubectl's list of them would not fit into 24 GB.
func stamp(template *core.Pod, it item) (*core.Pod, error) {
	body, err := json.Marshal(it.body)
	if err != nil {
		return nil, err
	}
	var own core.Pod
	if err := json.Unmarshal(body, &own); err != nil {
		return nil, err
	}
	pod := template.DeepCopy()
	pod.TypeMeta = own.TypeMeta
	pod.ObjectMeta = own.ObjectMeta
	pod.Spec.NodeName = own.Spec.NodeName
	pod.Status = own.Status
	pod.Status.QOSClass = template.Status.QOSClass
	for i := range pod.Spec.Volumes {
		pod.Spec.Volumes[i].Name = own.Spec.Volumes[i].Name
	}
	for i := range pod.Spec.Containers {
		for j := range pod.Spec.Containers[i].VolumeMounts {
			pod.Spec.Containers[i].VolumeMounts[j].Name = own.Spec.Containers[i].VolumeMounts[j].Name
		}
	}
	return pod, nil
}

// writeEndpoints writes the CiliumEndpoints of one application; custom resources are kept as JSON.
func (c cluster) writeEndpoints(ctx context.Context, s store, app int) error {
	var entries []entry
	for k := app * replicas; k < min((app+1)*replicas, c.appPods()); k++ {
		it := c.ciliumEndpoint(k)
		value, err := json.Marshal(it.body)
		if err != nil {
			return err
		}
		key := "/registry/cilium.io/ciliumendpoints/" + appNamespace(app) + "/" + nameOf(it.body)
		entries = append(entries, entry{Key: []byte(key), Value: value})
	}
	return s.put(ctx, entries)
}
