package status

// What becomes of events by what their rules say of windows and samples.
var (
	endpointWaiting = gauge("endpoint_waiting", "Deliveries that wait for the end of their rule's window (debounce).", "endpoint")
	ruleWaiting     = gauge("rule_waiting", "Deliveries that wait for the end of the rule's window (debounce).", "rule")
	ruleSampled     = counter("rule_sampled_out_total", "Events that matched and that the rule's sample left out.", "rule")
	ruleDropped     = counter("rule_upgrade_dropped_total", "Events that matched during a module upgrade and that the rule drops (upgrades = \"drop\").", "rule")
	ruleIgnored     = counter("rule_ignored_total", "Events that matched and were made by users whose changes the rule leaves out (ignore_users).", "rule")
)

// windowFamilies are their metrics.
var windowFamilies = []family{endpointWaiting, ruleWaiting, ruleSampled, ruleIgnored, ruleDropped}
