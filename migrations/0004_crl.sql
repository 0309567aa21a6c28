-- CRLs: numbers, the calendar, and the life of one CRL from "building" to
-- "issued". The entries are streamed by db/crl.c straight from the tables.
--
-- Whoever changes a scope's CRLs locks the scope's row first, then the CRL, then
-- the decision that ordered it: two issuers meet there and cannot deadlock.

SET search_path = chancery_store, pg_temp;

-- The largest number: 20 octets, of which the sign takes one bit (RFC 5280 5.2.3).
ALTER TABLE crl ADD CHECK (number < 730750818665451459101842416358141509827966271488);

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

-- ---------------------------------------------------------------- entries

-- The entries of a complete CRL, in no order: all that is revoked or on hold,
-- without those that had expired before p_expired_before and stood, with an
-- event number of at most p_upto, in the CRL of that time (RFC 5280 3.3).
CREATE FUNCTION crl_complete_entries(p_scope bigint, p_expired_before timestamptz, p_upto bigint)
RETURNS TABLE (serial bytea, revoked_at timestamptz, reason smallint, invalidity_date timestamptz)
LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT r.serial, r.revoked_at, r.reason, r.invalidity_date FROM revocation r
    WHERE r.scope_id = p_scope AND NOT (r.not_after < p_expired_before AND r.seq <= p_upto)
$$;

-- The entries of a delta CRL: what happened after event p_after and up to event
-- p_upto. The last event of a serial decides; a release is removeFromCRL, also
-- where the hold stood in no complete CRL (RFC 5280 5.2.4).
CREATE FUNCTION crl_delta_entries(p_scope bigint, p_after bigint, p_upto bigint)
RETURNS TABLE (serial bytea, revoked_at timestamptz, reason smallint, invalidity_date timestamptz)
LANGUAGE sql STABLE AS $$
    SELECT DISTINCT ON (e.serial) e.serial, e.revoked_at, e.reason, e.invalidity_date FROM revocation_event e
    WHERE e.scope_id = p_scope AND e.seq > p_after AND e.seq <= p_upto
    ORDER BY e.serial, e.seq DESC
$$;

-- --------------------------------------------------- what the gate compares with
--
-- The same two lists once more, from the events alone and by other queries, so
-- that a mistake in one of them shows as a difference.

-- Up to event p_upto: what happened to each serial that may not leave the list. Who reads
-- them by serial and then by seq, newest first, takes the first of each; a serial that was
-- released last (8, removeFromCRL) is not in the list.
CREATE FUNCTION crl_complete_history(p_scope bigint, p_expired_before timestamptz, p_drop_upto bigint, p_upto bigint)
RETURNS TABLE (serial bytea, seq bigint, revoked_at timestamptz, reason smallint, invalidity_date timestamptz)
LANGUAGE sql STABLE AS $$
    SELECT h.serial, h.seq, h.revoked_at, h.reason, h.invalidity_date FROM revocation_event h
    WHERE h.scope_id = p_scope AND h.seq <= p_upto AND NOT (h.seq <= p_drop_upto AND h.not_after < p_expired_before)
$$;

-- Serials that have an event between base and end, each with its state at the end.
CREATE FUNCTION crl_delta_expected(p_scope bigint, p_after bigint, p_upto bigint)
RETURNS TABLE (serial bytea, revoked_at timestamptz, reason smallint, invalidity_date timestamptz)
LANGUAGE sql STABLE AS $$
    SELECT t.serial, e.revoked_at, e.reason, e.invalidity_date
    FROM (SELECT h.serial FROM revocation_event h
          WHERE h.scope_id = p_scope AND h.seq > p_after AND h.seq <= p_upto GROUP BY h.serial) t
    CROSS JOIN LATERAL (SELECT h.revoked_at, h.reason, h.invalidity_date FROM revocation_event h
        WHERE h.scope_id = p_scope AND h.serial = t.serial AND h.seq <= p_upto
        ORDER BY h.seq DESC LIMIT 1) e
$$;

-- ------------------------------------------------ how long a scope is needed

-- By when the certificates of a scope have ended, so that nobody looks for it in all of
-- them; as much as a 32nd of the time that is left may be added, so that issuance, which
-- goes on giving later ends, writes here now and then only. A table of its own, because
-- those who work on a scope's CRLs lock its row, and issuance must not wait for them.
CREATE TABLE scope_use (
    scope_id bigint PRIMARY KEY,
    until    timestamptz NOT NULL
);
GRANT SELECT, INSERT, UPDATE ON scope_use TO chancery_issuer;
GRANT SELECT ON scope_use TO chancery_api;

-- Up to the next multiple of a power of two of seconds.
CREATE FUNCTION rounded_end(p_until timestamptz) RETURNS timestamptz LANGUAGE sql AS $$
    SELECT to_timestamp(ceil(date_part('epoch', p_until) / s.step) * s.step)
    FROM (SELECT 2 ^ floor(ln(greatest(1, date_part('epoch', p_until - clock_timestamp()) / 32)) / ln(2)) AS step) s
$$;

-- A certificate of the CRLs' own key does not count: no CRL of that key can end it. Scopes
-- that new certificates do not get any more get late ones all the same, whose serials were
-- given away before; one whose CRLs have ended meanwhile has them again.
CREATE FUNCTION note_scope_use() RETURNS trigger LANGUAGE plpgsql SET enable_seqscan = off SET enable_hashjoin = off
SET enable_mergejoin = off SET search_path = chancery_store, pg_temp AS $$
DECLARE
    v_later bigint[];
BEGIN
    WITH later AS (
        INSERT INTO scope_use AS u (scope_id, until)
        SELECT n.scope_id, rounded_end(n.until)
        FROM (SELECT i.scope_id, max(i.not_after) AS until FROM issued i
              WHERE i.request_id IS NOT NULL OR i.spki_sha256 <> (SELECT k.spki_sha256 FROM crl_scope s
                  JOIN token_key k ON k.id = s.token_key_id WHERE s.id = i.scope_id)
              GROUP BY i.scope_id) n
        WHERE NOT EXISTS (SELECT FROM scope_use o WHERE o.scope_id = n.scope_id AND o.until >= n.until)
        ORDER BY n.scope_id
        ON CONFLICT (scope_id) DO UPDATE SET until = greatest(u.until, EXCLUDED.until)
        RETURNING u.scope_id)
    SELECT array_agg(scope_id) INTO v_later FROM later;
    IF v_later IS NOT NULL THEN
        UPDATE crl_scope s SET next_full_at = clock_timestamp()
        FROM unnest(v_later) l (id)
        WHERE (s.id = l.id OR s.whole_id = l.id) AND NOT s.current AND s.next_full_at IS NULL;
    END IF;
    RETURN NULL;
END $$;
-- Named so that it comes last: what it may lock is held the shortest.
CREATE TRIGGER certificate_uses_scope AFTER INSERT ON certificate REFERENCING NEW TABLE AS issued
    FOR EACH STATEMENT EXECUTE FUNCTION note_scope_use();

-- Whether none of a scope's certificates is valid any more at this time. A certificate that is
-- being stored meanwhile either is seen here or sees what the caller has made of the answer.
CREATE FUNCTION scope_is_over(p_scope bigint, p_at timestamptz) RETURNS boolean LANGUAGE sql AS $$
    INSERT INTO scope_use AS u (scope_id, until) SELECT coalesce(s.whole_id, s.id), '-infinity' FROM crl_scope s WHERE s.id = p_scope
    ON CONFLICT (scope_id) DO UPDATE SET until = u.until
    RETURNING until < p_at
$$;

-- --------------------------------------------------------------- the calendar

-- Whether a CRL that waits for a PIN is to be made anew: it waited for a part of its
-- life, or a key compromise became known that it does not show.
CREATE FUNCTION crl_is_stale(c crl) RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT c.stale_at <= clock_timestamp() OR EXISTS (SELECT FROM revocation_event e
        WHERE e.scope_id = c.scope_id AND e.seq > c.upto_seq AND e.kind = 'revoke' AND e.reason IN (1, 2))
$$;

-- Scopes whose calendar is due, or whose CRL was left behind by an issuer that
-- died: of each of these tokens as many as the caller has room for, without those in p_not,
-- which it cannot serve now. A scope on which somebody works is left out, and one whose CRL
-- waits for a PIN until that CRL has become stale.
CREATE FUNCTION due_scopes(p_tokens text[], p_rooms int[], p_not bigint[])
RETURNS TABLE (scope_id bigint, token_key_id bigint, delta boolean)
LANGUAGE sql AS $$
    -- What was left behind, or has become stale, is followed by one of its kind; a CRL that
    -- is only wanted is a delta, where the CA has them. An index serves the statement's time,
    -- which is one; clock_timestamp() would be another one for each row.
    SELECT d.id, d.token_key_id, (d.next_full_at <= clock_timestamp()) IS NOT TRUE
        AND coalesce((SELECT c.delta FROM crl c WHERE c.scope_id = d.id AND c.state IN ('building', 'signing', 'awaiting-pin')),
            d.next_delta_at IS NOT NULL OR (d.wanted_at <= clock_timestamp()) IS NOT TRUE)
    FROM (SELECT s.*, t.room, row_number() OVER (PARTITION BY t.token
              ORDER BY least(s.next_full_at, s.next_delta_at, s.wanted_at) NULLS LAST, s.id) AS place
          FROM crl_scope s JOIN token_key k ON k.id = s.token_key_id
          JOIN unnest(p_tokens, p_rooms) t (token, room) ON t.token = k.token
          WHERE s.id IN (
                  SELECT id FROM crl_scope WHERE next_full_at <= statement_timestamp()
                  UNION ALL
                  SELECT id FROM crl_scope WHERE next_delta_at <= statement_timestamp()
                  UNION ALL
                  SELECT id FROM crl_scope WHERE wanted_at <= statement_timestamp()
                  UNION ALL
                  SELECT c.scope_id FROM crl c WHERE c.state IN ('building', 'signing') AND c.lease_until < clock_timestamp()
                  UNION ALL
                  SELECT c.scope_id FROM crl c WHERE c.state = 'awaiting-pin' AND crl_is_stale(c))
              AND NOT EXISTS (SELECT FROM crl c WHERE c.scope_id = s.id
                                  AND (c.state IN ('building', 'signing') AND c.lease_until >= clock_timestamp()
                                      OR c.state = 'awaiting-pin' AND NOT crl_is_stale(c)))
              AND s.id <> ALL (p_not)) d
    WHERE d.place <= d.room ORDER BY d.place
$$;

CREATE TYPE crl_job AS (
    crl_id bigint, epoch int, artifact_id bigint, scope_id bigint, token_key_id bigint, delta boolean, resume boolean,
    number bytea, base_number bytea, this_update timestamptz, next_update timestamptz,
    upto_seq bigint,        -- given: of a resumed CRL, and of a delta that goes with a complete CRL
    base_seq bigint,        -- delta: events after this one
    drop_expired_before timestamptz, drop_upto_seq bigint,  -- complete: entries that may leave (RFC 5280 3.3)
    entries bigint, tbs_sha256 bytea, ca_name text, decision_id bigint, -- ca_name: with the label
    idp bytea, freshest bytea, published bytea, expired_since timestamptz, -- of the scope
    prepared boolean);      -- a delta that is only spooled: its complete CRL waits for a PIN

-- Volatile, so that it sees the row that the caller has just written.
CREATE FUNCTION crl_job_of(p_crl bigint) RETURNS crl_job
LANGUAGE sql VOLATILE AS $$
    SELECT ROW(c.id, c.epoch, c.artifact_id, c.scope_id, s.token_key_id, c.delta, c.state = 'signing',
        number_octets(c.number), number_octets(b.number), c.this_update, c.next_update, c.upto_seq, b.upto_seq,
        least(k.this_update, s.expired_since), k.upto_seq, c.entries, c.tbs_sha256, a.name || s.label, c.decision_id,
        s.idp, s.freshest, s.published, s.expired_since, c.state = 'prepared')::crl_job
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

-- ------------------------------------------------------------- beginning one

-- When the newest certificate of the scope's key ends; NULL without one.
CREATE FUNCTION ca_ends(p_scope bigint) RETURNS timestamptz LANGUAGE sql STABLE AS $$
    SELECT g.not_after FROM chancery_store.crl_scope s JOIN chancery_store.generation g
        ON g.ca_id = s.ca_id AND g.token_key_id = s.token_key_id
    WHERE s.id = p_scope AND g.certificate IS NOT NULL ORDER BY g.certificate_index DESC LIMIT 1
$$;

-- Opens a CRL row with an empty artifact and returns its id.
CREATE FUNCTION open_crl(p_scope bigint, p_number numeric, p_delta boolean, p_base bigint, p_scheduled boolean,
    p_this timestamptz, p_next timestamptz, p_upto bigint, p_decision bigint, p_lease_s int, p_state text DEFAULT 'building')
RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    v_artifact bigint;
    v_crl bigint;
    v_next timestamptz := least(p_next, ca_ends(p_scope)); -- the signer signs no CRL that outlives the CA
BEGIN
    INSERT INTO artifact (kind, ca_id, scope_id, rank, not_before, not_after)
        SELECT CASE WHEN p_delta THEN 'delta-crl' ELSE 'crl' END, s.ca_id, s.id, p_number, p_this, v_next
        FROM crl_scope s WHERE s.id = p_scope
    RETURNING id INTO v_artifact;
    INSERT INTO crl (scope_id, number, delta, base_id, scheduled, this_update, next_update, upto_seq, artifact_id,
        decision_id, state, epoch, lease_until)
    VALUES (p_scope, p_number, p_delta, p_base, p_scheduled, p_this, v_next, p_upto, v_artifact,
        p_decision, p_state, 1, clock_timestamp() + make_interval(secs => p_lease_s))
    RETURNING id INTO v_crl;
    RETURN v_crl;
END $$;

-- The delta that goes with a complete CRL: of the same number, time and events, against
-- the complete CRL before it, which clients may still hold.
CREATE FUNCTION open_delta_beside(c crl, p_life_s int, p_lease_s int, p_state text) RETURNS bigint
LANGUAGE sql AS $$
    SELECT open_crl(c.scope_id, c.number, true, coalesce((SELECT b.id FROM crl b WHERE b.scope_id = c.scope_id AND NOT b.delta
            AND b.state = 'issued' AND b.number < c.number AND b.next_update > c.this_update ORDER BY b.number DESC LIMIT 1), c.id),
        c.scheduled, c.this_update, c.this_update + make_interval(secs => p_life_s), c.upto_seq, c.decision_id, p_lease_s, p_state)
$$;

-- The scope of a CRL, locked; then the CRL, if the caller holds it in one of
-- these states. Otherwise the row returned is NULL.
CREATE FUNCTION hold_crl(p_crl bigint, p_epoch int, p_states text[]) RETURNS crl
LANGUAGE plpgsql AS $$
DECLARE
    c crl;
BEGIN
    PERFORM FROM crl_scope WHERE id = (SELECT scope_id FROM crl WHERE id = p_crl) FOR NO KEY UPDATE;
    SELECT * INTO c FROM crl WHERE id = p_crl AND epoch = p_epoch AND state = ANY (p_states) FOR UPDATE;
    RETURN c;
END $$;

-- What becomes of the decision that ordered a CRL which is not going to be.
-- p_final: it cannot succeed. Otherwise it is back in the queue at once. Where
-- only the delta that goes with a complete CRL failed, the order itself was done.
CREATE FUNCTION crl_give_up(c crl, p_reason text, p_final boolean) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    d decision;
BEGIN
    SELECT * INTO d FROM decision WHERE id = c.decision_id AND state IN ('queued', 'working') FOR UPDATE;
    IF d.id IS NULL THEN
        RETURN;
    ELSIF c.delta AND EXISTS (SELECT FROM crl f WHERE f.scope_id = c.scope_id AND f.number = c.number
            AND NOT f.delta AND f.state = 'issued') THEN
        PERFORM close_decision(d, 'applied', format('CRL number %s is issued, but not the delta CRL beside it: %s',
            c.number, p_reason), jsonb_build_object('number', c.number::text));
    ELSIF p_final THEN
        PERFORM close_decision(d, 'refused', p_reason, NULL);
    ELSE
        UPDATE decision SET state = 'queued', lease_until = NULL, outcome = left(p_reason, 1000),
            retry_at = clock_timestamp() + interval '1 s'
        WHERE id = d.id;
    END IF;
END $$;

-- The number stays used for ever; the half-made artifact goes. p_final: time
-- alone does not mend it, so the scope has an alarm until a CRL is issued again.
CREATE FUNCTION burn_crl(p_crl bigint, p_epoch int, p_reason text, p_final boolean) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    c crl := hold_crl(p_crl, p_epoch, ARRAY['building', 'signing', 'awaiting-pin', 'prepared']);
    p crl;
BEGIN
    IF c.id IS NULL THEN
        RETURN;
    ELSIF c.state = 'prepared' THEN -- it is made when its complete CRL is issued
        UPDATE crl SET tbs_sha256 = NULL, lease_until = NULL WHERE id = c.id;
        RETURN;
    END IF;
    UPDATE crl SET state = 'burnt', artifact_id = NULL, lease_until = NULL WHERE id = c.id;
    DELETE FROM artifact WHERE id = c.artifact_id;
    SELECT * INTO p FROM crl WHERE scope_id = c.scope_id AND number = c.number AND state = 'prepared' FOR UPDATE;
    IF p.id IS NOT NULL THEN
        UPDATE crl SET state = 'burnt', artifact_id = NULL, lease_until = NULL WHERE id = p.id;
        DELETE FROM artifact WHERE id = p.artifact_id;
    END IF;
    IF p_final THEN
        UPDATE crl_scope SET alarm = left(p_reason, 1000), alarm_since = coalesce(alarm_since, clock_timestamp())
        WHERE id = c.scope_id;
    END IF;
    PERFORM crl_give_up(c, p_reason, p_final);
    INSERT INTO audit (actor, action, object, detail)
    SELECT 'issuer', 'crl.burnt', a.name, jsonb_build_object('number', c.number::text, 'delta', c.delta, 'reason', p_reason)
    FROM crl_scope s JOIN ca a ON a.id = s.ca_id WHERE s.id = c.scope_id;
END $$;

-- An order displaces what the calendar made and nobody has signed, but no complete CRL
-- for a delta.
CREATE FUNCTION crl_is_displaced(c crl, p_decision bigint, p_delta boolean) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$
    SELECT p_decision IS NOT NULL AND c.decision_id IS NULL AND (c.delta OR NOT p_delta)
$$;

-- What an order for CRLs of a CA begins next: of its CRLs that are still made, the one
-- behind that which it made last; p_scope where it is no order, or the first.
CREATE FUNCTION ordered_scope(p_scope bigint, p_decision bigint) RETURNS bigint LANGUAGE sql STABLE AS $$
    SELECT coalesce((
        SELECT min(n.id) FROM decision d, crl_scope s JOIN crl_scope n ON n.token_key_id = s.token_key_id
        WHERE d.id = p_decision AND s.id = p_scope AND n.id > coalesce((d.result->>'scope')::bigint, 0)
            AND n.next_full_at IS NOT NULL),
        p_scope)
$$;

-- The order's CRL of this scope is made: the next one's turn, or it is done.
CREATE FUNCTION close_crl_order(d decision, c crl, p_ca text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    v_made int := coalesce((d.result->>'made')::int, 0) + 1;
    -- A complete CRL has a delta of its number beside it, which may be the last to be issued.
    v_entries bigint := coalesce((SELECT b.entries FROM crl b
        WHERE b.scope_id = c.scope_id AND b.number = c.number AND NOT b.delta), c.entries);
BEGIN
    IF EXISTS (SELECT FROM crl_scope s JOIN crl_scope n ON n.token_key_id = s.token_key_id AND n.id > s.id
            WHERE s.id = c.scope_id AND n.next_full_at IS NOT NULL) THEN
        UPDATE decision SET state = 'queued', lease_until = NULL, retry_at = clock_timestamp(),
            result = jsonb_build_object('scope', c.scope_id, 'made', v_made)
        WHERE id = d.id;
        NOTIFY chancery_work;
    ELSIF v_made > 1 THEN
        PERFORM close_decision(d, 'applied', format('%s CRLs of %s are issued', v_made, p_ca),
            jsonb_build_object('made', v_made));
    ELSE
        PERFORM close_decision(d, 'applied', format('CRL number %s of %s is issued with %s entries',
            c.number, p_ca, v_entries), jsonb_build_object('number', c.number::text, 'entries', v_entries));
    END IF;
END $$;

-- By which a key's CRLs are made: an older key of the CA goes on with the policy that it had.
CREATE FUNCTION policy_of_key(p_token_key bigint) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT coalesce(g.policy, a.policy) FROM generation g JOIN ca a ON a.id = g.ca_id
    WHERE g.token_key_id = p_token_key ORDER BY g.certificate IS NOT NULL DESC, g.certificate_index DESC LIMIT 1
$$;

-- Begins a CRL, or takes over one that was left behind. Returns no row when
-- another issuer works on the scope, when the calendar is not due and no CRL
-- wanted (any more), or when the scope has a CRL of this very second: CRLs that a client must take as
-- issued at the same time have one number (RFC 5280 5.2.3). p_decision: who
-- ordered it, NULL for the calendar; from here on the CRL carries the decision,
-- whose lease no longer ends by itself. p_life_s: nextUpdate - thisUpdate.
-- p_policy_sha256: of the policy that the caller reckons by; no row when another one is in
-- force, which the caller learns at its next look at the CAs.
CREATE FUNCTION begin_crl(p_scope bigint, p_delta boolean, p_decision bigint, p_decision_epoch int,
    p_life_s int, p_lease_s int, p_policy_sha256 bytea DEFAULT NULL) RETURNS SETOF crl_job
LANGUAGE plpgsql AS $$
DECLARE
    s crl_scope;
    c crl;
    b crl;
    v_this timestamptz;
    v_last timestamptz;
    v_number numeric;
    v_due boolean;  -- by the calendar
BEGIN
    p_scope := ordered_scope(p_scope, p_decision);
    SELECT * INTO s FROM crl_scope WHERE id = p_scope FOR NO KEY UPDATE;
    -- A CRL of a wrong time outlives it: it waits until an operator confirms the clock.
    IF clock_doubt() IS NOT NULL OR p_policy_sha256 <> sha256(convert_to(policy_of_key(s.token_key_id), 'UTF8')) THEN
        RETURN;
    END IF;
    v_this := date_trunc('second', clock_timestamp());
    v_due := coalesce(CASE WHEN p_delta THEN s.next_delta_at ELSE s.next_full_at END, 'infinity') <= clock_timestamp();
    SELECT * INTO c FROM crl WHERE scope_id = p_scope AND state IN ('building', 'signing', 'awaiting-pin') FOR UPDATE;
    IF c.id IS NOT NULL THEN
        IF c.lease_until >= clock_timestamp() OR c.state = 'awaiting-pin' AND NOT crl_is_stale(c)
                AND NOT crl_is_displaced(c, p_decision, p_delta) THEN
            RETURN;
        END IF;
        IF c.state = 'signing' AND c.next_update > clock_timestamp() THEN
            -- Its digest is committed: the number may be signed with these bytes only.
            UPDATE crl SET epoch = epoch + 1, lease_until = clock_timestamp() + make_interval(secs => p_lease_s)
            WHERE id = c.id;
            RETURN NEXT crl_job_of(c.id);
            RETURN;
        END IF;
        PERFORM burn_crl(c.id, c.epoch, CASE c.state WHEN 'signing' THEN 'its nextUpdate passed before it was signed'
            WHEN 'awaiting-pin' THEN 'another one is made in place of it, which waited for a PIN'
            ELSE 'the issuer that built it is gone' END, false);
    END IF;
    IF ca_ends(p_scope) <= v_this THEN
        IF p_decision IS NOT NULL THEN
            RAISE EXCEPTION USING ERRCODE = 'CH409',
                MESSAGE = 'the CA''s own certificate has ended, and with it its CRLs (RFC 5280 6.3)';
        END IF;
        RETURN;
    END IF;
    SELECT this_update INTO v_last FROM crl WHERE scope_id = p_scope AND state = 'issued' ORDER BY id DESC LIMIT 1;
    IF v_last = v_this OR p_decision IS NULL AND NOT v_due
            AND coalesce(s.wanted_at, 'infinity') > clock_timestamp() THEN
        RETURN;
    END IF;
    IF p_delta THEN
        SELECT * INTO b FROM crl WHERE scope_id = p_scope AND NOT delta AND state = 'issued' ORDER BY number DESC LIMIT 1;
        IF b.id IS NULL THEN
            RAISE EXCEPTION USING ERRCODE = 'CH409',
                MESSAGE = 'a delta CRL needs a complete CRL as its base, and none is issued yet';
        END IF;
    END IF;
    IF p_decision IS NOT NULL THEN
        PERFORM hold_decision(p_decision, p_decision_epoch);
        UPDATE decision SET lease_until = 'infinity' WHERE id = p_decision;
    END IF;
    IF s.last_number + 1 >= 2::numeric ^ 159 THEN
        RAISE EXCEPTION USING ERRCODE = 'CH409',
            MESSAGE = 'the key has used up the CRL numbers of 20 octets (RFC 5280 5.2.3): renew the CA with a new key';
    END IF;
    UPDATE crl_scope SET last_number = last_number + 1 WHERE id = p_scope RETURNING last_number INTO v_number;
    RETURN NEXT crl_job_of(open_crl(p_scope, v_number, p_delta, b.id, p_decision IS NULL AND v_due, v_this,
        v_this + make_interval(secs => p_life_s), NULL, p_decision, p_lease_s));
END $$;

-- ---------------------------------------------------------------- finishing it

-- The spool stands and its digest with it: from here the number has one content. p_size: its
-- octets; chunks are stored without waiting for the disk, so a server that died and is back
-- may have lost some although the issuer saw all of them stored.
CREATE FUNCTION crl_spooled(p_crl bigint, p_epoch int, p_upto bigint, p_entries bigint, p_tbs_sha256 bytea, p_lease_s int,
    p_size bigint)
RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    c crl;
    v_size bigint;
BEGIN
    UPDATE crl SET state = CASE state WHEN 'building' THEN 'signing' ELSE state END, upto_seq = p_upto, entries = p_entries,
        tbs_sha256 = p_tbs_sha256,
        lease_until = CASE state WHEN 'building' THEN clock_timestamp() + make_interval(secs => p_lease_s) END
    WHERE id = p_crl AND epoch = p_epoch AND state IN ('building', 'prepared') RETURNING * INTO c;
    SELECT coalesce(sum(length(data)), 0) INTO v_size FROM artifact_chunk WHERE artifact_id = c.artifact_id;
    IF c.id IS NOT NULL AND v_size IS DISTINCT FROM p_size THEN
        RAISE EXCEPTION USING ERRCODE = 'CH503', MESSAGE = format(
            'CRL number %s has %s octets in the database where %s were written: it is not signed, and made anew',
            c.number, v_size, p_size);
    END IF;
    IF c.state = 'prepared' THEN
        PERFORM list_prepared_crl(c);
    END IF;
    RETURN c.id IS NOT NULL;
END $$;

-- 0 s gives it back: whoever looks next takes it over.
CREATE FUNCTION crl_keep_lease(p_crl bigint, p_epoch int, p_lease_s int) RETURNS boolean
LANGUAGE sql AS $$
    UPDATE crl SET lease_until = clock_timestamp() + make_interval(secs => p_lease_s)
    WHERE id = p_crl AND epoch = p_epoch AND state IN ('building', 'signing', 'prepared') RETURNING true
$$;

-- Signed: the artifact is completed by its first and last octets, published, and
-- the calendar goes on. p_delta_life_s: also open the delta that is issued
-- together with this complete CRL (same number, thisUpdate and events; RFC 5280
-- 5.2.3), against the complete CRL before it, which clients may still hold. A
-- repeat (the connection was lost after the commit) gets the same answer.
-- The tick after the one that a CRL of this time was made for. p_unit_s: ticks stand
-- at the wall clock (UTC), p_offset_s into each unit (a day, or a week from a Thursday
-- on); NULL: the next is a period from now. Ticks that were missed are caught up by
-- one CRL. p_jitter_s: up to so much later, so that CAs do not all come together.
CREATE FUNCTION next_tick(p_this timestamptz, p_period_s int, p_unit_s int, p_offset_s int, p_jitter_s int)
RETURNS timestamptz LANGUAGE sql VOLATILE AS $$
    SELECT CASE WHEN p_unit_s IS NULL THEN p_this
        ELSE to_timestamp(floor((extract(epoch FROM p_this) - p_offset_s) / least(p_unit_s, p_period_s))
            * least(p_unit_s, p_period_s) + p_offset_s) END
        + make_interval(secs => p_period_s + floor(random() * p_jitter_s))
$$;

CREATE FUNCTION crl_issued(p_crl bigint, p_epoch int, p_head bytea, p_tail bytea, p_sha256 bytea,
    p_period_s int, p_delta_period_s int, p_delta_life_s int, p_lease_s int, p_unit_s int DEFAULT NULL,
    p_offset_s int DEFAULT 0, p_jitter_s int DEFAULT 0) RETURNS SETOF crl_job
LANGUAGE plpgsql AS $$
DECLARE
    c crl := hold_crl(p_crl, p_epoch, ARRAY['signing', 'issued']);
    b crl;
    d decision;
    v_ca ca;
    v_last int;
    v_over boolean;
BEGIN
    IF c.id IS NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'CH409', MESSAGE = format('CRL %s is no longer held by this issuer', p_crl);
    ELSIF c.state = 'issued' THEN
        RETURN QUERY SELECT (j).* FROM (SELECT crl_job_of(t.id) AS j FROM crl t
            WHERE t.scope_id = c.scope_id AND t.number = c.number AND t.delta AND NOT c.delta
                AND t.state IN ('building', 'signing')) o;
        RETURN;
    END IF;
    SELECT * INTO b FROM crl WHERE scope_id = c.scope_id AND delta = c.delta AND state = 'issued'
        ORDER BY number DESC LIMIT 1;
    IF b.number >= c.number OR b.this_update > c.this_update OR b.upto_seq > c.upto_seq THEN
        RAISE EXCEPTION USING ERRCODE = 'CH409', MESSAGE = format(
            'CRL number %s would follow number %s of %s with events up to %s, which is newer (RFC 5280 5.2.3); the number is given up',
            c.number, b.number, b.this_update, b.upto_seq);
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
        jsonb_build_object('number', c.number::text, 'entries', c.entries, 'upto_seq', c.upto_seq,
            'sha256', encode(p_sha256, 'hex')));
    -- A missed tick is caught up once: the next is counted from this one. A scope that
    -- gets no new certificates ends with the first regular CRL after its last one's end
    -- (RFC 5280 3.3).
    v_over := NOT c.delta AND c.scheduled AND NOT (SELECT s.current FROM crl_scope s WHERE s.id = c.scope_id)
        AND scope_is_over(c.scope_id, c.this_update);
    UPDATE crl_scope SET
        next_full_at = CASE WHEN v_over THEN NULL WHEN c.delta OR NOT c.scheduled THEN next_full_at
            ELSE next_tick(c.this_update, p_period_s, p_unit_s, p_offset_s, p_jitter_s) END,
        -- The delta beside the last complete one is the last one, too.
        next_delta_at = CASE WHEN v_over OR p_delta_period_s IS NULL OR (c.delta AND NOT current AND next_full_at IS NULL) THEN NULL
            WHEN c.scheduled OR next_delta_at IS NULL THEN next_tick(c.this_update, p_delta_period_s, p_unit_s, p_offset_s, p_jitter_s)
            ELSE next_delta_at END,
        wanted_at = CASE WHEN c.upto_seq < wanted_seq THEN wanted_at END,
        alarm = NULL, alarm_since = NULL
    WHERE id = c.scope_id;
    IF p_delta_life_s IS NOT NULL AND NOT c.delta THEN
        -- One that was prepared is signed as it is; one that was only begun is begun anew.
        UPDATE crl SET state = CASE WHEN tbs_sha256 IS NULL THEN 'building' ELSE 'signing' END, epoch = epoch + 1,
            lease_until = clock_timestamp() + make_interval(secs => p_lease_s)
        WHERE scope_id = c.scope_id AND number = c.number AND state = 'prepared' RETURNING * INTO b;
        IF b.id IS NULL THEN
            RETURN NEXT crl_job_of(open_delta_beside(c, p_delta_life_s, p_lease_s, 'building'));
        ELSE
            DELETE FROM artifact_chunk WHERE artifact_id = b.artifact_id AND b.state = 'building';
            RETURN NEXT crl_job_of(b.id);
        END IF;
    ELSIF c.decision_id IS NOT NULL THEN
        SELECT * INTO d FROM decision WHERE id = c.decision_id AND state IN ('queued', 'working') FOR UPDATE;
        IF d.id IS NOT NULL THEN
            PERFORM close_crl_order(d, c, v_ca.name);
        END IF;
    END IF;
    NOTIFY chancery_done;
END $$;

-- Another calendar for a key's CRLs; p_calendar: {period, delta, unit, offset, jitter}, in
-- seconds, as crl_issued has them, and 0 for what is not there. What is under way by the old
-- one is given up. The next CRL comes when the one or the other calendar wants it first, so
-- that no client is left without; where delta CRLs begin or end, a complete one comes at
-- once, since it is what says whether there are any.
CREATE FUNCTION crl_change_calendar(p_token_key bigint, p_calendar jsonb) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    c crl;
    v_delta_s int := nullif((p_calendar->>'delta')::int, 0);
    v_unit_s int := nullif((p_calendar->>'unit')::int, 0);
    v_offset_s int := (p_calendar->>'offset')::int;
    v_jitter_s int := (p_calendar->>'jitter')::int;
BEGIN
    PERFORM FROM crl_scope WHERE token_key_id = p_token_key ORDER BY id FOR NO KEY UPDATE;
    FOR c IN SELECT x.* FROM crl x JOIN crl_scope s ON s.id = x.scope_id
             WHERE s.token_key_id = p_token_key AND x.state IN ('building', 'signing', 'awaiting-pin') ORDER BY x.scope_id LOOP
        PERFORM burn_crl(c.id, c.epoch, 'the CA has another calendar meanwhile', false);
    END LOOP;
    UPDATE crl_scope s SET
        next_full_at = CASE WHEN (s.next_delta_at IS NULL) <> (v_delta_s IS NULL) THEN clock_timestamp()
            ELSE least(s.next_full_at, (SELECT next_tick(max(f.this_update), (p_calendar->>'period')::int, v_unit_s, v_offset_s,
                v_jitter_s) FROM crl f WHERE f.scope_id = s.id AND f.state = 'issued' AND NOT f.delta)) END,
        next_delta_at = CASE WHEN v_delta_s IS NOT NULL AND s.next_delta_at IS NOT NULL
            THEN least(s.next_delta_at, (SELECT next_tick(max(f.this_update), v_delta_s, v_unit_s, v_offset_s, v_jitter_s)
                FROM crl f WHERE f.scope_id = s.id AND f.state = 'issued')) END,
        freshest = CASE WHEN v_delta_s IS NOT NULL THEN s.freshest END
    WHERE s.token_key_id = p_token_key AND s.next_full_at IS NOT NULL;
END $$;

-- Only the issuer calls these.
GRANT EXECUTE ON FUNCTION
    number_octets,
    crl_complete_entries,
    crl_delta_entries,
    crl_complete_history,
    crl_delta_expected,
    rounded_end,
    note_scope_use,
    scope_is_over,
    crl_is_stale,
    crl_is_displaced,
    due_scopes,
    crl_job_of,
    ca_ends,
    open_crl,
    open_delta_beside,
    ordered_scope,
    close_crl_order,
    hold_crl,
    crl_give_up,
    burn_crl,
    begin_crl,
    crl_spooled,
    crl_keep_lease,
    next_tick,
    policy_of_key,
    crl_change_calendar,
    crl_issued
    TO chancery_issuer;
