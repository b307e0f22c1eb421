-- Rows as they were before changes were missed, kept until a resync has compared the tables with them.

ALTER TABLE {schema}.image_table ADD COLUMN compare bigint;

COMMENT ON COLUMN {schema}.image_table.compare IS 'images of this generation are from before changes were missed, and every row had one: a resync compares the rows with them, and they are kept until it has; null when there is nothing to compare';

CREATE TABLE {schema}.image_before (
    tbl        integer NOT NULL REFERENCES {schema}.image_table ON DELETE CASCADE,
    key        text    COLLATE "C" NOT NULL,
    generation bigint  NOT NULL,
    shape      integer NOT NULL,
    data       bytea   NOT NULL,
    PRIMARY KEY (tbl, key)
);

COMMENT ON TABLE {schema}.image_before IS 'Images that a resync has still to compare a row with, and that a change of the row has replaced meanwhile; otherwise as image.';
