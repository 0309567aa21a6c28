-- Looks from a host: what clients get at an address as that host sees it, fetched by a
-- courier of its issuer because an operator ordered it (chancery doctor --from). Only
-- addresses that a CA of ours names are fetched, so that nobody sends our hosts elsewhere:
-- that issuer judges it by the certificates, CRLs and policies that come with the order.

SET search_path = chancery_store, pg_temp;

CREATE TABLE look (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    public_id   uuid NOT NULL UNIQUE DEFAULT gen_random_uuid(),
    signer_id   int NOT NULL,            -- of the issuer that is to look
    ca_id       bigint NOT NULL REFERENCES ca, -- to which the address belongs
    url         text NOT NULL CHECK (octet_length(url) BETWEEN 8 AND 2047),
    artifact    text NOT NULL CHECK (artifact IN ('ca-certificate', 'crl', 'delta-crl')),
    wanted      bytea CHECK (length(wanted) = 32), -- SHA-256: which of several values, if it is there
    ordered_by  text NOT NULL,
    state       text NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'taken', 'done')),
    error       text,                    -- why nothing was fetched
    size        bigint,                  -- of what was fetched ...
    sha256      bytea CHECK (length(sha256) = 32),
    content     bytea CHECK (length(content) <= 2097152), -- ... and the thing itself, unless it is longer
    expires_at  timestamptz NOT NULL DEFAULT clock_timestamp() + interval '2 minutes'
);
CREATE INDEX look_open ON look (signer_id, id) WHERE state = 'open';
GRANT SELECT, DELETE ON look TO chancery_api, chancery_issuer;
GRANT INSERT (signer_id, ca_id, url, artifact, wanted, ordered_by) ON look TO chancery_api;
GRANT UPDATE (state, error, size, sha256, content, expires_at) ON look TO chancery_issuer;

CREATE FUNCTION forget_looks() RETURNS void LANGUAGE sql SET search_path = chancery_store, pg_temp AS $$
    DELETE FROM look WHERE expires_at < clock_timestamp()
$$;

CREATE FUNCTION look_json(k look) RETURNS jsonb LANGUAGE sql STABLE AS $$
    SELECT jsonb_build_object('id', k.public_id, 'signer_id', k.signer_id, 'url', k.url, 'state', k.state, 'error', k.error,
        'size', k.size, 'sha256', encode(k.sha256, 'hex'), 'content', replace(encode(k.content, 'base64'), E'\n', ''),
        'silent_s', (SELECT extract(epoch FROM clock_timestamp() - h.reported_at)::bigint FROM host_status h WHERE h.signer_id = k.signer_id))
$$;

-- p_host: its name, or the number of its issuer. Where several issuers have one host, any will do.
CREATE FUNCTION chancery.api_look(p_identity text, p_host text, p_ca text, p_url text, p_artifact text, p_wanted text)
RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = chancery_store, pg_temp AS $$
DECLARE
    v_caller api_caller := api_caller(p_identity);
    v_ca bigint;
    v_signer int;
    k look;
BEGIN
    IF v_caller.decides IS NOT TRUE THEN
        PERFORM api_fail('CH403', format('%s has no role that sends hosts to look', v_caller.name));
    END IF;
    v_ca := (api_find_ca(p_identity, p_ca)).id;
    SELECT signer_id INTO v_signer FROM host_status WHERE signer_id::text = p_host OR name = p_host
    ORDER BY reported_at DESC LIMIT 1;
    IF v_signer IS NULL THEN
        PERFORM api_fail('CH404', format('no issuer has reported from host "%s"; there are: %s', left(p_host, 64),
            coalesce((SELECT string_agg(format('%s (%s)', name, signer_id), ', ' ORDER BY signer_id) FROM host_status), 'none')));
    END IF;
    IF p_artifact NOT IN ('ca-certificate', 'crl', 'delta-crl') OR p_wanted !~ '^[0-9a-f]{64}$'
            OR octet_length(p_url) NOT BETWEEN 8 AND 2047 THEN
        PERFORM api_fail('CH400', 'artifact is ca-certificate, crl or delta-crl; url has 8 to 2047 octets; wanted is a SHA-256 in '
            'lower-case hex');
    END IF;
    LOCK TABLE look IN SHARE ROW EXCLUSIVE MODE; -- the limits hold for orders that come together
    PERFORM forget_looks();
    IF (SELECT count(*) FILTER (WHERE state <> 'done') >= 32 OR count(*) >= 4096
            OR coalesce(sum(length(content)), 0) >= 268435456 FROM look) THEN
        PERFORM api_fail('CH409', 'as many looks from hosts as there may be are open or kept; they go within 2 minutes');
    END IF;
    INSERT INTO look (signer_id, ca_id, url, artifact, wanted, ordered_by)
    VALUES (v_signer, v_ca, p_url, p_artifact, decode(p_wanted, 'hex'), p_identity) RETURNING * INTO k;
    NOTIFY chancery_look;
    RETURN look_json(k);
END $$;

CREATE FUNCTION chancery.api_look_result(p_identity text, p_id text) RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = chancery_store, pg_temp AS $$
DECLARE
    v_caller api_caller := api_caller(p_identity);
    k look;
BEGIN
    IF v_caller.decides IS NOT TRUE THEN
        PERFORM api_fail('CH403', format('%s has no role that sends hosts to look', v_caller.name));
    END IF;
    SELECT * INTO k FROM look WHERE public_id = api_uuid('look', p_id) AND expires_at >= clock_timestamp();
    IF k.id IS NULL THEN
        PERFORM api_fail('CH404', format('look %s is not known, or forgotten', p_id));
    END IF;
    RETURN look_json(k);
END $$;

-- Those that this issuer is to do, up to p_limit; p_resume: those too that it had taken before
-- it was started anew, or lost its connection. With all by which the CA tells its clients
-- where to look: certificates, its own and those above; values of its CRLs' extensions,
-- issuingDistributionPoint and others; policies, each with the indexes of a generation that
-- it may be of; and the labels of its CRLs.
CREATE FUNCTION claim_looks(p_signer_id int, p_limit int, p_resume boolean)
RETURNS TABLE (look_id bigint, url text, artifact text, wanted bytea, ca text, certificates bytea[], idps bytea[],
    points bytea[], policies text[], certificate_indexes int[], key_indexes int[], labels text[])
LANGUAGE plpgsql SET search_path = chancery_store, pg_temp AS $$
#variable_conflict use_column
BEGIN
    PERFORM forget_looks();
    RETURN QUERY
    WITH taken AS (
        UPDATE look k SET state = 'taken' WHERE k.id IN (
            SELECT o.id FROM look o WHERE o.signer_id = p_signer_id AND (o.state = 'open' OR p_resume AND o.state = 'taken')
            ORDER BY o.id LIMIT p_limit FOR UPDATE SKIP LOCKED)
        RETURNING k.*
    )
    SELECT k.id, k.url, k.artifact, k.wanted, a.name,
        ARRAY(SELECT DISTINCT d FROM generation g, unnest(g.chain || g.certificate) d WHERE g.ca_id = a.id AND d IS NOT NULL),
        ARRAY(SELECT s.idp FROM crl_scope s WHERE s.ca_id = a.id AND s.idp IS NOT NULL),
        ARRAY(SELECT v FROM crl_scope s, unnest(ARRAY[s.freshest, s.published]) v WHERE s.ca_id = a.id AND v IS NOT NULL),
        y.policies, y.certificate_indexes, y.key_indexes,
        ARRAY(SELECT '' UNION SELECT s.label FROM crl_scope s WHERE s.ca_id = a.id)
    FROM taken k JOIN ca a ON a.id = k.ca_id
    CROSS JOIN LATERAL (
        SELECT array_agg(p.policy) AS policies, array_agg(g.certificate_index) AS certificate_indexes,
            array_agg(g.key_index) AS key_indexes
        FROM generation g CROSS JOIN LATERAL (SELECT a.policy UNION SELECT g.policy) p (policy)
        WHERE g.ca_id = a.id AND p.policy IS NOT NULL) y;
END $$;

-- Who waits for it asks ten times a second; what was found is large, and goes soon.
CREATE FUNCTION end_look(p_id bigint, p_error text, p_size bigint, p_sha256 bytea, p_content bytea) RETURNS void
LANGUAGE sql SET search_path = chancery_store, pg_temp AS $$
    UPDATE look SET state = 'done', error = p_error, size = p_size, sha256 = p_sha256, content = p_content,
        expires_at = least(expires_at, clock_timestamp() + interval '30 seconds')
    WHERE id = p_id AND state = 'taken'
$$;

GRANT EXECUTE ON FUNCTION forget_looks TO chancery_api, chancery_issuer;
GRANT EXECUTE ON FUNCTION look_json TO chancery_api;
GRANT EXECUTE ON FUNCTION claim_looks, end_look TO chancery_issuer;

DO $$
DECLARE
    f regprocedure;
BEGIN
    FOR f IN SELECT p.oid FROM pg_proc p WHERE p.pronamespace = 'chancery'::regnamespace
        AND p.proname IN ('api_look', 'api_look_result') LOOP
        EXECUTE format('ALTER FUNCTION %s OWNER TO chancery_api', f);
        EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', f);
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO chancery_front', f);
    END LOOP;
END $$;
