package catalog

import "testing"

// Tables that are gone are kept with their models, those that are there are as they are now, and the catalog itself stays what it was.
func TestKeeping(t *testing.T) {
	order, line, other := &Table{OID: 1, Schema: "public", Name: "sale_order"}, &Table{OID: 2, Schema: "public", Name: "sale_order_line"}, &Table{OID: 3, Schema: "public", Name: "other"}
	earlier := New([]*Table{other, order, line}, []*Model{{Name: "sale.order", Table: order}}, nil)
	now := New([]*Table{{OID: 4, Schema: "public", Name: "sale_order_line"}, {OID: 5, Schema: "zoo", Name: "sale_order"}}, nil, nil)
	kept := now.Keeping(earlier, []*Table{order, line})
	if kept.Table("public", "sale_order") != order || kept.Model("sale.order").Table != order || kept.ModelOf(order).Name != "sale.order" || kept.Table("public", "sale_order_line").OID != 4 || kept.Table("public", "other") != nil {
		t.Errorf("kept: %v", kept.Tables)
	}
	if len(kept.Tables) != 3 || kept.Tables[0] != order || kept.Tables[2].Schema != "zoo" || len(kept.Models) != 1 {
		t.Errorf("tables %v, models %v", kept.Tables, kept.Models)
	}
	if len(now.Tables) != 2 || len(now.Models) != 0 || now.Table("public", "sale_order") != nil || now.Model("sale.order") != nil {
		t.Error("the catalog has changed")
	}
	if now.Keeping(earlier, []*Table{line}) != now {
		t.Error("there was nothing to keep")
	}
}
