-- Of several processes one has the right to read the slot.

COMMENT ON COLUMN {schema}.source.reader IS 'the process that has the right to read the slot: batches of any other are refused, wherever the position stands. It is taken over when the session that holds the lock ends, or the process''s lease';
