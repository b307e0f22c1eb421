-- Ids are random, and deliveries are looked up by their whole id only: a hash index is smaller than a b-tree, and its entries cost less.

DROP INDEX {schema}.delivery_id;
CREATE INDEX delivery_id ON {schema}.delivery USING hash (id);
