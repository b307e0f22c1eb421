package main

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"

	"walhook/cdc/catalog"
	"walhook/rules"
)

// OdooSection is [odoo]: what the database does not say about itself, and what rules have in common.
type OdooSection struct {
	Lang    string            `toml:"lang"`    // language of translated fields and of labels, as "fr_FR"; a rule's own lang goes before; default en_US
	Company string            `toml:"company"` // id or name of the company whose values records have that belong to none; default the one with the lowest id
	Tables  map[string]string `toml:"tables"`  // tables of models that have another name than Odoo's rule says: {"my.model" = "my_table"}
}

// loadCatalog reads the database's metadata.
func (c *Config) loadCatalog(ctx context.Context, conn *pgx.Conn) (*catalog.Catalog, error) {
	return catalog.Config{Tables: c.Odoo.Tables}.Load(ctx, conn)
}

// settings are what all rules have in common.
func (c *Config) settings() rules.Settings {
	return rules.Settings{Lang: c.Odoo.Lang, Company: c.Odoo.Company, Functions: c.Functions}
}

// compile compiles the configuration's rules against a catalog. What is wrong has its place in the file.
func (c *Config) compile(cat *catalog.Catalog) (*rules.Set, error) {
	set, err := c.settings().Compile(c.Rules, cat)
	if err != nil {
		return nil, c.ruleProblems(err)
	}
	return set, nil
}

// ruleWarnings are what is allowed in the rules and probably a mistake, each with its place in the file.
func (c *Config) ruleWarnings(set *rules.Set) []error {
	var all []error
	for _, w := range set.Warnings() {
		all = append(all, w)
	}
	return flatten(c.ruleProblems(errors.Join(all...)))
}
