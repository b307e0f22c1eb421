-- Which publication the source was read through last: one that somebody has dropped and made anew meanwhile is noticed.

ALTER TABLE {schema}.source ADD COLUMN publication_oid oid;
COMMENT ON COLUMN {schema}.source.publication_oid IS 'pg_publication.oid as walhook run saw it last; null when it has not looked since the state was bound';
