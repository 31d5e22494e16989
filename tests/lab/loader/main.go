// Command loader fills an empty API server with the objects of one large cluster.
//
// Nothing runs in that cluster: the objects are written as the controllers, the scheduler, the kubelets and Cilium
// write them, statuses included, so that reading them costs what reading a living cluster costs.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"time"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "loader:", err)
		os.Exit(1)
	}
}

func run() error {
	server := flag.String("server", "", "URL of the API server")
	etcd := flag.String("etcd", "", "URL of its etcd")
	pki := flag.String("pki", "", "directory with ca.crt, admin.crt and admin.key")
	nodeCount := flag.Int("nodes", 5_000, "number of nodes")
	podCount := flag.Int("pods", 150_000, "number of pods, those of the system among them")
	workers := flag.Int("workers", 24, "requests in flight")
	timeout := flag.Duration("timeout", time.Hour, "give up after this time")
	flag.Parse()

	c, err := newCluster(*nodeCount, *podCount)
	if err != nil {
		return err
	}
	a, err := newAPI(*server, *pki, *workers)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), *timeout)
	defer cancel()

	write := func(what string, count int, at func(int) item) error {
		return inParallel(ctx, what, *workers, count, func(ctx context.Context, i int) error { return a.write(ctx, at(i)) })
	}
	if err := write("CustomResourceDefinitions", len(ciliumKinds), ciliumDefinition); err != nil {
		return err
	}
	for _, kind := range ciliumKinds {
		if err := a.waitEstablished(ctx, kind.definitionName()); err != nil {
			return err
		}
	}
	system := c.systemObjects()
	for _, step := range []struct {
		what  string
		count int
		at    func(int) item
	}{
		{"Namespaces", namespaces, c.namespace},
		{"system objects", len(system), func(i int) item { return system[i] }},
		{"Nodes", c.nodes, c.node},
		{"CiliumNodes", c.nodes, c.ciliumNode},
		{"CiliumIdentities", c.apps(), c.ciliumIdentity},
		{"Deployments", c.apps(), c.deployment},
		{"Services", c.apps(), c.service},
		{"EndpointSlices", c.apps(), c.endpointSlice},
		{"ConfigMaps", c.apps(), c.configMap},
		{"NetworkPolicies", namespaces, c.networkPolicy},
	} {
		if err := write(step.what, step.count, step.at); err != nil {
			return err
		}
	}

	s := store{url: *etcd}
	pods, err := newPodWriter(c, a, s)
	if err != nil {
		return err
	}
	groups := c.podGroups()
	err = inParallel(ctx, "Pods, by template", *workers, len(groups), func(ctx context.Context, i int) error {
		return pods.write(ctx, groups[i])
	})
	if err != nil {
		return err
	}
	err = inParallel(ctx, "CiliumEndpoints, by application", *workers, c.apps(), func(ctx context.Context, app int) error {
		return c.writeEndpoints(ctx, s, app)
	})
	if err != nil {
		return err
	}

	for _, expected := range []struct {
		collection string
		count      int
	}{
		{"/api/v1/nodes", c.nodes},
		{"/api/v1/pods", c.pods},
		{ciliumGroup + "/ciliumnodes", c.nodes},
		{ciliumGroup + "/ciliumendpoints", c.appPods()},
	} {
		if err := a.verify(ctx, expected.collection, expected.count); err != nil {
			return err
		}
	}
	return nil
}
