-- What two columns say, more exactly.

COMMENT ON COLUMN {schema}.resync.base_seq IS 'the last delivery.seq before deletions were looked for: what the log has behind it, the stream has told since, and a deletion of such a record is not told once more';
COMMENT ON COLUMN {schema}.delivery.op IS 'what happened to the record: create, write, unlink, snapshot, resync, message, schedule …; test of an event that walhook endpoints send-test has sent, which never was in the queue and has no number';
