-- CRLs: numbers, the calendar, and the life of one CRL from "building" to
-- "issued". The entries are streamed by db/crl.c straight from the tables.

SET search_path = chancery_store, pg_temp;

-- A CRL number as unsigned big-endian octets without leading zeros.
CREATE FUNCTION number_octets(n numeric) RETURNS bytea
LANGUAGE plpgsql IMMUTABLE STRICT AS $$
DECLARE
    v bytea := '';
BEGIN
    WHILE n > 0 LOOP
        v := set_byte('\x00', 0, (n % 256)::int) || v;
        n := div(n, 256);
    END LOOP;
    RETURN v;
END $$;

-- Scopes whose calendar is due, or whose CRL was left behind by an issuer that
-- died. A scope on which somebody works is left out.
CREATE FUNCTION due_scopes(p_limit int)
RETURNS TABLE (scope_id bigint, ca_id bigint, delta boolean)
LANGUAGE sql AS $$
    SELECT s.id, s.ca_id, s.next_full_at IS NULL OR s.next_full_at > clock_timestamp()
    FROM crl_scope s
    WHERE s.id IN (
            SELECT id FROM crl_scope WHERE next_full_at <= clock_timestamp()
            UNION ALL
            SELECT id FROM crl_scope WHERE next_delta_at <= clock_timestamp()
            UNION ALL
            SELECT c.scope_id FROM crl c WHERE c.state IN ('building', 'signing') AND c.lease_until < clock_timestamp())
        AND NOT EXISTS (SELECT FROM crl c WHERE c.scope_id = s.id AND c.state IN ('building', 'signing')
                            AND c.lease_until >= clock_timestamp())
    ORDER BY s.next_full_at NULLS LAST LIMIT p_limit
$$;

CREATE TYPE crl_job AS (
    crl_id bigint, epoch int, artifact_id bigint, scope_id bigint, ca_id bigint, delta boolean, resume boolean,
    number bytea, base_number bytea, this_update timestamptz, next_update timestamptz,
    upto_seq bigint,        -- given: of a resumed CRL, and of a delta that goes with a complete CRL
    base_seq bigint,        -- delta: events after this one
    drop_expired_before timestamptz, drop_upto_seq bigint,  -- complete: entries that may leave (RFC 5280 3.3)
    entries bigint, tbs_sha256 bytea, ca_name text);

CREATE FUNCTION crl_job_of(p_crl bigint) RETURNS crl_job
LANGUAGE sql STABLE AS $$
    SELECT ROW(c.id, c.epoch, c.artifact_id, c.scope_id, s.ca_id, c.delta, c.state = 'signing',
        number_octets(c.number), number_octets(b.number), c.this_update, c.next_update, c.upto_seq, b.upto_seq,
        k.this_update, k.upto_seq, c.entries, c.tbs_sha256, a.name)::crl_job
    FROM crl c
    JOIN crl_scope s ON s.id = c.scope_id
    JOIN ca a ON a.id = s.ca_id
    LEFT JOIN crl b ON b.id = c.base_id
    -- The newest complete CRL of the calendar: what had expired by then and
    -- stood in it has been on one regularly scheduled CRL beyond its validity.
    LEFT JOIN LATERAL (
        SELECT p.this_update, p.upto_seq FROM crl p
        WHERE p.scope_id = c.scope_id AND NOT p.delta AND p.state = 'issued' AND p.scheduled
        ORDER BY p.number DESC LIMIT 1) k ON NOT c.delta
    WHERE c.id = p_crl
$$;

-- Opens a CRL row with an empty artifact and returns its id.
CREATE FUNCTION open_crl(p_scope bigint, p_number numeric, p_delta boolean, p_base bigint, p_scheduled boolean,
    p_this timestamptz, p_next timestamptz, p_upto bigint, p_decision bigint, p_lease_s int) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    v_artifact bigint;
    v_crl bigint;
BEGIN
    INSERT INTO artifact (kind, ca_id, scope_id, rank, not_before, not_after)
        SELECT CASE WHEN p_delta THEN 'delta-crl' ELSE 'crl' END, s.ca_id, s.id, p_number, p_this, p_next
        FROM crl_scope s WHERE s.id = p_scope
    RETURNING id INTO v_artifact;
    INSERT INTO crl (scope_id, number, delta, base_id, scheduled, this_update, next_update, upto_seq, artifact_id,
        decision_id, state, epoch, lease_until)
    VALUES (p_scope, p_number, p_delta, p_base, p_scheduled, p_this, p_next, p_upto, v_artifact,
        p_decision, 'building', 1, clock_timestamp() + make_interval(secs => p_lease_s))
    RETURNING id INTO v_crl;
    RETURN v_crl;
END $$;

-- The number stays used for ever; the half-made artifact goes. p_final: a
-- decision that ordered it is refused; otherwise it will be tried again.
CREATE FUNCTION burn_crl(p_crl bigint, p_epoch int, p_reason text, p_final boolean) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    c crl;
    d decision;
BEGIN
    UPDATE crl SET state = 'burnt', artifact_id = NULL, lease_until = NULL
    FROM (SELECT id, artifact_id AS old FROM crl WHERE id = p_crl FOR UPDATE) o
    WHERE crl.id = o.id AND crl.epoch = p_epoch AND crl.state IN ('building', 'signing')
    RETURNING crl.id, crl.scope_id, crl.number, crl.delta, crl.decision_id, o.old AS artifact_id
        INTO c.id, c.scope_id, c.number, c.delta, c.decision_id, c.artifact_id;
    IF c.id IS NULL THEN
        RETURN;
    END IF;
    DELETE FROM artifact WHERE id = c.artifact_id;
    SELECT * INTO d FROM decision WHERE id = c.decision_id AND state IN ('queued', 'working') FOR UPDATE;
    IF p_final AND d.id IS NOT NULL THEN
        PERFORM close_decision(d, 'refused', p_reason, NULL);
    END IF;
    INSERT INTO audit (actor, action, object, detail)
    SELECT 'issuer', 'crl.burnt', a.name, jsonb_build_object('number', c.number, 'delta', c.delta, 'reason', p_reason)
    FROM crl_scope s JOIN ca a ON a.id = s.ca_id WHERE s.id = c.scope_id;
END $$;

-- Begins a CRL, or takes over one that was left behind. Returns no row when
-- another issuer works on the scope or the calendar is not due (any more).
-- p_life_s: nextUpdate - thisUpdate.
CREATE FUNCTION begin_crl(p_scope bigint, p_delta boolean, p_scheduled boolean, p_decision bigint,
    p_life_s int, p_lease_s int) RETURNS SETOF crl_job
LANGUAGE plpgsql AS $$
DECLARE
    s crl_scope;
    c crl;
    b crl;
    v_this timestamptz := date_trunc('second', clock_timestamp());
    v_number numeric;
BEGIN
    SELECT * INTO s FROM crl_scope WHERE id = p_scope FOR UPDATE;
    SELECT * INTO c FROM crl WHERE scope_id = p_scope AND state IN ('building', 'signing') FOR UPDATE;
    IF c.id IS NOT NULL THEN
        IF c.lease_until >= clock_timestamp() THEN
            RETURN;
        END IF;
        IF c.state = 'signing' THEN
            -- Its digest is committed: the number may be signed with these bytes only.
            UPDATE crl SET epoch = epoch + 1, lease_until = clock_timestamp() + make_interval(secs => p_lease_s)
            WHERE id = c.id;
            RETURN NEXT crl_job_of(c.id);
            RETURN;
        END IF;
        PERFORM burn_crl(c.id, c.epoch, 'the issuer that built it is gone', false);
    END IF;
    IF p_scheduled AND coalesce(CASE WHEN p_delta THEN s.next_delta_at ELSE s.next_full_at END, 'infinity') > clock_timestamp() THEN
        RETURN;
    END IF;
    IF p_delta THEN
        SELECT * INTO b FROM crl WHERE scope_id = p_scope AND NOT delta AND state = 'issued' ORDER BY number DESC LIMIT 1;
        IF b.id IS NULL THEN
            RAISE EXCEPTION USING ERRCODE = 'CH409',
                MESSAGE = 'a delta CRL needs a complete CRL as its base, and none is issued yet';
        END IF;
    END IF;
    UPDATE crl_scope SET last_number = last_number + 1 WHERE id = p_scope RETURNING last_number INTO v_number;
    RETURN NEXT crl_job_of(open_crl(p_scope, v_number, p_delta, b.id, p_scheduled, v_this,
        v_this + make_interval(secs => p_life_s), NULL, p_decision, p_lease_s));
END $$;

-- The spool stands and its digest with it: from here the number has one content.
CREATE FUNCTION crl_spooled(p_crl bigint, p_epoch int, p_upto bigint, p_entries bigint, p_tbs_sha256 bytea, p_lease_s int)
RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    UPDATE crl SET state = 'signing', upto_seq = p_upto, entries = p_entries, tbs_sha256 = p_tbs_sha256,
        lease_until = clock_timestamp() + make_interval(secs => p_lease_s)
    WHERE id = p_crl AND epoch = p_epoch AND state = 'building';
    RETURN FOUND;
END $$;

CREATE FUNCTION crl_keep_lease(p_crl bigint, p_epoch int, p_lease_s int) RETURNS boolean
LANGUAGE sql AS $$
    UPDATE crl SET lease_until = clock_timestamp() + make_interval(secs => p_lease_s)
    WHERE id = p_crl AND epoch = p_epoch AND state IN ('building', 'signing') RETURNING true
$$;

-- Signed: the artifact is completed by its first and last octets, published, and
-- the calendar goes on. p_delta_life_s: also open the delta that is issued
-- together with this complete CRL (same number, thisUpdate and events; RFC 5280
-- 5.2.3), against the complete CRL before it, which clients may still hold.
CREATE FUNCTION crl_issued(p_crl bigint, p_epoch int, p_head bytea, p_tail bytea, p_sha256 bytea,
    p_period_s int, p_delta_period_s int, p_delta_life_s int, p_lease_s int) RETURNS SETOF crl_job
LANGUAGE plpgsql AS $$
DECLARE
    c crl;
    b crl;
    d decision;
    v_ca ca;
    v_last int;
BEGIN
    SELECT * INTO c FROM crl WHERE id = p_crl FOR UPDATE;
    IF c.epoch <> p_epoch OR c.state <> 'signing' THEN
        RAISE EXCEPTION USING ERRCODE = 'CH409', MESSAGE = format('CRL %s is no longer held by this issuer', p_crl);
    END IF;
    SELECT max(position) INTO v_last FROM artifact_chunk WHERE artifact_id = c.artifact_id;
    INSERT INTO artifact_chunk (artifact_id, position, data)
    VALUES (c.artifact_id, 0, p_head), (c.artifact_id, v_last + 1, p_tail);
    UPDATE artifact SET complete = true, sha256 = p_sha256,
        size = (SELECT sum(length(data)) FROM artifact_chunk WHERE artifact_id = c.artifact_id)
    WHERE id = c.artifact_id;
    UPDATE crl SET state = 'issued', issued_at = clock_timestamp(), lease_until = NULL WHERE id = c.id;
    PERFORM publish_artifact(c.artifact_id);
    SELECT a.* INTO v_ca FROM crl_scope s JOIN ca a ON a.id = s.ca_id WHERE s.id = c.scope_id;
    INSERT INTO audit (actor, action, object, detail)
    VALUES ('issuer', CASE WHEN c.delta THEN 'delta-crl.issued' ELSE 'crl.issued' END, v_ca.name,
        jsonb_build_object('number', c.number, 'entries', c.entries, 'upto_seq', c.upto_seq,
            'sha256', encode(p_sha256, 'hex')));
    -- A missed tick is caught up once: the next is counted from now.
    UPDATE crl_scope SET
        next_full_at = CASE WHEN c.delta OR NOT c.scheduled THEN next_full_at
            ELSE c.this_update + make_interval(secs => p_period_s) END,
        next_delta_at = CASE WHEN p_delta_period_s IS NULL THEN NULL
            WHEN c.scheduled OR next_delta_at IS NULL THEN c.this_update + make_interval(secs => p_delta_period_s)
            ELSE next_delta_at END
    WHERE id = c.scope_id;
    IF p_delta_life_s IS NOT NULL AND NOT c.delta THEN
        SELECT * INTO b FROM crl WHERE scope_id = c.scope_id AND NOT delta AND state = 'issued' AND number < c.number
            AND next_update > c.this_update ORDER BY number DESC LIMIT 1;
        RETURN NEXT crl_job_of(open_crl(c.scope_id, c.number, true, coalesce(b.id, c.id), c.scheduled, c.this_update,
            c.this_update + make_interval(secs => p_delta_life_s), c.upto_seq, c.decision_id, p_lease_s));
    ELSIF c.decision_id IS NOT NULL THEN
        SELECT * INTO d FROM decision WHERE id = c.decision_id FOR UPDATE;
        IF d.state IN ('queued', 'working') THEN
            PERFORM close_decision(d, 'applied', format('CRL number %s of %s is issued with %s entries',
                c.number, v_ca.name, c.entries), jsonb_build_object('number', c.number, 'entries', c.entries));
        END IF;
    END IF;
    NOTIFY chancery_done;
END $$;

-- Only the issuer calls these.
GRANT EXECUTE ON FUNCTION
    number_octets,
    due_scopes,
    crl_job_of,
    open_crl,
    burn_crl,
    begin_crl,
    crl_spooled,
    crl_keep_lease,
    crl_issued
    TO chancery_issuer;
