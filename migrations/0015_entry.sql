-- Certificates of people and machines in the directory entries of their subjects.
-- Which entry that is follows from the target's address, whose variables stand for what
-- the certificate says and for who asked; couriers find that out. Here is decided that
-- a certificate goes there, and when it has to go away.

SET search_path = chancery_store, pg_temp;

CREATE INDEX target_of_entries ON target (ca_id) WHERE artifact = 'certificate';
CREATE INDEX publication_by_certificate ON publication (certificate_id) WHERE certificate_id IS NOT NULL;
CREATE INDEX publication_absent_from ON publication (absent_from) WHERE absent_from IS NOT NULL AND NOT absent;

-- Whether an operator decided about what stands in the certificate, and who asked for
-- it: the role of the database that submitted, or the person of the client certificate.
-- What the front alone says (a uid of its host) names nobody.
CREATE FUNCTION entry_of_certificate(p_certificate bigint, OUT vouched boolean, OUT requester text)
LANGUAGE sql STABLE SET search_path = chancery_store, pg_temp AS $$
    SELECT NOT v.automatic,
        CASE WHEN r.submitter LIKE 'sql:%' THEN substr(r.submitter, 5)
            WHEN r.submitter LIKE 'tls:%' THEN (SELECT n.name FROM credential k JOIN person n ON n.id = k.person_id
                WHERE k.kind = 'tls_client' AND encode(k.spki_sha256, 'hex') = substr(r.submitter, 5)) END
    FROM certificate c JOIN template_version v ON v.id = c.template_version_id JOIN request_record r ON r.id = c.request_id
    WHERE c.id = p_certificate
$$;

-- In the transaction that issues.
CREATE FUNCTION publish_to_entries() RETURNS trigger
LANGUAGE plpgsql SET search_path = chancery_store, pg_temp AS $$
DECLARE
    n record;
    v_artifact bigint;
BEGIN
    IF NOT EXISTS (SELECT FROM target WHERE artifact = 'certificate') THEN
        RETURN NULL;
    END IF;
    FOR n IN
        SELECT i.id, i.ca_id, i.der, i.sha256, i.not_before, i.not_after, array_agg(t.id) AS targets
        FROM issued i JOIN template_version v ON v.id = i.template_version_id JOIN template m ON m.id = v.template_id
        JOIN target t ON t.ca_id = i.ca_id AND t.artifact = 'certificate' AND t.until IS NULL
            AND t.options->'templates' ? m.name AND target_takes(t.id, i.generation_id, NULL)
        WHERE i.request_id IS NOT NULL
        GROUP BY 1, 2, 3, 4, 5, 6
    LOOP
        INSERT INTO artifact (kind, ca_id, rank, size, sha256, not_before, not_after, complete)
        VALUES ('certificate', n.ca_id, 0, length(n.der), n.sha256, n.not_before, n.not_after, true)
        RETURNING id INTO v_artifact;
        INSERT INTO artifact_chunk VALUES (v_artifact, 0, n.der);
        INSERT INTO publication (target_id, certificate_id, artifact_id, rank, absent_from)
        SELECT t.id, n.id, v_artifact, 0, CASE WHEN (t.options->>'remove_expired')::boolean THEN n.not_after END
        FROM target t WHERE t.id = ANY (n.targets);
        PERFORM pg_notify('chancery_publish', '');
    END LOOP;
    RETURN NULL;
END $$;
CREATE TRIGGER certificate_to_entry AFTER INSERT ON certificate REFERENCING NEW TABLE AS issued
    FOR EACH STATEMENT EXECUTE FUNCTION publish_to_entries();

-- Another wish for a certificate's entries. Whoever works on the former one has lost the
-- claim; the lease stands until that courier is surely gone.
CREATE FUNCTION want_in_entry(p_publication bigint, p_absent boolean) RETURNS void
LANGUAGE sql SET search_path = chancery_store, pg_temp AS $$
    UPDATE publication p SET absent = p_absent, epoch = p.epoch + 1, attempts = 0, last_error = NULL,
        state = CASE WHEN p.state = 'working' THEN 'working' ELSE 'pending' END,
        next_at = CASE WHEN p.state = 'working' THEN p.next_at ELSE clock_timestamp() END, changed_at = clock_timestamp()
    WHERE p.id = p_publication AND p.absent <> p_absent;
    SELECT pg_notify('chancery_publish', '');
$$;

CREATE FUNCTION revoke_in_entries() RETURNS trigger
LANGUAGE plpgsql SET search_path = chancery_store, pg_temp AS $$
BEGIN
    IF EXISTS (SELECT FROM target WHERE ca_id = NEW.ca_id AND artifact = 'certificate') THEN
        PERFORM want_in_entry(p.id, NEW.kind <> 'release')
        FROM certificate c JOIN publication p ON p.certificate_id = c.id JOIN target t ON t.id = p.target_id
        WHERE c.serial = NEW.serial AND c.ca_id = NEW.ca_id AND (t.options->>'remove_revoked')::boolean;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER revocation_to_entry AFTER INSERT ON revocation_event
    FOR EACH ROW EXECUTE FUNCTION revoke_in_entries();

-- Those whose certificates have ended, so many at a time; how many.
CREATE FUNCTION expire_in_entries(p_limit int) RETURNS int
LANGUAGE sql SET search_path = chancery_store, pg_temp AS $$
    WITH old AS MATERIALIZED (
        SELECT id FROM publication WHERE absent_from < clock_timestamp() AND NOT absent
        ORDER BY absent_from LIMIT p_limit FOR UPDATE SKIP LOCKED),
    wanted AS (SELECT want_in_entry(id, true) FROM old)
    SELECT count(*)::int FROM wanted
$$;

-- ------------------------------------------------- certificates from before

-- Targets whose policy came after some of the CA's certificates, and an operator ordered
-- that these go there, too. They are looked through from the newest to the oldest; this
-- row is all that is remembered of it.
CREATE TABLE entry_backlog (
    target_id bigint PRIMARY KEY REFERENCES target,
    before_id bigint NOT NULL DEFAULT 9223372036854775807, -- certificates from this one on have been looked at
    again     boolean NOT NULL DEFAULT false, -- ordered once more meanwhile: the policy may be another one by now
    looked_at bigint NOT NULL DEFAULT 0,
    added     bigint NOT NULL DEFAULT 0
);
GRANT SELECT ON entry_backlog TO chancery_api, chancery_issuer;
GRANT INSERT (target_id), UPDATE (again) ON entry_backlog TO chancery_api;
GRANT UPDATE, DELETE ON entry_backlog TO chancery_issuer;

-- Publications of a target that are due within the longest back-off.
CREATE FUNCTION publications_in_hand(p_target bigint, p_limit int) RETURNS SETOF bigint LANGUAGE sql STABLE AS $$
    SELECT p.id FROM publication p WHERE p.target_id = p_target AND p.state <> 'done'
        AND p.next_at < clock_timestamp() + interval '10 minutes' ORDER BY p.next_at LIMIT p_limit
$$;

-- The next certificates to be looked at, newest first, and which are to be added: valid
-- ones that people or machines asked for, and that are no matter of the target's yet. One
-- that is on hold may come back, and is one that was taken out. artifact_id: what it is in
-- the outbox already, for another target. In the order of the index, and not only of the
-- ids, since others' certificates may be any number between two of this CA.
CREATE FUNCTION certificates_before(p_target bigint, p_before bigint, p_limit int)
RETURNS TABLE (id bigint, added boolean, on_hold boolean, artifact_id bigint) LANGUAGE sql STABLE AS $$
    SELECT c.id, c.request_id IS NOT NULL AND c.not_after > clock_timestamp() AND t.options->'templates' ? m.name
            AND coalesce(r.reason = 6, true) AND here.id IS NULL,
        coalesce(r.reason = 6, false), elsewhere.artifact_id
    FROM target t CROSS JOIN LATERAL (
        SELECT x.ca_id, x.id, x.request_id, x.template_version_id, x.not_after, x.scope_id, x.serial
        FROM certificate x WHERE (x.ca_id, x.id) < (t.ca_id, p_before) ORDER BY x.ca_id DESC, x.id DESC LIMIT p_limit) c
    LEFT JOIN LATERAL (SELECT n.name FROM template_version v JOIN template n ON n.id = v.template_id
        WHERE v.id = c.template_version_id OFFSET 0) m ON true
    LEFT JOIN LATERAL (SELECT o.reason FROM revocation o WHERE o.scope_id = c.scope_id AND o.serial = c.serial OFFSET 0) r ON true
    LEFT JOIN LATERAL (SELECT p.id FROM publication p WHERE p.certificate_id = c.id AND p.target_id = t.id LIMIT 1) here ON true
    LEFT JOIN LATERAL (SELECT p.artifact_id FROM publication p WHERE p.certificate_id = c.id LIMIT 1) elsewhere ON true
    WHERE t.id = p_target AND c.ca_id = t.ca_id ORDER BY c.id DESC
$$;

-- Goes on with what was ordered: looks at so many certificates at most. A target that has
-- as many publications in hand waits, so that a directory that is away has no heap of them
-- in front of it, and new certificates do not wait long behind old ones. Returns after how
-- many milliseconds there may be more to do; NULL: all is done. The CA's row is held, so
-- that nothing is revoked between the look and the publication, where it would not be
-- taken out again.
CREATE FUNCTION publish_before(p_limit int) RETURNS int
LANGUAGE plpgsql SET plan_cache_mode = force_custom_plan SET search_path = chancery_store, pg_temp AS $$
DECLARE
    w entry_backlog;
    t target;
    n record;
    v_artifact bigint;
    v_looked int := 0;
    v_added int := 0;
    v_held boolean;
BEGIN
    SELECT * INTO w FROM entry_backlog b WHERE (SELECT count(*) FROM publications_in_hand(b.target_id, p_limit)) < p_limit
    ORDER BY b.target_id LIMIT 1 FOR UPDATE SKIP LOCKED;
    IF w.target_id IS NULL THEN
        RETURN (SELECT 1000 FROM entry_backlog LIMIT 1);
    END IF;
    PERFORM FROM ca a WHERE a.id = (SELECT ca_id FROM target WHERE id = w.target_id) FOR SHARE;
    SELECT * INTO t FROM target WHERE id = w.target_id;
    FOR n IN SELECT * FROM certificates_before(t.id, w.before_id, p_limit) WHERE t.until IS NULL LOOP
        v_looked := v_looked + 1;
        w.before_id := n.id;
        CONTINUE WHEN n.added IS NOT TRUE;
        v_artifact := n.artifact_id;
        IF v_artifact IS NULL THEN
            INSERT INTO artifact (kind, ca_id, rank, size, sha256, not_before, not_after, complete)
            SELECT 'certificate', c.ca_id, 0, length(c.der), c.sha256, c.not_before, c.not_after, true
            FROM certificate c WHERE c.id = n.id
            RETURNING id INTO v_artifact;
            INSERT INTO artifact_chunk SELECT v_artifact, 0, c.der FROM certificate c WHERE c.id = n.id;
        END IF;
        v_held := n.on_hold AND coalesce((t.options->>'remove_revoked')::boolean, false);
        INSERT INTO publication (target_id, certificate_id, artifact_id, rank, absent_from, absent, state)
        SELECT t.id, n.id, v_artifact, 0, CASE WHEN (t.options->>'remove_expired')::boolean THEN c.not_after END,
            v_held, CASE WHEN v_held THEN 'done' ELSE 'pending' END
        FROM certificate c WHERE c.id = n.id;
        v_added := v_added + 1;
    END LOOP;
    w.looked_at := w.looked_at + v_looked;
    w.added := w.added + v_added;
    IF t.until IS NOT NULL OR v_looked < p_limit AND NOT w.again THEN
        DELETE FROM entry_backlog WHERE target_id = t.id;
        INSERT INTO audit (actor, action, object, detail)
        SELECT 'issuer', 'entries.looked-through', a.name || '/' || t.name,
            jsonb_build_object('looked_at', w.looked_at, 'added', w.added)
        FROM ca a WHERE a.id = t.ca_id;
    ELSE
        UPDATE entry_backlog SET looked_at = w.looked_at, added = w.added, again = w.again AND v_looked = p_limit,
            before_id = CASE WHEN v_looked < p_limit THEN 9223372036854775807 ELSE w.before_id END
        WHERE target_id = t.id;
    END IF;
    IF v_added > 0 THEN
        PERFORM pg_notify('chancery_publish', '');
    END IF;
    RETURN 0;
END $$;

-- That the valid certificates that a CA issued before its policy said so go to the entries
-- of their subjects. Where that is done, it changes nothing. Nobody signs it: the policy is
-- what the CA's operators signed.
CREATE FUNCTION chancery.api_publish_entries(p_identity text, p_ca text) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = chancery_store, pg_temp AS $$
DECLARE
    v_caller api_caller := api_caller(p_identity);
    a ca;
    v_targets jsonb;
BEGIN
    IF v_caller.decides IS NOT TRUE THEN
        PERFORM api_fail('CH403', format('%s has no role that works on publications', v_caller.name));
    END IF;
    a := api_find_ca(p_identity, p_ca);
    WITH ordered AS (
        INSERT INTO entry_backlog AS b (target_id)
        SELECT t.id FROM target t WHERE t.ca_id = a.id AND t.artifact = 'certificate' AND t.until IS NULL ORDER BY t.id
        ON CONFLICT (target_id) DO UPDATE SET again = true
        RETURNING b.target_id),
    noted AS (
        INSERT INTO audit (actor, action, object)
        SELECT p_identity, 'entries.ordered', a.name || '/' || t.name FROM ordered o JOIN target t ON t.id = o.target_id)
    SELECT jsonb_agg(t.name ORDER BY t.name) INTO v_targets FROM ordered o JOIN target t ON t.id = o.target_id;
    IF v_targets IS NULL THEN
        PERFORM api_fail('CH409', format('the policy of CA "%s" says of no certificates that they go to directory entries', a.name));
    END IF;
    PERFORM pg_notify('chancery_publish', '');
    RETURN jsonb_build_object('ca', a.name, 'targets', v_targets);
END $$;
ALTER FUNCTION chancery.api_publish_entries(text, text) OWNER TO chancery_api;
REVOKE ALL ON FUNCTION chancery.api_publish_entries(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION chancery.api_publish_entries(text, text) TO chancery_front;

GRANT EXECUTE ON FUNCTION entry_of_certificate(bigint), publish_to_entries(), want_in_entry(bigint, boolean),
    revoke_in_entries(), expire_in_entries(int), publications_in_hand(bigint, int), certificates_before(bigint, bigint, int),
    publish_before(int) TO chancery_issuer;
