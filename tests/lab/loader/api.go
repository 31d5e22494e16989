package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"time"
)

// item is one object to write: where it goes and who writes it.
type item struct {
	// Path of the collection, such as /api/v1/nodes.
	collection string
	body       object
	// Recorded in the object's managed fields, as in a living cluster.
	manager string
	// Non-empty if the object has a status: the API server drops it from a create, so it needs a write of its own.
	statusManager string
}

// api writes to one API server.
type api struct {
	base   string
	client *http.Client
}

// newAPI connects with the client certificate that large-cluster.sh made (ca.crt, admin.crt and admin.key in pki).
func newAPI(server, pki string, workers int) (*api, error) {
	certificate, err := tls.LoadX509KeyPair(filepath.Join(pki, "admin.crt"), filepath.Join(pki, "admin.key"))
	if err != nil {
		return nil, err
	}
	ca, err := os.ReadFile(filepath.Join(pki, "ca.crt"))
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(ca) {
		return nil, errors.New("no certificate in ca.crt")
	}
	transport := &http.Transport{
		TLSClientConfig:     &tls.Config{Certificates: []tls.Certificate{certificate}, RootCAs: roots},
		MaxIdleConnsPerHost: workers,
	}
	return &api{base: server, client: &http.Client{Transport: transport}}, nil
}

// Strict: a misspelt field is an error, not an object that is smaller than it should be.
const strict = "?fieldValidation=Strict&fieldManager="

// metadataOnly is the least that the server will send back.
const metadataOnly = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json"

// do sends one request and fails on any answer but 2xx. Overload (429, 5xx) is retried a few times.
func (a *api) do(ctx context.Context, method, path, accept string, body []byte) ([]byte, error) {
	const attempts = 5
	for attempt := 1; ; attempt++ {
		request, err := http.NewRequestWithContext(ctx, method, a.base+path, bytes.NewReader(body))
		if err != nil {
			return nil, err
		}
		request.Header.Set("Content-Type", "application/json")
		request.Header.Set("Accept", accept)
		response, err := a.client.Do(request)
		if err != nil {
			return nil, err
		}
		answer, err := io.ReadAll(response.Body)
		response.Body.Close()
		if err != nil {
			return nil, err
		}
		switch {
		case response.StatusCode < 300:
			return answer, nil
		case attempt < attempts && (response.StatusCode == http.StatusTooManyRequests || response.StatusCode >= 500):
			select {
			case <-time.After(time.Duration(attempt) * time.Second):
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		default:
			return nil, fmt.Errorf("%s %s: %s: %s", method, path, response.Status, answer)
		}
	}
}

// write creates the object and, if it has one, its status.
func (a *api) write(ctx context.Context, it item) error {
	body, err := json.Marshal(it.body)
	if err != nil {
		return err
	}
	if _, err := a.do(ctx, http.MethodPost, it.collection+strict+it.manager, metadataOnly, body); err != nil {
		return err
	}
	if it.statusManager == "" {
		return nil
	}
	path := it.collection + "/" + nameOf(it.body) + "/status" + strict + it.statusManager
	_, err = a.do(ctx, http.MethodPut, path, metadataOnly, body)
	return err
}

// tryOut has the server complete and check the object as if it were created, and decodes the answer.
func (a *api) tryOut(ctx context.Context, it item, into any) error {
	body, err := json.Marshal(it.body)
	if err != nil {
		return err
	}
	answer, err := a.do(ctx, http.MethodPost, it.collection+strict+it.manager+"&dryRun=All", "application/json", body)
	if err != nil {
		return err
	}
	return json.Unmarshal(answer, into)
}

// verify asks how many objects a collection has and fails if it is not as many as were written.
func (a *api) verify(ctx context.Context, collection string, want int) error {
	answer, err := a.do(ctx, http.MethodGet, collection+"?limit=1", "application/json", nil)
	if err != nil {
		return err
	}
	var page struct {
		Metadata struct{ RemainingItemCount int }
		Items    []json.RawMessage
	}
	if err := json.Unmarshal(answer, &page); err != nil {
		return err
	}
	if got := len(page.Items) + page.Metadata.RemainingItemCount; got != want {
		return fmt.Errorf("%s: %d objects instead of %d", collection, got, want)
	}
	return nil
}

// waitEstablished watches a custom resource definition until its resource is served.
func (a *api) waitEstablished(ctx context.Context, name string) error {
	path := crdCollection + "?watch=true&fieldSelector=" + url.QueryEscape("metadata.name="+name)
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, a.base+path, nil)
	if err != nil {
		return err
	}
	response, err := a.client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("watch %s: %s", name, response.Status)
	}
	events := json.NewDecoder(response.Body)
	for {
		var event struct {
			Object struct {
				Status struct {
					Conditions []struct{ Type, Status string }
				}
			}
		}
		if err := events.Decode(&event); err != nil {
			return fmt.Errorf("watch %s: %w", name, err)
		}
		for _, condition := range event.Object.Status.Conditions {
			if condition.Type == "Established" && condition.Status == "True" {
				return nil
			}
		}
	}
}
