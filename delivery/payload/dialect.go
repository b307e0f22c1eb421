package payload

import (
	"walhook/cdc"
	"walhook/cdc/catalog"
)

// Dialect is how values are written inside a body.
type Dialect uint8

const (
	Standard Dialect = iota // as the package's documentation says
	Odoo                    // as Odoo's own webhooks write them, see [FormatOdoo]
)

// put writes a value of a column, which is not Unknown. All values of columns go through here, related ones too.
func (b *body) put(v cdc.Value, content catalog.Content) {
	if b.dialect == Odoo {
		b.out = appendOdoo(b.out, v, content)
		return
	}
	b.out = appendValue(b.out, v, content)
}

// putAny writes what an expression gave.
func (b *body) putAny(v any, typ *cdc.Type) (err error) {
	if b.dialect == Odoo {
		b.out, err = appendOdooAny(b.out, v, typ, 0)
	} else {
		b.out, err = appendAny(b.out, v, typ)
	}
	return err
}
