-- What waits for a person's PIN, and the entries of PINs on their way to a signer.
--
-- An entry is an envelope that only one start of one signer can open; here it is
-- carried and accounted for, and nothing in the database can open, widen or redirect
-- it. It is handed to that signer once and then forgotten; what became of it stays.

SET search_path = chancery_store, pg_temp;

-- To-be-signed bytes that are committed, and held back. Each is named by the digest
-- that an entry has to list. A row goes when what waits moves on, by the triggers below.
CREATE TABLE pin_operation (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    public_id   uuid NOT NULL UNIQUE DEFAULT gen_random_uuid(),
    token       text NOT NULL,
    signer_id   int NOT NULL,            -- whose issuer waits: no other signer signs it
    kind        text NOT NULL CHECK (kind IN ('certificate', 'crl', 'csr-info', 'order')),
    ca          text NOT NULL,           -- its name
    object      text NOT NULL,           -- request's id, CRL's number, decision's id
    cka_id      bytea,                   -- NULL: a key that is still to be made
    sha256      bytea NOT NULL CHECK (length(sha256) = 32),
    tbs         bytea,                   -- where it stands nowhere else
    abstract    bytea,                   -- of a long CRL: what its signer says of it, and signed with its identity key
    abstract_signature bytea,
    request_id  bigint UNIQUE,
    crl_id      bigint UNIQUE REFERENCES crl,
    decision_id bigint UNIQUE REFERENCES decision, -- an order, a new CA's CSR or certificate
    since       timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at  timestamptz NOT NULL,    -- then it is made anew
    said        text,                    -- why the last attempt failed
    CHECK (num_nonnulls(request_id, crl_id, decision_id) = 1)
);
CREATE INDEX pin_operation_by_digest ON pin_operation (sha256);
CREATE INDEX pin_operation_by_token ON pin_operation (token, id);
CREATE INDEX pin_operation_by_end ON pin_operation (expires_at);

-- statement to signature are the envelope; NULL once it was handed out.
CREATE TABLE pin_entry (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    public_id    uuid NOT NULL UNIQUE DEFAULT gen_random_uuid(),
    token        text NOT NULL,
    signer_id    int NOT NULL,
    instance     text NOT NULL,          -- the start of the signer that it is for
    action       text NOT NULL CHECK (action IN ('pin-unlock', 'pin-operate', 'pin-split', 'pin-lock', 'pin-clear')),
    operations   int NOT NULL,
    spki_sha256  bytea NOT NULL CHECK (length(spki_sha256) = 32), -- of the operator's key
    nonce        bytea NOT NULL CHECK (length(nonce) = 16),
    statement    text CHECK (length(statement) <= 2048),
    body         text CHECK (length(body) <= 131072),
    spki         bytea CHECK (length(spki) <= 96),
    signature    bytea CHECK (length(signature) <= 80),
    expires_at   timestamptz NOT NULL,
    received_via text NOT NULL,
    received_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    state        text NOT NULL CHECK (state IN ('queued', 'delivered', 'done', 'refused')),
    outcome      text,                   -- one sentence
    ended_at     timestamptz,
    UNIQUE (spki_sha256, nonce)
);
CREATE INDEX pin_entry_queue ON pin_entry (token, signer_id, id) WHERE state IN ('queued', 'delivered');
CREATE INDEX pin_entry_served ON pin_entry (token, received_via, ended_at);

GRANT SELECT ON pin_operation, pin_entry TO chancery_api, chancery_issuer;
GRANT INSERT, DELETE ON pin_operation TO chancery_issuer;
GRANT INSERT ON pin_entry TO chancery_api;
GRANT UPDATE (state, outcome, ended_at, statement, body, spki, signature) ON pin_entry TO chancery_issuer;

-- ------------------------------------------------------ nothing is left behind

-- Whoever moves it: what is no longer waiting is not listed as waiting.
CREATE FUNCTION forget_pin_operation() RETURNS trigger LANGUAGE plpgsql
SET search_path = chancery_store, pg_temp AS $$
BEGIN
    IF TG_ARGV[0] = 'request' THEN
        DELETE FROM pin_operation WHERE request_id = OLD.request_id;
    ELSIF TG_ARGV[0] = 'crl' THEN
        DELETE FROM pin_operation WHERE crl_id = OLD.id;
    ELSE
        DELETE FROM pin_operation WHERE decision_id = OLD.id;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER request_waits_no_more AFTER UPDATE OF state ON request_queue FOR EACH ROW
    WHEN (OLD.state = 'awaiting-pin') EXECUTE FUNCTION forget_pin_operation('request');
CREATE TRIGGER request_is_gone AFTER DELETE ON request_queue FOR EACH ROW
    WHEN (OLD.state = 'awaiting-pin') EXECUTE FUNCTION forget_pin_operation('request');
CREATE TRIGGER crl_waits_no_more AFTER UPDATE OF state, tbs_sha256 ON crl FOR EACH ROW
    WHEN (OLD.state IN ('awaiting-pin', 'prepared')) EXECUTE FUNCTION forget_pin_operation('crl');
CREATE TRIGGER decision_waits_no_more AFTER UPDATE OF retry_at, state ON decision FOR EACH ROW
    WHEN (OLD.retry_at = 'infinity') EXECUTE FUNCTION forget_pin_operation('decision');

-- --------------------------------------------------------------- the issuer

CREATE FUNCTION pin_words(p_token text, p_said text) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT left(format('waits for a PIN of token "%s" (chancery pin enter)%s', p_token, '; before: ' || p_said), 1000)
$$;

-- Requests whose serial and to-be-signed bytes are committed wait from here on without
-- a lease. p_said: why signing them failed before; of each, or NULL. They keep the end
-- of their first wait, p_wait_s after their serial was given away.
CREATE FUNCTION await_pins(p_ids bigint[], p_epochs int[], p_said text[], p_signer_id int, p_wait_s int)
RETURNS SETOF bigint
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_hashjoin = off
SET enable_mergejoin = off SET enable_material = off SET search_path = chancery_store, pg_temp AS $$
BEGIN
    RETURN QUERY
    WITH held AS MATERIALIZED (
        SELECT u.id, left(u.said, 500) AS said, q.place, q.public_id, g.ca, g.token, g.cka_id, b.tbs, i.created_at
        FROM (SELECT * FROM unnest(p_ids, p_epochs, p_said) u (id, epoch, said) ORDER BY id) u
        CROSS JOIN LATERAL (SELECT q.ctid AS place, q.public_id, q.epoch, q.state FROM request_queue q
            WHERE q.request_id = u.id OFFSET 0 FOR UPDATE) q
        CROSS JOIN LATERAL (SELECT * FROM intent_tbs b WHERE b.request_id = u.id OFFSET 0) b
        CROSS JOIN LATERAL (SELECT i.created_at FROM serial_intent i
            WHERE i.issuer_name_id = b.issuer_name_id AND i.serial = b.serial OFFSET 0) i
        CROSS JOIN LATERAL (SELECT a.name AS ca, k.token, k.cka_id FROM generation g
            JOIN ca a ON a.id = g.ca_id JOIN token_key k ON k.id = g.token_key_id
            WHERE g.id = b.generation_id OFFSET 0) g
        WHERE q.epoch = u.epoch AND q.state = 'signing'
    ), listed AS (
        INSERT INTO pin_operation (token, signer_id, kind, ca, object, cka_id, sha256, request_id, said, expires_at)
        SELECT h.token, p_signer_id, 'certificate', h.ca, h.public_id, h.cka_id, sha256(h.tbs), h.id, h.said,
            h.created_at + make_interval(secs => p_wait_s)
        FROM held h
    )
    UPDATE request_queue q SET state = 'awaiting-pin', lease_until = NULL, retry_at = 'infinity',
        reason = (SELECT pin_words(h.token, h.said) FROM held h WHERE h.id = q.request_id),
        changed_at = clock_timestamp()
    WHERE q.ctid = ANY (ARRAY(SELECT h.place FROM held h)) RETURNING q.request_id;
    NOTIFY chancery_done;
END $$;

-- An entry was accepted: what it lists, and this issuer has waiting, is taken under a
-- lease, ready to be sent. The columns are those of claim_requests.
CREATE FUNCTION claim_pins(p_token text, p_signer_id int, p_sha256 bytea[], p_lease_s int)
RETURNS TABLE (request_id bigint, public_id uuid, epoch int, ca_id bigint, template_version_id bigint,
    cleared boolean, automatic boolean, due_us bigint, csr bytea, attributes jsonb,
    issuer_name_id bigint, serial bytea, generation_id bigint, scope_id bigint, tbs bytea,
    statement bytea, signature bytea, spki bytea)
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_hashjoin = off
SET enable_mergejoin = off SET enable_material = off SET search_path = chancery_store, pg_temp AS $$
#variable_conflict use_column
DECLARE
    v_rows tid[];
BEGIN
    SELECT array_agg(q.place) INTO v_rows FROM (
        SELECT DISTINCT o.request_id FROM unnest(p_sha256) u (sha256)
        CROSS JOIN LATERAL (SELECT o.request_id FROM pin_operation o WHERE o.sha256 = u.sha256 AND o.token = p_token
            AND o.signer_id = p_signer_id AND o.request_id IS NOT NULL OFFSET 0) o
        ORDER BY o.request_id LIMIT 256) o
    CROSS JOIN LATERAL (SELECT q.ctid AS place FROM request_queue q
        WHERE q.request_id = o.request_id AND q.state = 'awaiting-pin' OFFSET 0 FOR UPDATE) q;
    IF v_rows IS NULL THEN
        RETURN;
    END IF;
    RETURN QUERY
    WITH claimed AS (
        UPDATE request_queue q SET state = 'signing', epoch = q.epoch + 1, reason = NULL,
            changed_at = clock_timestamp(), retry_at = clock_timestamp(),
            lease_until = clock_timestamp() + make_interval(secs => p_lease_s)
        WHERE q.ctid = ANY (v_rows) -- locked, and so still there
        RETURNING q.request_id, q.public_id, q.epoch, q.ca_id, q.template_version_id, q.cleared, q.retry_at
    )
    SELECT c.request_id, c.public_id, c.epoch, c.ca_id, c.template_version_id, c.cleared,
        (SELECT v.automatic FROM template_version v WHERE v.id = c.template_version_id),
        (date_part('epoch', c.retry_at) * 1000000)::bigint, r.csr, r.attributes,
        b.issuer_name_id, b.serial, b.generation_id, b.scope_id, b.tbs, d.statement, d.signature, d.spki
    FROM claimed c
    CROSS JOIN LATERAL (SELECT r.csr, r.attributes FROM request_record r WHERE r.id = c.request_id OFFSET 0) r
    CROSS JOIN LATERAL (
        SELECT b.issuer_name_id, b.serial, b.generation_id, b.scope_id, b.tbs FROM intent_tbs b
        WHERE b.request_id = c.request_id OFFSET 0) b
    LEFT JOIN LATERAL (
        SELECT convert_to(d.statement, 'UTF8') AS statement, d.signature, k.spki
        FROM decision d
        CROSS JOIN LATERAL (SELECT k.spki FROM credential k WHERE k.id = d.credential_id OFFSET 0) k
        WHERE c.cleared AND d.request_id = c.request_id AND d.action = 'approve' AND d.state = 'applied'
        OFFSET 0 LIMIT 1) d ON true;
END $$;

-- Waited for too long: the serial is given up, and the request gets another one. How
-- many. Of whichever issuer, since that one may be gone for good.
CREATE FUNCTION expire_pins(p_limit int DEFAULT 1000) RETURNS int
LANGUAGE plpgsql SET search_path = chancery_store, pg_temp AS $$
DECLARE
    v_count int;
BEGIN
    WITH late AS MATERIALIZED (
        SELECT o.request_id FROM pin_operation o
        WHERE o.expires_at <= clock_timestamp() AND o.request_id IS NOT NULL
        ORDER BY o.request_id LIMIT p_limit
    ), held AS MATERIALIZED (
        SELECT q.request_id, q.public_id, b.serial FROM request_queue q JOIN intent_tbs b ON b.request_id = q.request_id
        WHERE q.request_id IN (SELECT l.request_id FROM late l) AND q.state = 'awaiting-pin'
        ORDER BY q.request_id FOR UPDATE OF q SKIP LOCKED
    ), freed AS (
        UPDATE intent_tbs b SET request_id = NULL WHERE b.request_id IN (SELECT h.request_id FROM held h)
    ), audited AS (
        INSERT INTO audit (actor, action, object, detail)
        SELECT 'issuer', 'serial.abandoned', h.public_id::text,
            jsonb_build_object('serial', encode(h.serial, 'hex'), 'reason', 'nobody entered a PIN for it in time')
        FROM held h
    ), moved AS (
        UPDATE request_queue q SET state = 'approved', retry_at = clock_timestamp(), changed_at = clock_timestamp(),
            reason = 'nobody entered a PIN in time: it gets a new serial'
        WHERE q.request_id IN (SELECT h.request_id FROM held h) RETURNING 1
    )
    SELECT count(*) INTO v_count FROM moved;
    RETURN v_count;
END $$;

-- A CRL whose digest is committed waits without a lease. From now on its scope has an
-- alarm, which says until when clients have another one. p_delta_life_s: a delta goes with
-- this complete CRL; it is spooled now, so that one entry of the PIN covers both.
CREATE FUNCTION await_pin_crl(p_crl bigint, p_epoch int, p_signer_id int, p_said text, p_delta_life_s int DEFAULT NULL,
    p_lease_s int DEFAULT NULL,
    p_abstract bytea DEFAULT NULL, p_abstract_signature bytea DEFAULT NULL) RETURNS SETOF crl_job
LANGUAGE plpgsql AS $$
DECLARE
    c crl := hold_crl(p_crl, p_epoch, ARRAY['signing']);
    v_stands timestamptz;
    k record;
    p crl;
BEGIN
    IF c.id IS NULL THEN
        RETURN;
    END IF;
    SELECT t.token, t.cka_id, a.name INTO k FROM crl_scope s JOIN ca a ON a.id = s.ca_id
        JOIN token_key t ON t.id = s.token_key_id WHERE s.id = c.scope_id;
    UPDATE crl SET state = 'awaiting-pin', lease_until = NULL,
        -- No signer takes one that is a week old.
        stale_at = coalesce(c.stale_at, c.this_update + least((c.next_update - c.this_update) / 4, interval '3 days'))
    WHERE id = c.id RETURNING * INTO c;
    INSERT INTO pin_operation (token, signer_id, kind, ca, object, cka_id, sha256, crl_id, said, expires_at,
        abstract, abstract_signature)
    VALUES (k.token, p_signer_id, 'crl', k.name, c.number::text, k.cka_id, c.tbs_sha256, c.id, left(p_said, 500),
        c.stale_at, p_abstract, p_abstract_signature);
    SELECT max(n.next_update) INTO v_stands FROM crl n
    WHERE n.scope_id = c.scope_id AND n.delta = c.delta AND n.state = 'issued';
    UPDATE crl_scope SET alarm_since = coalesce(alarm_since, clock_timestamp()),
        alarm = left(format('%s number %s %s; %s', CASE WHEN c.delta THEN 'delta CRL' ELSE 'CRL' END, c.number,
            pin_words(k.token, p_said), coalesce('the one that clients have ends at ' || to_char(v_stands AT TIME ZONE 'UTC',
            'YYYY-MM-DD"T"HH24:MI:SS"Z"'), 'clients have none yet')), 1000)
    WHERE id = c.scope_id;
    UPDATE decision SET outcome = pin_words(k.token, p_said) WHERE id = c.decision_id AND state = 'working';
    NOTIFY chancery_done;
    IF p_delta_life_s IS NULL OR c.delta THEN
        RETURN;
    END IF;
    -- One that is there is listed again, behind it.
    SELECT * INTO p FROM crl WHERE scope_id = c.scope_id AND number = c.number AND state = 'prepared' FOR UPDATE;
    IF p.id IS NULL THEN
        RETURN NEXT crl_job_of(open_delta_beside(c, p_delta_life_s, p_lease_s, 'prepared'));
    ELSIF p.tbs_sha256 IS NOT NULL THEN
        DELETE FROM pin_operation WHERE crl_id = p.id;
        PERFORM list_prepared_crl(p);
    ELSIF coalesce(p.lease_until, '-infinity') < clock_timestamp() THEN
        UPDATE crl SET epoch = epoch + 1, lease_until = clock_timestamp() + make_interval(secs => p_lease_s) WHERE id = p.id;
        DELETE FROM artifact_chunk WHERE artifact_id = p.artifact_id;
        RETURN NEXT crl_job_of(p.id);
    END IF;
END $$;

-- The delta beside a complete CRL that waits is spooled: an entry may list it, too.
CREATE FUNCTION list_prepared_crl(c crl) RETURNS void LANGUAGE sql AS $$
    INSERT INTO pin_operation (token, signer_id, kind, ca, object, cka_id, sha256, crl_id, expires_at)
    SELECT o.token, o.signer_id, o.kind, o.ca, o.object, o.cka_id, c.tbs_sha256, c.id, o.expires_at
    FROM crl w JOIN pin_operation o ON o.crl_id = w.id
    WHERE w.scope_id = c.scope_id AND w.number = c.number AND NOT w.delta AND w.state = 'awaiting-pin';
    NOTIFY chancery_done;
$$;

CREATE FUNCTION claim_pin_crls(p_token text, p_signer_id int, p_sha256 bytea[], p_lease_s int) RETURNS SETOF crl_job
LANGUAGE plpgsql AS $$
DECLARE
    o record;
BEGIN
    FOR o IN SELECT p.crl_id, c.scope_id FROM pin_operation p JOIN crl c ON c.id = p.crl_id
        WHERE p.sha256 = ANY (p_sha256) AND p.token = p_token AND p.signer_id = p_signer_id ORDER BY c.scope_id
    LOOP
        PERFORM FROM crl_scope WHERE id = o.scope_id FOR NO KEY UPDATE;
        UPDATE crl SET state = 'signing', epoch = epoch + 1,
            lease_until = clock_timestamp() + make_interval(secs => p_lease_s)
        WHERE id = o.crl_id AND state = 'awaiting-pin';
        IF FOUND THEN
            -- The delta beside it that is listed, too, comes next, and waits for nobody else.
            DELETE FROM pin_operation WHERE sha256 = ANY (p_sha256) AND crl_id IN (SELECT p.id FROM crl c JOIN crl p
                ON p.scope_id = c.scope_id AND p.number = c.number AND p.state = 'prepared' WHERE c.id = o.crl_id);
            RETURN NEXT crl_job_of(o.crl_id);
        END IF;
    END LOOP;
END $$;

-- Why no CRL of a scope can be begun: its token waits for a person.
CREATE FUNCTION note_crl_alarm(p_scope bigint, p_sentence text) RETURNS void LANGUAGE sql AS $$
    UPDATE crl_scope SET alarm = left(p_sentence, 1000), alarm_since = coalesce(alarm_since, clock_timestamp())
    WHERE id = p_scope AND alarm IS DISTINCT FROM left(p_sentence, 1000)
$$;

-- A decision that cannot go on without a PIN: the order itself (p_tbs NULL: its
-- statement is what an entry names), or what a new CA signs first.
CREATE FUNCTION await_pin_decision(p_id bigint, p_epoch int, p_signer_id int, p_token text, p_kind text, p_ca text,
    p_cka_id bytea, p_tbs bytea) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    d decision := hold_decision(p_id, p_epoch);
BEGIN
    UPDATE decision SET state = 'queued', lease_until = NULL, retry_at = 'infinity', outcome = pin_words(p_token, NULL)
    WHERE id = d.id;
    INSERT INTO pin_operation (token, signer_id, kind, ca, object, cka_id, sha256, tbs, decision_id, expires_at)
    VALUES (p_token, p_signer_id, p_kind, p_ca, d.public_id::text, p_cka_id,
        sha256(coalesce(p_tbs, convert_to(d.statement, 'UTF8'))), p_tbs, d.id, 'infinity');
    NOTIFY chancery_done;
END $$;

-- Decisions that an entry lists go on; how many.
CREATE FUNCTION wake_pin_decisions(p_token text, p_signer_id int, p_sha256 bytea[]) RETURNS int
LANGUAGE plpgsql AS $$
DECLARE
    v_count int;
BEGIN
    UPDATE decision SET retry_at = clock_timestamp()
    WHERE state = 'queued' AND retry_at = 'infinity' AND id IN (SELECT o.decision_id FROM pin_operation o
        WHERE o.sha256 = ANY (p_sha256) AND o.token = p_token AND o.signer_id = p_signer_id);
    GET DIAGNOSTICS v_count = ROW_COUNT;
    RETURN v_count;
END $$;

CREATE FUNCTION end_pin_entry(p_id bigint, p_state text, p_outcome text) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    n pin_entry;
BEGIN
    UPDATE pin_entry SET state = p_state, outcome = left(p_outcome, 1000), ended_at = clock_timestamp(),
        statement = NULL, body = NULL, spki = NULL, signature = NULL
    WHERE id = p_id AND state IN ('queued', 'delivered') RETURNING * INTO n;
    IF n.id IS NULL THEN
        RETURN;
    END IF;
    INSERT INTO audit (actor, action, object, detail)
    VALUES ('issuer', 'pin.' || p_state, n.token, jsonb_build_object('entry', n.public_id, 'action', n.action,
        'operator', encode(n.spki_sha256, 'hex'), 'nonce', encode(n.nonce, 'hex'), 'operations', n.operations,
        'outcome', n.outcome));
    NOTIFY chancery_done;
END $$;

-- The next entry for this start of the token's signer: it is given out once, whatever
-- becomes of it. Those that nobody can open any more end here. Who locks the token or
-- lifts its block waits for nobody; of the others whoever was served last waits longest,
-- and all of them while the signer is busy with an entry.
CREATE FUNCTION take_pin_entry(p_token text, p_signer_id int, p_instance text, p_busy boolean)
RETURNS TABLE (id bigint, action text, statement text, body text, spki bytea, signature bytea)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    n pin_entry;
BEGIN
    FOR n IN SELECT * FROM pin_entry e WHERE e.token = p_token AND e.signer_id = p_signer_id
        AND e.state IN ('queued', 'delivered')
        ORDER BY e.action NOT IN ('pin-lock', 'pin-clear'), (SELECT max(x.ended_at) FROM pin_entry x
            WHERE x.token = e.token AND x.received_via = e.received_via AND x.state = 'done') NULLS FIRST, e.id FOR UPDATE
    LOOP
        IF n.expires_at <= clock_timestamp() THEN
            PERFORM end_pin_entry(n.id, 'refused', CASE n.state WHEN 'queued' THEN 'the entry expired before the signer could take it'
                ELSE 'the issuer that handed it to the signer did not say what became of it' END);
        ELSIF n.instance <> p_instance THEN
            PERFORM end_pin_entry(n.id, 'refused',
                'the signer started anew since: its new start opens no envelope of the old one; enter the PIN again');
        ELSIF n.state = 'queued' AND (p_busy IS NOT TRUE OR n.action IN ('pin-lock', 'pin-clear')) THEN
            UPDATE pin_entry e SET state = 'delivered', statement = NULL, body = NULL, spki = NULL, signature = NULL
            WHERE e.id = n.id;
            RETURN QUERY SELECT n.id, n.action, n.statement, n.body, n.spki, n.signature;
            RETURN;
        END IF;
    END LOOP;
END $$;

-- The signer was busy with another entry after all, and has not looked at this one.
CREATE FUNCTION return_pin_entry(p_id bigint, p_statement text, p_body text, p_spki bytea, p_signature bytea,
    p_outcome text) RETURNS void
LANGUAGE sql AS $$
    UPDATE pin_entry SET state = 'queued', statement = p_statement, body = p_body, spki = p_spki, signature = p_signature,
        outcome = left(p_outcome, 1000)
    WHERE id = p_id AND state = 'delivered'
$$;

GRANT EXECUTE ON FUNCTION pin_words, await_pins, claim_pins, expire_pins, note_crl_alarm, await_pin_crl, list_prepared_crl, claim_pin_crls, await_pin_decision,
    wake_pin_decisions, end_pin_entry, take_pin_entry, return_pin_entry TO chancery_issuer;

-- ---------------------------------------------------------------- the front

-- How many octets of to-be-signed bytes one answer brings: a chunk of a CRL.
CREATE FUNCTION pin_pieces(o pin_operation) RETURNS int LANGUAGE sql STABLE AS $$
    SELECT CASE WHEN o.crl_id IS NULL THEN 1
        ELSE (SELECT count(*)::int FROM artifact_chunk k JOIN crl c ON c.artifact_id = k.artifact_id
              WHERE c.id = o.crl_id) END
$$;

CREATE FUNCTION pin_piece(o pin_operation, p_piece int) RETURNS bytea LANGUAGE sql STABLE AS $$
    SELECT CASE
        WHEN o.crl_id IS NOT NULL THEN (SELECT k.data FROM artifact_chunk k JOIN crl c ON c.artifact_id = k.artifact_id
            WHERE c.id = o.crl_id AND k.position = p_piece + 1)
        WHEN p_piece <> 0 THEN NULL
        WHEN o.tbs IS NOT NULL THEN o.tbs
        WHEN o.request_id IS NOT NULL THEN (SELECT b.tbs FROM intent_tbs b WHERE b.request_id = o.request_id)
        ELSE (SELECT convert_to(d.statement, 'UTF8') FROM decision d WHERE d.id = o.decision_id) END
$$;

CREATE FUNCTION pin_operation_json(o pin_operation) RETURNS jsonb LANGUAGE sql STABLE AS $$
    SELECT jsonb_build_object('id', o.public_id, 'token', o.token, 'signer_id', o.signer_id, 'kind', o.kind, 'ca', o.ca,
        'object', o.object, 'cka_id', encode(o.cka_id, 'hex'), 'sha256', encode(o.sha256, 'hex'),
        'since', api_time(o.since), 'expires_at', CASE WHEN isfinite(o.expires_at) THEN api_time(o.expires_at) END,
        'said', o.said, 'abstract', replace(encode(o.abstract, 'base64'), E'\n', ''),
        'abstract_signature', replace(encode(o.abstract_signature, 'base64'), E'\n', ''), 'template', (SELECT t.name || '/' || v.version FROM request_record r
            JOIN template_version v ON v.id = r.template_version_id JOIN template t ON t.id = v.template_id
            WHERE r.id = o.request_id))
$$;

-- Oldest first, since that is what people work off.
CREATE FUNCTION chancery.api_pin_operations(p_identity text, p_token text, p_limit int, p_after text) RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = chancery_store, pg_temp
SET plan_cache_mode = force_custom_plan AS $$
DECLARE
    v_limit int := api_limit(p_limit);
    v_after bigint := 0;
    v_rows jsonb;
BEGIN
    PERFORM api_reader(p_identity);
    IF p_after IS NOT NULL THEN
        SELECT id INTO v_after FROM pin_operation WHERE public_id = api_uuid('operation', p_after);
        IF v_after IS NULL THEN
            PERFORM api_fail('CH404', format('operation %s waits no longer: begin the list anew', p_after));
        END IF;
    END IF;
    SELECT coalesce(jsonb_agg(pin_operation_json(o::pin_operation) ORDER BY o.id), '[]') INTO v_rows
    FROM (SELECT * FROM pin_operation WHERE (p_token IS NULL OR token = p_token) AND id > v_after
          ORDER BY id LIMIT v_limit) o;
    RETURN jsonb_build_object('operations', v_rows,
        'next', CASE WHEN jsonb_array_length(v_rows) = v_limit THEN v_rows->-1->'id' END);
END $$;

-- The to-be-signed bytes, piece by piece; of an order, the statement that was signed.
CREATE FUNCTION chancery.api_pin_tbs(p_identity text, p_id text, p_piece int) RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = chancery_store, pg_temp AS $$
DECLARE
    v_data bytea;
    o pin_operation;
BEGIN
    PERFORM api_reader(p_identity);
    SELECT * INTO o FROM pin_operation WHERE public_id = api_uuid('operation', p_id);
    v_data := CASE WHEN o.id IS NOT NULL THEN pin_piece(o, coalesce(p_piece, 0)) END;
    IF v_data IS NULL THEN
        PERFORM api_fail('CH404', format('operation %s does not wait, or has no piece %s', p_id, coalesce(p_piece, 0)));
    END IF;
    RETURN pin_operation_json(o) || jsonb_build_object('piece', coalesce(p_piece, 0), 'pieces', pin_pieces(o),
        'tbs', replace(encode(v_data, 'base64'), E'\n', ''));
END $$;

CREATE FUNCTION pin_entry_json(n pin_entry) RETURNS jsonb LANGUAGE sql STABLE AS $$
    SELECT jsonb_build_object('id', n.public_id, 'token', n.token, 'signer_id', n.signer_id, 'action', n.action,
        'operations', n.operations, 'operator_sha256', encode(n.spki_sha256, 'hex'), 'state', n.state,
        'outcome', n.outcome, 'received_at', api_time(n.received_at), 'ended_at', api_time(n.ended_at),
        'expires_at', api_time(n.expires_at),
        'ahead', CASE WHEN n.state = 'queued' THEN (SELECT count(*) FROM pin_entry e WHERE e.token = n.token
            AND e.signer_id = n.signer_id AND e.id < n.id AND e.state IN ('queued', 'delivered')) END)
$$;

-- Why no signer could take this entry; a sentence, or NULL.
CREATE FUNCTION pin_entry_obstacle(p_identity text, p_token text, p_action text, p_instance text, p_expires timestamptz)
RETURNS text
LANGUAGE sql STABLE AS $$
    SELECT CASE
        WHEN NOT EXISTS (SELECT FROM token_status t WHERE t.token = p_token) THEN
            format('no issuer reports a token "%s"', left(p_token, 64))
        WHEN NOT EXISTS (SELECT FROM token_status t WHERE t.token = p_token AND t.instance = p_instance) THEN
            format('no signer of token "%s" runs that started as %s: it started anew since, or the entry is for another token',
                left(p_token, 64), left(p_instance, 32))
        WHEN p_expires <= clock_timestamp() THEN 'the entry has expired'
        WHEN p_expires > clock_timestamp() + interval '11 min' THEN 'an entry is valid for ten minutes at most'
        -- A queue that others filled keeps nobody from locking the token.
        ELSE (SELECT CASE WHEN count(*) >= 16 THEN 'sixteen entries for this signer are on their way already'
                WHEN count(*) FILTER (WHERE e.received_via = p_identity) >= 4 THEN 'four of your entries for this signer are on their way already' END
              FROM pin_entry e JOIN token_status t ON t.signer_id = e.signer_id AND t.token = e.token
              WHERE e.token = p_token AND t.instance = p_instance AND e.state IN ('queued', 'delivered')
                AND e.expires_at > clock_timestamp()
                AND (e.action IN ('pin-lock', 'pin-clear')) = (p_action IN ('pin-lock', 'pin-clear')))
    END
$$;

-- Takes an entry to be carried to its signer, which alone can judge it. What nobody could
-- take is kept as refused, so that the attempt is on record.
CREATE FUNCTION chancery.api_pin_enter(p_identity text, p_token text, p_action text, p_instance text, p_operations int,
    p_nonce bytea, p_expires timestamptz, p_statement text, p_body text, p_spki bytea, p_signature bytea) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = chancery_store, pg_temp AS $$
DECLARE
    v_caller api_caller := api_caller(p_identity);
    v_obstacle text := pin_entry_obstacle(p_identity, p_token, p_action, p_instance, p_expires);
    n pin_entry;
BEGIN
    IF v_caller.decides IS NOT TRUE THEN
        PERFORM api_fail('CH403', format('%s has no role that decides', v_caller.name));
    END IF;
    -- Sent again because the answer was lost; it is not carried twice.
    SELECT * INTO n FROM pin_entry WHERE spki_sha256 = sha256(p_spki) AND nonce = p_nonce;
    IF n.id IS NULL THEN
        INSERT INTO pin_entry (token, signer_id, instance, action, operations, spki_sha256, nonce, statement, body, spki,
            signature, expires_at, received_via, state, outcome, ended_at)
        SELECT p_token, coalesce((SELECT t.signer_id FROM token_status t WHERE t.token = p_token AND t.instance = p_instance
                ORDER BY t.reported_at DESC LIMIT 1), 0),
            p_instance, p_action, p_operations, sha256(p_spki), p_nonce,
            CASE WHEN v_obstacle IS NULL THEN p_statement END, CASE WHEN v_obstacle IS NULL THEN p_body END,
            CASE WHEN v_obstacle IS NULL THEN p_spki END, CASE WHEN v_obstacle IS NULL THEN p_signature END,
            p_expires, p_identity, CASE WHEN v_obstacle IS NULL THEN 'queued' ELSE 'refused' END, v_obstacle,
            CASE WHEN v_obstacle IS NOT NULL THEN clock_timestamp() END
        ON CONFLICT (spki_sha256, nonce) DO NOTHING RETURNING * INTO n;
        IF n.id IS NULL THEN
            PERFORM api_fail('CH503', 'the same entry is being handed in by another session');
        END IF;
    ELSE
        v_obstacle := 'handed in before';
    END IF;
    INSERT INTO audit (actor, action, object, detail)
    VALUES (p_identity, CASE WHEN v_obstacle IS NULL THEN 'pin.received' ELSE 'pin.refused' END, left(p_token, 64),
        jsonb_build_object('entry', n.public_id, 'action', p_action, 'operator', encode(sha256(p_spki), 'hex'),
            'nonce', encode(p_nonce, 'hex'), 'operations', p_operations, 'outcome', v_obstacle));
    IF v_obstacle IS NULL THEN
        NOTIFY chancery_pin;
    END IF;
    RETURN pin_entry_json(n);
END $$;

CREATE FUNCTION chancery.api_pin_entry(p_identity text, p_id text) RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = chancery_store, pg_temp AS $$
DECLARE
    n pin_entry;
BEGIN
    PERFORM api_reader(p_identity);
    SELECT * INTO n FROM pin_entry WHERE public_id = api_uuid('entry', p_id);
    IF n.id IS NULL THEN
        PERFORM api_fail('CH404', format('entry %s is not known', p_id));
    END IF;
    RETURN pin_entry_json(n);
END $$;

GRANT EXECUTE ON FUNCTION pin_pieces, pin_piece, pin_operation_json, pin_entry_json, pin_entry_obstacle TO chancery_api;

DO $$
DECLARE
    f regprocedure;
BEGIN
    FOR f IN SELECT p.oid FROM pg_proc p WHERE p.pronamespace = 'chancery'::regnamespace AND p.proname LIKE 'api\_pin\_%' LOOP
        EXECUTE format('ALTER FUNCTION %s OWNER TO chancery_api', f);
        EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', f);
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO chancery_front', f);
    END LOOP;
END $$;
