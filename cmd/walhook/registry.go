package main

import (
	"slices"

	"walhook/cdc"
	"walhook/cdc/catalog"
)

// registry are the tables in which Odoo says what a compiled rule depends on: models, fields, labels, languages, companies, and
// defaults of company-dependent fields. Of modules it also says which are being upgraded. ir_property (to 17) is none of them: values of records change in it all day.
var registry = []string{"ir_default", "ir_model", "ir_model_fields", "ir_model_fields_selection", "ir_model_inherit", "ir_module_module", "res_company", "res_lang"}

// registryNeeds asks for the registry to be streamed where it can be: a change in it says that rules may have to be compiled anew.
func registryNeeds(cat *catalog.Catalog, needs []cdc.TableNeed) []cdc.TableNeed {
	if cat == nil || cat.Odoo == nil {
		return needs
	}
	for _, name := range registry {
		t := cat.Table(cat.Odoo.Schema, name)
		if t == nil {
			continue
		}
		need := cdc.TableNeed{Schema: t.Schema, Table: name, Optional: true, Why: []string{"rules follow changes of models and fields"}}
		same := func(n cdc.TableNeed) bool { return n.Schema == t.Schema && n.Table == name }
		at := slices.IndexFunc(needs, same)
		switch {
		case at < 0:
			needs = append(needs, need)
		case needs[at].ReadOnly: // rules look into it
			need.Read = true
			needs[at] = need
		}
	}
	return needs
}
