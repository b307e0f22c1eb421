package cdc

import "fmt"

// keeper is who should own the publication: the one owner of the published tables, who alone can put tables into it, or the
// owner of the database.
func keeper(f *Facts, tables []TableNeed) string {
	owner := ""
	for _, n := range tables {
		t := f.table(n.Schema, n.Table)
		if t == nil || !n.publishes() || !t.Exists {
			continue
		}
		if owner != "" && owner != t.Owner {
			return f.DatabaseOwner
		}
		owner = t.Owner
	}
	if owner == "" {
		return f.DatabaseOwner
	}
	return owner
}

// handOver gives a publication that a superuser makes to the owner, who can alter it from then on.
func (b *stepBuilder) handOver(tables []TableNeed) {
	f, to := b.f, keeper(b.f, tables)
	if !f.Login.Superuser || to == f.Login.Name || f.Publication != nil && (f.Publication.Owner != f.Login.Name || !b.record.Made) {
		return
	}
	b.owner("so that the owner can alter it", handOverSQL(f.PublicationName, to))
}

func handOverSQL(publication, to string) string {
	return fmt.Sprintf("ALTER PUBLICATION %s OWNER TO %s", quoteIdent(publication), quoteIdent(to))
}

// HandOver returns what a script of setup's steps needs in addition, since it is not known who will run it: a publication
// that a superuser has made is handed to the owner, who can alter it from then on. It is "" when there is nothing to hand over.
func HandOver(f *Facts, needs []TableNeed) string {
	if f.Publication != nil || f.Login.Superuser {
		return ""
	}
	return fmt.Sprintf("DO $do$ BEGIN\n    IF (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user) THEN\n        %s;\n    END IF;\nEND $do$",
		handOverSQL(f.PublicationName, keeper(f, f.weigh(needs))))
}
