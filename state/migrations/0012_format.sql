-- How a delivery's body is written, and what its request carries besides.

ALTER TABLE {schema}.delivery
    ADD COLUMN format  text,
    ADD COLUMN headers json;

ALTER TABLE {schema}.dead_letter
    ADD COLUMN format  text,
    ADD COLUMN headers json;

COMMENT ON COLUMN {schema}.delivery.format IS 'format and encoding of the body, as it was made: "cloudevents", "raw+xml"; null is standard. A change of the endpoint''s configuration leaves it as it is';
COMMENT ON COLUMN {schema}.delivery.headers IS 'headers that belong to the body, by name: the attributes of a CloudEvent in binary mode; null when there are none';
COMMENT ON COLUMN {schema}.delivery.body IS 'the request body, as it was made; with compress = "gzip" it is compressed when it is sent. Whole, whatever the endpoint''s redact hides from people: it is needed to send it again';
COMMENT ON COLUMN {schema}.dead_letter.format IS 'as delivery.format';
COMMENT ON COLUMN {schema}.dead_letter.headers IS 'as delivery.headers';
