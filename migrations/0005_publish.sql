-- The outbox: what stands where. For each target and slot one row says what
-- ought to stand there; an issuer claims it under a lease, has it brought there
-- and read back, and reports. Only an issuer that still holds the claim's epoch
-- can report, and the newest artifact always wins.

SET search_path = chancery_store, pg_temp;

ALTER TABLE publication
    ADD COLUMN rank numeric(49) NOT NULL,          -- of artifact_id: an older one never takes the place
    ADD COLUMN holder int,                         -- signer id of the issuer that works on it
    ADD COLUMN claimed_at timestamptz,
    ADD COLUMN published_id bigint REFERENCES artifact, -- what was last read back from this place
    ADD COLUMN checked_at timestamptz,                  -- at this time
    ADD COLUMN anew boolean NOT NULL DEFAULT false, -- while it is worked on: what goes with it changed since the claim
    -- Of a certificate (0015): it is to be taken out of its entry ...
    ADD COLUMN entry text,                              -- where it was last found or put
    ADD COLUMN absent boolean NOT NULL DEFAULT false,
    ADD COLUMN absent_from timestamptz;                 -- ... from then on, if not sooner

-- While a publication is worked on, next_at is the end of its lease, so that one
-- index finds what is due for the first time, again, or because a worker died.
CREATE INDEX publication_due_at_target ON publication (target_id, next_at) WHERE state <> 'done';
CREATE INDEX publication_by_artifact ON publication (artifact_id);
CREATE INDEX publication_by_published ON publication (published_id);
CREATE INDEX publication_unchecked ON publication (checked_at) WHERE state = 'done' AND certificate_id IS NULL;
CREATE INDEX publication_of_target ON publication (target_id) WHERE certificate_id IS NULL AND state <> 'over';
CREATE INDEX publication_working ON publication (target_id) WHERE state = 'working';
CREATE INDEX publication_attempt_by_artifact ON publication_attempt (artifact_id);
CREATE INDEX artifact_by_digest ON artifact (sha256) WHERE complete;
CREATE INDEX target_by_artifact ON target (ca_id, artifact);

-- ------------------------------------------------------------------- desire

-- Whether a target takes what belongs to a generation (a CA's certificate) or to a
-- scope and so to a key (a CRL).
CREATE FUNCTION target_takes(p_target bigint, p_generation bigint, p_scope bigint) RETURNS boolean
LANGUAGE sql STABLE SET search_path = chancery_store, pg_temp AS $$
    SELECT NOT EXISTS (SELECT FROM target_generation m WHERE m.target_id = p_target)
        OR EXISTS (SELECT FROM target_generation m JOIN generation g ON g.id = m.generation_id
            WHERE m.target_id = p_target AND CASE WHEN p_scope IS NULL THEN g.id = p_generation
                ELSE g.token_key_id = (SELECT s.token_key_id FROM crl_scope s WHERE s.id = p_scope) END)
$$;

-- The targets of a generation, with its addresses: those that stand are its own, too,
-- with the options that are given, and the others are made. p_targets: [{name, artifact, kind, write, read, options, label}],
-- where a label means only the CRLs of that scope of the generation's key.
CREATE FUNCTION map_targets(p_generation bigint, p_targets jsonb) RETURNS void
LANGUAGE plpgsql SET search_path = chancery_store, pg_temp AS $$
DECLARE
    g generation;
    t jsonb;
    v_target bigint;
    v_scope bigint;
BEGIN
    SELECT * INTO g FROM generation WHERE id = p_generation;
    FOR t IN SELECT * FROM jsonb_array_elements(p_targets) LOOP
        v_scope := (SELECT s.id FROM crl_scope s WHERE s.token_key_id = g.token_key_id AND s.label = t->>'label');
        SELECT id INTO v_target FROM target o WHERE o.ca_id = g.ca_id AND o.artifact = t->>'artifact' AND o.kind = t->>'kind'
            AND o.write_url = t->>'write' AND o.read_url = t->>'read' AND o.scope_id IS NOT DISTINCT FROM v_scope;
        IF v_target IS NULL THEN
            INSERT INTO target (ca_id, scope_id, name, kind, artifact, write_url, read_url, options)
            VALUES (g.ca_id, v_scope, (t->>'name') || CASE WHEN g.certificate_index = 0 THEN '' ELSE format('(%s)', g.certificate_index) END,
                t->>'kind', t->>'artifact', t->>'write', t->>'read', coalesce(t->'options', '{}'))
            RETURNING id INTO v_target;
        ELSE
            UPDATE target o SET options = coalesce(t->'options', '{}'), until = NULL
            WHERE o.id = v_target AND (o.options <> coalesce(t->'options', '{}') OR o.until IS NOT NULL);
        END IF;
        INSERT INTO target_generation VALUES (v_target, g.id) ON CONFLICT DO NOTHING;
    END LOOP;
END $$;

-- An artifact is complete: let it stand at all targets of its CA for its kind.
-- Called in the transaction that completes the artifact. A worker that is busy
-- with the predecessor keeps its lease, so that two writers never meet at one
-- place; its report makes this one due. Returns the number of targets.
CREATE FUNCTION publish_artifact(p_artifact bigint) RETURNS int
LANGUAGE plpgsql SET search_path = chancery_store, pg_temp AS $$
DECLARE
    v_count int;
BEGIN
    INSERT INTO publication AS p (target_id, scope_id, artifact_id, rank)
    SELECT t.id, a.scope_id, a.id, a.rank
    FROM artifact a JOIN target t ON t.ca_id = a.ca_id AND t.artifact = a.kind
        AND (t.scope_id IS NULL OR t.scope_id = a.scope_id)
    WHERE a.id = p_artifact AND a.complete AND a.kind <> 'certificate' AND coalesce(t.until, 'infinity') > clock_timestamp()
        AND target_takes(t.id, a.generation_id, a.scope_id)
    ORDER BY t.id
    ON CONFLICT (target_id, coalesce(scope_id, 0), coalesce(certificate_id, 0)) DO UPDATE
        SET artifact_id = excluded.artifact_id, rank = excluded.rank, attempts = 0, last_error = NULL,
            state = CASE WHEN p.state = 'working' THEN 'working' ELSE 'pending' END,
            next_at = CASE WHEN p.state = 'working' THEN p.next_at ELSE clock_timestamp() END,
            changed_at = clock_timestamp()
        WHERE p.rank < excluded.rank OR p.state = 'over';
    GET DIAGNOSTICS v_count = ROW_COUNT;
    IF v_count > 0 THEN
        PERFORM pg_notify('chancery_publish', '');
    END IF;
    RETURN v_count;
END $$;

-- Whether an artifact has ended and nothing is due that would take its place: the CRL of a key or
-- a scope whose last certificate has ended, a CA certificate that nobody renewed.
CREATE FUNCTION artifact_is_last(p_artifact bigint) RETURNS boolean
LANGUAGE sql STABLE SET search_path = chancery_store, pg_temp AS $$
    SELECT a.not_after < clock_timestamp() AND NOT EXISTS (SELECT FROM crl_scope s WHERE s.id = a.scope_id
        AND CASE a.kind WHEN 'delta-crl' THEN s.next_delta_at ELSE s.next_full_at END IS NOT NULL)
    FROM artifact a WHERE a.id = p_artifact
$$;

-- What need not stand anywhere any more is not tried, looked at or warned of any more: at
-- targets that no policy and no valid certificate names, and what has ended for good. What
-- is there stays there. A target or a scope that begins anew has it published again.
CREATE FUNCTION end_publications() RETURNS void
LANGUAGE sql SET search_path = chancery_store, pg_temp AS $$
    UPDATE publication p SET state = 'over', next_at = 'infinity', published_id = NULL, last_error = NULL,
        changed_at = clock_timestamp()
    FROM target t, artifact f
    WHERE t.id = p.target_id AND f.id = p.artifact_id AND p.certificate_id IS NULL AND p.state IN ('pending', 'done')
        AND (t.until <= clock_timestamp() OR f.not_after < clock_timestamp() AND artifact_is_last(f.id))
$$;

-- The same for the newest artifact of each slot of a CA: its targets changed.
CREATE FUNCTION publish_newest(p_ca bigint) RETURNS int
LANGUAGE sql SET search_path = chancery_store, pg_temp AS $$
    SELECT coalesce(sum(publish_artifact(newest.id)), 0)::int
    FROM (SELECT DISTINCT ON (kind, scope_id) id FROM artifact
          WHERE ca_id = p_ca AND complete AND kind <> 'certificate' ORDER BY kind, scope_id, rank DESC) AS newest
    WHERE NOT artifact_is_last(newest.id)
$$;

-- -------------------------------------------------------------------- claim

-- Up to p_limit publications that are due, at most p_retries of them such that
-- failed before, and at most one for each target, whoever works on it; none for
-- the targets in p_busy, where a courier of the caller's still hangs. The lease
-- is p_lease_s, and two seconds more for each MiB. issuer: DER of a certificate of
-- the key that signs the CRLs of this scope. companions: DER of the CA's other
-- certificates that have not ended, for a directory's cACertificate; crosses: of those by
-- which CAs elsewhere vouch for it, for crossCertificatePair; NULL: it never had one. Of a certificate
-- for its subject's entry: whether to take it out, whether an operator decided about its
-- names, and who asked for it.
CREATE FUNCTION claim_publications(p_holder int, p_limit int, p_retries int, p_lease_s int, p_busy bigint[])
RETURNS TABLE (publication_id bigint, epoch int, attempts int, lease_ms bigint, target_id bigint,
    target text, kind text, artifact text, write_url text, read_url text, credential text,
    bind_dn text, tls text, auth text, webdav boolean, region text, certificate text, account text,
    host_key text, schema text, artifact_id bigint, size bigint,
    sha256 bytea, issuer bytea, companions bytea[], crosses bytea[], absent boolean, vouched boolean, requester text, entry text,
    mode text, owner_group text)
LANGUAGE plpgsql SET search_path = chancery_store, pg_temp AS $$
#variable_conflict use_column
DECLARE
    v_due record;
    v_row publication;
    v_seconds int;
    v_now timestamptz := clock_timestamp();
BEGIN
    FOR v_due IN
        SELECT d.id, d.target_id, d.size, d.again
        FROM target t CROSS JOIN LATERAL (
            SELECT d.id, d.target_id, d.next_at, a.size, (d.attempts > 0) AS again
            FROM publication d JOIN artifact a ON a.id = d.artifact_id
            WHERE d.target_id = t.id AND d.state <> 'done' AND d.next_at <= v_now
                AND (p_retries > 0 OR d.attempts = 0)
            ORDER BY d.next_at LIMIT 1) d
        WHERE t.id <> ALL (p_busy)
        ORDER BY d.next_at
    LOOP
        EXIT WHEN p_limit <= 0;
        CONTINUE WHEN v_due.again AND p_retries <= 0;
        -- The target's row is the lock under which is seen, by a statement of
        -- its own, whether somebody works on another slot of it.
        PERFORM FROM target t WHERE t.id = v_due.target_id FOR UPDATE SKIP LOCKED;
        CONTINUE WHEN NOT FOUND;
        CONTINUE WHEN EXISTS (SELECT FROM publication o WHERE o.target_id = v_due.target_id
            AND o.state = 'working' AND o.lease_until > clock_timestamp());
        v_seconds := p_lease_s + 2 * (v_due.size / 1048576)::int;
        UPDATE publication p
            SET state = 'working', epoch = p.epoch + 1, attempts = p.attempts + 1, holder = p_holder, anew = false,
                claimed_at = clock_timestamp(),
                lease_until = clock_timestamp() + make_interval(secs => v_seconds),
                next_at = clock_timestamp() + make_interval(secs => v_seconds)
            WHERE p.id = v_due.id AND p.state <> 'done' AND p.next_at <= clock_timestamp()
            RETURNING p.* INTO v_row;
        CONTINUE WHEN NOT FOUND;
        p_limit := p_limit - 1;
        p_retries := p_retries - v_due.again::int;
        RETURN QUERY
            SELECT v_row.id, v_row.epoch, v_row.attempts, v_seconds * 1000::bigint, t.id,
                c.name || '/' || t.name, t.kind, t.artifact, t.write_url, t.read_url,
                coalesce(t.options->>'credential', ''), coalesce(t.options->>'bind_dn', ''),
                coalesce(t.options->>'tls', 'none'),
                coalesce(t.options->>'auth', CASE t.kind WHEN 'sftp' THEN 'key' ELSE 'basic' END),
                coalesce((t.options->>'webdav')::boolean, false), coalesce(t.options->>'region', ''),
                coalesce(t.options->>'certificate', ''), coalesce(t.options->>'user', ''),
                coalesce(t.options->>'host_key', ''), coalesce(t.options->>'schema', 'rfc4523'),
                a.id, a.size, a.sha256,
                coalesce((SELECT g.certificate FROM crl_scope s JOIN generation g
                        ON g.ca_id = s.ca_id AND g.token_key_id = s.token_key_id
                    WHERE s.id = a.scope_id AND g.certificate IS NOT NULL
                    ORDER BY g.certificate_index DESC LIMIT 1), ''),
                CASE WHEN t.kind = 'ldap' AND a.kind = 'ca-certificate' THEN
                    ARRAY(SELECT g.certificate FROM generation g
                          WHERE g.ca_id = a.ca_id AND g.certificate IS NOT NULL
                            AND g.not_after > clock_timestamp() AND g.sha256 <> a.sha256
                          ORDER BY g.certificate_index DESC)
                    || ARRAY(SELECT v.certificate FROM rollover v
                             WHERE v.ca_id = a.ca_id AND v.not_after > clock_timestamp() ORDER BY v.decision_id DESC)
                ELSE '{}' END,
                CASE WHEN t.kind = 'ldap' AND a.kind = 'ca-certificate'
                        AND EXISTS (SELECT FROM cross_certificate x WHERE x.ca_id = a.ca_id) THEN
                    ARRAY(SELECT x.certificate FROM cross_certificate x
                          WHERE x.ca_id = a.ca_id AND x.not_after > clock_timestamp() ORDER BY x.decision_id DESC)
                END,
                v_row.absent, coalesce(e.vouched, false), coalesce(e.requester, ''), coalesce(v_row.entry, ''),
                coalesce(t.options->>'mode', '0644'), coalesce(t.options->>'group', '')
            FROM artifact a, target t JOIN ca c ON c.id = t.ca_id
                LEFT JOIN LATERAL entry_of_certificate(v_row.certificate_id) e ON true
            WHERE a.id = v_row.artifact_id AND t.id = v_row.target_id;
    END LOOP;
END $$;

-- An issuer has just started: nobody works on what its predecessor had claimed,
-- because couriers die with their issuer.
CREATE FUNCTION release_publications(p_holder int) RETURNS int
LANGUAGE sql SET search_path = chancery_store, pg_temp AS $$
    WITH freed AS (
        UPDATE publication SET state = 'pending', lease_until = NULL, holder = NULL,
            attempts = greatest(attempts - 1, 0), next_at = clock_timestamp()
        WHERE state = 'working' AND holder = p_holder
        RETURNING 1)
    SELECT count(*)::int FROM freed
$$;

-- Milliseconds until something is due, at least 0; NULL: nothing waits.
CREATE FUNCTION next_publication_ms() RETURNS bigint
LANGUAGE sql STABLE SET search_path = chancery_store, pg_temp AS $$
    SELECT greatest(0, ceil(extract(epoch FROM min(next_at) - clock_timestamp()) * 1000))::bigint
    FROM publication WHERE state <> 'done' AND next_at < 'infinity'
$$;

CREATE FUNCTION read_artifact_chunk(p_artifact bigint, p_position int) RETURNS bytea
LANGUAGE sql STABLE SET search_path = chancery_store, pg_temp AS $$
    SELECT data FROM artifact_chunk WHERE artifact_id = p_artifact AND position = p_position
$$;

-- ------------------------------------------------------------------- report

-- Seconds until the next attempt: 1 after the first failure, doubling to ten
-- minutes, shortened or not by up to a quarter so that targets that failed
-- together do not come back together. Never gives up.
CREATE FUNCTION publication_backoff_s(p_attempts int) RETURNS double precision
LANGUAGE sql VOLATILE SET search_path = chancery_store, pg_temp AS $$
    SELECT least(600, power(2, least(greatest(p_attempts, 1) - 1, 20))) * (1 - random() / 4)
$$;

-- The end of an attempt by the holder of the epoch. p_outcome: 'done' (read
-- back byte-identical), 'different' (something else stands there, of this
-- length and digest), 'failed', or 'nowhere': the subject of a certificate has no
-- entry, for which is looked again once a day. What is different but a newer artifact
-- of ours for the same slot is 'superseded' and as good as done. Returns what
-- became of the publication: 'done', 'superseded', 'retry', 'nowhere', 'replaced' (a
-- newer artifact is due now, or the same with what came meanwhile) or 'stale' (somebody else holds it, or held it since; what
-- stands there is looked at again).
CREATE FUNCTION report_publication(p_publication bigint, p_epoch int, p_artifact bigint,
    p_outcome text, p_error text, p_read_sha256 bytea, p_entry text,
    OUT outcome text, OUT retry_ms bigint)
LANGUAGE plpgsql SET search_path = chancery_store, pg_temp AS $$
DECLARE
    v_row publication;
    v_sent artifact;
    v_newer artifact;
    v_again boolean;  -- that is how it was found before
    v_delay double precision;
BEGIN
    SELECT * INTO v_row FROM publication WHERE id = p_publication FOR UPDATE;
    IF NOT FOUND OR v_row.epoch <> p_epoch OR v_row.state <> 'working' THEN
        -- Who lost the lease may have written all the same, over what its successor wrote.
        UPDATE publication SET anew = state = 'working', attempts = CASE state WHEN 'done' THEN 1 ELSE attempts END,
            next_at = CASE state WHEN 'done' THEN clock_timestamp() ELSE next_at END,
            state = CASE state WHEN 'done' THEN 'pending' ELSE state END
        WHERE id = p_publication AND epoch <> p_epoch AND state IN ('working', 'done');
        outcome := 'stale';
        RETURN;
    END IF;
    SELECT * INTO STRICT v_sent FROM artifact WHERE id = p_artifact;
    IF p_outcome = 'different' THEN
        SELECT * INTO v_newer FROM artifact a
        WHERE a.complete AND a.sha256 = p_read_sha256 AND a.ca_id = v_sent.ca_id AND a.kind = v_sent.kind
            AND a.scope_id IS NOT DISTINCT FROM v_sent.scope_id AND a.rank > v_sent.rank
            AND a.not_after > clock_timestamp()
        ORDER BY a.rank DESC LIMIT 1;
    END IF;
    outcome := CASE WHEN p_outcome = 'done' THEN 'done' WHEN v_newer.id IS NOT NULL THEN 'superseded'
        ELSE 'failed' END;
    INSERT INTO publication_attempt (publication_id, artifact_id, started_at, outcome, error)
    VALUES (p_publication, p_artifact, v_row.claimed_at, outcome,
        CASE WHEN outcome = 'failed' THEN left(p_error, 1000) END);

    v_again := coalesce(v_row.published_id = coalesce(v_newer.id, v_sent.id), false) <> v_row.absent;
    IF outcome <> 'failed' AND NOT v_row.anew AND v_row.rank <= coalesce(v_newer.rank, v_sent.rank) THEN
        UPDATE publication SET state = 'done', artifact_id = coalesce(v_newer.id, v_sent.id),
            rank = coalesce(v_newer.rank, v_sent.rank),
            entry = coalesce(p_entry, entry), published_id = CASE WHEN NOT absent THEN coalesce(v_newer.id, v_sent.id) END,
            done_at = CASE WHEN v_again THEN done_at ELSE clock_timestamp() END,
            checked_at = clock_timestamp(), changed_at = clock_timestamp(), last_error = NULL,
            lease_until = NULL, holder = NULL
        WHERE id = p_publication;
        -- That it still stands is nothing new.
        IF NOT v_again THEN
            INSERT INTO audit (actor, action, object, detail)
            SELECT 'issuer', CASE WHEN v_row.absent THEN 'artifact.removed' ELSE 'artifact.published' END, c.name || '/' || t.name, jsonb_build_object(
                'artifact', v_sent.kind, 'rank', coalesce(v_newer.rank, v_sent.rank)::text,
                'sha256', encode(coalesce(v_newer.sha256, v_sent.sha256), 'hex'), 'read_url', t.read_url,
                'attempts', v_row.attempts)
            FROM target t JOIN ca c ON c.id = t.ca_id WHERE t.id = v_row.target_id;
        END IF;
        retry_ms := 0;
        RETURN;
    END IF;

    -- Something newer was wanted meanwhile, or more beside it: it starts afresh, at once.
    IF v_row.artifact_id <> p_artifact OR v_row.anew THEN
        UPDATE publication SET state = 'pending', attempts = 0, next_at = clock_timestamp(),
            lease_until = NULL, holder = NULL, changed_at = clock_timestamp(),
            published_id = CASE WHEN outcome = 'failed' OR v_row.artifact_id = p_artifact THEN published_id
                ELSE coalesce(v_newer.id, v_sent.id) END
        WHERE id = p_publication;
        outcome := 'replaced';
        retry_ms := 0;
        RETURN;
    END IF;

    v_delay := CASE WHEN p_outcome = 'nowhere' THEN 86400 * (1 - random() / 4)
        ELSE publication_backoff_s(v_row.attempts) END;
    UPDATE publication SET state = CASE WHEN p_outcome = 'nowhere' THEN 'no-entry' ELSE 'pending' END,
        last_error = left(p_error, 1000), lease_until = NULL, holder = NULL, changed_at = clock_timestamp(),
        next_at = CASE WHEN p_outcome = 'nowhere' AND v_sent.not_after < clock_timestamp() THEN 'infinity'
            ELSE clock_timestamp() + make_interval(secs => v_delay) END
    WHERE id = p_publication;
    outcome := CASE WHEN p_outcome = 'nowhere' THEN 'nowhere' ELSE 'retry' END;
    retry_ms := ceil(v_delay * 1000);
END $$;

-- What was published so long ago is looked at again: others write there, too, and
-- backups are put back. A courier reads first, and writes only where something else
-- stands. Returns how many.
CREATE FUNCTION recheck_publications(p_after_s int, p_limit int) RETURNS int
LANGUAGE sql SET search_path = chancery_store, pg_temp AS $$
    SELECT end_publications();
    WITH old AS (
        SELECT id FROM publication
        WHERE state = 'done' AND checked_at < clock_timestamp() - make_interval(secs => p_after_s)
            AND certificate_id IS NULL
        ORDER BY checked_at LIMIT p_limit FOR UPDATE SKIP LOCKED),
    due AS (
        UPDATE publication p SET state = 'pending', attempts = 1, next_at = clock_timestamp()
        FROM old WHERE p.id = old.id RETURNING 1)
    SELECT count(*)::int FROM due
$$;

-- Somebody wants it tried, or brought there again, now. One that is on its way
-- already keeps its lease; should it fail, its back-off starts afresh.
CREATE FUNCTION retry_publication(p_publication bigint) RETURNS void
LANGUAGE plpgsql SET search_path = chancery_store, pg_temp AS $$
BEGIN
    UPDATE publication
        SET attempts = CASE WHEN state = 'working' THEN 1 ELSE 0 END,
            next_at = CASE WHEN state = 'working' THEN next_at ELSE clock_timestamp() END,
            state = CASE WHEN state = 'working' THEN 'working' ELSE 'pending' END,
            changed_at = clock_timestamp()
        WHERE id = p_publication;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING ERRCODE = 'CH404',
            MESSAGE = format('there is no publication %s', p_publication);
    END IF;
    PERFORM pg_notify('chancery_publish', '');
END $$;

-- -------------------------------------------------------------------- watch

-- Places where clients will soon have nothing valid: the successor is not there
-- yet, and what stands there ends within a day, or within a quarter of its own
-- life where that is less.
CREATE FUNCTION expiring_publications(p_limit int)
RETURNS TABLE (publication_id bigint, target text, artifact text, left_s bigint, attempts int, last_error text)
LANGUAGE sql STABLE SET search_path = chancery_store, pg_temp AS $$
    SELECT p.id, c.name || '/' || t.name, t.artifact,
        floor(extract(epoch FROM pa.not_after - clock_timestamp()))::bigint, p.attempts, p.last_error
    FROM publication p
    JOIN artifact pa ON pa.id = p.published_id
    JOIN target t ON t.id = p.target_id
    JOIN ca c ON c.id = t.ca_id
    WHERE p.state <> 'done' AND p.artifact_id <> p.published_id
        AND pa.not_after < clock_timestamp() + least(interval '1 day', (pa.not_after - pa.not_before) / 4)
    ORDER BY pa.not_after LIMIT p_limit
$$;

-- ------------------------------------------------------------------- grants

GRANT EXECUTE ON FUNCTION target_takes(bigint, bigint, bigint), map_targets(bigint, jsonb), artifact_is_last(bigint), end_publications(),
    publish_artifact(bigint), publish_newest(bigint),
    claim_publications(int, int, int, int, bigint[]), release_publications(int), next_publication_ms(),
    read_artifact_chunk(bigint, int), publication_backoff_s(int),
    report_publication(bigint, int, bigint, text, text, bytea, text), retry_publication(bigint),
    recheck_publications(int, int), expiring_publications(int) TO chancery_issuer;
-- The API's own function asks for a retry as chancery_api.
GRANT EXECUTE ON FUNCTION retry_publication(bigint) TO chancery_api;
GRANT UPDATE (state, next_at, attempts, changed_at) ON publication TO chancery_api;
