-- Whether the alert endpoint knows that a queue is full.

ALTER TABLE {schema}.queue_size ADD COLUMN full_told boolean NOT NULL DEFAULT false;

COMMENT ON COLUMN {schema}.queue_size.full_told IS 'the alert endpoint was told that the queue is full; it will be told when it has drained';
