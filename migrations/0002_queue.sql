-- The queue: submitting, claiming, checking, signing, completing.
--
-- Functions of our issuer take batches as parallel arrays and answer for the
-- rows that they changed; a row whose claim is stale (another epoch, another
-- state) is left out of the answer, so that a batch never fails for one of its
-- rows. Identifiers are looked up first and rows are then touched by primary
-- key, in the order of their ids, so that two issuers cannot deadlock.
--
-- Their plans are fixed: from the arrays, or from what was claimed, to one row of
-- each table by its key (LATERAL with OFFSET 0 is neither reordered, nor given
-- another index by a further condition).
-- Statistics of a queue are wrong most of the time: a table that was empty when
-- it was analysed holds thousands of rows a second later, and a plan made in
-- between stays in the session. Rows that are locked already, or whose request
-- is, are touched by their place (ctid), which leaves nothing to plan: a join may
-- be turned round when the other table seemed to be empty.
--
-- The trigger request_check_move (0001) holds every move to request_move.

SET search_path = chancery_store, pg_temp;

-- ------------------------------------------------------------- submitting

-- The DER of a CSR given as DER or as one PEM block (RFC 7468 7), which may have
-- explanatory text around it (5.2). What the DER holds is the issuer's to check.
CREATE FUNCTION csr_to_der(p_csr bytea) RETURNS bytea
LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    v_text text;
    v_blocks text[];
    v_der bytea;
BEGIN
    IF p_csr IS NULL OR length(p_csr) = 0 THEN
        RAISE EXCEPTION USING ERRCODE = 'CH400', MESSAGE = 'the CSR is empty';
    END IF;
    IF length(p_csr) > 131072 THEN
        RAISE EXCEPTION USING ERRCODE = 'CH413',
            MESSAGE = format('the CSR has %s octets; at most 65536 of DER or 131072 of PEM are taken', length(p_csr));
    END IF;
    IF get_byte(p_csr, 0) = 48 THEN -- SEQUENCE
        v_der := p_csr;
    ELSE
        IF position('\x00'::bytea IN p_csr) > 0 THEN
            RAISE EXCEPTION USING ERRCODE = 'CH400', MESSAGE = 'the CSR is neither DER nor PEM';
        END IF;
        v_text := convert_from(p_csr, 'LATIN1');
        SELECT array_agg(m[2]) INTO v_blocks FROM regexp_matches(v_text,
            '-----BEGIN (NEW )?CERTIFICATE REQUEST-----([^-]*)-----END (?:NEW )?CERTIFICATE REQUEST-----', 'g') m;
        IF v_blocks IS NULL THEN
            RAISE EXCEPTION USING ERRCODE = 'CH400', MESSAGE = 'the CSR is neither DER nor a PEM block '
                '"CERTIFICATE REQUEST" (RFC 7468 7)';
        ELSIF cardinality(v_blocks) > 1 THEN
            RAISE EXCEPTION USING ERRCODE = 'CH400',
                MESSAGE = format('the PEM text holds %s CSRs; submit one at a time', cardinality(v_blocks));
        END IF;
        BEGIN
            v_der := decode(v_blocks[1], 'base64');
        EXCEPTION WHEN data_exception THEN
            RAISE EXCEPTION USING ERRCODE = 'CH400', MESSAGE = 'the PEM block of the CSR is not base64 (RFC 7468 3)';
        END;
        IF length(v_der) = 0 OR get_byte(v_der, 0) <> 48 THEN
            RAISE EXCEPTION USING ERRCODE = 'CH400', MESSAGE = 'the PEM block of the CSR holds no DER sequence';
        END IF;
    END IF;
    IF length(v_der) > 65536 THEN
        RAISE EXCEPTION USING ERRCODE = 'CH413',
            MESSAGE = format('the CSR has %s octets of DER; at most 65536 are taken', length(v_der));
    END IF;
    RETURN v_der;
END $$;

-- NOTIFY makes commits wait for each other, each for the disk: hundreds a second
-- and no more. While an issuer that is at work has promised to look again, at
-- this time (milliseconds since the epoch) or later, submissions come without
-- one. A sequence, because it is seen at once and leaves no dead rows.
CREATE SEQUENCE issuer_looks_at MINVALUE 0;

-- What is being submitted is committed long before the issuer looks; if it is
-- not, the issuer's slow poll finds it. A promise for the far future was made
-- before the clock was set back.
CREATE FUNCTION hint_wanted() RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    RETURN (SELECT last_value - date_part('epoch', clock_timestamp()) * 1000 NOT BETWEEN 100 AND 10000
        FROM chancery_store.issuer_looks_at);
END $$;

-- The one way in. p_submitter is who is recorded, and whose rows the caller
-- then sees. A repeat with the same key gets the first answer. No SET of its own,
-- here and in what it calls: that costs, and the callers have one.
CREATE FUNCTION enqueue_request(p_submitter text, p_ca text, p_template text, p_csr bytea,
    p_attributes jsonb, p_key text) RETURNS uuid
LANGUAGE plpgsql AS $$
DECLARE
    v_for record;
    v_der bytea := csr_to_der(p_csr);
    v_attributes jsonb := coalesce(p_attributes, '{}');
    v_payload bytea;
    v_public uuid;
BEGIN
    IF v_attributes <> '{}' THEN
        PERFORM check_attributes(v_attributes);
    END IF;
    -- A repeat is answered before anything is judged: the first answer stands,
    -- even if the CA has been retired since. The digest is taken over digests,
    -- so that no two different payloads run together.
    IF p_key IS NOT NULL THEN
        IF length(p_key) NOT BETWEEN 1 AND 200 THEN
            RAISE EXCEPTION USING ERRCODE = 'CH400', MESSAGE = 'an idempotency key has 1 to 200 characters';
        END IF;
        v_payload := sha256(sha256(convert_to(coalesce(p_ca, ''), 'UTF8'))
            || sha256(convert_to(coalesce(p_template, ''), 'UTF8'))
            || sha256(v_der) || sha256(convert_to(v_attributes::text, 'UTF8')));
        v_public := repeated_request(p_submitter, p_key, v_payload);
        IF v_public IS NOT NULL THEN
            RETURN v_public;
        END IF;
    END IF;

    SELECT a.id AS ca_id, a.state, (
        SELECT v.id FROM ca_template c JOIN template t ON t.name = c.template JOIN template_version v ON v.template_id = t.id
        WHERE c.ca_id = a.id AND c.template = p_template
        ORDER BY v.version DESC LIMIT 1) AS version_id
    INTO v_for FROM ca a WHERE a.name = p_ca;
    IF v_for.state IS DISTINCT FROM 'active' OR v_for.version_id IS NULL THEN
        PERFORM refuse_order(p_ca, p_template);
    END IF;

    WITH entered AS (
        INSERT INTO request (ca_id, template_version_id, submitter, idempotency_key, payload_sha256)
        VALUES (v_for.ca_id, v_for.version_id, p_submitter, p_key, v_payload)
        ON CONFLICT (submitter, idempotency_key) WHERE idempotency_key IS NOT NULL DO NOTHING
        RETURNING id, public_id
    ), content AS (
        INSERT INTO request_content (request_id, csr, attributes) SELECT e.id, v_der, v_attributes FROM entered e
    ), audited AS (
        INSERT INTO audit (actor, action, object, detail)
        SELECT p_submitter, 'request.submitted', e.public_id::text, jsonb_object(ARRAY[
            'ca', p_ca, 'template', p_template, 'csr-sha256', encode(sha256(v_der), 'hex')])
        FROM entered e
    )
    SELECT e.public_id INTO v_public FROM entered e;
    IF v_public IS NULL THEN -- another session was quicker with the same key
        v_public := repeated_request(p_submitter, p_key, v_payload);
        IF v_public IS NULL THEN
            RAISE EXCEPTION USING ERRCODE = 'CH503', MESSAGE = 'the same idempotency key is in use; try again';
        END IF;
        RETURN v_public;
    END IF;
    IF hint_wanted() THEN
        NOTIFY chancery_request;
    END IF;
    RETURN v_public;
END $$;

CREATE FUNCTION check_attributes(p_attributes jsonb) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    -- The stored size first: a number of a few octets can be 131072 digits of text.
    IF jsonb_typeof(p_attributes) <> 'object' OR pg_column_size(p_attributes) > 65536
        OR length(p_attributes::text) > 16384 THEN
        RAISE EXCEPTION USING ERRCODE = 'CH400',
            MESSAGE = 'attributes are a JSON object of at most 16384 characters';
    END IF;
    IF jsonb_path_exists(p_attributes, '$.**{17 to last}') THEN -- whoever reads it has a stack
        RAISE EXCEPTION USING ERRCODE = 'CH400', MESSAGE = 'attributes are nested at most 16 levels deep';
    END IF;
END $$;

-- Says why nothing can be submitted to this CA under this template.
CREATE FUNCTION refuse_order(p_ca text, p_template text) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    v_ca record;
    v_known text;
BEGIN
    SELECT id, state INTO v_ca FROM ca WHERE name = p_ca;
    IF v_ca IS NULL THEN
        SELECT string_agg(name, ', ' ORDER BY name) INTO v_known FROM ca WHERE state = 'active';
        RAISE EXCEPTION USING ERRCODE = 'CH404', MESSAGE = format('CA "%s" is not known; known are: %s',
            left(p_ca, 64), coalesce(left(v_known, 200), 'none'));
    ELSIF v_ca.state <> 'active' THEN
        RAISE EXCEPTION USING ERRCODE = 'CH409', MESSAGE = format('CA "%s" takes no requests: it is %s', p_ca,
            CASE v_ca.state WHEN 'retired' THEN 'retired' ELSE 'still waiting for its own certificate' END);
    END IF;
    SELECT string_agg(t.name, ', ' ORDER BY t.name) INTO v_known
    FROM ca_template c JOIN template t ON t.name = c.template WHERE c.ca_id = v_ca.id;
    RAISE EXCEPTION USING ERRCODE = 'CH404',
        MESSAGE = format('CA "%s" issues no template "%s"; it issues: %s', p_ca,
            left(p_template, 64), coalesce(left(v_known, 200), 'none'));
END $$;

CREATE FUNCTION repeated_request(p_submitter text, p_key text, p_payload bytea) RETURNS uuid
LANGUAGE plpgsql AS $$
DECLARE
    v_first record;
BEGIN
    SELECT public_id, payload_sha256 INTO v_first FROM request
    WHERE submitter = p_submitter AND idempotency_key = p_key;
    IF v_first.payload_sha256 <> p_payload THEN
        RAISE EXCEPTION USING ERRCODE = 'CH409', MESSAGE = format('idempotency key "%s" was used for request %s '
            'with another CA, template, CSR or attributes', p_key, v_first.public_id);
    END IF;
    RETURN v_first.public_id;
END $$;

-- These are not in language sql, which is parsed and planned anew for each call.
-- Services: psql -c "SELECT chancery.submit_request('demo', 'tls-server', pg_read...)".
CREATE FUNCTION chancery.submit_request(ca text, template text, csr bytea,
    attributes jsonb DEFAULT '{}', idempotency_key text DEFAULT NULL) RETURNS uuid
LANGUAGE plpgsql SECURITY DEFINER SET search_path = chancery_store, pg_temp AS $$
BEGIN
    RETURN enqueue_request('sql:' || session_user, ca, template, csr, attributes, idempotency_key);
END $$;

-- The same for PEM text, which psql's variables hold as they are.
CREATE FUNCTION chancery.submit_request(ca text, template text, csr text,
    attributes jsonb DEFAULT '{}', idempotency_key text DEFAULT NULL) RETURNS uuid
LANGUAGE plpgsql SECURITY DEFINER SET search_path = chancery_store, pg_temp AS $$
BEGIN
    RETURN enqueue_request('sql:' || session_user, ca, template,
        CASE WHEN csr LIKE '\\x%' THEN csr::bytea ELSE convert_to(csr, 'UTF8') END, attributes, idempotency_key);
END $$;

-- The front names its caller ("uid:1000", "tls:<sha256>"), but cannot speak for
-- a service that has a database role of its own.
CREATE FUNCTION chancery.front_submit_request(identity text, ca text, template text, csr bytea,
    attributes jsonb DEFAULT '{}', idempotency_key text DEFAULT NULL) RETURNS uuid
LANGUAGE plpgsql SECURITY DEFINER SET search_path = chancery_store, pg_temp AS $$
BEGIN
    IF identity IS NULL OR identity LIKE 'sql:%' OR length(identity) NOT BETWEEN 1 AND 200 THEN
        RAISE EXCEPTION USING ERRCODE = 'CH403',
            MESSAGE = 'the front submits for "uid:" and "tls:" identities, not for database roles';
    END IF;
    RETURN enqueue_request(identity, ca, template, csr, attributes, idempotency_key);
END $$;

-- ------------------------------------------------------ looking, withdrawing

-- certificate is DER; chain holds the certificates of its issuers, nearest
-- first, root last.
CREATE FUNCTION chancery.request_status(request uuid)
RETURNS TABLE (state text, reason text, certificate bytea, chain bytea[])
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = chancery_store, pg_temp AS $$
BEGIN
    RETURN QUERY SELECT r.state, r.reason, c.der,
        CASE WHEN c.id IS NOT NULL THEN g.certificate || g.chain END
    FROM chancery_store.request r
    LEFT JOIN chancery_store.certificate c ON c.id = r.certificate_id
    LEFT JOIN chancery_store.generation g ON g.id = c.generation_id
    WHERE r.public_id = request_status.request;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING ERRCODE = 'CH404',
            MESSAGE = format('request %s is not known, or not yours', request);
    END IF;
END $$;

-- The caller's transaction may stay open for as long as he likes, with the row
-- locked: the lock is one that foreign keys of others do not wait for, and
-- nobody of ours waits for it long (apply_request_decision not at all).
CREATE FUNCTION withdraw(p_actor text, p_submitter text, p_request uuid) RETURNS void
LANGUAGE plpgsql SET lock_timeout = '1s' SET search_path = chancery_store, pg_temp AS $$
DECLARE
    r record;
BEGIN
    BEGIN
        SELECT q.id, q.state INTO r FROM request q
        WHERE q.public_id = p_request AND (p_submitter IS NULL OR q.submitter = p_submitter) FOR NO KEY UPDATE;
    EXCEPTION WHEN lock_not_available THEN
        RAISE EXCEPTION USING ERRCODE = 'CH503',
            MESSAGE = format('request %s is held by another session; try again', p_request);
    END;
    IF r IS NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'CH404', MESSAGE = format('request %s is not known, or not yours', p_request);
    ELSIF r.state NOT IN ('submitted', 'pending', 'approved') THEN
        RAISE EXCEPTION USING ERRCODE = 'CH409',
            MESSAGE = format('request %s is %s and can no longer be withdrawn', p_request, r.state);
    END IF;
    UPDATE request SET state = 'withdrawn', reason = 'taken back by ' || p_actor WHERE id = r.id;
    INSERT INTO audit (actor, action, object) VALUES (p_actor, 'request.withdrawn', p_request::text);
    NOTIFY chancery_done;
END $$;

CREATE FUNCTION chancery.withdraw_request(request uuid) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = chancery_store, pg_temp AS $$
    SELECT withdraw('sql:' || session_user, 'sql:' || session_user, request)
$$;

-- anyone: the caller is an operator by the front's knowledge, and may take
-- back what others submitted; otherwise only its own.
CREATE FUNCTION chancery.front_withdraw_request(identity text, request uuid, anyone boolean DEFAULT false)
RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = chancery_store, pg_temp AS $$
    SELECT withdraw(identity, CASE WHEN NOT anyone THEN identity END, request)
$$;

-- --------------------------------------------------------------- the issuer

-- Up to p_limit requests that are due, under a lease. serial to tbs are those
-- of the live intent, if the request was being signed before: it is signed
-- again as it stands. statement to spki are of the decision that approved it, which the
-- signer wants to see; none where the template issues by itself. p_look_ms: the caller promises to claim again no earlier
-- and not much later than that, if it finds something now; 0: it promises nothing.
--
-- A claim need not wait for the disk: if it is lost the requests are where they
-- were, and only one begin_signing can succeed for each.
CREATE FUNCTION claim_requests(p_limit int, p_lease_s int, p_look_ms int DEFAULT 0)
RETURNS TABLE (request_id bigint, public_id uuid, epoch int, ca_id bigint, template_version_id bigint,
    cleared boolean, automatic boolean, attempts int, csr bytea, attributes jsonb,
    issuer_name_id bigint, serial bytea, generation_id bigint, scope_id bigint, tbs_sha256 bytea, tbs bytea,
    statement bytea, signature bytea, spki bytea)
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_hashjoin = off
SET enable_mergejoin = off SET enable_material = off SET search_path = chancery_store, pg_temp AS $$
#variable_conflict use_column
DECLARE
    v_rows tid[];
BEGIN
    SELECT array_agg(due.ctid) INTO v_rows FROM (
        SELECT ctid FROM request
        WHERE state IN ('submitted', 'approved') AND retry_at <= clock_timestamp()
        ORDER BY retry_at, id LIMIT p_limit FOR UPDATE SKIP LOCKED) due;
    IF v_rows IS NULL THEN
        RETURN;
    END IF;
    PERFORM set_config('synchronous_commit', 'off', true);
    IF p_look_ms > 0 THEN
        PERFORM setval('issuer_looks_at', (extract(epoch FROM clock_timestamp()) * 1000)::bigint + p_look_ms);
    END IF;
    RETURN QUERY
    WITH claimed AS (
        UPDATE request r SET state = 'claimed', epoch = r.epoch + 1, attempts = r.attempts + 1,
            lease_until = clock_timestamp() + make_interval(secs => p_lease_s)
        WHERE r.ctid = ANY (v_rows) -- locked, and so still there
        RETURNING r.id, r.public_id, r.epoch, r.ca_id, r.template_version_id, r.cleared, r.attempts
    )
    SELECT c.id, c.public_id, c.epoch, c.ca_id, c.template_version_id, c.cleared,
        (SELECT v.automatic FROM template_version v WHERE v.id = c.template_version_id), c.attempts,
        q.csr, q.attributes, b.issuer_name_id, b.serial, b.generation_id, b.scope_id, b.tbs_sha256, b.tbs,
        d.statement, d.signature, d.spki
    FROM claimed c
    CROSS JOIN LATERAL (SELECT * FROM request_content q WHERE q.request_id = c.id OFFSET 0) q
    LEFT JOIN LATERAL (
        SELECT convert_to(d.statement, 'UTF8') AS statement, d.signature, k.spki
        FROM decision d
        CROSS JOIN LATERAL (SELECT * FROM credential k WHERE k.id = d.credential_id OFFSET 0) k
        WHERE c.cleared AND d.request_id = c.id AND d.action = 'approve' AND d.state = 'applied'
        OFFSET 0 LIMIT 1) d ON true
    LEFT JOIN LATERAL (
        SELECT b.issuer_name_id, b.serial, i.generation_id, i.scope_id, i.tbs_sha256, b.tbs
        FROM intent_tbs b
        CROSS JOIN LATERAL (SELECT * FROM serial_intent i
            WHERE i.issuer_name_id = b.issuer_name_id AND i.serial = b.serial OFFSET 0) i
        WHERE b.request_id = c.id OFFSET 0) b ON true;
END $$;

-- What the checks of claimed requests found. outcomes: passed, rejected, failed.
-- names: of each request, one a line. passed leads to pending, or, where no
-- decision is needed (an automatic template, or decided already), the request is
-- cleared and stays claimed, ready for begin_signing. Answers with the states.
CREATE FUNCTION finish_checks(p_ids bigint[], p_epochs int[], p_outcomes text[], p_reasons text[],
    p_subjects text[], p_names text[], p_key_types text[], p_spki_sha256 bytea[], p_csr_sha256 bytea[])
RETURNS TABLE (request_id bigint, state text)
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_hashjoin = off
SET enable_mergejoin = off SET enable_material = off SET search_path = chancery_store, pg_temp AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    WITH held AS MATERIALIZED (
        SELECT r.id, r.public_id, u.outcome, u.reason,
            CASE WHEN u.outcome <> 'passed' THEN u.outcome
                 WHEN r.cleared OR (SELECT v.automatic FROM template_version v WHERE v.id = r.template_version_id)
                 THEN 'claimed' ELSE 'pending' END AS to_state,
            u.subject, u.names, u.key_type, u.spki_sha256, u.csr_sha256
        FROM (SELECT * FROM unnest(p_ids, p_epochs, p_outcomes, p_reasons, p_subjects, p_names, p_key_types,
            p_spki_sha256, p_csr_sha256)
            u (id, epoch, outcome, reason, subject, names, key_type, spki_sha256, csr_sha256) ORDER BY id) u
        CROSS JOIN LATERAL (SELECT r.id, r.public_id, r.cleared, r.template_version_id, r.epoch, r.state FROM request r
            WHERE r.id = u.id OFFSET 0 FOR UPDATE) r
        WHERE r.epoch = u.epoch AND r.state = 'claimed'
    ), moved AS (
        UPDATE request r SET state = h.to_state, reason = h.reason
        FROM held h WHERE r.id = h.id AND h.to_state <> 'claimed'
    ), cleared AS (
        UPDATE request r SET cleared = true FROM held h
        WHERE r.id = h.id AND h.to_state = 'claimed' AND NOT r.cleared
    ), summary AS (
        INSERT INTO request_summary AS s (request_id, subject, names, key_type, spki_sha256, csr_sha256)
        SELECT h.id, h.subject, string_to_array(h.names, E'\n'), h.key_type, h.spki_sha256, h.csr_sha256
        FROM held h WHERE h.subject IS NOT NULL
        ON CONFLICT ON CONSTRAINT request_summary_pkey DO NOTHING -- the same CSR was read the same way before
    ), audited AS (
        INSERT INTO audit (actor, action, object, detail)
        SELECT 'issuer', 'request.' || CASE h.outcome WHEN 'passed' THEN 'checked' ELSE h.outcome END,
            h.public_id::text, CASE WHEN h.reason IS NULL THEN '{}' ELSE jsonb_build_object('reason', h.reason) END
        FROM held h
    )
    SELECT h.id, h.to_state FROM held h;
    NOTIFY chancery_done;
END $$;

-- Commits serials and to-be-signed bytes before the token is asked, and answers
-- with the requests that may now be signed. A request that has a live intent is
-- in the answer only if it is given exactly that serial and digest again: a
-- serial has one content, and a request one certificate.
--
-- Requests must be cleared, or have an automatic template and come with what the
-- checks found (p_subjects to p_csr_sha256, as for finish_checks): then the check
-- needs no step of its own. Those that were told before have NULL there.
CREATE FUNCTION begin_signing(p_ids bigint[], p_epochs int[], p_subjects text[], p_names text[], p_key_types text[],
    p_spki_sha256 bytea[], p_csr_sha256 bytea[], p_issuer_name_ids bigint[], p_serials bytea[],
    p_generation_ids bigint[], p_scope_ids bigint[], p_tbs_sha256 bytea[], p_tbs bytea[])
RETURNS SETOF bigint
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_hashjoin = off
SET enable_mergejoin = off SET enable_material = off SET search_path = chancery_store, pg_temp AS $$
BEGIN
    RETURN QUERY
    WITH held AS MATERIALIZED (
        SELECT r.id, r.epoch, u.subject, u.names, u.key_type, u.spki_sha256, u.csr_sha256, u.issuer_name_id, u.serial,
            u.generation_id, u.scope_id, u.tbs_sha256, u.tbs, b.request_id IS NOT NULL AS again
        FROM (SELECT * FROM unnest(p_ids, p_epochs, p_subjects, p_names, p_key_types, p_spki_sha256, p_csr_sha256,
            p_issuer_name_ids, p_serials, p_generation_ids, p_scope_ids, p_tbs_sha256, p_tbs)
            u (id, epoch, subject, names, key_type, spki_sha256, csr_sha256, issuer_name_id, serial, generation_id,
                scope_id, tbs_sha256, tbs) ORDER BY id) u
        CROSS JOIN LATERAL (SELECT r.id, r.epoch, r.state, r.cleared, r.template_version_id FROM request r
            WHERE r.id = u.id OFFSET 0 FOR UPDATE) r
        LEFT JOIN LATERAL (SELECT * FROM intent_tbs b WHERE b.request_id = u.id OFFSET 0) b ON true
        WHERE r.epoch = u.epoch AND r.state = 'claimed' AND u.tbs_sha256 = sha256(u.tbs)
            AND (r.cleared OR u.subject IS NOT NULL
                AND (SELECT v.automatic FROM template_version v WHERE v.id = r.template_version_id))
            AND (b.request_id IS NULL
                OR b.issuer_name_id = u.issuer_name_id AND b.serial = u.serial AND b.tbs = u.tbs)
    ), summary AS (
        INSERT INTO request_summary (request_id, subject, names, key_type, spki_sha256, csr_sha256)
        SELECT h.id, h.subject, string_to_array(h.names, E'\n'), h.key_type, h.spki_sha256, h.csr_sha256
        FROM held h WHERE h.subject IS NOT NULL
        ON CONFLICT ON CONSTRAINT request_summary_pkey DO NOTHING -- the same CSR was read the same way before
    ), intent AS (
        INSERT INTO serial_intent (issuer_name_id, serial, request_id, generation_id, scope_id, epoch, tbs_sha256)
        SELECT h.issuer_name_id, h.serial, h.id, h.generation_id, h.scope_id, h.epoch, h.tbs_sha256
        FROM held h WHERE NOT h.again
    ), kept AS (
        INSERT INTO intent_tbs (issuer_name_id, serial, request_id, tbs)
        SELECT h.issuer_name_id, h.serial, h.id, h.tbs FROM held h WHERE NOT h.again
    )
    UPDATE request r SET state = 'signing', cleared = true, reason = NULL
    FROM held h WHERE r.id = h.id RETURNING r.id;
END $$;

-- Gives the live intents of claimed requests up, because they can no longer be
-- signed (their key was retired, their time has passed). Serial and bytes stay
-- on record; the request may then begin with a new serial.
CREATE FUNCTION abandon_intents(p_ids bigint[], p_epochs int[]) RETURNS SETOF bigint
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_hashjoin = off
SET enable_mergejoin = off SET enable_material = off SET search_path = chancery_store, pg_temp AS $$
BEGIN
    RETURN QUERY
    WITH held AS MATERIALIZED (
        SELECT r.id, r.public_id FROM (SELECT * FROM unnest(p_ids, p_epochs) u (id, epoch) ORDER BY id) u
        CROSS JOIN LATERAL (SELECT r.id, r.public_id, r.epoch, r.state FROM request r
            WHERE r.id = u.id OFFSET 0 FOR UPDATE) r
        WHERE r.epoch = u.epoch AND r.state = 'claimed'
    ), freed AS (
        UPDATE intent_tbs b SET request_id = NULL FROM held h WHERE b.request_id = h.id
        RETURNING h.id, h.public_id, b.serial
    ), audited AS (
        INSERT INTO audit (actor, action, object, detail)
        SELECT 'issuer', 'serial.abandoned', f.public_id::text,
            jsonb_build_object('serial', encode(f.serial, 'hex'))
        FROM freed f
    )
    SELECT f.id FROM freed f;
END $$;

-- The content of a SEQUENCE starts here (X.690 8.1.3).
CREATE FUNCTION der_header_len(p_der bytea) RETURNS int
LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN get_byte(p_der, 1) < 128 THEN 2 ELSE 2 + (get_byte(p_der, 1) & 127) END
$$;

-- Stores the certificates of requests that were being signed, and answers with
-- those that are now issued. The certificate's content must begin with the
-- bytes of its intent. A repeat (the connection was lost after the commit) gets
-- the same answer. names: one a line.
CREATE FUNCTION complete_requests(p_ids bigint[], p_epochs int[], p_subjects text[], p_names text[],
    p_not_before timestamptz[], p_not_after timestamptz[], p_spki_sha256 bytea[], p_der bytea[])
RETURNS SETOF bigint
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_hashjoin = off
SET enable_mergejoin = off SET enable_material = off SET search_path = chancery_store, pg_temp AS $$
DECLARE
    v_done bigint[];
BEGIN
    WITH held AS MATERIALIZED (
        SELECT r.id, r.public_id, r.ca_id, r.template_version_id, b.issuer_name_id, b.serial, i.generation_id,
            i.scope_id, u.subject, u.names, u.not_before, u.not_after, u.spki_sha256, u.der, sha256(u.der) AS sha256,
            b.ctid AS place
        FROM (SELECT * FROM unnest(p_ids, p_epochs, p_subjects, p_names, p_not_before, p_not_after, p_spki_sha256,
            p_der) u (id, epoch, subject, names, not_before, not_after, spki_sha256, der) ORDER BY id) u
        CROSS JOIN LATERAL (SELECT r.id, r.public_id, r.ca_id, r.template_version_id, r.epoch, r.state FROM request r
            WHERE r.id = u.id OFFSET 0 FOR UPDATE) r
        CROSS JOIN LATERAL (SELECT b.ctid, b.* FROM intent_tbs b WHERE b.request_id = u.id OFFSET 0) b
        CROSS JOIN LATERAL (SELECT * FROM serial_intent i
            WHERE i.issuer_name_id = b.issuer_name_id AND i.serial = b.serial OFFSET 0) i
        WHERE r.epoch = u.epoch AND r.state = 'signing'
            AND substr(u.der, der_header_len(u.der) + 1, length(b.tbs)) = b.tbs
    ), certified AS (
        INSERT INTO certificate (issuer_name_id, serial, ca_id, generation_id, scope_id, template_version_id,
            request_id, subject, names, not_before, not_after, spki_sha256, sha256, der)
        SELECT h.issuer_name_id, h.serial, h.ca_id, h.generation_id, h.scope_id, h.template_version_id, h.id,
            h.subject, string_to_array(h.names, E'\n'), h.not_before, h.not_after, h.spki_sha256, h.sha256, h.der
        FROM held h
        RETURNING id, request_id
    ), done AS (
        UPDATE request r SET state = 'issued', reason = NULL, certificate_id = c.id
        FROM certified c WHERE r.id = c.request_id RETURNING r.id
    ), cleaned AS (
        DELETE FROM intent_tbs b WHERE b.ctid = ANY (ARRAY(SELECT h.place FROM held h))
    ), audited AS (
        INSERT INTO audit (actor, action, object, detail)
        SELECT 'issuer', 'certificate.issued', encode(h.sha256, 'hex'),
            jsonb_object(ARRAY['request', h.public_id::text, 'serial', encode(h.serial, 'hex'), 'subject', h.subject])
        FROM held h
    )
    SELECT coalesce(array_agg(d.id), '{}') INTO v_done FROM done d;
    NOTIFY chancery_done;
    RETURN QUERY SELECT unnest(v_done);
    IF cardinality(v_done) < cardinality(p_ids) THEN
        RETURN QUERY SELECT c.request_id FROM unnest(p_ids, p_der) u (id, der)
        CROSS JOIN LATERAL (SELECT c.request_id FROM certificate c
            WHERE c.request_id = u.id AND c.sha256 = sha256(u.der) OFFSET 0) c
        WHERE u.id <> ALL (v_done);
    END IF;
END $$;

-- Ends the work on claimed or signing requests for good: it cannot succeed.
CREATE FUNCTION fail_requests(p_ids bigint[], p_epochs int[], p_reasons text[]) RETURNS SETOF bigint
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_hashjoin = off
SET enable_mergejoin = off SET enable_material = off SET search_path = chancery_store, pg_temp AS $$
BEGIN
    RETURN QUERY
    WITH held AS MATERIALIZED (
        SELECT r.id, r.public_id, u.reason
        FROM (SELECT * FROM unnest(p_ids, p_epochs, p_reasons) u (id, epoch, reason) ORDER BY id) u
        CROSS JOIN LATERAL (SELECT r.id, r.public_id, r.epoch, r.state FROM request r
            WHERE r.id = u.id OFFSET 0 FOR UPDATE) r
        WHERE r.epoch = u.epoch AND r.state IN ('claimed', 'signing')
    ), audited AS (
        INSERT INTO audit (actor, action, object, detail)
        SELECT 'issuer', 'request.failed', h.public_id::text, jsonb_build_object('reason', h.reason) FROM held h
    )
    UPDATE request r SET state = 'failed', reason = h.reason FROM held h WHERE r.id = h.id RETURNING r.id;
    NOTIFY chancery_done;
END $$;

-- Gives claims back, to be taken again after p_retry_after_s; the reason is what
-- people see meanwhile ("waits for token ...").
CREATE FUNCTION release_requests(p_ids bigint[], p_epochs int[], p_retry_after_s double precision, p_reason text)
RETURNS SETOF bigint
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_hashjoin = off
SET enable_mergejoin = off SET enable_material = off SET search_path = chancery_store, pg_temp AS $$
BEGIN
    RETURN QUERY
    WITH held AS MATERIALIZED (
        SELECT r.id FROM (SELECT * FROM unnest(p_ids, p_epochs) u (id, epoch) ORDER BY id) u
        CROSS JOIN LATERAL (SELECT r.id, r.epoch, r.state FROM request r
            WHERE r.id = u.id OFFSET 0 FOR UPDATE) r
        WHERE r.epoch = u.epoch AND r.state IN ('claimed', 'signing')
    )
    UPDATE request r SET state = CASE WHEN r.cleared THEN 'approved' ELSE 'submitted' END, reason = p_reason,
        retry_at = clock_timestamp() + make_interval(secs => p_retry_after_s)
    FROM held h WHERE r.id = h.id RETURNING r.id;
END $$;

-- Keeps claims for longer; answers with those that are still held.
CREATE FUNCTION extend_leases(p_ids bigint[], p_epochs int[], p_lease_s int) RETURNS SETOF bigint
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_hashjoin = off
SET enable_mergejoin = off SET enable_material = off SET search_path = chancery_store, pg_temp AS $$
BEGIN
    RETURN QUERY
    WITH held AS MATERIALIZED (
        SELECT r.id FROM (SELECT * FROM unnest(p_ids, p_epochs) u (id, epoch) ORDER BY id) u
        CROSS JOIN LATERAL (SELECT r.id, r.epoch, r.state FROM request r
            WHERE r.id = u.id OFFSET 0 FOR UPDATE) r
        WHERE r.epoch = u.epoch AND r.state IN ('claimed', 'signing')
    )
    UPDATE request r SET lease_until = clock_timestamp() + make_interval(secs => p_lease_s)
    FROM held h WHERE r.id = h.id RETURNING r.id;
END $$;

-- Puts requests whose issuer went away back into the queue; how many. Their
-- epoch rises with the next claim, which fences the late issuer off.
CREATE FUNCTION sweep_leases(p_limit int DEFAULT 1000) RETURNS int
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_hashjoin = off
SET enable_mergejoin = off SET enable_material = off SET search_path = chancery_store, pg_temp AS $$
DECLARE
    v_ids bigint[];
BEGIN
    SELECT array_agg(id) INTO v_ids FROM (
        SELECT id FROM request WHERE state IN ('claimed', 'signing') AND lease_until < clock_timestamp()
        ORDER BY lease_until LIMIT p_limit FOR UPDATE SKIP LOCKED) late;
    IF v_ids IS NULL THEN
        RETURN 0;
    END IF;
    UPDATE request SET state = CASE WHEN cleared THEN 'approved' ELSE 'submitted' END WHERE id = ANY (v_ids);
    RETURN cardinality(v_ids);
END $$;

-- Nobody decided for p_max_age; how many expired.
CREATE FUNCTION expire_requests(p_max_age interval, p_limit int DEFAULT 1000) RETURNS int
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_hashjoin = off
SET enable_mergejoin = off SET enable_material = off SET search_path = chancery_store, pg_temp AS $$
DECLARE
    v_ids bigint[];
BEGIN
    SELECT array_agg(id) INTO v_ids FROM (
        SELECT id FROM request WHERE state = 'pending' AND changed_at < clock_timestamp() - p_max_age
        ORDER BY id LIMIT p_limit FOR UPDATE SKIP LOCKED) late;
    IF v_ids IS NULL THEN
        RETURN 0;
    END IF;
    WITH moved AS (
        UPDATE request SET state = 'expired', reason = format('nobody decided within %s', p_max_age)
        WHERE id = ANY (v_ids) RETURNING public_id, reason
    )
    INSERT INTO audit (actor, action, object, detail)
    SELECT 'issuer', 'request.expired', public_id::text, jsonb_build_object('reason', reason) FROM moved;
    NOTIFY chancery_done;
    RETURN cardinality(v_ids);
END $$;

-- --------------------------------------------------------------- the grants

-- Defaults keep EXECUTE from PUBLIC. The functions that others call run as
-- chancery_api, which needs those that they are made of.
GRANT EXECUTE ON FUNCTION csr_to_der, hint_wanted, check_attributes, refuse_order, enqueue_request, repeated_request,
    withdraw TO chancery_api;
GRANT SELECT ON SEQUENCE issuer_looks_at TO chancery_api;
GRANT UPDATE ON SEQUENCE issuer_looks_at TO chancery_issuer;

ALTER FUNCTION chancery.submit_request(text, text, bytea, jsonb, text) OWNER TO chancery_api;
ALTER FUNCTION chancery.submit_request(text, text, text, jsonb, text) OWNER TO chancery_api;
ALTER FUNCTION chancery.front_submit_request OWNER TO chancery_api;
ALTER FUNCTION chancery.request_status OWNER TO chancery_api;
ALTER FUNCTION chancery.withdraw_request OWNER TO chancery_api;
ALTER FUNCTION chancery.front_withdraw_request OWNER TO chancery_api;

GRANT EXECUTE ON FUNCTION chancery.submit_request(text, text, bytea, jsonb, text),
    chancery.submit_request(text, text, text, jsonb, text), chancery.request_status, chancery.withdraw_request
    TO chancery_submitter;
GRANT EXECUTE ON FUNCTION chancery.front_submit_request, chancery.front_withdraw_request, chancery.request_status
    TO chancery_front;
GRANT EXECUTE ON FUNCTION claim_requests, finish_checks, begin_signing, abandon_intents, der_header_len,
    complete_requests, fail_requests, release_requests, extend_leases, sweep_leases, expire_requests
    TO chancery_issuer;
