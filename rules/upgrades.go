package rules

// What a rule makes of events while Odoo installs, upgrades or removes modules.
const (
	UpgradesSend = "send" // nothing else than at other times
	UpgradesHold = "hold" // they are kept until it is over
	UpgradesDrop = "drop" // they are counted, and not sent
)

// MindsUpgrades says that some active rule holds or drops events of upgrades: the stream must tell of modules.
func (s *Set) MindsUpgrades() bool {
	for _, r := range s.rules {
		if r.IsActive() && r.Handling.Upgrades != "" {
			return true
		}
	}
	return false
}

// OdooSchema is the schema that Odoo's tables are in; "" when the database is not Odoo's.
func (s *Set) OdooSchema() string { return s.odoo }

// upgrades reads what the configuration says of it; "" stands for UpgradesSend.
func (c *ruleCompiler) upgrades() string {
	switch c.config.Upgrades {
	case "", UpgradesSend:
		return ""
	case UpgradesHold, UpgradesDrop:
		if c.cat.Odoo == nil {
			c.fail("upgrades", "the database is not Odoo's: it has no modules to upgrade", "remove upgrades")
		}
		return c.config.Upgrades
	}
	names := []string{UpgradesSend, UpgradesHold, UpgradesDrop}
	remedy := didYouMean(c.config.Upgrades, names)
	if remedy == "" {
		remedy = `what is to become of events of a module upgrade is "send", "hold" or "drop"`
	}
	c.fail("upgrades", "unknown word "+`"`+c.config.Upgrades+`"`, remedy)
	return ""
}
