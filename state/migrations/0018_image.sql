-- Rows of tables that may not be altered as they were after their last change: what REPLICA IDENTITY FULL would tell.

CREATE TABLE {schema}.image_table (
    id          integer     GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    schema_name text        COLLATE "C" NOT NULL,
    table_name  text        COLLATE "C" NOT NULL,
    generation  bigint      NOT NULL DEFAULT 1 CHECK (generation > 0),
    swept       bigint      NOT NULL DEFAULT 0 CHECK (swept >= 0),
    since       timestamptz NOT NULL DEFAULT now(),
    filled_at   timestamptz,
    removed_at  timestamptz
);

CREATE UNIQUE INDEX image_table_name ON {schema}.image_table (schema_name, table_name) WHERE removed_at IS NULL;

COMMENT ON TABLE  {schema}.image_table IS 'Tables of [images]: walhook keeps an image of each of their rows, and takes the values before a change from it.';
COMMENT ON COLUMN {schema}.image_table.generation IS 'images of an earlier one do not count: the table was truncated or made anew, a column has become a secret, or changes were missed since they were written';
COMMENT ON COLUMN {schema}.image_table.swept IS 'images of this and earlier generations have been removed';
COMMENT ON COLUMN {schema}.image_table.since IS 'when its images were begun, or begun anew';
COMMENT ON COLUMN {schema}.image_table.filled_at IS 'since when every row of the table has an image; null while rows that have not changed since may have none';
COMMENT ON COLUMN {schema}.image_table.removed_at IS 'it is no longer in the configuration: its images are being removed';

CREATE TABLE {schema}.image_shape (
    tbl     integer NOT NULL REFERENCES {schema}.image_table ON DELETE CASCADE,
    number  integer NOT NULL CHECK (number >= 0),
    columns bytea   NOT NULL,
    PRIMARY KEY (tbl, number)
);

COMMENT ON TABLE  {schema}.image_shape IS 'Which columns images hold, in their order: a row for each form that a table has had.';
COMMENT ON COLUMN {schema}.image_shape.tbl IS 'image_table.id';
COMMENT ON COLUMN {schema}.image_shape.columns IS 'names and types, and the OID of the table, as JSON, without columns that hold secrets; no columns in one that had some which are secrets now';

CREATE TABLE {schema}.image (
    tbl        integer NOT NULL,
    key        text    COLLATE "C" NOT NULL,
    generation bigint  NOT NULL,
    shape      integer NOT NULL,
    data       bytea   NOT NULL,
    PRIMARY KEY (tbl, key)
) WITH (fillfactor = 80, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_scale_factor = 0.05,
        autovacuum_analyze_threshold = 20000, autovacuum_analyze_scale_factor = 0.2);

COMMENT ON TABLE  {schema}.image IS 'A row of the source as it was at the stored position, without secrets. Written in the transaction that moves the position.';
COMMENT ON COLUMN {schema}.image.tbl IS 'image_table.id';
COMMENT ON COLUMN {schema}.image.key IS 'primary key of the row, as text';
COMMENT ON COLUMN {schema}.image.generation IS 'image_table.generation as it was written';
COMMENT ON COLUMN {schema}.image.shape IS 'image_shape.number';
COMMENT ON COLUMN {schema}.image.data IS 'a value for each column of the shape: a varint, 0 for NULL, 1 for unknown, otherwise 2 and the length of the text, which follows; the server compresses what is long';
