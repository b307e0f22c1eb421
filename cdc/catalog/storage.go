package catalog

import "strings"

// Odoo stores a model in the table that has its name with "_" for "."; the class
// may say otherwise (_table), and that is written down nowhere in the database.
// These are the exceptions in Odoo 14 to 19.
var ownTables = map[string]string{
	"ir.actions.actions":           "ir_actions",
	"ir.actions.act_window":        "ir_act_window",
	"ir.actions.act_window.view":   "ir_act_window_view",
	"ir.actions.act_window_close":  "ir_actions",
	"ir.actions.act_url":           "ir_act_url",
	"ir.actions.server":            "ir_act_server",
	"ir.actions.client":            "ir_act_client",
	"ir.actions.report":            "ir_act_report_xml",
	"mail.notification":            "mail_message_res_partner_needaction_rel", // 14
	"project.task.stage.personal":  "project_task_user_rel",                   // 15 and later
	"mailing.contact.subscription": "mailing_contact_list_rel",                // to 16
}

// sharesTable says that the model lives in the table of another one, which is
// what the rows of that table are first of all.
func sharesTable(model string) bool { return model == "ir.actions.act_window_close" }

// tableOf finds the table that stores a model, or nil. A table qualifies only if
// it has an id, which tables of many2many relations have not; of two, as an upgraded
// database may have, the one that holds more of the model's stored fields wins. What the configuration says goes before.
func tableOf(model, configured string, fields []*Field, named func(string) *Table) *Table {
	if t := named(configured); t != nil && t.has("id") {
		return t
	}
	var best *Table
	most := -1
	for _, name := range []string{strings.ReplaceAll(model, ".", "_"), ownTables[model]} {
		t := named(name)
		if t == nil || !t.has("id") {
			continue
		}
		held := 0
		for _, f := range fields {
			if f.Stored && t.has(f.Name) {
				held++
			}
		}
		if held > most {
			best, most = t, held
		}
	}
	return best
}

// has looks a column up before the table is indexed.
func (t *Table) has(column string) bool {
	for i := range t.Columns {
		if t.Columns[i].Name == column {
			return true
		}
	}
	return false
}
