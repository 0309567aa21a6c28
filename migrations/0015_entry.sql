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

GRANT EXECUTE ON FUNCTION entry_of_certificate(bigint), publish_to_entries(), want_in_entry(bigint, boolean),
    revoke_in_entries(), expire_in_entries(int) TO chancery_issuer;
