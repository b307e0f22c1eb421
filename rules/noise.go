package rules

import (
	"fmt"
	"slices"
	"strings"
)

// noisy are tables that Odoo writes to for its own sake: logs, queues, presence, the bookkeeping of messages and views. A rule on one of them is
// allowed, and what it will get is said. Tables of wizards (transient models) are refused elsewhere.
var noisy = []string{
	"bus_bus", "bus_presence", "mail_presence", "mail_message", "mail_mail", "mail_notification", "mail_followers", "mail_followers_mail_message_subtype_rel", "mail_tracking_value",
	"mail_link_preview", "mail_message_link_preview", "mail_alias", "mail_message_res_partner_needaction_rel", "discuss_channel_member", "mail_channel_partner", "mail_channel_member",
	"ir_cron", "ir_cron_trigger", "ir_cron_progress", "ir_logging", "ir_profile", "ir_sequence", "ir_sequence_date_range", "ir_ui_view", "ir_asset", "ir_translation",
	"ir_actions", "res_users_log", "res_device_log", "website_visitor", "website_track", "crm_lead_scoring_frequency", "account_partial_reconcile", "account_full_reconcile",
}

// noisyPrefixes are such tables by the beginning of their names.
var noisyPrefixes = []string{"ir_model", "ir_module_module", "ir_act_", "mail_push", "res_users_settings", "web_tour", "digest_", "iap_", "queue_job", "auditlog_", "orm_signaling_"}

// Noisy says that a table of Odoo's is written to for Odoo's own sake.
func Noisy(table string) bool {
	return slices.Contains(noisy, table) || slices.ContainsFunc(noisyPrefixes, func(p string) bool { return strings.HasPrefix(table, p) })
}

// warnOfNoise tells what a rule on such a table will get.
func (c *ruleCompiler) warnOfNoise(s shape) {
	if c.cat.Odoo == nil || !Noisy(s.table.Name) {
		return
	}
	path := "model"
	if c.config.Model == "" {
		path = "table"
	}
	c.warn(path, fmt.Sprintf("Odoo writes to %s for its own sake, often and by itself: the rule will get many events that are nobody's business", s.table.Name),
		"make a rule on the model that people work with; or keep it, with a condition that few changes meet")
}
