package main

import (
	"net/netip"
	"testing"
)

func TestEveryPodHasOneGroup(t *testing.T) {
	c, err := newCluster(50, 1_234)
	if err != nil {
		t.Fatal(err)
	}
	next := 0
	for _, group := range c.podGroups() {
		if group.first != next || group.count < 1 {
			t.Fatalf("group %+v, expected to begin at %d", group, next)
		}
		next += group.count
	}
	if next != c.pods {
		t.Errorf("groups cover %d pods of %d", next, c.pods)
	}
}

func TestGroupsShareOneTemplate(t *testing.T) {
	c, err := newCluster(50, 1_234)
	if err != nil {
		t.Fatal(err)
	}
	owner := func(i int) any {
		return c.pod(i).body["metadata"].(object)["ownerReferences"].(list)[0].(object)["name"]
	}
	for _, group := range c.podGroups() {
		if first, last := owner(group.first), owner(group.first+group.count-1); first != last {
			t.Errorf("group %+v is owned by %v and %v", group, first, last)
		}
	}
}

func TestPodsHaveNamesAndAddressesOfTheirOwn(t *testing.T) {
	c, err := newCluster(5_000, 150_000)
	if err != nil {
		t.Fatal(err)
	}
	names, addresses := map[string]bool{}, map[string]bool{}
	for k := range c.appPods() {
		app, node, name, ip := c.appPod(k)
		names[appNamespace(app)+"/"+name] = true
		addresses[ip] = true
		if !netip.MustParsePrefix(nodePodRange(node)).Contains(netip.MustParseAddr(ip)) {
			t.Fatalf("pod %d: %s is not in its node's %s", k, ip, nodePodRange(node))
		}
	}
	if len(names) != c.appPods() || len(addresses) != c.appPods() {
		t.Errorf("%d names and %d addresses of %d pods", len(names), len(addresses), c.appPods())
	}
	daemons := map[string]bool{}
	for node := range c.nodes {
		daemons[suffix(node)] = true
	}
	if len(daemons) != c.nodes {
		t.Errorf("%d suffixes for %d nodes", len(daemons), c.nodes)
	}
}

func TestShapesThatDoNotFitAreRefused(t *testing.T) {
	for what, shape := range map[string][2]int{
		"too few nodes":            {4, 1_000},
		"too many nodes":           {8_193, 150_000},
		"no pod for any workload":  {50, 110},
		"more pods than addresses": {5, 2_000},
	} {
		if _, err := newCluster(shape[0], shape[1]); err == nil {
			t.Errorf("%s: %v accepted", what, shape)
		}
	}
}
