// Command image packs programs into a container image without a base, as an archive that `ctr images import` takes.
// The same programs give the same archive, byte for byte.
//
//	image -name NAME:TAG -o FILE [-path /] PROGRAM...
//
// The first program is what a container of the image runs.
package main

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
)

func main() {
	name := flag.String("name", "", "the image's `name` with its tag")
	out := flag.String("o", "", "the archive's `file`")
	path := flag.String("path", "/", "the `folder` of the programs in the image")
	flag.Parse()
	if *name == "" || *out == "" || flag.NArg() == 0 {
		flag.Usage()
		os.Exit(2)
	}
	if err := pack(*name, *out, *path, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1)
	}
}

type object = map[string]any

// archive collects the files of a tar.
type archive struct {
	bytes bytes.Buffer
	tar   *tar.Writer
}

func newArchive() *archive {
	a := &archive{}
	a.tar = tar.NewWriter(&a.bytes)
	return a
}

func (a *archive) add(name string, mode int64, content []byte) error {
	header := tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: mode, Size: int64(len(content)), Format: tar.FormatUSTAR}
	if err := a.tar.WriteHeader(&header); err != nil {
		return err
	}
	_, err := a.tar.Write(content)
	return err
}

func (a *archive) folder(name string) error {
	return a.tar.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: 0o755, Format: tar.FormatUSTAR})
}

func (a *archive) close() ([]byte, error) {
	err := a.tar.Close()
	return a.bytes.Bytes(), err
}

func digest(content []byte) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}

func pack(name, out, path string, programs []string) error {
	layer := newArchive()
	folder := filepath.Clean(path)[1:]
	if folder != "" {
		if err := layer.folder(folder); err != nil {
			return err
		}
	}
	for _, program := range programs {
		content, err := os.ReadFile(program)
		if err != nil {
			return err
		}
		if err := layer.add(filepath.Join(folder, filepath.Base(program)), 0o755, content); err != nil {
			return err
		}
	}
	layerBytes, err := layer.close()
	if err != nil {
		return err
	}

	entry := filepath.Join("/", folder, filepath.Base(programs[0]))
	config, err := json.Marshal(object{
		"architecture": runtime.GOARCH,
		"os":           "linux",
		"config":       object{"Entrypoint": []string{entry}, "Env": []string{"PATH=" + filepath.Join("/", folder)}},
		"rootfs":       object{"type": "layers", "diff_ids": []string{"sha256:" + digest(layerBytes)}},
	})
	if err != nil {
		return err
	}
	descriptor := func(kind string, content []byte) object {
		return object{
			"mediaType": "application/vnd.oci.image." + kind,
			"digest":    "sha256:" + digest(content),
			"size":      len(content),
		}
	}
	manifest, err := json.Marshal(object{
		"schemaVersion": 2,
		"mediaType":     "application/vnd.oci.image.manifest.v1+json",
		"config":        descriptor("config.v1+json", config),
		"layers":        []object{descriptor("layer.v1.tar", layerBytes)},
	})
	if err != nil {
		return err
	}
	named := descriptor("manifest.v1+json", manifest)
	named["platform"] = object{"architecture": runtime.GOARCH, "os": "linux"}
	named["annotations"] = object{"io.containerd.image.name": name}
	index, err := json.Marshal(object{
		"schemaVersion": 2,
		"mediaType":     "application/vnd.oci.image.index.v1+json",
		"manifests":     []object{named},
	})
	if err != nil {
		return err
	}

	image := newArchive()
	for _, folder := range []string{"blobs", "blobs/sha256"} {
		if err := image.folder(folder); err != nil {
			return err
		}
	}
	for _, blob := range [][]byte{layerBytes, config, manifest} {
		if err := image.add("blobs/sha256/"+digest(blob), 0o644, blob); err != nil {
			return err
		}
	}
	if err := image.add("index.json", 0o644, index); err != nil {
		return err
	}
	if err := image.add("oci-layout", 0o644, []byte(`{"imageLayoutVersion":"1.0.0"}`)); err != nil {
		return err
	}
	content, err := image.close()
	if err != nil {
		return err
	}
	return os.WriteFile(out, content, 0o644)
}
