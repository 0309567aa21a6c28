-- What each issuer last said of the tokens it signs with. The front never meets
-- a signer; this is where it reads of them.

SET search_path = chancery_store, pg_temp;

CREATE TABLE token_status (
    signer_id   int NOT NULL,            -- of the issuer that reports
    token       text NOT NULL,           -- the configuration's name of the login
    state       text NOT NULL,           -- ready, no-pin, pin-wrong, token-away, module-broken, closed, no-signer
    sentence    text NOT NULL,
    label       text NOT NULL,
    serial      text NOT NULL,
    model       text NOT NULL,
    threads     int NOT NULL,
    signatures  bigint NOT NULL,         -- since the signer's start
    since       timestamptz NOT NULL,    -- in this state
    journal     text,                    -- a sentence about the signer's journal
    challenge   text,                    -- of that journal, for a reseed
    reported_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (signer_id, token)
) WITH (fillfactor = 50);

GRANT SELECT ON token_status TO chancery_api, chancery_issuer;
GRANT INSERT, UPDATE ON token_status TO chancery_issuer;

CREATE FUNCTION report_token(p_signer_id int, p_token text, p_state text, p_sentence text, p_label text,
    p_serial text, p_model text, p_threads int, p_signatures bigint, p_since timestamptz, p_journal text DEFAULT NULL,
    p_challenge text DEFAULT NULL) RETURNS void
LANGUAGE sql AS $$
    INSERT INTO token_status (signer_id, token, state, sentence, label, serial, model, threads, signatures, since, journal,
        challenge)
    VALUES (p_signer_id, p_token, p_state, p_sentence, p_label, p_serial, p_model, p_threads, p_signatures, p_since,
        p_journal, p_challenge)
    ON CONFLICT (signer_id, token) DO UPDATE SET state = p_state, sentence = p_sentence, label = p_label,
        serial = p_serial, model = p_model, threads = p_threads, signatures = p_signatures, journal = p_journal,
        challenge = p_challenge,
        -- A signer that is not there cannot say since when.
        since = CASE WHEN token_status.state = p_state AND p_state = 'no-signer' THEN token_status.since
            ELSE p_since END,
        reported_at = clock_timestamp()
$$;
GRANT EXECUTE ON FUNCTION report_token(int, text, text, text, text, text, text, int, bigint, timestamptz, text, text)
    TO chancery_issuer;

-- stale: the issuer has not reported for a minute, so nobody knows.
CREATE FUNCTION chancery.api_tokens(p_identity text) RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = chancery_store, pg_temp AS $$
BEGIN
    PERFORM api_reader(p_identity);
    RETURN jsonb_build_object('tokens', coalesce((
        SELECT jsonb_agg(jsonb_build_object('signer_id', signer_id, 'token', token, 'state', state,
            'sentence', sentence, 'label', label, 'serial', serial, 'model', model, 'threads', threads,
            'signatures', signatures, 'since', api_time(since), 'journal', journal, 'challenge', challenge,
            'reported_at', api_time(reported_at), 'stale', reported_at < clock_timestamp() - interval '1 minute') ORDER BY token, signer_id)
        FROM token_status), '[]'::jsonb));
END $$;
ALTER FUNCTION chancery.api_tokens(text) OWNER TO chancery_api;
REVOKE ALL ON FUNCTION chancery.api_tokens(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION chancery.api_tokens(text) TO chancery_front;
