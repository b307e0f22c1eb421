-- Numbers by which a receiver can prove that nothing is missing.

ALTER TABLE {schema}.source
    ADD COLUMN epoch   bigint NOT NULL DEFAULT (extract(epoch FROM clock_timestamp()) * 1000)::bigint CHECK (epoch > 0),
    ADD COLUMN numbers jsonb  NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(numbers) = 'object');

-- Stays in the row, which every batch writes anyway, and out of the TOAST table.
ALTER TABLE {schema}.source ALTER COLUMN numbers SET STORAGE MAIN;

COMMENT ON COLUMN {schema}.source.epoch IS 'when the sequences began, in milliseconds since 1970. It grows when the position is moved by hand (--adopt) and when the state is made anew; all sequences then begin at 1 again';
COMMENT ON COLUMN {schema}.source.numbers IS 'endpoint -> the last number of its sequence that was given out in this epoch, as text';

ALTER TABLE {schema}.delivery
    ADD COLUMN epoch    bigint NOT NULL DEFAULT 0,
    ADD COLUMN sequence bigint NOT NULL DEFAULT 0;
ALTER TABLE {schema}.dead_letter
    ADD COLUMN epoch    bigint NOT NULL DEFAULT 0,
    ADD COLUMN sequence bigint NOT NULL DEFAULT 0;

COMMENT ON COLUMN {schema}.delivery.epoch IS 'Webhook-Epoch of the request; 0 of what was enqueued before there were numbers';
COMMENT ON COLUMN {schema}.delivery.sequence IS 'Webhook-Sequence of the request: 1, 2, 3 ... within endpoint and epoch. Kept by retries and when it is sent again';

CREATE TABLE {schema}.gap (
    endpoint  text        COLLATE "C" NOT NULL,
    epoch     bigint      NOT NULL CHECK (epoch > 0),
    first     bigint      NOT NULL CHECK (first > 0),
    last      bigint      NOT NULL,
    reason    text        NOT NULL CHECK (reason IN ('discarded', 'dropped', 'parked')),
    first_lsn pg_lsn      NOT NULL,
    last_lsn  pg_lsn      NOT NULL,
    first_at  timestamptz NOT NULL,
    last_at   timestamptz NOT NULL,
    noted_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (endpoint, epoch, first),
    CONSTRAINT gap_order CHECK (last >= first)
);

CREATE INDEX gap_last ON {schema}.gap (endpoint, epoch, last);

COMMENT ON TABLE  {schema}.gap IS 'Numbers of an endpoint''s sequence that will not arrive any more (one that was replayed has arrived before), and why: discarded by a person, dropped as the oldest when a limit was reached (overflow = "drop-oldest"), or parked, never enqueued while the endpoint was over its limit (overflow = "park").';
COMMENT ON COLUMN {schema}.gap.first_lsn IS 'commit LSN of the source transaction that first belongs to';
COMMENT ON COLUMN {schema}.gap.first_at IS 'commit time of the source transaction that first belongs to';
COMMENT ON COLUMN {schema}.gap.noted_at IS 'when the last of them was given up';
