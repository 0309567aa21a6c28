-- Operators' decisions: claimed, verified by the issuer in C (signature, expiry,
-- person, role, and that the statement fits the object), then applied here, each
-- in one transaction. Until then a decision is only a row.

SET search_path = chancery_store, pg_temp;

-- ------------------------------------------------------------- ceremonies
-- Some decisions take the signatures of several persons: the limits of a CA's key
-- (daemon/x509/limits.h) say whose and how many. Until they are there a decision
-- is 'collecting', and nobody works on it. What is counted here decides only when
-- the issuer looks: issuer and signer count again, and verify.
--
-- Of a document only lines are picked out; that it is one was checked by who
-- stored it.

-- The document at the head of a body "document, line ---, policy".
CREATE FUNCTION limits_of_body(p_body text) RETURNS text LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT split_part(p_body, E'\n---\n', 1) || E'\n'
$$;

-- The value of a line "key: value", of a statement, too.
CREATE FUNCTION limits_line(p_text text, p_key text) RETURNS text LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT substring(p_text FROM '(?n)^' || p_key || ': (.*)$')
$$;

-- The operators: person, rights, and the key as the document has it.
CREATE FUNCTION limits_operators(p_document text) RETURNS TABLE (person text, rights text[], spki text)
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT split_part(l, ' ', 2), string_to_array(split_part(l, ' ', 3), ','), split_part(l, ' ', 4)
    FROM string_to_table(p_document, E'\n') l WHERE l LIKE 'operator: %'
$$;

-- Who has this key with this right; NULL: nobody. A key stands once, at the end of
-- its line. Asked for each approval, and therefore without a table of all lines.
CREATE FUNCTION limits_person(p_document text, p_spki bytea, p_right text) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT CASE WHEN l LIKE 'operator: %' AND p_right = ANY (string_to_array(split_part(l, ' ', 3), ','))
        THEN split_part(l, ' ', 2) END
    FROM (SELECT ' ' || replace(encode(p_spki, 'base64'), E'\n', '') || E'\n' AS ending) e,
        LATERAL (SELECT CASE WHEN strpos(p_document, ending) > 0
            THEN split_part(split_part(p_document, ending, 1), E'\n', -1) END AS l) f
$$;

-- The generation that signs; before there is one, the one that waits; after all, the last.
CREATE FUNCTION current_generation(p_ca bigint) RETURNS SETOF generation LANGUAGE sql STABLE ROWS 1 AS $$
    SELECT * FROM generation WHERE ca_id = p_ca
    ORDER BY state = 'active' DESC, certificate IS NOT NULL DESC, certificate_index DESC LIMIT 1
$$;

-- Of one of a CA's keys.
CREATE FUNCTION limits_of_key(p_ca bigint, p_key_index int) RETURNS ca_limits LANGUAGE sql STABLE AS $$
    SELECT l FROM ca_limits l WHERE l.ca_id = p_ca AND l.key_index = p_key_index ORDER BY l.version DESC LIMIT 1
$$;

-- Of the key that it signs with.
CREATE FUNCTION limits_in_force(p_ca bigint) RETURNS ca_limits LANGUAGE sql STABLE AS $$
    SELECT limits_of_key(p_ca, g.key_index) FROM current_generation(p_ca) g
$$;

-- Which of a CA's keys a document of limits, a destruction, the installation of a
-- certificate, or a rollover is about: the one that the document names; the one that waits;
-- the one that signs.
CREATE FUNCTION ordered_key(p_action text, p_ca bigint, p_body text) RETURNS int LANGUAGE sql STABLE AS $$
    SELECT g.key_index FROM generation g JOIN token_key k ON k.id = g.token_key_id
    WHERE g.ca_id = p_ca AND CASE p_action
        WHEN 'ca-limits' THEN encode(k.spki_sha256, 'hex') = limits_line(limits_of_body(p_body), 'key')
        WHEN 'key-destroy' THEN encode(k.spki_sha256, 'hex') = limits_line(p_body, 'key')
        WHEN 'ca-rollover' THEN encode(k.spki_sha256, 'hex') = limits_line(p_body, 'signer')
        ELSE true END
    ORDER BY g.state = 'awaiting-certificate' DESC, g.certificate_index DESC LIMIT 1
$$;

CREATE FUNCTION is_ceremony(p_action text) RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT p_action IN ('ca-create', 'ca-install', 'ca-limits', 'ca-renew', 'ca-rekey', 'ca-rollover', 'signer-reseed',
        'key-destroy')
$$;

-- The limits whose operators have to sign: a new CA's own; of a CA that exists
-- those in force; for a reseed those of each key that it lists.
CREATE FUNCTION ceremony_documents(p_action text, p_ca bigint, p_body text) RETURNS SETOF text
LANGUAGE sql STABLE AS $$
    SELECT document FROM (
        SELECT limits_of_body(p_body) WHERE p_action IN ('ca-create', 'ca-rekey')
        UNION ALL
        SELECT (limits_in_force(p_ca)).document WHERE p_action IN ('ca-renew', 'ca-rekey')
        UNION ALL
        SELECT (limits_of_key(p_ca, ordered_key(p_action, p_ca, p_body))).document WHERE p_action IN ('ca-install', 'ca-limits', 'ca-rollover', 'key-destroy')
        UNION ALL
        SELECT (limits_of_key(c.ca_id, c.key_index)).document
        FROM (SELECT DISTINCT g.ca_id, g.key_index FROM string_to_table(p_body, E'\n') l
              JOIN token_key k ON k.token = limits_line(p_body, 'token') AND encode(k.cka_id, 'hex') = split_part(l, ' ', 2)
              JOIN generation g ON g.token_key_id = k.id
              WHERE p_action = 'signer-reseed' AND l LIKE 'key: %' ORDER BY g.ca_id, g.key_index) c) o (document)
    WHERE document IS NOT NULL
$$;

-- All signatures of a decision, the first first.
CREATE FUNCTION ceremony_signers(d decision)
RETURNS TABLE (credential_id bigint, spki bytea, person text, signature bytea, received_via text, received_at timestamptz)
LANGUAGE sql STABLE AS $$
    SELECT c.id, c.spki, p.name, s.signature, s.received_via, s.received_at
    FROM (SELECT d.credential_id, d.signature, d.received_via, d.received_at
          UNION ALL
          SELECT g.credential_id, g.signature, g.received_via, g.received_at FROM decision_signature g
          WHERE g.decision_id = d.id) s
    JOIN credential c ON c.id = s.credential_id JOIN person p ON p.id = c.person_id
    WHERE c.revoked_at IS NULL
    ORDER BY s.received_at, c.id
$$;

-- For each document: how many it takes, who signed, how many are missing, and who
-- could still sign. A person counts once, with however many keys, and only under the
-- name by which he is registered: otherwise two names in a document could be one
-- person.
CREATE FUNCTION ceremony_state(d decision)
RETURNS TABLE (document text, ca text, quorum int, signed text[], missing int, may_sign text[])
LANGUAGE sql STABLE AS $$
    SELECT o.document, limits_line(o.document, 'ca'), q.quorum, s.persons, greatest(q.quorum - cardinality(s.persons), 0),
        ARRAY(SELECT DISTINCT p.person FROM limits_operators(o.document) p
              WHERE 'limits' = ANY (p.rights) AND p.person <> ALL (s.persons) ORDER BY 1)
    FROM ceremony_documents(d.action, d.ca_id, d.body) o (document)
    CROSS JOIN LATERAL (SELECT limits_line(o.document, 'quorum')::int AS quorum) q
    CROSS JOIN LATERAL (SELECT ARRAY(
        SELECT DISTINCT k.person FROM ceremony_signers(d) k
        WHERE limits_person(o.document, k.spki, 'limits') = k.person ORDER BY 1) AS persons) s
$$;

-- Why the signer would refuse a certificate that this key approved: a sentence
-- for the operator, who learns it before he believes that it is issued; or NULL.
CREATE FUNCTION approval_obstacle(p_request bigint, p_credential bigint) RETURNS text
LANGUAGE plpgsql STABLE AS $$
DECLARE
    v_limits text;
    v_ca text;
    v_template text;
    k record;
BEGIN
    SELECT (limits_in_force(q.ca_id)).document, a.name, t.name INTO v_limits, v_ca, v_template
    FROM request_record q JOIN ca a ON a.id = q.ca_id JOIN template_version v ON v.id = q.template_version_id
    JOIN template t ON t.id = v.template_id WHERE q.id = p_request;
    SELECT c.spki, p.name INTO k FROM credential c JOIN person p ON p.id = c.person_id WHERE c.id = p_credential;
    RETURN CASE
        WHEN limits_line(v_limits, 'retired') IS NOT NULL THEN
            format('operators retired %sCA %s, so that the signer would refuse the certificate',
                CASE limits_line(v_limits, 'retired') WHEN 'key' THEN 'the key of ' ELSE '' END, v_ca)
        WHEN limits_person(v_limits, k.spki, 'decide') IS NULL AND v_limits IS NOT NULL THEN
            format('the limits of CA %1$s do not name this key of operator %2$s with the right "decide", so that the signer '
                'would refuse the certificate; they are widened by "chancery ca limits change %1$s --add-operator %2$s"',
                v_ca, k.name)
        WHEN strpos(v_limits, E'\ntemplate: ' || v_template || ' ') = 0 THEN
            format('the limits of CA %1$s do not know template %2$s, so that the signer would refuse the certificate; they '
                'are widened by "chancery ca limits change %1$s --template %2$s"', v_ca, v_template)
    END;
END $$;

-- --------------------------------------------------------------- the queue

-- The token that an order is carried out with; NULL when it needs none, or when that
-- cannot be read here (a policy is the issuer's to parse).
CREATE FUNCTION decision_token(d decision) RETURNS text
LANGUAGE sql STABLE AS $$
    SELECT CASE
        WHEN d.action = 'ca-rollover' THEN (SELECT k.token FROM token_key k
            WHERE encode(k.spki_sha256, 'hex') = limits_line(d.body, 'signer'))
        WHEN d.action IN ('ca-create', 'ca-rekey') THEN substring(d.body FROM '(?n)^token:[ ]*["'']?([A-Za-z0-9._-]+)')
        WHEN d.action = 'signer-reseed' THEN substring(d.statement FROM '(?n)^object: (.*)$')
        WHEN d.action = 'key-destroy' THEN (SELECT k.token FROM token_key k
            WHERE encode(k.spki_sha256, 'hex') = limits_line(d.body, 'key'))
        WHEN d.action = 'ca-install' THEN (
            SELECT k.token FROM generation g JOIN token_key k ON k.id = g.token_key_id
            WHERE g.ca_id = d.ca_id AND g.state = 'awaiting-certificate' ORDER BY g.certificate_index DESC LIMIT 1)
        WHEN d.action IN ('ca-limits', 'ca-renew', 'crl-issue', 'key-attest') THEN (
            SELECT k.token FROM current_generation(d.ca_id) g JOIN token_key k ON k.id = g.token_key_id)
    END
$$;

-- Whether an order waits while the clock is in doubt: by it a CA signs something with the
-- time, or judges a certificate by it.
CREATE FUNCTION waits_for_clock(p_action text, p_clock boolean) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    RETURN p_action IN ('ca-create', 'ca-install', 'ca-renew', 'ca-rekey', 'ca-rollover', 'ca-cross')
        AND (NOT p_clock OR clock_doubt() IS NOT NULL);
END $$;

-- Up to p_limit decisions that wait, under a lease, with all that the issuer
-- needs to judge them. p_tokens: those of the issuer's host; an order for another
-- token is left to an issuer that has it, for ten seconds: then there is none, and
-- somebody must say so. p_clock: the issuer's own clock is not in doubt; what is signed
-- with the time, or judged by it, waits while that or the database's is.
CREATE FUNCTION claim_decisions(p_limit int, p_lease_s int, p_tokens text[] DEFAULT NULL, p_clock boolean DEFAULT true)
RETURNS TABLE (
    id bigint, public_id uuid, epoch int, action text, statement text, signature bytea, body text,
    received_via text, received_at timestamptz, nonce bytea,
    credential_spki bytea, credential_live boolean, person text, roles text[], first_operator boolean,
    request_public_id uuid, request_csr_sha256 bytea, request_template text,
    certificate_sha256 bytea, ca_name text, result jsonb,
    more_spkis bytea[], more_signatures bytea[], more_received bigint[], limits text[], token text)
LANGUAGE sql AS $$
    WITH due AS (
        SELECT d.id FROM decision d
        WHERE (d.state = 'queued' AND (d.retry_at IS NULL OR d.retry_at <= clock_timestamp())
               OR d.state = 'working' AND d.lease_until < clock_timestamp())
            AND (p_tokens IS NULL OR coalesce(decision_token(d) = ANY (p_tokens), true)
                OR d.received_at < clock_timestamp() - interval '10 s')
            AND NOT waits_for_clock(d.action, p_clock)
        ORDER BY d.id LIMIT p_limit FOR UPDATE SKIP LOCKED
    ), claimed AS (
        UPDATE decision d SET state = 'working', epoch = d.epoch + 1,
            lease_until = clock_timestamp() + make_interval(secs => p_lease_s)
        FROM due WHERE d.id = due.id RETURNING d.*, decision_token(d) AS token
    )
    SELECT c.id, c.public_id, c.epoch, c.action, c.statement, c.signature, c.body,
        c.received_via, c.received_at, c.nonce,
        k.spki, k.kind = 'operator_key' AND k.revoked_at IS NULL, p.name,
        (SELECT array_agg(r.role) FROM person_role r WHERE r.person_id = p.id),
        NOT EXISTS (SELECT FROM person),
        q.public_id, s.csr_sha256, t.name || '/' || v.version,
        x.sha256, a.name, c.result,
        m.spkis, m.signatures, m.received,
        CASE WHEN c.action IN ('ca-install', 'ca-limits', 'ca-renew', 'ca-rekey', 'ca-rollover', 'signer-reseed', 'key-destroy')
            THEN ARRAY(SELECT ceremony_documents(c.action, c.ca_id, c.body)) END,
        c.token
    FROM claimed c
    LEFT JOIN credential k ON k.id = c.credential_id
    LEFT JOIN person p ON p.id = k.person_id
    LEFT JOIN request_record q ON q.id = c.request_id
    LEFT JOIN request_summary s ON s.request_id = q.id
    LEFT JOIN template_version v ON v.id = q.template_version_id
    LEFT JOIN template t ON t.id = v.template_id
    LEFT JOIN certificate x ON x.id = c.certificate_id
    LEFT JOIN ca a ON a.id = coalesce(c.ca_id, q.ca_id, x.ca_id)
    -- Those of others, in a ceremony; of keys that are still valid.
    CROSS JOIN LATERAL (
        SELECT array_agg(o.spki ORDER BY g.received_at, o.id) AS spkis,
            array_agg(g.signature ORDER BY g.received_at, o.id) AS signatures,
            array_agg(floor(extract(epoch FROM g.received_at))::bigint ORDER BY g.received_at, o.id) AS received
        FROM decision_signature g JOIN credential o ON o.id = g.credential_id
        WHERE g.decision_id = c.id AND o.kind = 'operator_key' AND o.revoked_at IS NULL) m
    ORDER BY c.id
$$;

-- Keeps the leases of decisions that take long (a key is being made, a token is
-- slow); one that was taken over is left alone.
CREATE FUNCTION keep_decisions(p_ids bigint[], p_epochs int[], p_lease_s int) RETURNS void
LANGUAGE sql AS $$
    UPDATE decision d SET lease_until = clock_timestamp() + make_interval(secs => p_lease_s)
    FROM (SELECT w.id FROM unnest(p_ids, p_epochs) u (id, epoch)
          JOIN decision w ON w.id = u.id AND w.epoch = u.epoch AND w.state = 'working'
          ORDER BY w.id FOR UPDATE OF w) held
    WHERE d.id = held.id
$$;

-- The decision's row, locked, if the caller still holds its lease; CH409 otherwise.
CREATE FUNCTION hold_decision(p_id bigint, p_epoch int) RETURNS decision
LANGUAGE plpgsql AS $$
DECLARE
    d decision;
BEGIN
    SELECT * INTO d FROM decision WHERE id = p_id FOR UPDATE;
    IF d.id IS NULL OR d.state <> 'working' OR d.epoch <> p_epoch THEN
        RAISE EXCEPTION USING ERRCODE = 'CH409',
            MESSAGE = format('decision %s is no longer held by this issuer', p_id);
    END IF;
    RETURN d;
END $$;

CREATE FUNCTION decision_actor(d decision) RETURNS text
LANGUAGE sql STABLE AS $$
    SELECT coalesce((SELECT 'operator:' || p.name FROM credential k JOIN person p ON p.id = k.person_id
                     WHERE k.id = d.credential_id), d.received_via)
$$;

CREATE FUNCTION close_decision(d decision, p_state text, p_outcome text, p_result jsonb)
RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    UPDATE decision SET state = p_state, outcome = left(p_outcome, 1000), result = coalesce(p_result, result),
        applied_at = clock_timestamp(), lease_until = NULL
    WHERE id = d.id;
    INSERT INTO audit (actor, action, object, detail)
    VALUES (decision_actor(d), 'decision.' || p_state, d.public_id::text,
        jsonb_build_object('action', d.action, 'outcome', p_outcome));
    NOTIFY chancery_done;
END $$;

-- Ceremonies that did not get their signatures in time; how many.
CREATE FUNCTION expire_decisions() RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    d decision;
    n bigint := 0;
BEGIN
    FOR d IN SELECT * FROM decision WHERE state = 'collecting' AND expires_at <= clock_timestamp()
             ORDER BY id LIMIT 100 FOR NO KEY UPDATE SKIP LOCKED LOOP
        PERFORM close_decision(d, 'expired', format('it expired at %s: %s', api_time(d.expires_at),
            coalesce((SELECT string_agg(format('the limits of CA %s take %s signatures and it had %s', ca, quorum,
                cardinality(signed)), '; ') FROM ceremony_state(d) WHERE missing > 0), 'too few had signed')), NULL);
        n := n + 1;
    END LOOP;
    RETURN n;
END $$;

-- The issuer could not verify it, or it does not fit: nothing changes but this row.
CREATE FUNCTION refuse_decision(p_id bigint, p_epoch int, p_outcome text) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM close_decision(hold_decision(p_id, p_epoch), 'refused', p_outcome, NULL);
END $$;

-- Token or signer away: try again later; progress made so far is kept in result.
-- Not to the second: an issuer that cannot carry it out, and looks at the same
-- beat as one that can, would take it first for ever.
CREATE FUNCTION retry_decision(p_id bigint, p_epoch int, p_after_s int, p_outcome text, p_result jsonb)
RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM hold_decision(p_id, p_epoch);
    UPDATE decision SET state = 'queued', lease_until = NULL, outcome = left(p_outcome, 1000),
        result = coalesce(p_result, result),
        retry_at = clock_timestamp() + make_interval(secs => p_after_s * (0.5 + random()))
    WHERE id = p_id;
END $$;

CREATE FUNCTION apply_request_decision(p_id bigint, p_epoch int) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    d decision := hold_decision(p_id, p_epoch);
    v_statement_reason text := substring(d.statement FROM '(?n)^reason: (.*)$');
    v_state text;
    v_public uuid;
    v_obstacle text;
BEGIN
    -- Its submitter may hold the row in a transaction that he leaves open: that
    -- must not hold up the issuer.
    BEGIN
        SELECT q.state, q.public_id INTO v_state, v_public FROM request_queue q
        WHERE q.request_id = d.request_id FOR NO KEY UPDATE NOWAIT;
    EXCEPTION WHEN lock_not_available THEN
        PERFORM retry_decision(p_id, p_epoch, 2, 'another session holds the request; trying again', NULL);
        RETURN;
    END;
    IF v_state IS DISTINCT FROM 'pending' THEN
        SELECT q.state, q.public_id INTO v_state, v_public FROM request q WHERE q.id = d.request_id;
        PERFORM close_decision(d, 'refused',
            format('request %s is %s and no longer waits for a decision', v_public, v_state), NULL);
        RETURN;
    END IF;
    v_obstacle := CASE WHEN d.action = 'approve' THEN approval_obstacle(d.request_id, d.credential_id) END;
    IF v_obstacle IS NOT NULL THEN
        PERFORM close_decision(d, 'refused', v_obstacle, NULL);
        RETURN;
    END IF;
    IF d.action = 'approve' THEN
        UPDATE request_queue SET state = 'approved', cleared = true, reason = nullif(v_statement_reason, '-'),
            retry_at = clock_timestamp(), changed_at = clock_timestamp()
        WHERE request_id = d.request_id;
    ELSE
        INSERT INTO request_end (request_id, state, reason)
        VALUES (d.request_id, 'denied', nullif(v_statement_reason, '-'));
    END IF;
    INSERT INTO audit (actor, action, object, detail)
    VALUES (decision_actor(d), CASE d.action WHEN 'approve' THEN 'request.approved' ELSE 'request.denied' END,
        v_public::text, jsonb_build_object('decision', d.public_id, 'reason', v_statement_reason));
    PERFORM close_decision(d, 'applied',
        format('request %s is %s', v_public, CASE d.action WHEN 'approve' THEN 'approved' ELSE 'denied' END), NULL);
    IF d.action = 'approve' THEN
        NOTIFY chancery_work;
    END IF;
END $$;

-- One event of a scope, which is what stands there from now on.
CREATE FUNCTION note_revocation(x certificate, p_scope bigint, p_seq bigint, p_kind text, p_reason smallint,
    p_at timestamptz, p_invalid_since timestamptz, p_decision bigint, p_publish_s int) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    IF p_kind = 'release' THEN
        DELETE FROM revocation WHERE scope_id = p_scope AND serial = x.serial;
    ELSE
        INSERT INTO revocation (scope_id, serial, revoked_at, not_after, seq, reason, invalidity_date)
        VALUES (p_scope, x.serial, p_at, x.not_after, p_seq, p_reason, p_invalid_since)
        ON CONFLICT (scope_id, serial)
            DO UPDATE SET revoked_at = p_at, seq = p_seq, reason = p_reason, invalidity_date = p_invalid_since;
    END IF;
    INSERT INTO revocation_event (ca_id, seq, scope_id, serial, kind, reason, revoked_at, not_after, invalidity_date,
        decision_id)
    VALUES (x.ca_id, p_seq, p_scope, x.serial, p_kind, p_reason, p_at, x.not_after, p_invalid_since, p_decision);
    IF p_publish_s IS NOT NULL THEN
        UPDATE crl_scope SET wanted_seq = p_seq,
            wanted_at = least(coalesce(wanted_at, 'infinity'), clock_timestamp() + make_interval(secs => p_publish_s))
        WHERE id = p_scope;
    END IF;
END $$;

-- Revoke, hold or release. The CA's row is locked before anything is looked at
-- and until the commit, so that the numbers' order is the order of commits and no
-- CRL that records "up to N" can miss an event with a lower number.
-- p_publish_s: a CRL that says so is wanted within so many seconds; NULL: by the
-- calendar.
-- p_invalid_since: since when a certificate that is revoked was not to be trusted, if that is
-- known (invalidityDate, RFC 5280 5.3.2).
CREATE FUNCTION apply_revocation(p_id bigint, p_epoch int, p_reason smallint, p_publish_s int,
    p_invalid_since timestamptz DEFAULT NULL) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    d decision := hold_decision(p_id, p_epoch);
    x certificate;
    r revocation;
    s record;
    v_seq bigint;
    v_last bigint;
    v_kind text := d.action;
    v_at timestamptz;
    v_reason smallint := CASE d.action WHEN 'hold' THEN 6 WHEN 'release' THEN 8 ELSE p_reason END;
    v_words text;
BEGIN
    SELECT * INTO x FROM certificate WHERE id = d.certificate_id;
    IF x.id IS NULL THEN
        PERFORM close_decision(d, 'refused', 'the decision names no certificate', NULL);
        RETURN;
    END IF;
    SELECT event_seq + 1 INTO v_seq FROM ca WHERE id = x.ca_id FOR NO KEY UPDATE;
    v_at := date_trunc('second', clock_timestamp());
    SELECT * INTO r FROM revocation WHERE scope_id = x.scope_id AND serial = x.serial;
    v_words := CASE
        WHEN d.action = 'release' AND r.serial IS NULL THEN 'is not on hold'
        WHEN d.action = 'release' AND r.reason <> 6 THEN 'is revoked, and only a hold can be released (RFC 5280 5.3.1)'
        WHEN d.action = 'hold' AND r.serial IS NOT NULL THEN 'is revoked or on hold already'
        WHEN d.action = 'revoke' AND r.serial IS NOT NULL AND r.reason <> 6 THEN 'is revoked already'
        WHEN v_reason = 0 AND EXISTS (SELECT FROM crl_scope WHERE whole_id = x.scope_id)
            THEN 'has CRLs of some reasons beside that of all, so a reason must be given that is not unspecified (RFC 5280 5.2.5)'
    END;
    IF v_words IS NOT NULL THEN
        PERFORM close_decision(d, 'refused', format('certificate %s %s', encode(x.serial, 'hex'), v_words), NULL);
        RETURN;
    END IF;
    v_last := v_seq;
    PERFORM note_revocation(x, x.scope_id, v_seq, v_kind, v_reason, v_at, p_invalid_since, d.id, p_publish_s);
    -- In the CRLs of some reasons it stands while its reason is one of theirs: another one
    -- takes it from there as a release does (RFC 5280 5.2.4, 5.2.5).
    FOR s IN SELECT o.id, v_kind <> 'release' AND v_reason = ANY (o.reasons) AS stands,
                 coalesce(r.reason = ANY (o.reasons), false) AS stood
             FROM crl_scope o WHERE o.whole_id = x.scope_id ORDER BY o.id LOOP
        CONTINUE WHEN NOT s.stands AND NOT s.stood;
        v_last := v_last + 1;
        PERFORM note_revocation(x, s.id, v_last, CASE WHEN s.stands THEN v_kind ELSE 'release' END,
            CASE WHEN s.stands THEN v_reason ELSE 8 END::smallint, v_at,
            CASE WHEN s.stands THEN p_invalid_since END, d.id, p_publish_s);
    END LOOP;
    UPDATE ca SET event_seq = v_last WHERE id = x.ca_id;
    INSERT INTO audit (actor, action, object, detail)
    VALUES (decision_actor(d), 'certificate.' || CASE v_kind WHEN 'revoke' THEN 'revoked' WHEN 'hold' THEN 'held' ELSE 'released' END,
        encode(x.serial, 'hex'), jsonb_build_object('decision', d.public_id, 'reason', v_reason, 'seq', v_seq));
    PERFORM close_decision(d, 'applied', format('certificate %s is %s', encode(x.serial, 'hex'),
        CASE v_kind WHEN 'revoke' THEN 'revoked' WHEN 'hold' THEN 'on hold' ELSE 'released' END),
        jsonb_build_object('seq', v_seq));
END $$;

-- Adds a person, or further roles and a further credential to one.
CREATE FUNCTION apply_operator(p_id bigint, p_epoch int, p_name text, p_roles text[], p_kind text, p_spki bytea)
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    d decision := hold_decision(p_id, p_epoch);
    v_person bigint;
BEGIN
    IF d.credential_id IS NULL THEN
        -- The unsigned way is open once: two at the same time must not both pass.
        LOCK TABLE ca IN SHARE ROW EXCLUSIVE MODE;
        IF EXISTS (SELECT FROM person) THEN
            PERFORM close_decision(d, 'refused',
                'an operator exists already: adding another must be signed by an administrator', NULL);
            RETURN;
        END IF;
    END IF;
    IF EXISTS (SELECT FROM credential WHERE kind = p_kind AND spki_sha256 = sha256(p_spki)) THEN
        PERFORM close_decision(d, 'refused', 'this public key is registered already', NULL);
        RETURN;
    END IF;
    IF p_name !~ '^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$' OR p_roles <@ ARRAY(SELECT name FROM role) IS NOT TRUE THEN
        PERFORM close_decision(d, 'refused',
            'a person''s name has 1 to 64 letters, digits or "._@-", and roles are administrator, manager, auditor, submitter', NULL);
        RETURN;
    END IF;
    INSERT INTO person (name) VALUES (p_name) ON CONFLICT (name) DO NOTHING;
    SELECT id INTO v_person FROM person WHERE name = p_name;
    INSERT INTO person_role SELECT v_person, unnest(p_roles) ON CONFLICT DO NOTHING;
    INSERT INTO credential (person_id, kind, spki, spki_sha256) VALUES (v_person, p_kind, p_spki, sha256(p_spki));
    INSERT INTO audit (actor, action, object, detail)
    VALUES (decision_actor(d), 'operator.added', p_name, jsonb_build_object('decision', d.public_id,
        'roles', to_jsonb(p_roles), 'kind', p_kind, 'spki_sha256', encode(sha256(p_spki), 'hex')));
    PERFORM close_decision(d, 'applied', format('%s is registered with the roles %s', p_name, array_to_string(p_roles, ', ')), NULL);
END $$;

-- The signer has taken the document and goes on.
CREATE FUNCTION apply_reseed(p_id bigint, p_epoch int, p_token text, p_signer int) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    d decision := hold_decision(p_id, p_epoch);
BEGIN
    INSERT INTO audit (actor, action, object, detail)
    VALUES (decision_actor(d), 'signer.reseeded', p_token, jsonb_build_object('decision', d.public_id,
        'signer_id', p_signer, 'signed', (SELECT to_jsonb(array_agg(person)) FROM ceremony_signers(d))));
    PERFORM close_decision(d, 'applied', format('signer %s of token %s goes on', p_signer, p_token), NULL);
    NOTIFY chancery_work;
END $$;

-- The key of a CA has signed what only the statement's nonce could have asked for;
-- the outcome is its signature.
CREATE FUNCTION apply_attest(p_id bigint, p_epoch int, p_outcome text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    d decision := hold_decision(p_id, p_epoch);
BEGIN
    INSERT INTO audit (actor, action, object, detail)
    SELECT decision_actor(d), 'key.attested', name, jsonb_build_object('decision', d.public_id) FROM ca WHERE id = d.ca_id;
    PERFORM close_decision(d, 'applied', p_outcome, NULL);
END $$;

-- A new version of a template; the same text again changes nothing.
CREATE FUNCTION apply_template(p_id bigint, p_epoch int, p_name text, p_automatic boolean)
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    d decision := hold_decision(p_id, p_epoch);
    v_template bigint;
    v_last template_version;
BEGIN
    -- Versions are counted: one at a time. The issuer may not lock what it may
    -- not change, and an advisory lock could be taken, and kept, by any login.
    LOCK TABLE ca IN SHARE ROW EXCLUSIVE MODE;
    INSERT INTO template (name) VALUES (p_name) ON CONFLICT (name) DO NOTHING;
    SELECT id INTO v_template FROM template WHERE name = p_name;
    SELECT * INTO v_last FROM template_version WHERE template_id = v_template ORDER BY version DESC LIMIT 1;
    IF v_last.body = d.body THEN
        PERFORM close_decision(d, 'applied', format('template %s/%s has this content already', p_name, v_last.version),
            jsonb_build_object('template', p_name, 'version', v_last.version));
        RETURN;
    END IF;
    INSERT INTO template_version (template_id, version, body, body_sha256, automatic)
    VALUES (v_template, coalesce(v_last.version, 0) + 1, d.body, sha256(convert_to(d.body, 'UTF8')), p_automatic);
    INSERT INTO audit (actor, action, object, detail)
    VALUES (decision_actor(d), 'template.applied', p_name,
        jsonb_build_object('decision', d.public_id, 'version', coalesce(v_last.version, 0) + 1));
    PERFORM close_decision(d, 'applied', format('template %s/%s is applied', p_name, coalesce(v_last.version, 0) + 1),
        jsonb_build_object('template', p_name, 'version', coalesce(v_last.version, 0) + 1));
END $$;

-- Only the issuer calls these.
GRANT EXECUTE ON FUNCTION
    decision_token,
    claim_decisions, waits_for_clock,
    keep_decisions,
    hold_decision,
    decision_actor,
    close_decision,
    refuse_decision,
    retry_decision,
    apply_request_decision,
    note_revocation,
    apply_revocation,
    apply_operator,
    apply_template,
    apply_reseed,
    apply_attest,
    expire_decisions
    TO chancery_issuer;

-- And these the functions of the front, too.
GRANT EXECUTE ON FUNCTION
    limits_of_body,
    limits_line,
    limits_operators,
    limits_person,
    limits_of_key,
    limits_in_force,
    ordered_key,
    current_generation,
    is_ceremony,
    ceremony_documents,
    ceremony_signers,
    ceremony_state,
    approval_obstacle
    TO chancery_api, chancery_issuer;
