package rules

import (
	"walhook/cdc"
	"walhook/cdc/catalog"
)

// Keeps says that a column may leave the database: it holds no secret, neither by its name nor by what the catalog knows of it.
func (s *Set) Keeps(rel *cdc.Relation, column string) bool {
	if catalog.Secret(rel.Name, column) {
		return false
	}
	t := s.cat.Table(rel.Schema, rel.Name)
	return t == nil || !t.Secret(column)
}
