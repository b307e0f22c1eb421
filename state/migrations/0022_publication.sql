-- How the source's publication was found last: what somebody has done to it meanwhile is noticed.

ALTER TABLE {schema}.source ADD COLUMN publication jsonb;
COMMENT ON COLUMN {schema}.source.publication IS 'the publication as walhook run saw it last: name, pg_publication.oid and, for each table that must be streamed, the oids in pg_class and pg_publication_rel; null when it has not looked since the state was bound, or another place in the source was taken on';
