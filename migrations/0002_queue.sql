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
-- Triggers (0001) hold every move to request_move, and take a request out of the
-- queue with its certificate or its end.

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
    IF length(p_csr) BETWEEN 2 AND 65536 AND get_byte(p_csr, 0) = 48 THEN -- SEQUENCE
        RETURN p_csr;
    END IF;
    IF p_csr IS NULL OR length(p_csr) = 0 THEN
        RAISE EXCEPTION USING ERRCODE = 'CH400', MESSAGE = 'the CSR is empty';
    END IF;
    IF length(p_csr) > 131072 THEN
        RAISE EXCEPTION USING ERRCODE = 'CH413',
            MESSAGE = format('the CSR has %s octets; at most 65536 of DER or 131072 of PEM are taken', length(p_csr));
    END IF;
    IF get_byte(p_csr, 0) = 48 THEN
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

-- Random, after 48 bits of time (version 7, RFC 9562 5.7): what is made at one time
-- stands together in the index.
CREATE FUNCTION new_public_id() RETURNS uuid LANGUAGE sql VOLATILE AS $$
    SELECT (lpad(to_hex((date_part('epoch', clock_timestamp()) * 1000)::bigint), 12, '0') || '7'
        || substr(gen_random_uuid()::text, 16))::uuid
$$;

-- What can be submitted: the CA, and the newest version of the template.
CREATE TYPE orderable AS (ca_id bigint, version_id bigint);

CREATE FUNCTION find_order(p_ca text, p_template text) RETURNS orderable
LANGUAGE plpgsql STABLE AS $$
DECLARE
    v_found orderable;
BEGIN
    SELECT a.id, (
        SELECT v.id FROM ca_template c JOIN template t ON t.name = c.template JOIN template_version v ON v.template_id = t.id
        WHERE c.ca_id = a.id AND c.template = p_template
        ORDER BY v.version DESC LIMIT 1)
    INTO v_found FROM ca a WHERE a.name = p_ca AND a.state = 'active';
    IF v_found.version_id IS NULL THEN
        PERFORM refuse_order(p_ca, p_template);
    END IF;
    RETURN v_found;
END $$;

-- The one way in. p_submitter is who is recorded, and whose rows the caller then
-- sees. Answers with an id for each CSR. p_attributes and p_keys may be NULL, as a
-- whole or in places; a repeat with the same key gets the first answer. No SET of
-- its own, here and in what it calls: that costs, and the callers have one.
CREATE FUNCTION enqueue_requests(p_submitter text, p_ca text, p_template text, p_csrs bytea[],
    p_attributes jsonb[], p_keys text[]) RETURNS uuid[]
LANGUAGE plpgsql AS $$
DECLARE
    v_for orderable;
    v_ders bytea[];
    v_payloads bytea[];
    v_known uuid[];
    v_ids uuid[];
    v_late boolean;
BEGIN
    v_ders := ARRAY(SELECT csr_to_der(u.csr) FROM unnest(p_csrs) WITH ORDINALITY u (csr, n) ORDER BY u.n);
    IF p_attributes IS NOT NULL THEN
        PERFORM check_attributes(a) FROM unnest(p_attributes) a WHERE a <> '{}';
    END IF;
    -- A repeat is answered before anything is judged: the first answer stands,
    -- even if the CA has been retired since.
    IF p_keys IS NOT NULL THEN
        v_payloads := payloads(p_ca, p_template, v_ders, p_attributes, p_keys);
        v_known := repeated_requests(p_submitter, p_keys, v_payloads);
        IF array_position(v_known, NULL) IS NULL THEN
            RETURN v_known;
        END IF;
    END IF;

    v_for := find_order(p_ca, p_template);
    WITH given AS MATERIALIZED (
        SELECT u.n, u.der, coalesce(u.attributes, '{}') AS attributes, u.key, u.payload, u.known,
            new_public_id() AS public_id
        FROM unnest(v_ders, p_attributes, p_keys, v_payloads, v_known) WITH ORDINALITY
            u (der, attributes, key, payload, known, n)
    ), entered AS (
        INSERT INTO request_record (ca_id, template_version_id, public_id, submitter, idempotency_key, payload_sha256,
            csr, attributes)
        SELECT v_for.ca_id, v_for.version_id, g.public_id, p_submitter, g.key, g.payload, g.der, g.attributes
        FROM given g WHERE g.known IS NULL
        ON CONFLICT (submitter, idempotency_key) WHERE idempotency_key IS NOT NULL DO NOTHING
        RETURNING id, public_id, csr
    ), queued AS (
        INSERT INTO request_queue (request_id, ca_id, template_version_id, public_id)
        SELECT e.id, v_for.ca_id, v_for.version_id, e.public_id FROM entered e
    ), audited AS (
        INSERT INTO audit (actor, action, object, detail)
        SELECT p_submitter, 'request.submitted', e.public_id::text, jsonb_object(ARRAY[
            'ca', p_ca, 'template', p_template, 'csr-sha256', encode(sha256(e.csr), 'hex')])
        FROM entered e
    )
    SELECT array_agg(coalesce(g.known, g.public_id) ORDER BY g.n),
        count(*) FILTER (WHERE g.known IS NULL) > (SELECT count(*) FROM entered)
    INTO v_ids, v_late FROM given g;
    IF v_late THEN -- another session, or another place of the array, was quicker with a key
        v_known := repeated_requests(p_submitter, p_keys, v_payloads);
        IF EXISTS (SELECT FROM unnest(v_known, p_keys) u (known, key) WHERE u.known IS NULL AND u.key IS NOT NULL) THEN
            RAISE EXCEPTION USING ERRCODE = 'CH503', MESSAGE = 'the same idempotency key is in use; try again';
        END IF;
        v_ids := ARRAY(SELECT coalesce(u.known, u.id) FROM unnest(v_known, v_ids) WITH ORDINALITY u (known, id, n)
            ORDER BY u.n);
    END IF;
    IF hint_wanted() THEN
        NOTIFY chancery_request;
    END IF;
    RETURN v_ids;
END $$;

-- The same for one, in small statements: a large one takes longer to set up than
-- to run.
CREATE FUNCTION enqueue_request(p_submitter text, p_ca text, p_template text, p_csr bytea,
    p_attributes jsonb, p_key text) RETURNS uuid
LANGUAGE plpgsql AS $$
DECLARE
    v_for orderable;
    v_der bytea := csr_to_der(p_csr);
    v_attributes jsonb := coalesce(p_attributes, '{}');
    v_payload bytea;
    v_public uuid;
    v_id bigint;
BEGIN
    IF v_attributes <> '{}' THEN
        PERFORM check_attributes(v_attributes);
    END IF;
    IF p_key IS NOT NULL THEN
        v_payload := (payloads(p_ca, p_template, ARRAY[v_der], ARRAY[v_attributes], ARRAY[p_key]))[1];
        v_public := (repeated_requests(p_submitter, ARRAY[p_key], ARRAY[v_payload]))[1];
        IF v_public IS NOT NULL THEN
            RETURN v_public;
        END IF;
    END IF;
    v_for := find_order(p_ca, p_template);
    v_public := new_public_id();
    INSERT INTO request_record (ca_id, template_version_id, public_id, submitter, idempotency_key, payload_sha256,
        csr, attributes)
    VALUES (v_for.ca_id, v_for.version_id, v_public, p_submitter, p_key, v_payload, v_der, v_attributes)
    ON CONFLICT (submitter, idempotency_key) WHERE idempotency_key IS NOT NULL DO NOTHING
    RETURNING id INTO v_id;
    IF v_id IS NULL THEN -- another session was quicker with the same key
        v_public := (repeated_requests(p_submitter, ARRAY[p_key], ARRAY[v_payload]))[1];
        IF v_public IS NULL THEN
            RAISE EXCEPTION USING ERRCODE = 'CH503', MESSAGE = 'the same idempotency key is in use; try again';
        END IF;
        RETURN v_public;
    END IF;
    INSERT INTO request_queue (request_id, ca_id, template_version_id, public_id)
    VALUES (v_id, v_for.ca_id, v_for.version_id, v_public);
    INSERT INTO audit (actor, action, object, detail)
    VALUES (p_submitter, 'request.submitted', v_public::text, jsonb_object(ARRAY[
        'ca', p_ca, 'template', p_template, 'csr-sha256', encode(sha256(v_der), 'hex')]));
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

-- Digests of what is submitted under a key; taken over digests, so that no two
-- different payloads run together.
CREATE FUNCTION payloads(p_ca text, p_template text, p_ders bytea[], p_attributes jsonb[], p_keys text[])
RETURNS bytea[]
LANGUAGE plpgsql AS $$
DECLARE
    v_order bytea := sha256(convert_to(coalesce(p_ca, ''), 'UTF8')) || sha256(convert_to(coalesce(p_template, ''), 'UTF8'));
BEGIN
    IF EXISTS (SELECT FROM unnest(p_keys) k WHERE length(k) NOT BETWEEN 1 AND 200) THEN
        RAISE EXCEPTION USING ERRCODE = 'CH400', MESSAGE = 'an idempotency key has 1 to 200 characters';
    END IF;
    RETURN ARRAY(SELECT CASE WHEN u.key IS NOT NULL THEN
            sha256(v_order || sha256(u.der) || sha256(convert_to(coalesce(u.attributes, '{}')::text, 'UTF8'))) END
        FROM unnest(p_ders, p_attributes, p_keys) WITH ORDINALITY u (der, attributes, key, n) ORDER BY u.n);
END $$;

-- The requests that were submitted with these keys before; NULL where there is none.
CREATE FUNCTION repeated_requests(p_submitter text, p_keys text[], p_payloads bytea[]) RETURNS uuid[]
LANGUAGE plpgsql AS $$
DECLARE
    v_ids uuid[];
    v_wrong bigint;
BEGIN
    SELECT array_agg(r.public_id ORDER BY u.n), min(u.n) FILTER (WHERE r.payload_sha256 <> u.payload)
    INTO v_ids, v_wrong
    FROM unnest(p_keys, p_payloads) WITH ORDINALITY u (key, payload, n)
    LEFT JOIN LATERAL (SELECT r.public_id, r.payload_sha256 FROM request_record r
        WHERE r.submitter = p_submitter AND r.idempotency_key = u.key OFFSET 0) r ON true;
    IF v_wrong IS NOT NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'CH409', MESSAGE = format('idempotency key "%s" was used for request %s '
            'with another CA, template, CSR or attributes', p_keys[v_wrong], v_ids[v_wrong]);
    END IF;
    RETURN v_ids;
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

-- Many at once, at a fraction of the cost: ids in the order of the CSRs. attributes
-- and idempotency_keys have a place for each CSR, or are left out.
CREATE FUNCTION chancery.submit_requests(ca text, template text, csrs bytea[],
    attributes jsonb[] DEFAULT NULL, idempotency_keys text[] DEFAULT NULL) RETURNS uuid[]
LANGUAGE plpgsql SECURITY DEFINER SET search_path = chancery_store, pg_temp AS $$
BEGIN
    IF array_ndims(csrs) = 1 IS NOT TRUE OR cardinality(csrs) > 1024
        OR cardinality(attributes) <> cardinality(csrs) OR cardinality(idempotency_keys) <> cardinality(csrs) THEN
        RAISE EXCEPTION USING ERRCODE = 'CH400', MESSAGE = '1 to 1024 CSRs are submitted at once, with as many attributes '
            'and idempotency keys, or none';
    END IF;
    RETURN enqueue_requests('sql:' || session_user, ca, template, csrs, attributes, idempotency_keys);
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

-- What all requests of a CA wait for: that it may issue again; while no signer of its token
-- signs, an operator's PIN or the token; or else the reason that a request has of its own.
CREATE FUNCTION why_it_waits(p_state text, p_reason text, p_ca bigint) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = chancery_store, pg_temp AS $$
BEGIN
    IF p_state NOT IN ('submitted', 'approved') THEN
        RETURN p_reason;
    END IF;
    RETURN coalesce(ca_stopped(p_ca), (SELECT format('token "%s": %s', t.token, (array_agg(t.sentence ORDER BY t.signer_id))[1])
        FROM (SELECT g.token_key_id FROM generation g WHERE g.ca_id = p_ca ORDER BY g.certificate_index DESC LIMIT 1) g
        JOIN token_key k ON k.id = g.token_key_id JOIN token_status t ON t.token = k.token
        WHERE t.reported_at > clock_timestamp() - interval '1 minute'
        GROUP BY t.token HAVING bool_and(t.state <> 'ready')), p_reason);
END $$;

-- certificate is DER; chain holds the certificates of its issuers, nearest
-- first, root last.
CREATE FUNCTION chancery.request_status(request uuid)
RETURNS TABLE (state text, reason text, certificate bytea, chain bytea[])
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = chancery_store, pg_temp AS $$
BEGIN
    RETURN QUERY SELECT r.state, why_it_waits(r.state, r.reason, r.ca_id), c.der,
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

-- Those of the requests that are over, for who waits for many: issued, or ended
-- for the reason given. What is not known, or not the caller's, is left out.
CREATE FUNCTION chancery.finished_requests(requests uuid[])
RETURNS TABLE (request uuid, state text, reason text, certificate bytea, chain bytea[])
LANGUAGE plpgsql STABLE SECURITY DEFINER SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
SET enable_hashjoin = off SET enable_mergejoin = off SET search_path = chancery_store, pg_temp AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY SELECT u.id, coalesce(e.state, 'issued'), e.reason, c.der, g.chain
    FROM unnest(requests) u (id)
    CROSS JOIN LATERAL (SELECT r.id FROM request_record r WHERE r.public_id = u.id OFFSET 0) r
    LEFT JOIN LATERAL (SELECT c.der, c.generation_id FROM chancery_store.certificate c
        WHERE c.request_id = r.id OFFSET 0) c ON true
    LEFT JOIN LATERAL (SELECT e.state, e.reason FROM request_end e
        WHERE e.request_id = r.id AND c.der IS NULL OFFSET 0) e ON true
    LEFT JOIN LATERAL (SELECT g.certificate || g.chain AS chain FROM generation g
        WHERE g.id = c.generation_id OFFSET 0) g ON true
    WHERE c.der IS NOT NULL OR e.state IS NOT NULL;
END $$;

-- The caller's transaction may stay open for as long as he likes, with the row
-- locked; nobody of ours waits for it long (apply_request_decision not at all).
CREATE FUNCTION withdraw(p_actor text, p_submitter text, p_request uuid) RETURNS void
LANGUAGE plpgsql SET lock_timeout = '1s' SET search_path = chancery_store, pg_temp AS $$
DECLARE
    r record;
BEGIN
    SELECT q.id, q.state INTO r FROM request q
    WHERE q.public_id = p_request AND (p_submitter IS NULL OR q.submitter = p_submitter);
    IF r IS NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'CH404', MESSAGE = format('request %s is not known, or not yours', p_request);
    ELSIF r.state NOT IN ('submitted', 'pending', 'approved') THEN
        RAISE EXCEPTION USING ERRCODE = 'CH409',
            MESSAGE = format('request %s is %s and can no longer be withdrawn', p_request, r.state);
    END IF;
    BEGIN
        INSERT INTO request_end (request_id, state, reason) VALUES (r.id, 'withdrawn', 'taken back by ' || p_actor);
    EXCEPTION WHEN lock_not_available THEN
        RAISE EXCEPTION USING ERRCODE = 'CH503',
            MESSAGE = format('request %s is held by another session; try again', p_request);
    WHEN unique_violation THEN
        RAISE EXCEPTION USING ERRCODE = 'CH409',
            MESSAGE = format('request %s has ended and can no longer be withdrawn', p_request);
    END;
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

-- Up to p_limit requests that are due, under a lease, for those CAs alone; first
-- each CA gets its share, so that none waits for the backlog of another.
--
-- p_since_us: what was due before (microseconds since the epoch) is left out: an
-- issuer that has been there need not pass again over all that went since, which
-- cannot be cleared away while a dump or another long look at the database lasts.
-- What was committed late, or put back, is found by a look with 0, now and then.
-- p_signs: false for a CA whose token is away for the moment; then only what waits
-- for a decision after its check.
--
-- serial to tbs are those of the live intent, if the request was being signed
-- before: it is signed again as it stands. statement to spki are of the decision
-- that approved it, which the signer wants to see; none where the template issues
-- by itself. p_look_ms: the caller promises to claim
-- again no earlier and not much later than that, if it finds something now; 0: it
-- promises nothing.
--
-- A claim need not wait for the disk: if it is lost the requests are where they
-- were, and only one begin_signing can succeed for each.
CREATE FUNCTION claim_requests(p_ca_ids bigint[], p_since_us bigint[], p_signs boolean[], p_limit int,
    p_lease_s int, p_look_ms int DEFAULT 0)
RETURNS TABLE (request_id bigint, public_id uuid, epoch int, ca_id bigint, template_version_id bigint,
    cleared boolean, automatic boolean, due_us bigint, csr bytea, attributes jsonb,
    issuer_name_id bigint, serial bytea, generation_id bigint, scope_id bigint, tbs bytea,
    statement bytea, signature bytea, spki bytea)
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_hashjoin = off
SET enable_mergejoin = off SET enable_material = off SET enable_bitmapscan = off SET enable_sort = off
SET search_path = chancery_store, pg_temp AS $$
#variable_conflict use_column
DECLARE
    v_now timestamptz := clock_timestamp();
    v_left int := p_limit;
    v_share int := greatest(p_limit / greatest(cardinality(p_ca_ids), 1), 1);
    v_rows tid[];
BEGIN
    LOOP
        SELECT array_agg(d.place) INTO v_rows FROM (
            SELECT d.place FROM unnest(p_ca_ids, p_since_us, p_signs) c (ca_id, since_us, signs)
            CROSS JOIN LATERAL (SELECT q.ctid AS place FROM request_queue q
                WHERE q.ca_id = c.ca_id AND q.retry_at >= to_timestamp(c.since_us / 1000000.0::float8)
                    AND q.retry_at <= v_now AND q.state IN ('submitted', 'approved')
                    AND (c.signs OR q.state = 'submitted'
                        AND NOT (SELECT v.automatic FROM template_version v WHERE v.id = q.template_version_id))
                ORDER BY q.retry_at LIMIT v_share FOR UPDATE SKIP LOCKED) d
            LIMIT v_left) d;
        EXIT WHEN v_rows IS NULL;
        IF v_left = p_limit THEN
            PERFORM set_config('synchronous_commit', 'off', true);
            IF p_look_ms > 0 THEN
                PERFORM setval('issuer_looks_at', (extract(epoch FROM v_now) * 1000)::bigint + p_look_ms);
            END IF;
        END IF;
        RETURN QUERY
        WITH claimed AS (
            UPDATE request_queue q SET state = 'claimed', epoch = q.epoch + 1, changed_at = v_now,
                lease_until = v_now + make_interval(secs => p_lease_s)
            WHERE q.ctid = ANY (v_rows) -- locked, and so still there
            RETURNING q.request_id, q.public_id, q.epoch, q.ca_id, q.template_version_id, q.cleared, q.retry_at
        )
        SELECT c.request_id, c.public_id, c.epoch, c.ca_id, c.template_version_id, c.cleared,
            (SELECT v.automatic FROM template_version v WHERE v.id = c.template_version_id),
            (date_part('epoch', c.retry_at) * 1000000)::bigint, r.csr, r.attributes,
            b.issuer_name_id, b.serial, b.generation_id, b.scope_id, b.tbs, d.statement, d.signature, d.spki
        FROM claimed c
        CROSS JOIN LATERAL (SELECT r.csr, r.attributes FROM request_record r WHERE r.id = c.request_id OFFSET 0) r
        LEFT JOIN LATERAL (
            SELECT b.issuer_name_id, b.serial, b.generation_id, b.scope_id, b.tbs FROM intent_tbs b
            WHERE b.request_id = c.request_id OFFSET 0) b ON true
        LEFT JOIN LATERAL (
            SELECT convert_to(d.statement, 'UTF8') AS statement, d.signature, k.spki
            FROM decision d
            CROSS JOIN LATERAL (SELECT k.spki FROM credential k WHERE k.id = d.credential_id OFFSET 0) k
            WHERE c.cleared AND d.request_id = c.request_id AND d.action = 'approve' AND d.state = 'applied'
            OFFSET 0 LIMIT 1) d ON true;
        v_left := v_left - cardinality(v_rows);
        EXIT WHEN v_left <= 0 OR cardinality(v_rows) < v_share OR cardinality(p_ca_ids) = 1;
        v_share := v_left;
    END LOOP;
END $$;

-- What the checks of claimed requests found. outcomes: passed, rejected, failed;
-- failed is also for requests that are being signed, and cannot be.
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
        SELECT u.id, q.place, q.public_id, u.outcome, u.reason,
            CASE WHEN u.outcome <> 'passed' THEN u.outcome
                 WHEN q.cleared OR (SELECT v.automatic FROM template_version v WHERE v.id = q.template_version_id)
                 THEN 'claimed' ELSE 'pending' END AS to_state,
            u.subject, u.names, u.key_type, u.spki_sha256, u.csr_sha256
        FROM (SELECT * FROM unnest(p_ids, p_epochs, p_outcomes, p_reasons, p_subjects, p_names, p_key_types,
            p_spki_sha256, p_csr_sha256)
            u (id, epoch, outcome, reason, subject, names, key_type, spki_sha256, csr_sha256) ORDER BY id) u
        CROSS JOIN LATERAL (SELECT q.ctid AS place, q.public_id, q.cleared, q.template_version_id, q.epoch, q.state
            FROM request_queue q WHERE q.request_id = u.id OFFSET 0 FOR UPDATE) q
        WHERE q.epoch = u.epoch AND (q.state = 'claimed' OR q.state = 'signing' AND u.outcome = 'failed')
    ), pending AS (
        UPDATE request_queue q SET state = 'pending', reason = NULL, lease_until = NULL, retry_at = 'infinity',
            changed_at = clock_timestamp()
        WHERE q.ctid = ANY (ARRAY(SELECT h.place FROM held h WHERE h.to_state = 'pending'))
    ), cleared AS (
        UPDATE request_queue q SET cleared = true
        WHERE q.ctid = ANY (ARRAY(SELECT h.place FROM held h WHERE h.to_state = 'claimed')) AND NOT q.cleared
    ), ended AS (
        INSERT INTO request_end (request_id, state, reason)
        SELECT h.id, h.to_state, h.reason FROM held h WHERE h.outcome <> 'passed'
    ), summary AS (
        INSERT INTO request_summary (request_id, subject, names, key_type, spki_sha256, csr_sha256)
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
-- with the requests that may now be signed: those that are cleared, or have an
-- automatic template. A request that has a live intent is in the answer only if it
-- is given exactly that serial and content again: a serial has one content, and a
-- request one certificate.
CREATE FUNCTION begin_signing(p_ids bigint[], p_epochs int[], p_issuer_name_ids bigint[], p_serials bytea[],
    p_generation_ids bigint[], p_scope_ids bigint[], p_tbs bytea[])
RETURNS SETOF bigint
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_hashjoin = off
SET enable_mergejoin = off SET enable_material = off SET search_path = chancery_store, pg_temp AS $$
BEGIN
    RETURN QUERY
    WITH held AS MATERIALIZED (
        SELECT u.id, q.place, u.epoch, u.issuer_name_id, u.serial, u.generation_id, u.scope_id, u.tbs,
            b.request_id IS NOT NULL AS again
        FROM (SELECT * FROM unnest(p_ids, p_epochs, p_issuer_name_ids, p_serials, p_generation_ids, p_scope_ids, p_tbs)
            u (id, epoch, issuer_name_id, serial, generation_id, scope_id, tbs) ORDER BY id) u
        CROSS JOIN LATERAL (SELECT q.ctid AS place, q.epoch, q.state, q.cleared, q.template_version_id
            FROM request_queue q WHERE q.request_id = u.id OFFSET 0 FOR UPDATE) q
        LEFT JOIN LATERAL (SELECT * FROM intent_tbs b WHERE b.request_id = u.id OFFSET 0) b ON true
        WHERE q.epoch = u.epoch AND q.state = 'claimed'
            AND (q.cleared OR (SELECT v.automatic FROM template_version v WHERE v.id = q.template_version_id))
            AND (b.request_id IS NULL
                OR b.issuer_name_id = u.issuer_name_id AND b.serial = u.serial AND b.tbs = u.tbs)
    ), intent AS (
        INSERT INTO serial_intent (issuer_name_id, serial, request_id, generation_id, scope_id, epoch, tbs_sha256)
        SELECT h.issuer_name_id, h.serial, h.id, h.generation_id, h.scope_id, h.epoch, sha256(h.tbs)
        FROM held h WHERE NOT h.again
    ), kept AS (
        INSERT INTO intent_tbs (issuer_name_id, generation_id, scope_id, request_id, serial, tbs)
        SELECT h.issuer_name_id, h.generation_id, h.scope_id, h.id, h.serial, h.tbs FROM held h WHERE NOT h.again
    )
    UPDATE request_queue q SET state = 'signing', cleared = true, reason = NULL, changed_at = clock_timestamp()
    WHERE q.ctid = ANY (ARRAY(SELECT h.place FROM held h)) RETURNING q.request_id;
END $$;

-- Gives the live intents of requests up, because they can no longer be signed
-- (their key was retired, their time has passed). Serial and bytes stay on record; the request may then
-- begin with a new serial.
CREATE FUNCTION abandon_intents(p_ids bigint[], p_epochs int[]) RETURNS SETOF bigint
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_hashjoin = off
SET enable_mergejoin = off SET enable_material = off SET search_path = chancery_store, pg_temp AS $$
BEGIN
    RETURN QUERY
    WITH held AS MATERIALIZED (
        SELECT u.id, q.public_id, b.place, b.serial
        FROM (SELECT * FROM unnest(p_ids, p_epochs) u (id, epoch) ORDER BY id) u
        CROSS JOIN LATERAL (SELECT q.public_id, q.epoch, q.state FROM request_queue q
            WHERE q.request_id = u.id OFFSET 0 FOR UPDATE) q
        CROSS JOIN LATERAL (SELECT b.ctid AS place, b.serial FROM intent_tbs b WHERE b.request_id = u.id OFFSET 0) b
        WHERE q.epoch = u.epoch AND q.state IN ('claimed', 'signing')
    ), freed AS (
        UPDATE intent_tbs b SET request_id = NULL WHERE b.ctid = ANY (ARRAY(SELECT h.place FROM held h))
    ), audited AS (
        INSERT INTO audit (actor, action, object, detail)
        SELECT 'issuer', 'serial.abandoned', h.public_id::text,
            jsonb_build_object('serial', encode(h.serial, 'hex'))
        FROM held h
    )
    SELECT h.id FROM held h;
END $$;

-- The signer could not tell whether the serials of these were used. Each is given up as
-- above, and the request waits longer each time before it gets the next one: from a
-- second to an hour. The 20th time, hours later, it has failed, with the signer's
-- sentence: who gives serials away for ever fills the table of them.
CREATE FUNCTION refuse_intents(p_ids bigint[], p_epochs int[], p_reasons text[]) RETURNS SETOF bigint
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_hashjoin = off
SET enable_mergejoin = off SET enable_material = off SET search_path = chancery_store, pg_temp AS $$
BEGIN
    RETURN QUERY
    WITH held AS MATERIALIZED (
        SELECT u.id, u.reason, q.public_id, q.place AS queued, q.refusals + 1 AS refusals, b.place, b.serial
        FROM (SELECT * FROM unnest(p_ids, p_epochs, p_reasons) u (id, epoch, reason) ORDER BY id) u
        CROSS JOIN LATERAL (SELECT q.ctid AS place, q.public_id, q.epoch, q.state, q.refusals FROM request_queue q
            WHERE q.request_id = u.id OFFSET 0 FOR UPDATE) q
        CROSS JOIN LATERAL (SELECT b.ctid AS place, b.serial FROM intent_tbs b WHERE b.request_id = u.id OFFSET 0) b
        WHERE q.epoch = u.epoch AND q.state = 'signing'
    ), freed AS (
        UPDATE intent_tbs b SET request_id = NULL WHERE b.ctid = ANY (ARRAY(SELECT h.place FROM held h))
    ), later AS (
        UPDATE request_queue q SET state = 'approved', reason = h.reason, lease_until = NULL, refusals = h.refusals,
            changed_at = clock_timestamp(),
            retry_at = clock_timestamp() + make_interval(secs => least(3600, 0.5 * 2 ^ h.refusals))
        FROM held h WHERE q.ctid = h.queued AND h.refusals < 20
    ), ended AS (
        INSERT INTO request_end (request_id, state, reason)
        SELECT h.id, 'failed', h.reason FROM held h WHERE h.refusals >= 20
    ), audited AS (
        INSERT INTO audit (actor, action, object, detail)
        SELECT 'issuer', 'serial.abandoned', h.public_id::text,
            jsonb_build_object('serial', encode(h.serial, 'hex'), 'reason', h.reason)
        FROM held h
        UNION ALL
        SELECT 'issuer', 'request.failed', h.public_id::text, jsonb_build_object('reason', h.reason)
        FROM held h WHERE h.refusals >= 20
    )
    SELECT h.id FROM held h;
    NOTIFY chancery_done;
END $$;

-- Stores the certificates of requests that were being signed, and answers with
-- those that are now issued. The certificate's content must begin with the
-- bytes of its intent. A repeat (the connection was lost after the commit) gets
-- the same answer. names: one a line.
CREATE FUNCTION complete_requests(p_ids bigint[], p_epochs int[], p_subjects text[], p_names text[],
    p_key_types text[], p_not_before timestamptz[], p_not_after timestamptz[], p_spki_sha256 bytea[], p_der bytea[])
RETURNS SETOF bigint
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_hashjoin = off
SET enable_mergejoin = off SET enable_material = off SET search_path = chancery_store, pg_temp AS $$
DECLARE
    v_done bigint[];
BEGIN
    WITH held AS MATERIALIZED (
        SELECT u.id, q.public_id, q.ca_id, q.template_version_id, b.issuer_name_id, b.serial, b.generation_id,
            b.scope_id, u.subject, u.names, u.key_type, u.not_before, u.not_after, u.spki_sha256, u.der,
            sha256(u.der) AS sha256, b.place
        FROM (SELECT * FROM unnest(p_ids, p_epochs, p_subjects, p_names, p_key_types, p_not_before, p_not_after,
            p_spki_sha256, p_der)
            u (id, epoch, subject, names, key_type, not_before, not_after, spki_sha256, der) ORDER BY id) u
        CROSS JOIN LATERAL (SELECT q.public_id, q.ca_id, q.template_version_id, q.epoch, q.state FROM request_queue q
            WHERE q.request_id = u.id OFFSET 0 FOR UPDATE) q
        CROSS JOIN LATERAL (SELECT b.ctid AS place, b.* FROM intent_tbs b WHERE b.request_id = u.id OFFSET 0) b
        WHERE q.epoch = u.epoch AND q.state = 'signing'
            -- The content of a SEQUENCE starts after its length (X.690 8.1.3).
            AND substr(u.der, CASE WHEN get_byte(u.der, 1) < 128 THEN 3 ELSE 3 + (get_byte(u.der, 1) & 127) END,
                length(b.tbs)) = b.tbs
    ), certified AS (
        INSERT INTO certificate (issuer_name_id, serial, ca_id, generation_id, scope_id, template_version_id,
            request_id, subject, names, key_type, not_before, not_after, spki_sha256, sha256, der)
        SELECT h.issuer_name_id, h.serial, h.ca_id, h.generation_id, h.scope_id, h.template_version_id, h.id,
            h.subject, string_to_array(h.names, E'\n'), h.key_type, h.not_before, h.not_after, h.spki_sha256, h.sha256,
            h.der
        FROM held h
    ), cleaned AS (
        DELETE FROM intent_tbs b WHERE b.ctid = ANY (ARRAY(SELECT h.place FROM held h))
    ), audited AS (
        INSERT INTO audit (actor, action, object, detail)
        SELECT 'issuer', 'certificate.issued', encode(h.sha256, 'hex'),
            jsonb_object(ARRAY['request', h.public_id::text, 'serial', encode(h.serial, 'hex'), 'subject', h.subject])
        FROM held h
    )
    SELECT coalesce(array_agg(h.id), '{}') INTO v_done FROM held h;
    NOTIFY chancery_done;
    RETURN QUERY SELECT unnest(v_done);
    IF cardinality(v_done) < cardinality(p_ids) THEN
        RETURN QUERY SELECT c.request_id FROM unnest(p_ids, p_der) u (id, der)
        CROSS JOIN LATERAL (SELECT c.request_id FROM certificate c
            WHERE c.request_id = u.id AND c.sha256 = sha256(u.der) OFFSET 0) c
        WHERE u.id <> ALL (v_done);
    END IF;
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
        SELECT q.place FROM (SELECT * FROM unnest(p_ids, p_epochs) u (id, epoch) ORDER BY id) u
        CROSS JOIN LATERAL (SELECT q.ctid AS place, q.epoch, q.state FROM request_queue q
            WHERE q.request_id = u.id OFFSET 0 FOR UPDATE) q
        WHERE q.epoch = u.epoch AND q.state IN ('claimed', 'signing')
    )
    UPDATE request_queue q SET state = CASE WHEN q.cleared THEN 'approved' ELSE 'submitted' END, reason = p_reason,
        lease_until = NULL, changed_at = clock_timestamp(),
        retry_at = clock_timestamp() + make_interval(secs => p_retry_after_s)
    WHERE q.ctid = ANY (ARRAY(SELECT h.place FROM held h)) RETURNING q.request_id;
END $$;

-- Keeps claims for longer; answers with those that are still held.
CREATE FUNCTION extend_leases(p_ids bigint[], p_epochs int[], p_lease_s int) RETURNS SETOF bigint
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_hashjoin = off
SET enable_mergejoin = off SET enable_material = off SET search_path = chancery_store, pg_temp AS $$
BEGIN
    RETURN QUERY
    WITH held AS MATERIALIZED (
        SELECT q.place FROM (SELECT * FROM unnest(p_ids, p_epochs) u (id, epoch) ORDER BY id) u
        CROSS JOIN LATERAL (SELECT q.ctid AS place, q.epoch, q.state FROM request_queue q
            WHERE q.request_id = u.id OFFSET 0 FOR UPDATE) q
        WHERE q.epoch = u.epoch AND q.state IN ('claimed', 'signing')
    )
    UPDATE request_queue q SET lease_until = clock_timestamp() + make_interval(secs => p_lease_s)
    WHERE q.ctid = ANY (ARRAY(SELECT h.place FROM held h)) RETURNING q.request_id;
END $$;

-- Puts requests whose issuer went away back into the queue; how many. Their
-- epoch rises with the next claim, which fences the late issuer off. Passes over
-- what was due, as a claim does, so that claims need no index of their own, and the
-- many that wait for a person are not touched.
CREATE FUNCTION sweep_leases(p_limit int DEFAULT 1000) RETURNS int
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_hashjoin = off
SET enable_mergejoin = off SET enable_material = off SET enable_bitmapscan = off SET enable_sort = off
SET search_path = chancery_store, pg_temp AS $$
DECLARE
    v_now timestamptz := clock_timestamp();
    v_rows tid[];
BEGIN
    SELECT array_agg(late.place) INTO v_rows FROM (
        SELECT q.place FROM ca a CROSS JOIN LATERAL (
            SELECT q.ctid AS place FROM request_queue q
            WHERE q.ca_id = a.id AND q.retry_at <= v_now AND q.state IN ('claimed', 'signing') AND q.lease_until < v_now
            ORDER BY q.retry_at LIMIT p_limit FOR UPDATE SKIP LOCKED) q
        LIMIT p_limit) late;
    IF v_rows IS NULL THEN
        RETURN 0;
    END IF;
    UPDATE request_queue q SET state = CASE WHEN q.cleared THEN 'approved' ELSE 'submitted' END, lease_until = NULL,
        changed_at = clock_timestamp()
    WHERE q.ctid = ANY (v_rows);
    RETURN cardinality(v_rows);
END $$;

-- Nobody decided for p_max_age; how many expired.
CREATE FUNCTION expire_requests(p_max_age interval, p_limit int DEFAULT 1000) RETURNS int
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_hashjoin = off
SET enable_mergejoin = off SET enable_material = off SET enable_bitmapscan = off SET enable_sort = off
SET search_path = chancery_store, pg_temp AS $$
DECLARE
    v_count int;
BEGIN
    WITH late AS MATERIALIZED (
        SELECT q.request_id, q.public_id, format('nobody decided within %s', p_max_age) AS reason FROM request_queue q
        WHERE q.state = 'pending' AND q.changed_at < clock_timestamp() - p_max_age
        ORDER BY q.request_id LIMIT p_limit FOR UPDATE SKIP LOCKED
    ), ended AS (
        INSERT INTO request_end (request_id, state, reason) SELECT l.request_id, 'expired', l.reason FROM late l
    ), audited AS (
        INSERT INTO audit (actor, action, object, detail)
        SELECT 'issuer', 'request.expired', l.public_id::text, jsonb_build_object('reason', l.reason) FROM late l
    )
    SELECT count(*) INTO v_count FROM late;
    IF v_count > 0 THEN
        NOTIFY chancery_done;
    END IF;
    RETURN v_count;
END $$;

-- --------------------------------------------------------------- the grants

-- Defaults keep EXECUTE from PUBLIC. The functions that others call run as
-- chancery_api, which needs those that they are made of.
GRANT EXECUTE ON FUNCTION why_it_waits, csr_to_der, hint_wanted, new_public_id, check_attributes, find_order, refuse_order,
    enqueue_requests, enqueue_request, payloads, repeated_requests, withdraw TO chancery_api;
GRANT SELECT ON SEQUENCE issuer_looks_at TO chancery_api;
GRANT UPDATE ON SEQUENCE issuer_looks_at TO chancery_issuer;

ALTER FUNCTION chancery.submit_request(text, text, bytea, jsonb, text) OWNER TO chancery_api;
ALTER FUNCTION chancery.submit_request(text, text, text, jsonb, text) OWNER TO chancery_api;
ALTER FUNCTION chancery.submit_requests OWNER TO chancery_api;
ALTER FUNCTION chancery.front_submit_request OWNER TO chancery_api;
ALTER FUNCTION chancery.request_status OWNER TO chancery_api;
ALTER FUNCTION chancery.finished_requests OWNER TO chancery_api;
ALTER FUNCTION chancery.withdraw_request OWNER TO chancery_api;
ALTER FUNCTION chancery.front_withdraw_request OWNER TO chancery_api;

GRANT EXECUTE ON FUNCTION chancery.submit_request(text, text, bytea, jsonb, text),
    chancery.submit_request(text, text, text, jsonb, text), chancery.submit_requests, chancery.request_status,
    chancery.finished_requests, chancery.withdraw_request
    TO chancery_submitter;
GRANT EXECUTE ON FUNCTION chancery.front_submit_request, chancery.front_withdraw_request, chancery.request_status
    TO chancery_front;
GRANT EXECUTE ON FUNCTION claim_requests, finish_checks, begin_signing, abandon_intents, refuse_intents, complete_requests,
    release_requests, extend_leases, sweep_leases, expire_requests
    TO chancery_issuer;
