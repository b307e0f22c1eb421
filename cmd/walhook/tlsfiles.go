package main

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
)

// checkFiles finds the certificate files of endpoints, relative to the configuration file as those of *_file keys are, and complains about
// those that cannot be read. What is in them is for delivery to judge.
func (c *Config) checkFiles() (problems []error) {
	for _, name := range slices.Sorted(maps.Keys(c.Endpoints)) {
		endpoint := c.Endpoints[name]
		for _, f := range []struct {
			key  string
			path *string
		}{{"ca_file", &endpoint.TLS.CAFile}, {"cert_file", &endpoint.TLS.CertFile}, {"key_file", &endpoint.TLS.KeyFile}} {
			if *f.path == "" {
				continue
			}
			if !filepath.IsAbs(*f.path) {
				*f.path = filepath.Join(filepath.Dir(c.Doc.name), *f.path)
			}
			if err := readable(*f.path); err != nil {
				problems = append(problems, c.Doc.problem("endpoints."+name+".tls."+f.key, true, err.Error(), fileHint))
			}
		}
		c.Endpoints[name] = endpoint
	}
	return problems
}

// readable says why a file cannot be read.
func readable(path string) error {
	info, err := os.Stat(path)
	if err == nil && info.IsDir() {
		return fmt.Errorf("%s is a folder, not a file", path)
	}
	if err == nil {
		var f *os.File
		if f, err = os.Open(path); err == nil {
			return f.Close()
		}
	}
	return unreadable(path, err)
}
