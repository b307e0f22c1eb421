-- Requests that carry several deliveries.

ALTER TABLE {schema}.attempt
    ADD COLUMN batch          text,
    ADD COLUMN batch_position integer,
    ADD COLUMN batch_size     integer,
    ADD CONSTRAINT attempt_batch CHECK ((batch IS NULL) = (batch_position IS NULL) AND (batch IS NULL) = (batch_size IS NULL)
        AND batch_position BETWEEN 1 AND batch_size),
    DROP CONSTRAINT attempt_result_check,
    ADD CONSTRAINT attempt_result_check CHECK (result IN ('delivered', 'retry', 'dead', 'regrouped'));

COMMENT ON COLUMN {schema}.attempt.number IS 'from 1; one that was regrouped does not count, and the next has its number again';
COMMENT ON COLUMN {schema}.attempt.result IS 'delivered, retry, dead; or regrouped: the batch was refused, perhaps for another delivery''s sake, and all of it is sent again in smaller ones';
COMMENT ON COLUMN {schema}.attempt.batch IS 'webhook-id of the request, if it carried a batch. Every delivery in it has its row; what the request took is in each of them';
COMMENT ON COLUMN {schema}.attempt.batch_position IS 'the delivery''s place in the array, from 1';
COMMENT ON COLUMN {schema}.attempt.batch_size IS 'how many deliveries the array held';
COMMENT ON COLUMN {schema}.attempt.response_body IS 'the first bytes of the answer; response_cut when there were more. Of a batch, only the row of the first delivery has more than 1 KiB';
