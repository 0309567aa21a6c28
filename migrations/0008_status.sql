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
    access      text,                    -- auto, session, operation
    instance    text,                    -- of this start, where a person gives the PIN; with what it announces:
    announced   text,
    announced_signature bytea,
    identity    bytea,                   -- the SubjectPublicKeyInfo that verifies it
    pin_shares  bytea,                   -- the holders' encrypted shares, where its PIN was split
    unlocked_by text,                    -- session: while unlocked
    unlocked_until timestamptz,
    signatures_left bigint,
    reported_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (signer_id, token)
) WITH (fillfactor = 50);

GRANT SELECT ON token_status TO chancery_api, chancery_issuer;
GRANT INSERT, UPDATE ON token_status TO chancery_issuer;

-- An outage goes on while signer and token come and go: it is as old as its first report.
CREATE FUNCTION report_token(p_signer_id int, p_token text, p_state text, p_sentence text, p_label text,
    p_serial text, p_model text, p_threads int, p_signatures bigint, p_since timestamptz, p_journal text DEFAULT NULL,
    p_challenge text DEFAULT NULL, p_access text DEFAULT NULL, p_instance text DEFAULT NULL, p_announced text DEFAULT NULL,
    p_announced_signature bytea DEFAULT NULL, p_identity bytea DEFAULT NULL, p_unlocked_by text DEFAULT NULL,
    p_unlocked_until timestamptz DEFAULT NULL, p_signatures_left bigint DEFAULT NULL, p_pin_shares bytea DEFAULT NULL) RETURNS void
LANGUAGE sql AS $$
    INSERT INTO token_status (signer_id, token, state, sentence, label, serial, model, threads, signatures, since, journal,
        challenge, access, instance, announced, announced_signature, identity, unlocked_by, unlocked_until, signatures_left,
        pin_shares)
    VALUES (p_signer_id, p_token, p_state, p_sentence, p_label, p_serial, p_model, p_threads, p_signatures, p_since,
        p_journal, p_challenge, p_access, p_instance, p_announced, p_announced_signature, p_identity, p_unlocked_by,
        p_unlocked_until, p_signatures_left, p_pin_shares)
    ON CONFLICT (signer_id, token) DO UPDATE SET state = p_state, sentence = p_sentence, label = p_label,
        serial = p_serial, model = p_model, threads = p_threads, signatures = p_signatures, journal = p_journal,
        challenge = p_challenge, access = p_access, instance = p_instance, announced = p_announced,
        announced_signature = p_announced_signature, identity = p_identity, unlocked_by = p_unlocked_by,
        unlocked_until = p_unlocked_until, signatures_left = p_signatures_left, pin_shares = p_pin_shares,
        since = CASE WHEN token_status.state <> 'ready' AND p_state <> 'ready' THEN token_status.since
            ELSE p_since END,
        reported_at = clock_timestamp()
$$;
GRANT EXECUTE ON FUNCTION report_token TO chancery_issuer;

-- The hosts of the issuers: room on the disk that the spool and the journals lie on.
CREATE TABLE host_status (
    signer_id   int PRIMARY KEY,
    disk_free   bigint NOT NULL,         -- octets, for who is not root
    disk_size   bigint NOT NULL,
    reported_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    name        text NOT NULL DEFAULT '' -- as the host calls itself
) WITH (fillfactor = 50);
GRANT SELECT ON host_status TO chancery_api, chancery_issuer;
GRANT INSERT, UPDATE ON host_status TO chancery_issuer;

-- What issuers say of their tokens. One is none any more that its issuer, which reports
-- itself, has had no word of for an hour (its configuration has it no longer), or whose
-- issuer is silent for a day while another one reports the same token (a host that is gone).
CREATE FUNCTION token_reports() RETURNS SETOF token_status
LANGUAGE sql STABLE SET search_path = chancery_store, pg_temp AS $$
    SELECT * FROM token_status t
    WHERE NOT EXISTS (SELECT FROM host_status h WHERE h.signer_id = t.signer_id
            AND h.reported_at > greatest(t.reported_at + interval '1 hour', clock_timestamp() - interval '1 minute'))
        AND NOT (t.reported_at < clock_timestamp() - interval '1 day' AND EXISTS (SELECT FROM token_status o
            WHERE o.token = t.token AND o.reported_at > clock_timestamp() - interval '1 minute'))
$$;
GRANT EXECUTE ON FUNCTION token_reports() TO chancery_api;

-- stale: the issuer has not reported for a minute, so nobody knows.
CREATE FUNCTION chancery.api_tokens(p_identity text) RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = chancery_store, pg_temp AS $$
BEGIN
    PERFORM api_reader(p_identity);
    RETURN jsonb_build_object('tokens', coalesce((
        SELECT jsonb_agg(jsonb_build_object('signer_id', signer_id, 'token', token, 'state', state,
            'sentence', sentence, 'label', label, 'serial', serial, 'model', model, 'threads', threads,
            'signatures', signatures, 'since', api_time(since), 'journal', journal, 'challenge', challenge,
            'access', access, 'start', announced,
            'start_signature', replace(encode(announced_signature, 'base64'), E'\n', ''),
            'identity', replace(encode(identity, 'base64'), E'\n', ''), 'pin_shares', replace(encode(pin_shares, 'base64'), E'\n', ''), 'unlocked_by', unlocked_by,
            'unlocked_until', api_time(unlocked_until), 'signatures_left', signatures_left,
            'reported_at', api_time(reported_at), 'stale', reported_at < clock_timestamp() - interval '1 minute') ORDER BY token, signer_id)
        FROM token_reports()), '[]'::jsonb));
END $$;
ALTER FUNCTION chancery.api_tokens(text) OWNER TO chancery_api;
REVOKE ALL ON FUNCTION chancery.api_tokens(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION chancery.api_tokens(text) TO chancery_front;

CREATE FUNCTION report_host(p_signer_id int, p_disk_free bigint, p_disk_size bigint, p_name text) RETURNS void
LANGUAGE sql SET search_path = chancery_store, pg_temp AS $$
    INSERT INTO host_status (signer_id, disk_free, disk_size, name) VALUES (p_signer_id, p_disk_free, p_disk_size, p_name)
    ON CONFLICT (signer_id) DO UPDATE SET disk_free = p_disk_free, disk_size = p_disk_size, name = p_name,
        reported_at = clock_timestamp()
$$;
GRANT EXECUTE ON FUNCTION report_host(int, bigint, bigint, text) TO chancery_issuer;

CREATE FUNCTION hosts_json() RETURNS jsonb
LANGUAGE sql STABLE SET search_path = chancery_store, pg_temp AS $$
    SELECT coalesce(jsonb_agg(jsonb_build_object('signer_id', signer_id, 'name', name, 'disk_free', disk_free, 'disk_size', disk_size,
        'reported_at', to_char(reported_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')) ORDER BY signer_id), '[]')
    FROM host_status
$$;
GRANT EXECUTE ON FUNCTION hosts_json() TO chancery_api;
