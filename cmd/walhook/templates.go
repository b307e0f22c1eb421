package main

import (
	"errors"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"walhook/delivery"
	"walhook/delivery/payload"
)

// maxTemplateFile is more than any template needs.
const maxTemplateFile = 1 << 20

// readTemplates reads the files that endpoints name as their template, relative to the configuration file. It runs before endpoints are validated, and
// again with every reload.
func (c *Config) readTemplates() (problems []error) {
	for _, name := range slices.Sorted(maps.Keys(c.Endpoints)) {
		endpoint := c.Endpoints[name]
		if endpoint.Template == "" || endpoint.TemplateText != "" {
			continue // both: the endpoint complains
		}
		path := endpoint.Template
		if !filepath.IsAbs(path) {
			path = filepath.Join(filepath.Dir(c.Doc.name), path)
		}
		err := readable(path)
		if err == nil {
			var text []byte
			if text, err = readAtMost(path, maxTemplateFile); err == nil && strings.TrimSpace(string(text)) == "" {
				err = errors.New("the file " + path + " is empty")
			}
			endpoint.TemplateFile = string(text)
		}
		if err != nil {
			problems = append(problems, c.Doc.problem("endpoints."+name+".template", true, err.Error(), fileHint))
			continue
		}
		c.Endpoints[name] = endpoint
	}
	return problems
}

// nameSources gives endpoints that send CloudEvents without a source of their own one that tells where events come from. It does so when a configuration
// is first used, and writes nothing afterwards, when others read it.
func (c *Config) nameSources(database string, odoo bool) {
	for name, endpoint := range c.Endpoints {
		if named := withSource(endpoint, database, odoo); named.Source != endpoint.Source {
			c.Endpoints[name] = named
		}
	}
}

func withSource(c delivery.EndpointConfig, database string, odoo bool) delivery.EndpointConfig {
	if c.Source != "" || database == "" || c.Format != payload.FormatCloudEvents && c.Format != payload.FormatBinary {
		return c
	}
	kind := "postgresql"
	if odoo {
		kind = "odoo"
	}
	c.Source = payload.Source(kind, database)
	return c
}
