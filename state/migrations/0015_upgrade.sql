-- Changes that a rule leaves out, and module upgrades.

ALTER TABLE {schema}.rule
    ADD COLUMN ignored bigint NOT NULL DEFAULT 0,
    ADD COLUMN dropped bigint NOT NULL DEFAULT 0;

COMMENT ON COLUMN {schema}.rule.ignored IS 'events that matched and were made by users whose changes the rule leaves out (ignore_users): they have no delivery and no number';
COMMENT ON COLUMN {schema}.rule.dropped IS 'events that matched while modules were upgraded and that the rule drops (upgrades = "drop"): they have no delivery and no number';

CREATE TABLE {schema}.upgrade (
    n        bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    lsn      pg_lsn      NOT NULL UNIQUE,
    begun_at timestamptz NOT NULL,
    seen_at  timestamptz NOT NULL,
    modules  integer[]   NOT NULL,
    total    integer     NOT NULL CHECK (total > 0),
    ended_at timestamptz,
    outcome  text        CHECK (outcome IN ('done', 'given up')),
    held     bigint      NOT NULL DEFAULT 0,
    dropped  bigint      NOT NULL DEFAULT 0,
    CHECK ((ended_at IS NULL) = (outcome IS NULL))
);

COMMENT ON TABLE  {schema}.upgrade IS 'Installations, upgrades and removals of Odoo''s modules that passed by in the stream. The last row, while it has no ended_at, is part of the position: it is written in the transaction that moves it.';
COMMENT ON COLUMN {schema}.upgrade.lsn IS 'commit LSN of the transaction that marked the first modules';
COMMENT ON COLUMN {schema}.upgrade.begun_at IS 'commit of that transaction, by the source''s clock';
COMMENT ON COLUMN {schema}.upgrade.seen_at IS 'commit of the last transaction that changed the state of a module';
COMMENT ON COLUMN {schema}.upgrade.modules IS 'ids of the rows of ir_module_module that are still to be installed, upgraded or removed';
COMMENT ON COLUMN {schema}.upgrade.total IS 'how many were marked in all';
COMMENT ON COLUMN {schema}.upgrade.ended_at IS 'null while it is under way';
COMMENT ON COLUMN {schema}.upgrade.outcome IS 'done: no module is left to be changed; given up: none has changed for an hour, so that Odoo was killed in the middle';
COMMENT ON COLUMN {schema}.upgrade.held IS 'events that were parked until it was over (upgrades = "hold")';
COMMENT ON COLUMN {schema}.upgrade.dropped IS 'events that were dropped (upgrades = "drop")';
