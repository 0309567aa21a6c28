-- What the front may ask: functions chancery.api_*, each one answer of the REST
-- API, as jsonb in the words that clients see (daemon/front/openapi.yaml). The
-- front passes on who calls ("uid:1000", "tls:<SHA-256 of the key>") and sends
-- what it gets; who may do what is decided here.
--
-- Lists are pages in the order of internal ids, newest first where they grow;
-- p_after names the last object of the page before, and "next" the one to go on
-- after, or null. Each is served by an index.

SET search_path = chancery_store, pg_temp;

CREATE INDEX crl_by_scope ON crl (scope_id, id);

-- ------------------------------------------------------------ small helpers

CREATE FUNCTION api_time(timestamptz) RETURNS text LANGUAGE sql STABLE STRICT PARALLEL SAFE AS $$
    SELECT to_char($1 AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')
$$;

CREATE FUNCTION api_pem(p_label text, p_der bytea) RETURNS text LANGUAGE sql IMMUTABLE STRICT AS $$
    SELECT format(E'-----BEGIN %1$s-----\n%2$s\n-----END %1$s-----\n', p_label,
        regexp_replace(replace(encode(p_der, 'base64'), E'\n', ''), '(.{64})(?!$)', E'\\1\n', 'g'))
$$;

CREATE FUNCTION api_fail(p_code text, p_message text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION USING ERRCODE = p_code, MESSAGE = p_message;
END $$;

-- A public id as clients write it; whatever is none names nothing that exists.
CREATE FUNCTION api_uuid(p_what text, p_id text) RETURNS uuid LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    IF p_id !~ '^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$' THEN
        RAISE EXCEPTION USING ERRCODE = 'CH404', MESSAGE = format('%s "%s" is not known', p_what, left(p_id, 80));
    END IF;
    RETURN p_id::uuid;
END $$;

CREATE FUNCTION api_limit(p_limit int) RETURNS int LANGUAGE sql IMMUTABLE AS $$
    SELECT least(greatest(coalesce(p_limit, 100), 1), 1000)
$$;

CREATE FUNCTION crl_reason_word(smallint) RETURNS text LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT (ARRAY['unspecified', 'keyCompromise', 'cACompromise', 'affiliationChanged', 'superseded',
        'cessationOfOperation', 'certificateHold', NULL, 'removeFromCRL', 'privilegeWithdrawn', 'aACompromise'])[$1 + 1]
$$;

CREATE TYPE api_caller AS (
    person_id bigint,
    name      text,     -- who it is, for people and for the audit
    reads     boolean,  -- everything, not only what it submitted
    submits   boolean,
    decides   boolean   -- may hand in operators' statements, whose signatures are what counts
);

-- Who calls. The Unix socket's mode has let in whom the administrator wants in,
-- and they may do all that needs no statement. A TLS client is a person whose
-- key was registered, with that person's roles.
CREATE FUNCTION api_caller(p_identity text) RETURNS api_caller
LANGUAGE plpgsql STABLE SET search_path = chancery_store, pg_temp AS $$
DECLARE
    v api_caller;
    v_roles text[];
BEGIN
    IF p_identity ~ '^uid:[0-9]+$' THEN
        RETURN ROW(NULL, p_identity, true, true, true)::api_caller;
    ELSIF p_identity IS NULL OR p_identity !~ '^tls:[0-9a-f]{64}$' THEN
        PERFORM api_fail('CH401', 'a client certificate whose key is registered is needed here');
    END IF;
    SELECT p.id, p.name, (SELECT array_agg(role) FROM person_role WHERE person_id = p.id)
        INTO v.person_id, v.name, v_roles
    FROM credential c JOIN person p ON p.id = c.person_id
    WHERE c.kind = 'tls_client' AND c.spki_sha256 = decode(substr(p_identity, 5), 'hex') AND c.revoked_at IS NULL;
    IF v.person_id IS NULL THEN
        PERFORM api_fail('CH403', format('the key of the client certificate (SHA-256 %s) is not registered',
            substr(p_identity, 5)));
    END IF;
    v.reads := v_roles && ARRAY['administrator', 'manager', 'auditor'];
    v.submits := v_roles && ARRAY['administrator', 'manager', 'submitter'];
    v.decides := v_roles && ARRAY['administrator', 'manager'];
    RETURN v;
END $$;

CREATE FUNCTION api_reader(p_identity text) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = chancery_store, pg_temp AS $$
DECLARE
    v api_caller := api_caller(p_identity);
BEGIN
    IF v.reads IS NOT TRUE THEN
        PERFORM api_fail('CH403', format('%s has no role that reads this', v.name));
    END IF;
END $$;

-- ------------------------------------------------------------------ status

-- When a CA's certificate should be renewed: at half of its life.
CREATE FUNCTION renewal_due_at(g generation) RETURNS timestamptz LANGUAGE sql IMMUTABLE AS $$
    SELECT g.not_before + (g.not_after - g.not_before) / 2
$$;

-- The CAs that sign with a certificate of which half is over, unless operators retired them.
CREATE FUNCTION renewals_due() RETURNS SETOF generation LANGUAGE sql STABLE AS $$
    SELECT g.* FROM generation g JOIN ca a ON a.id = g.ca_id
    WHERE g.state = 'active' AND a.state <> 'retired' AND renewal_due_at(g) <= clock_timestamp() ORDER BY a.name
$$;

CREATE FUNCTION chancery.api_status(p_identity text) RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = chancery_store, pg_temp AS $$
BEGIN
    PERFORM api_reader(p_identity);
    RETURN jsonb_build_object(
        'database_time', api_time(clock_timestamp()),
        'clock', clock_json(),
        'hosts', hosts_json(),
        -- Of the oldest 100,000 open requests.
        'oldest_pending_at', (SELECT api_time(min(changed_at)) FROM (
            SELECT state, changed_at FROM request_queue ORDER BY request_id LIMIT 100000) q WHERE state = 'pending'),
        'cas', (SELECT coalesce(jsonb_object_agg(state, n), '{}') FROM (SELECT state, count(*) n FROM ca GROUP BY 1) s),
        'open_requests', (SELECT coalesce(jsonb_object_agg(state, n), '{}') FROM (
            SELECT state, count(*) n FROM request_queue GROUP BY 1) s),
        'oldest_pin_wait_at', (SELECT api_time(min(since)) FROM pin_operation),
        'waiting_for_pin', (SELECT count(*) FROM request_queue WHERE state = 'awaiting-pin')
            + (SELECT count(*) FROM crl WHERE state = 'awaiting-pin')
            + (SELECT count(*) FROM decision d WHERE d.state IN ('queued', 'working') AND d.retry_at = 'infinity'),
        'open_decisions', (SELECT count(*) FROM decision WHERE state IN ('queued', 'working')),
        'collecting_decisions', (SELECT count(*) FROM decision WHERE state = 'collecting'),
        'renewals_due', (SELECT coalesce(jsonb_agg(a.name ORDER BY a.name), '[]') FROM renewals_due() g JOIN ca a ON a.id = g.ca_id),
        'unpublished', (SELECT count(*) FROM publication WHERE state NOT IN ('done', 'no-entry', 'over')),
        'operators', (SELECT count(*) FROM person));
END $$;

-- --------------------------------------------------------------------- CAs

-- Why a CA issues nothing though it has its certificate: operators retired it, or its key;
-- or that certificate, or one above it, is revoked by a CA of ours. A sentence, or NULL.
CREATE FUNCTION ca_stopped(p_ca bigint) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = chancery_store, pg_temp AS $$
DECLARE
    r record;
    v record;
BEGIN
    SELECT a.name, a.state, k.retired_at, g.id, g.chain INTO r
    FROM ca a, current_generation(a.id) g JOIN token_key k ON k.id = g.token_key_id WHERE a.id = p_ca;
    IF r.state = 'retired' THEN
        RETURN format('CA %s is retired and issues no certificates any more', r.name);
    ELSIF r.retired_at IS NOT NULL THEN
        RETURN format('the key of CA %1$s is retired: the CA issues nothing until it has a new one (chancery ca renew %1$s --new-key)',
            r.name);
    END IF;
    SELECT o.name AS whose, b.name AS parent, e.reason, e.revoked_at INTO v
    FROM generation p JOIN ca o ON o.id = p.ca_id
    CROSS JOIN LATERAL certificate_by_sha256(p.sha256) x JOIN ca b ON b.id = x.ca_id
    JOIN revocation e ON e.scope_id = x.scope_id AND e.serial = x.serial
    WHERE p.id = r.id OR p.certificate = ANY (r.chain)
    ORDER BY p.id = r.id DESC, e.revoked_at LIMIT 1;
    IF v.parent IS NULL THEN
        RETURN NULL;
    END IF;
    RETURN format('CA %s issues nothing: the certificate of CA %s %s by CA %s at %s%s', r.name, v.whose,
        CASE v.reason WHEN 6 THEN 'was put on hold' ELSE 'was revoked' END, v.parent, api_time(v.revoked_at),
        CASE WHEN v.reason NOT IN (0, 6) THEN format(' (%s)', crl_reason_word(v.reason)) ELSE '' END);
END $$;

CREATE FUNCTION newest_crl(p_scope bigint, p_delta boolean, OUT number text, OUT sha256 text)
LANGUAGE sql STABLE SET search_path = chancery_store, pg_temp AS $$
    SELECT c.number::text, encode(f.sha256, 'hex') FROM crl c JOIN artifact f ON f.id = c.artifact_id
    WHERE c.scope_id = p_scope AND c.delta = p_delta AND c.state = 'issued' ORDER BY c.number DESC LIMIT 1
$$;

-- CRLs that still go on, for certificates of former keys or of scopes that get no new ones:
-- all that it takes to look at them where those certificates say.
CREATE FUNCTION former_crls_json(a ca, p_current_key bigint) RETURNS jsonb
LANGUAGE sql STABLE SET search_path = chancery_store, pg_temp AS $$
    SELECT coalesce(jsonb_agg(jsonb_build_object('label', s.label, 'key_index', g.key_index,
            'certificate_index', g.certificate_index, 'certificate', encode(g.certificate, 'hex'),
            'idp', encode(s.idp, 'hex'), 'freshest', encode(s.freshest, 'hex'), 'policy', coalesce(g.policy, a.policy),
            'number', b.number, 'sha256', b.sha256, 'delta_number', d.number, 'delta_sha256', d.sha256) ORDER BY s.id), '[]')
    FROM crl_scope s
    CROSS JOIN LATERAL (SELECT x.* FROM generation x WHERE x.ca_id = a.id AND x.token_key_id = s.token_key_id
        AND x.certificate IS NOT NULL ORDER BY x.certificate_index DESC LIMIT 1) g
    LEFT JOIN LATERAL newest_crl(s.id, false) b ON true
    LEFT JOIN LATERAL newest_crl(s.id, true) d ON true
    WHERE s.ca_id = a.id AND s.next_full_at IS NOT NULL AND NOT (s.current AND s.token_key_id = p_current_key)
$$;

-- Who elsewhere vouches for a CA, and until when: of each issuer the certificate that lasts longest.
CREATE FUNCTION crosses_json(p_ca bigint) RETURNS jsonb
LANGUAGE sql STABLE SET search_path = chancery_store, pg_temp AS $$
    SELECT coalesce(jsonb_agg(jsonb_build_object('issuer', x.issuer, 'sha256', encode(x.sha256, 'hex'),
        'not_after', api_time(x.not_after)) ORDER BY x.issuer), '[]')
    FROM (SELECT DISTINCT ON (issuer) * FROM cross_certificate WHERE ca_id = p_ca ORDER BY issuer, not_after DESC) x
$$;

CREATE FUNCTION ca_json(a ca, p_detail boolean) RETURNS jsonb
LANGUAGE sql STABLE SET search_path = chancery_store, pg_temp AS $$
    SELECT jsonb_build_object('name', a.name, 'id', a.public_id, 'kind', a.kind, 'state', a.state,
        'subject', n.readable, 'created_at', api_time(a.created_at),
        'key', jsonb_build_object('algorithm', k.algorithm, 'token', k.token, 'label', k.label,
            'spki_sha256', encode(k.spki_sha256, 'hex'), 'index', g.key_index),
        'certificate', CASE WHEN g.sha256 IS NOT NULL THEN jsonb_build_object(
            'sha256', encode(g.sha256, 'hex'), 'ski', encode(g.ski, 'hex'), 'index', g.certificate_index,
            'not_before', api_time(g.not_before), 'not_after', api_time(g.not_after),
            'renewal_due_at', api_time(renewal_due_at(g))) END,
        'waiting', (SELECT to_jsonb(w.certificate_index) FROM generation w
            WHERE w.ca_id = a.id AND w.state = 'awaiting-certificate' AND a.state <> 'awaiting-certificate'),
        'templates', (SELECT coalesce(jsonb_agg(c.template ORDER BY c.template), '[]') FROM ca_template c WHERE c.ca_id = a.id))
        || CASE WHEN NOT p_detail THEN '{}' ELSE jsonb_build_object(
            'policy', a.policy, 'stopped', ca_stopped(a.id),
            'generations', (SELECT jsonb_agg(jsonb_build_object('index', x.certificate_index, 'key_index', x.key_index,
                'state', x.state, 'key_sha256', encode(y.spki_sha256, 'hex'), 'token', y.token,
                'key_destroyed_at', api_time(y.destroyed_at),
                'key_retired_at', api_time(y.retired_at),
                'sha256', encode(x.sha256, 'hex'), 'not_before', api_time(x.not_before), 'not_after', api_time(x.not_after),
                'used_until', CASE WHEN isfinite(x.used_until) THEN api_time(x.used_until) END) ORDER BY x.certificate_index DESC)
                FROM generation x JOIN token_key y ON y.id = x.token_key_id WHERE x.ca_id = a.id),
            'crls', (SELECT coalesce(jsonb_agg(jsonb_build_object('label', s.label, 'current', s.current AND s.token_key_id = k.id,
                'last_number', s.last_number::text,
                'next_full_at', api_time(s.next_full_at), 'next_delta_at', api_time(s.next_delta_at),
                'alarm', s.alarm, 'alarm_since', api_time(s.alarm_since)) ORDER BY s.id), '[]')
                FROM crl_scope s WHERE s.ca_id = a.id),
            'former_crls', former_crls_json(a, k.id),
            'rollovers', (SELECT coalesce(jsonb_agg(jsonb_build_object('signer_key', x.key_index, 'subject_key', y.key_index,
                'not_after', api_time(v.not_after)) ORDER BY v.decision_id), '[]')
                FROM rollover v JOIN generation x ON x.id = v.signer_generation JOIN generation y ON y.id = v.subject_generation
                WHERE v.ca_id = a.id AND v.certificate IS NOT NULL AND v.not_after > clock_timestamp()),
            'crosses', crosses_json(a.id)) END
    FROM issuer_name n,
        (SELECT * FROM current_generation(a.id)) g
        JOIN token_key k ON k.id = g.token_key_id
    WHERE n.id = a.issuer_name_id
$$;

-- For callers that we know: others learn no names.
CREATE FUNCTION api_find_ca(p_identity text, p_name text) RETURNS ca
LANGUAGE plpgsql STABLE SET search_path = chancery_store, pg_temp AS $$
DECLARE
    a ca;
BEGIN
    PERFORM api_caller(p_identity);
    SELECT * INTO a FROM ca WHERE name = p_name;
    IF a.id IS NULL THEN
        PERFORM api_fail('CH404', format('CA "%s" is not known', left(p_name, 64)));
    END IF;
    RETURN a;
END $$;

CREATE FUNCTION chancery.api_cas(p_identity text, p_limit int, p_after text) RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = chancery_store, pg_temp AS $$
DECLARE
    v_limit int := api_limit(p_limit);
    v_rows jsonb;
BEGIN
    PERFORM api_caller(p_identity);
    SELECT coalesce(jsonb_agg(ca_json(a, false) ORDER BY a.name), '[]') INTO v_rows
    FROM (SELECT * FROM ca WHERE p_after IS NULL OR name > p_after ORDER BY name LIMIT v_limit) a;
    RETURN jsonb_build_object('cas', v_rows,
        'next', CASE WHEN jsonb_array_length(v_rows) = v_limit THEN v_rows->-1->'name' END);
END $$;

CREATE FUNCTION chancery.api_ca(p_identity text, p_name text) RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = chancery_store, pg_temp AS $$
BEGIN
    PERFORM api_caller(p_identity);
    RETURN ca_json(api_find_ca(p_identity, p_name), true);
END $$;

-- A JSON string that holds PEM.
CREATE FUNCTION chancery.api_ca_csr(p_identity text, p_name text) RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = chancery_store, pg_temp AS $$
DECLARE
    a ca := api_find_ca(p_identity, p_name);
    v_csr bytea;
BEGIN
    PERFORM api_caller(p_identity);
    -- Of the one that waits, if there is one.
    SELECT csr INTO v_csr FROM generation WHERE ca_id = a.id AND state <> 'retired' AND csr IS NOT NULL
    ORDER BY certificate_index DESC LIMIT 1;
    IF v_csr IS NULL THEN
        PERFORM api_fail('CH404', format('CA "%s" has no CSR: it is a root', a.name));
    END IF;
    RETURN to_jsonb(api_pem('CERTIFICATE REQUEST', v_csr));
END $$;

-- p_cka_id: of one of its keys, maybe an older one, in hexadecimal; NULL: the one that signs.
CREATE FUNCTION chancery.api_ca_chain(p_identity text, p_name text, p_cka_id text) RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = chancery_store, pg_temp AS $$
DECLARE
    a ca := api_find_ca(p_identity, p_name);
    g generation;
BEGIN
    PERFORM api_caller(p_identity);
    IF p_cka_id IS NULL THEN
        SELECT * INTO g FROM current_generation(a.id) c WHERE c.certificate IS NOT NULL;
    ELSE
        SELECT c.* INTO g FROM generation c JOIN token_key k ON k.id = c.token_key_id
        WHERE c.ca_id = a.id AND c.certificate IS NOT NULL AND encode(k.cka_id, 'hex') = p_cka_id
        ORDER BY c.certificate_index DESC LIMIT 1;
    END IF;
    IF g.id IS NULL THEN
        PERFORM api_fail('CH404', CASE WHEN p_cka_id IS NULL THEN format('CA "%s" has no certificate yet', a.name)
            ELSE format('CA "%s" has no certificate of such a key', a.name) END);
    END IF;
    RETURN to_jsonb((SELECT string_agg(api_pem('CERTIFICATE', c.der), '' ORDER BY c.n)
        FROM unnest(g.certificate || g.chain) WITH ORDINALITY c (der, n)));
END $$;

CREATE FUNCTION chancery.api_ca_crls(p_identity text, p_name text, p_limit int, p_after bigint) RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = chancery_store, pg_temp
SET plan_cache_mode = force_custom_plan AS $$
DECLARE
    v_limit int := api_limit(p_limit);
    a ca := api_find_ca(p_identity, p_name);
    v_rows jsonb;
BEGIN
    PERFORM api_caller(p_identity);
    SELECT coalesce(jsonb_agg(jsonb_build_object('id', c.id::text, 'label', c.label, 'number', c.number::text,
            'delta', c.delta,
            'base_number', b.number::text, 'state', c.state, 'scheduled', c.scheduled, 'entries', c.entries,
            'this_update', api_time(c.this_update), 'next_update', api_time(c.next_update),
            'issued_at', api_time(c.issued_at), 'size', f.size, 'sha256', encode(f.sha256, 'hex')) ORDER BY c.id DESC), '[]')
        INTO v_rows
    FROM (SELECT c.*, s.label FROM crl_scope s CROSS JOIN LATERAL (
              SELECT * FROM crl WHERE crl.scope_id = s.id AND (p_after IS NULL OR crl.id < p_after)
              ORDER BY crl.id DESC LIMIT v_limit) c
          WHERE s.ca_id = a.id ORDER BY c.id DESC LIMIT v_limit) c
    LEFT JOIN crl b ON b.id = c.base_id
    LEFT JOIN artifact f ON f.id = c.artifact_id;
    RETURN jsonb_build_object('crls', v_rows,
        'next', CASE WHEN jsonb_array_length(v_rows) = v_limit THEN v_rows->-1->'id' END);
END $$;

-- How many valid certificates name places of the CA's key, and until when, for whoever is
-- about to move these: of its newest million certificates.
CREATE FUNCTION chancery.api_ca_valid(p_identity text, p_name text) RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = chancery_store, pg_temp AS $$
DECLARE
    a ca := api_find_ca(p_identity, p_name);
    v_key bigint := (SELECT token_key_id FROM current_generation(a.id));
BEGIN
    PERFORM api_reader(p_identity);
    RETURN (SELECT jsonb_build_object('certificates', count(*) FILTER (WHERE c.valid), 'until', api_time(max(c.not_after) FILTER (WHERE c.valid)),
            'more', count(*) = 1000000)
        FROM (SELECT x.not_after, x.not_after >= clock_timestamp() AND x.request_id IS NOT NULL AND x.scope_id IN (
                  SELECT s.id FROM crl_scope s WHERE s.token_key_id = v_key) AS valid
              FROM certificate x WHERE x.ca_id = a.id ORDER BY x.id DESC LIMIT 1000000) c);
END $$;

-- --------------------------------------------------------------- templates

CREATE FUNCTION chancery.api_templates(p_identity text, p_limit int, p_after text) RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = chancery_store, pg_temp AS $$
DECLARE
    v_limit int := api_limit(p_limit);
    v_rows jsonb;
BEGIN
    PERFORM api_caller(p_identity);
    SELECT coalesce(jsonb_agg(jsonb_build_object('name', t.name, 'version', v.version, 'automatic', v.automatic,
            'applied_at', api_time(v.applied_at), 'body_sha256', encode(v.body_sha256, 'hex')) ORDER BY t.name), '[]')
        INTO v_rows
    FROM (SELECT * FROM template WHERE p_after IS NULL OR name > p_after ORDER BY name LIMIT v_limit) t
    CROSS JOIN LATERAL (SELECT * FROM template_version v WHERE v.template_id = t.id ORDER BY version DESC LIMIT 1) v;
    RETURN jsonb_build_object('templates', v_rows,
        'next', CASE WHEN jsonb_array_length(v_rows) = v_limit THEN v_rows->-1->'name' END);
END $$;

-- p_version NULL: the newest.
CREATE FUNCTION chancery.api_template(p_identity text, p_name text, p_version int) RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = chancery_store, pg_temp AS $$
DECLARE
    v template_version;
BEGIN
    PERFORM api_caller(p_identity);
    SELECT v2.* INTO v FROM template t JOIN template_version v2 ON v2.template_id = t.id
    WHERE t.name = p_name AND (p_version IS NULL OR v2.version = p_version) ORDER BY v2.version DESC LIMIT 1;
    IF v.id IS NULL THEN
        PERFORM api_fail('CH404', format('template "%s" is not known', left(p_name, 64) || coalesce('/' || p_version, '')));
    END IF;
    RETURN jsonb_build_object('name', p_name, 'version', v.version, 'automatic', v.automatic,
        'applied_at', api_time(v.applied_at), 'body_sha256', encode(v.body_sha256, 'hex'), 'body', v.body,
        'cas', (SELECT coalesce(jsonb_agg(a.name ORDER BY a.name), '[]') FROM ca_template c JOIN ca a ON a.id = c.ca_id
                WHERE c.template = p_name));
END $$;

-- --------------------------------------------------------------- operators

CREATE FUNCTION chancery.api_operators(p_identity text, p_limit int, p_after text) RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = chancery_store, pg_temp AS $$
DECLARE
    v_limit int := api_limit(p_limit);
    v_rows jsonb;
BEGIN
    PERFORM api_reader(p_identity);
    SELECT coalesce(jsonb_agg(jsonb_build_object('name', p.name, 'created_at', api_time(p.created_at),
            'roles', (SELECT coalesce(jsonb_agg(r.role ORDER BY r.role), '[]') FROM person_role r WHERE r.person_id = p.id),
            'credentials', (SELECT coalesce(jsonb_agg(jsonb_build_object('kind', c.kind,
                'sha256', encode(c.spki_sha256, 'hex'), 'spki', replace(encode(c.spki, 'base64'), E'\n', ''),
                'added_at', api_time(c.added_at),
                'revoked_at', api_time(c.revoked_at)) ORDER BY c.id), '[]') FROM credential c WHERE c.person_id = p.id))
            ORDER BY p.name), '[]')
        INTO v_rows
    FROM (SELECT * FROM person WHERE p_after IS NULL OR name > p_after ORDER BY name LIMIT v_limit) p;
    RETURN jsonb_build_object('operators', v_rows,
        'next', CASE WHEN jsonb_array_length(v_rows) = v_limit THEN v_rows->-1->'name' END);
END $$;

-- ---------------------------------------------------------------- requests

CREATE FUNCTION request_json(r request, p_detail boolean) RETURNS jsonb
LANGUAGE sql STABLE SET search_path = chancery_store, pg_temp AS $$
    SELECT jsonb_build_object('id', r.public_id, 'ca', a.name, 'template', t.name || '/' || v.version,
        'state', r.state, 'final', (SELECT s.final FROM request_state s WHERE s.name = r.state),
        'reason', why_it_waits(r.state, r.reason, r.ca_id), 'submitter', r.submitter,
        'submitted_at', api_time(r.submitted_at), 'changed_at', api_time(r.changed_at),
        -- What was issued without a decision has no summary: its certificate says it.
        'subject', coalesce(m.subject, c.subject), 'names', to_jsonb(coalesce(m.names, c.names)),
        'key_type', coalesce(m.key_type, c.key_type), 'csr_sha256', encode(sha256(r.csr), 'hex'),
        'spki_sha256', encode(coalesce(m.spki_sha256, c.spki_sha256), 'hex'),
        'certificate', encode(c.sha256, 'hex'), 'serial', encode(c.serial, 'hex'))
        || CASE WHEN NOT p_detail THEN '{}' ELSE jsonb_build_object(
            'idempotency_key', r.idempotency_key, 'attempts', r.epoch, 'attributes', r.attributes,
            'csr', api_pem('CERTIFICATE REQUEST', r.csr)) END
    FROM ca a, template_version v JOIN template t ON t.id = v.template_id
    LEFT JOIN request_summary m ON m.request_id = r.id
    LEFT JOIN certificate c ON c.id = r.certificate_id
    WHERE a.id = r.ca_id AND v.id = r.template_version_id
$$;

-- The request, if the caller may see it.
CREATE FUNCTION api_find_request(p_identity text, p_id text) RETURNS request
LANGUAGE plpgsql STABLE SET search_path = chancery_store, pg_temp AS $$
DECLARE
    v_caller api_caller := api_caller(p_identity);
    r request;
BEGIN
    SELECT * INTO r FROM request
    WHERE public_id = api_uuid('request', p_id) AND (v_caller.reads OR submitter = p_identity);
    IF r.id IS NULL THEN
        PERFORM api_fail('CH404', format('request %s is not known', p_id));
    END IF;
    RETURN r;
END $$;

CREATE FUNCTION chancery.api_submit(p_identity text, p_ca text, p_template text, p_csr bytea,
    p_attributes jsonb, p_key text) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = chancery_store, pg_temp AS $$
DECLARE
    v_caller api_caller := api_caller(p_identity);
    v_id uuid;
BEGIN
    IF v_caller.submits IS NOT TRUE THEN
        PERFORM api_fail('CH403', format('%s has no role that submits requests', v_caller.name));
    END IF;
    v_id := enqueue_request(p_identity, p_ca, p_template, p_csr, p_attributes, p_key);
    RETURN (SELECT jsonb_build_object('id', v_id, 'state', r.state) FROM request r WHERE r.public_id = v_id);
END $$;

-- A page of requests, each kind of state from the table that has it, and each row's
-- record by its key (LATERAL with OFFSET 0: the planner takes the policies of
-- requests for filters that let few rows pass). Any of the conditions may be NULL.
CREATE FUNCTION api_request_page(p_state text, p_ca_id bigint, p_submitter text, p_before bigint, p_limit int)
RETURNS bigint[]
LANGUAGE plpgsql STABLE SET search_path = chancery_store, pg_temp SET plan_cache_mode = force_custom_plan AS $$
BEGIN
    IF p_state IS NULL THEN
        RETURN ARRAY(SELECT r.id FROM request_record r
            WHERE (p_ca_id IS NULL OR r.ca_id = p_ca_id) AND (p_submitter IS NULL OR r.submitter = p_submitter)
                AND (p_before IS NULL OR r.id < p_before)
            ORDER BY r.id DESC LIMIT p_limit);
    ELSIF p_state = 'issued' AND (p_ca_id IS NOT NULL OR p_submitter IS NOT NULL) THEN -- most of them are
        RETURN ARRAY(SELECT r.id
            FROM (SELECT r.id FROM request_record r
                  WHERE (p_ca_id IS NULL OR r.ca_id = p_ca_id) AND (p_submitter IS NULL OR r.submitter = p_submitter)
                      AND (p_before IS NULL OR r.id < p_before)
                  ORDER BY r.id DESC) r
            CROSS JOIN LATERAL (SELECT FROM certificate c WHERE c.request_id = r.id OFFSET 0) c
            LIMIT p_limit);
    ELSIF p_state = 'issued' THEN
        RETURN ARRAY(SELECT c.request_id
            FROM (SELECT c.request_id FROM certificate c
                  WHERE c.request_id IS NOT NULL AND (p_before IS NULL OR c.request_id < p_before)
                  ORDER BY c.request_id DESC) c
            CROSS JOIN LATERAL (SELECT FROM request_record r WHERE r.id = c.request_id OFFSET 0) r
            LIMIT p_limit);
    ELSIF (SELECT s.final FROM request_state s WHERE s.name = p_state) THEN
        RETURN ARRAY(SELECT e.request_id
            FROM (SELECT e.request_id FROM request_end e
                  WHERE e.state = p_state AND (p_before IS NULL OR e.request_id < p_before)
                  ORDER BY e.request_id DESC) e
            CROSS JOIN LATERAL (SELECT FROM request_record r WHERE r.id = e.request_id
                AND (p_ca_id IS NULL OR r.ca_id = p_ca_id) AND (p_submitter IS NULL OR r.submitter = p_submitter)
                OFFSET 0) r
            LIMIT p_limit);
    END IF;
    RETURN ARRAY(SELECT q.request_id
        FROM (SELECT q.request_id FROM request_queue q
              WHERE q.state = p_state AND (p_ca_id IS NULL OR q.ca_id = p_ca_id)
                  AND (p_before IS NULL OR q.request_id < p_before)
              ORDER BY q.request_id DESC) q
        CROSS JOIN LATERAL (SELECT FROM request_record r WHERE r.id = q.request_id
            AND (p_submitter IS NULL OR r.submitter = p_submitter) OFFSET 0) r
        LIMIT p_limit);
END $$;

CREATE FUNCTION chancery.api_requests(p_identity text, p_state text, p_ca text, p_limit int, p_after text)
RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = chancery_store, pg_temp
SET plan_cache_mode = force_custom_plan AS $$
DECLARE
    v_caller api_caller := api_caller(p_identity);
    v_limit int := api_limit(p_limit);
    v_submitter text := CASE WHEN v_caller.reads IS NOT TRUE THEN p_identity END;
    v_ca bigint := CASE WHEN p_ca IS NOT NULL THEN (api_find_ca(p_identity, p_ca)).id END;
    v_after bigint := CASE WHEN p_after IS NOT NULL THEN (api_find_request(p_identity, p_after)).id END;
    v_rows jsonb;
BEGIN
    IF NOT EXISTS (SELECT FROM request_state WHERE name = p_state OR p_state IS NULL) THEN
        PERFORM api_fail('CH400', format('"%s" is no state of a request; the states are %s', left(p_state, 32),
            (SELECT string_agg(name, ', ') FROM request_state)));
    END IF;
    SELECT coalesce(jsonb_agg(request_json(r, false) ORDER BY r.id DESC), '[]') INTO v_rows
    FROM request r WHERE r.id = ANY (api_request_page(p_state, v_ca, v_submitter, v_after, v_limit));
    RETURN jsonb_build_object('requests', v_rows,
        'next', CASE WHEN jsonb_array_length(v_rows) = v_limit THEN v_rows->-1->'id' END);
END $$;

CREATE FUNCTION chancery.api_request(p_identity text, p_id text) RETURNS jsonb
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = chancery_store, pg_temp AS $$
    SELECT request_json(api_find_request(p_identity, p_id), true)
$$;

-- Whoever may hand in decisions may also take back what others submitted.
CREATE FUNCTION chancery.api_withdraw(p_identity text, p_id text) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = chancery_store, pg_temp AS $$
DECLARE
    v_caller api_caller := api_caller(p_identity);
    v_id uuid := api_uuid('request', p_id);
BEGIN
    PERFORM withdraw(p_identity, CASE WHEN v_caller.decides IS NOT TRUE THEN p_identity END, v_id);
    RETURN jsonb_build_object('id', v_id, 'state', 'withdrawn');
END $$;

CREATE FUNCTION certificate_chain_pem(x certificate, p_chain boolean) RETURNS text
LANGUAGE sql STABLE SET search_path = chancery_store, pg_temp AS $$
    SELECT string_agg(api_pem('CERTIFICATE', c.der), '' ORDER BY c.n)
    FROM generation g,
        unnest(CASE WHEN NOT p_chain THEN ARRAY[x.der]
                    WHEN x.der = g.certificate THEN x.der || g.chain
                    ELSE ARRAY[x.der, g.certificate] || g.chain END) WITH ORDINALITY c (der, n)
    WHERE g.id = x.generation_id
$$;

CREATE FUNCTION chancery.api_request_certificate(p_identity text, p_id text) RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = chancery_store, pg_temp AS $$
DECLARE
    r request := api_find_request(p_identity, p_id);
    x certificate;
BEGIN
    SELECT * INTO x FROM certificate WHERE id = r.certificate_id;
    IF x.id IS NULL THEN
        PERFORM api_fail('CH404', format('request %s has no certificate: it is %s', r.public_id, r.state));
    END IF;
    RETURN to_jsonb(certificate_chain_pem(x, true));
END $$;

-- ------------------------------------------------------------ certificates

CREATE FUNCTION certificate_json(x certificate) RETURNS jsonb
LANGUAGE sql STABLE SET search_path = chancery_store, pg_temp AS $$
    SELECT jsonb_build_object('sha256', encode(x.sha256, 'hex'), 'serial', encode(x.serial, 'hex'), 'ca', a.name,
        'template', (SELECT t.name || '/' || v.version FROM template_version v JOIN template t ON t.id = v.template_id
                     WHERE v.id = x.template_version_id),
        'request', (SELECT q.public_id FROM request_record q WHERE q.id = x.request_id),
        'subject', x.subject, 'names', to_jsonb(x.names), 'spki_sha256', encode(x.spki_sha256, 'hex'),
        'not_before', api_time(x.not_before), 'not_after', api_time(x.not_after), 'issued_at', api_time(x.issued_at),
        'status', CASE WHEN r.reason = 6 THEN 'on-hold' WHEN r.reason IS NOT NULL THEN 'revoked'
                       WHEN x.not_after < clock_timestamp() THEN 'expired' ELSE 'good' END,
        'revoked_at', api_time(r.revoked_at), 'revocation_reason', crl_reason_word(r.reason),
        'invalid_since', api_time(r.invalidity_date))
    FROM ca a LEFT JOIN revocation r ON r.scope_id = x.scope_id AND r.serial = x.serial
    WHERE a.id = x.ca_id
$$;

-- By SHA-256 of the certificate, by serial number, or by the request's id. A
-- submitter sees what came of its own requests.
CREATE FUNCTION api_find_certificate(p_identity text, p_ref text) RETURNS certificate
LANGUAGE plpgsql STABLE SET search_path = chancery_store, pg_temp AS $$
DECLARE
    v_caller api_caller := api_caller(p_identity);
    v_ref text := lower(replace(p_ref, ':', ''));
    x certificate;
    v_count int := 0;
BEGIN
    IF v_ref ~ '^[0-9a-f]{64}$' THEN
        SELECT * INTO x FROM certificate_by_sha256(decode(v_ref, 'hex'));
    ELSIF v_ref ~ '^[0-9a-f]{40}$' THEN
        SELECT count(*) INTO v_count FROM certificate WHERE serial = decode(v_ref, 'hex');
        IF v_count > 1 THEN
            PERFORM api_fail('CH409', format('%s certificates of different CAs have the serial number %s: '
                'name the certificate by its SHA-256', v_count, v_ref));
        END IF;
        SELECT * INTO x FROM certificate WHERE serial = decode(v_ref, 'hex');
    ELSIF v_ref ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' THEN
        SELECT c.* INTO x FROM request_record r JOIN certificate c ON c.request_id = r.id WHERE r.public_id = v_ref::uuid;
    END IF;
    IF x.id IS NULL OR NOT (coalesce(v_caller.reads, false)
            OR EXISTS (SELECT FROM request_record WHERE id = x.request_id AND submitter = p_identity)) THEN
        PERFORM api_fail('CH404', format('certificate "%s" is not known', left(p_ref, 80)));
    END IF;
    RETURN x;
END $$;

CREATE FUNCTION chancery.api_certificates(p_identity text, p_ca text, p_serial text, p_sha256 text,
    p_limit int, p_after text) RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = chancery_store, pg_temp
SET plan_cache_mode = force_custom_plan AS $$
DECLARE
    v_limit int := api_limit(p_limit);
    v_ca bigint := CASE WHEN p_ca IS NOT NULL THEN (api_find_ca(p_identity, p_ca)).id END;
    v_serial text := lower(replace(p_serial, ':', ''));
    v_sha256 text := lower(replace(p_sha256, ':', ''));
    v_after bigint;
    v_rows jsonb;
BEGIN
    PERFORM api_reader(p_identity);
    IF v_serial !~ '^([0-9a-f]{2}){1,20}$' OR v_sha256 !~ '^[0-9a-f]{64}$' THEN
        PERFORM api_fail('CH400', 'serial is 2 to 40 hex digits, sha256 is 64');
    END IF;
    IF p_after IS NOT NULL THEN
        v_after := (api_find_certificate(p_identity, p_after)).id;
    END IF;
    SELECT coalesce(jsonb_agg(certificate_json(x::certificate) ORDER BY x.id DESC), '[]') INTO v_rows
    FROM (SELECT * FROM certificate
          WHERE (v_ca IS NULL OR ca_id = v_ca) AND (v_after IS NULL OR id < v_after)
              AND (v_serial IS NULL OR serial = decode(v_serial, 'hex'))
              AND (v_sha256 IS NULL OR id = (SELECT c.id FROM certificate_by_sha256(decode(v_sha256, 'hex')) c))
          ORDER BY id DESC LIMIT v_limit) x;
    RETURN jsonb_build_object('certificates', v_rows,
        'next', CASE WHEN jsonb_array_length(v_rows) = v_limit THEN v_rows->-1->'sha256' END);
END $$;

CREATE FUNCTION chancery.api_certificate(p_identity text, p_ref text) RETURNS jsonb
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = chancery_store, pg_temp AS $$
    SELECT certificate_json(api_find_certificate(p_identity, p_ref))
$$;

CREATE FUNCTION chancery.api_certificate_pem(p_identity text, p_ref text, p_chain boolean) RETURNS jsonb
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = chancery_store, pg_temp AS $$
    SELECT to_jsonb(certificate_chain_pem(api_find_certificate(p_identity, p_ref), p_chain))
$$;

-- --------------------------------------------------------------- decisions

-- The fields of an operator's statement as the front read them. Only a row is
-- made of it: the issuer reads the text itself and verifies the signature. What
-- is refused here could not be applied anyway, and is told at once.
CREATE TYPE api_statement AS (
    action text, ca text, object text, csr_sha256 bytea, template text, reason text,
    body_sha256 bytea, nonce bytea, issued timestamptz, expires timestamptz);

CREATE FUNCTION decide_on_request(s api_statement) RETURNS bigint
LANGUAGE plpgsql SET search_path = chancery_store, pg_temp AS $$
DECLARE
    v_id uuid := api_uuid('request', s.object);
    r record;
BEGIN
    SELECT q.id, q.state, a.name AS ca, t.name || '/' || v.version AS template, m.csr_sha256,
        EXISTS (SELECT FROM decision d WHERE d.request_id = q.id AND d.state IN ('queued', 'working')) AS open
        INTO r
    FROM request q JOIN ca a ON a.id = q.ca_id JOIN template_version v ON v.id = q.template_version_id
    JOIN template t ON t.id = v.template_id LEFT JOIN request_summary m ON m.request_id = q.id
    WHERE q.public_id = v_id;
    IF r.id IS NULL THEN
        PERFORM api_fail('CH404', format('request %s is not known', v_id));
    ELSIF r.state IN ('submitted', 'claimed') AND r.csr_sha256 IS NULL THEN
        PERFORM api_fail('CH409', format('request %s is still being checked; try again in a moment', v_id));
    ELSIF r.state <> 'pending' THEN
        PERFORM api_fail('CH409', format('request %s is %s and no longer waits for a decision', v_id,
            CASE WHEN r.state IN ('approved', 'claimed', 'signing', 'awaiting-pin') THEN 'approved already'
                 ELSE r.state || ' already' END));
    ELSIF r.open THEN
        PERFORM api_fail('CH409', format('a decision on request %s is being carried out already', v_id));
    ELSIF r.ca <> s.ca THEN
        PERFORM api_fail('CH409', format('request %s is for CA "%s", the statement for "%s"', v_id, r.ca, s.ca));
    ELSIF r.csr_sha256 <> s.csr_sha256 THEN
        PERFORM api_fail('CH409', format('the statement is about another CSR than that of request %s', v_id));
    ELSIF r.template <> s.template THEN
        PERFORM api_fail('CH409', format('request %s is for template %s, the statement for %s', v_id, r.template, s.template));
    END IF;
    RETURN r.id;
END $$;

CREATE FUNCTION decide_on_certificate(s api_statement) RETURNS bigint
LANGUAGE plpgsql SET search_path = chancery_store, pg_temp AS $$
DECLARE
    r record;
    v_words text;
BEGIN
    SELECT x.id, encode(x.serial, 'hex') AS serial, a.name AS ca, v.reason,
        EXISTS (SELECT FROM decision d WHERE d.certificate_id = x.id AND d.state IN ('queued', 'working')) AS open
        INTO r
    FROM certificate_by_sha256(CASE WHEN s.object ~ '^[0-9a-f]{64}$' THEN decode(s.object, 'hex') END) x
    JOIN ca a ON a.id = x.ca_id
    LEFT JOIN revocation v ON v.scope_id = x.scope_id AND v.serial = x.serial;
    IF r.id IS NULL THEN
        PERFORM api_fail('CH404', format('a certificate with the SHA-256 %s is not known', s.object));
    END IF;
    v_words := CASE
        WHEN r.ca <> s.ca THEN format('is of CA "%s", the statement for "%s"', r.ca, s.ca)
        WHEN s.action = 'release' AND r.reason IS NULL THEN 'is not on hold'
        WHEN s.action = 'release' AND r.reason <> 6 THEN 'is revoked, and only a hold can be released (RFC 5280 5.3.1)'
        WHEN s.action = 'hold' AND r.reason = 6 THEN 'is on hold already'
        WHEN s.action IN ('hold', 'revoke') AND r.reason <> 6 THEN 'is revoked already'
        WHEN r.open THEN 'has a decision that is being carried out already'
    END;
    IF v_words IS NOT NULL THEN
        PERFORM api_fail('CH409', format('certificate %s %s', r.serial, v_words));
    END IF;
    RETURN r.id;
END $$;

-- The CA that ca-create, ca-install, ca-limits, ca-renew, ca-rekey, ca-rollover, ca-cross, crl-issue,
-- key-attest and key-destroy are about; NULL for ca-create.
CREATE FUNCTION decide_on_ca(s api_statement) RETURNS bigint
LANGUAGE plpgsql SET search_path = chancery_store, pg_temp AS $$
DECLARE
    a ca;
    v_open boolean := EXISTS (SELECT FROM decision d WHERE d.state IN ('queued', 'working') AND d.action = s.action
        AND d.action IN ('ca-create', 'ca-install', 'ca-limits', 'ca-renew', 'ca-rekey', 'ca-rollover', 'ca-cross', 'key-destroy')
        AND substring(d.statement FROM '(?n)^ca: (.*)$') = s.ca);
BEGIN
    SELECT * INTO a FROM ca WHERE name = s.ca;
    IF s.action = 'ca-create' AND a.id IS NOT NULL THEN
        PERFORM api_fail('CH409', format('a CA named "%s" exists already', s.ca));
    ELSIF v_open THEN
        PERFORM api_fail('CH409', format('a decision on CA "%s" is being carried out already', s.ca));
    ELSIF s.action <> 'ca-create' AND a.id IS NULL THEN
        PERFORM api_fail('CH404', format('CA "%s" is not known', s.ca));
    ELSIF s.action IN ('ca-install', 'ca-renew', 'ca-rekey', 'ca-rollover', 'ca-cross') AND a.state = 'retired' THEN
        PERFORM api_fail('CH409', format('CA "%s" is retired for good', s.ca));
    ELSIF s.action = 'crl-issue' AND (SELECT g.state = 'retired' FROM current_generation(a.id) g) THEN
        PERFORM api_fail('CH409', format('the last certificate of CA "%s" has ended: it signs no CRLs any more', s.ca));
    ELSIF s.action = 'ca-renew' AND (SELECT k.retired_at IS NOT NULL FROM current_generation(a.id) g
            JOIN token_key k ON k.id = g.token_key_id) THEN
        PERFORM api_fail('CH409', format('the key of CA "%1$s" is retired for good: "chancery ca renew %1$s --new-key" gives it '
            'another one', s.ca));
    ELSIF s.action = 'ca-install' AND a.state <> 'awaiting-certificate' AND NOT EXISTS (SELECT FROM generation g
            WHERE g.ca_id = a.id AND g.state = 'awaiting-certificate') THEN
        PERFORM api_fail('CH409', format('CA "%s" does not wait for a certificate: it is %s; "chancery ca renew" begins a renewal',
            s.ca, a.state));
    ELSIF s.action = 'ca-rekey' AND s.object <> (SELECT encode(k.spki_sha256, 'hex') FROM current_generation(a.id) g
            JOIN token_key k ON k.id = g.token_key_id) THEN
        PERFORM api_fail('CH409', format('the key that CA "%s" signs with is another one than the statement names', s.ca));
    ELSIF s.action IN ('crl-issue', 'ca-renew', 'ca-rekey', 'ca-rollover', 'ca-cross') AND a.state = 'awaiting-certificate' THEN
        PERFORM api_fail('CH409', format('CA "%s" has no certificate yet%s', s.ca,
            CASE s.action WHEN 'crl-issue' THEN ' and can sign no CRL' WHEN 'ca-cross' THEN ' of its own' ELSE ' that could be renewed' END));
    END IF;
    RETURN a.id;
END $$;

-- The key that signed, and whether its owner's roles fit. The very first
-- operator signs nothing: nobody could say whose key it is. He must be root or
-- the daemon's own user at the Unix socket (p_local).
CREATE FUNCTION decide_credential(s api_statement, p_credential bytea, p_local boolean) RETURNS bigint
LANGUAGE plpgsql STABLE SET search_path = chancery_store, pg_temp AS $$
DECLARE
    v_role text := CASE WHEN s.action IN ('ca-create', 'ca-install', 'ca-limits', 'ca-renew', 'ca-rekey', 'ca-rollover', 'ca-cross', 'signer-reseed', 'template-apply',
            'operator-add', 'key-destroy')
        THEN 'administrator' ELSE 'manager' END;
    r record;
BEGIN
    IF p_credential IS NULL THEN
        IF s.action <> 'operator-add' OR EXISTS (SELECT FROM person) THEN
            PERFORM api_fail('CH403', format('the action %s must be signed by an operator', s.action));
        ELSIF NOT p_local THEN
            PERFORM api_fail('CH403', 'the first operator is added at the Unix socket, by root or the daemon''s own user');
        END IF;
        RETURN NULL;
    END IF;
    SELECT c.id, c.revoked_at, p.name,
        EXISTS (SELECT FROM person_role WHERE person_id = p.id AND role = v_role) AS may INTO r
    FROM credential c JOIN person p ON p.id = c.person_id
    WHERE c.kind = 'operator_key' AND c.spki_sha256 = p_credential;
    IF r.id IS NULL THEN
        PERFORM api_fail('CH403', format('the operator''s key %s is not registered', encode(p_credential, 'hex')));
    ELSIF r.revoked_at IS NOT NULL THEN
        PERFORM api_fail('CH403', format('this key of operator %s is no longer valid', r.name));
    ELSIF NOT r.may THEN
        PERFORM api_fail('CH403', format('operator %s is no %s, as the action %s needs', r.name, v_role, s.action));
    END IF;
    RETURN r.id;
END $$;

CREATE FUNCTION decide_check(s api_statement, p_body text) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = chancery_store, pg_temp AS $$
BEGIN
    IF s.expires <= clock_timestamp() THEN
        PERFORM api_fail('CH400', 'the statement has expired: make and sign a new one');
    ELSIF s.issued > clock_timestamp() + interval '60 s' THEN
        PERFORM api_fail('CH400', 'the statement is of the future: check the operator''s clock');
    ELSIF (s.body_sha256 IS NULL) <> (p_body IS NULL) THEN
        PERFORM api_fail('CH400', format('the action %s %s', s.action,
            CASE WHEN p_body IS NULL THEN 'needs a body' ELSE 'takes no body' END));
    ELSIF s.body_sha256 <> sha256(convert_to(p_body, 'UTF8')) THEN
        PERFORM api_fail('CH400', 'the body is not the one that the statement''s body-sha256 was made of');
    END IF;
END $$;

-- Handing in the same statement again, because the answer was lost, gives the
-- same answer.
CREATE FUNCTION decide_repeated(s api_statement, p_credential_id bigint, p_statement text) RETURNS jsonb
LANGUAGE plpgsql SET search_path = chancery_store, pg_temp AS $$
DECLARE
    d decision;
BEGIN
    SELECT * INTO d FROM decision
    WHERE credential_id IS NOT DISTINCT FROM p_credential_id AND nonce = s.nonce LIMIT 1;
    IF d.id IS NULL THEN
        RETURN NULL;
    ELSIF d.statement <> p_statement THEN
        PERFORM api_fail('CH409', 'the statement''s nonce was used for another one: make and sign a new one');
    ELSIF is_ceremony(d.action) THEN
        RETURN ceremony_go_on(d);
    END IF;
    RETURN jsonb_build_object('id', d.public_id, 'action', d.action, 'state', d.state);
END $$;

CREATE FUNCTION chancery.api_decide(p_identity text, p_local boolean,
    p_action text, p_ca text, p_object text, p_csr_sha256 bytea, p_template text, p_reason text,
    p_body_sha256 bytea, p_nonce bytea, p_issued timestamptz, p_expires timestamptz,
    p_statement text, p_signature bytea, p_credential bytea, p_body text) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = chancery_store, pg_temp AS $$
DECLARE
    v_caller api_caller := api_caller(p_identity);
    s api_statement := ROW(p_action, p_ca, p_object, p_csr_sha256, p_template, p_reason,
        p_body_sha256, p_nonce, p_issued, p_expires)::api_statement;
    v_credential bigint;
    v_request bigint;
    v_certificate bigint;
    v_ca bigint;
    d decision;
    v_repeated jsonb;
BEGIN
    IF v_caller.decides IS NOT TRUE THEN
        PERFORM api_fail('CH403', format('%s has no role that decides', v_caller.name));
    END IF;
    v_credential := decide_credential(s, p_credential, p_local);
    IF (v_credential IS NULL) <> (p_signature IS NULL) THEN
        PERFORM api_fail('CH400', 'signature and credential stand together or not at all');
    END IF;
    v_repeated := decide_repeated(s, v_credential, p_statement);
    IF v_repeated IS NOT NULL THEN
        RETURN v_repeated;
    END IF;
    PERFORM decide_check(s, p_body);
    CASE
        WHEN s.action IN ('approve', 'deny') THEN
            v_request := decide_on_request(s);
        WHEN s.action IN ('revoke', 'hold', 'release') THEN
            v_certificate := decide_on_certificate(s);
        WHEN s.action IN ('ca-create', 'ca-install', 'ca-limits', 'ca-renew', 'ca-rekey', 'ca-rollover', 'ca-cross', 'crl-issue', 'key-attest',
                'key-destroy') THEN
            v_ca := decide_on_ca(s);
        ELSE
            NULL; -- template-apply, operator-add, signer-reseed: the issuer reads the body
    END CASE;
    IF s.action = 'approve' THEN
        PERFORM api_fail('CH409', o) FROM approval_obstacle(v_request, v_credential) o WHERE o IS NOT NULL;
    END IF;
    INSERT INTO decision (action, request_id, certificate_id, ca_id, credential_id, statement, signature, body,
        nonce, expires_at, state, received_via)
    VALUES (s.action, v_request, v_certificate, v_ca, v_credential, p_statement, p_signature, p_body,
        s.nonce, s.expires, CASE WHEN is_ceremony(s.action) THEN 'collecting' ELSE 'queued' END, p_identity)
    RETURNING * INTO d;
    INSERT INTO audit (actor, action, object, detail)
    VALUES (p_identity, 'decision.received', d.public_id::text, jsonb_build_object('action', s.action, 'ca', s.ca,
        'object', s.object, 'credential', encode(p_credential, 'hex')));
    IF is_ceremony(s.action) THEN
        PERFORM ceremony_begin(d, s.ca);
        RETURN ceremony_go_on(d);
    END IF;
    NOTIFY chancery_work;
    RETURN jsonb_build_object('id', d.public_id, 'action', s.action, 'state', d.state);
EXCEPTION WHEN unique_violation THEN
    -- Two at the same moment: one of the indexes on open decisions, or the nonce.
    PERFORM api_fail('CH409', format('another decision on %s is being carried out already', p_object));
    RETURN NULL;
END $$;

-- It, or the CRL that it ordered, goes on when somebody has entered a PIN.
CREATE FUNCTION waits_for_pin(d decision) RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT d.state = 'queued' AND coalesce(d.retry_at = 'infinity', false)
        OR d.state = 'working' AND EXISTS (SELECT FROM crl c WHERE c.decision_id = d.id AND c.state = 'awaiting-pin')
$$;

-- Which of these need no more waiting: one look for all who wait.
CREATE FUNCTION chancery.api_settled(p_requests text[], p_decisions text[]) RETURNS text[]
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = chancery_store, pg_temp AS $$
DECLARE
    -- Converted first: beside a row-level policy no index serves what may leak.
    v_requests uuid[] := p_requests;
    v_decisions uuid[] := p_decisions;
BEGIN
    RETURN (SELECT array_agg(id) FROM (
        SELECT r.public_id::text AS id FROM request_record r WHERE r.public_id = ANY (v_requests)
            AND NOT EXISTS (SELECT FROM request_queue q WHERE q.request_id = r.id
                AND q.state IN ('submitted', 'approved', 'claimed', 'signing'))
        UNION ALL
        SELECT d.public_id::text FROM decision d WHERE d.public_id = ANY (v_decisions)
            AND (d.state NOT IN ('queued', 'working') OR waits_for_pin(d))) s);
END $$;

-- ------------------------------------------------------------ publications

-- How long ago, for people.
CREATE FUNCTION api_age(p_since timestamptz) RETURNS text LANGUAGE sql STRICT AS $$
    SELECT CASE WHEN s < 120 THEN s || ' s' WHEN s < 7200 THEN s / 60 || ' min' WHEN s < 172800 THEN s / 3600 || ' h'
        ELSE s / 86400 || ' d' END
    FROM (SELECT greatest(0, floor(extract(epoch FROM clock_timestamp() - p_since)))::bigint AS s) t
$$;

CREATE FUNCTION chancery.api_publications(p_identity text, p_ca text, p_limit int, p_after bigint) RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = chancery_store, pg_temp
SET plan_cache_mode = force_custom_plan AS $$
DECLARE
    v_limit int := api_limit(p_limit);
    v_ca bigint := CASE WHEN p_ca IS NOT NULL THEN (api_find_ca(p_identity, p_ca)).id END;
    v_rows jsonb;
BEGIN
    PERFORM api_reader(p_identity);
    SELECT coalesce(jsonb_agg(jsonb_build_object('id', p.id::text, 'ca', p.ca, 'target', p.name, 'kind', p.kind,
            'artifact', p.artifact, 'number', CASE WHEN p.certificate_id IS NULL THEN f.rank::text END,
            'serial', (SELECT encode(x.serial, 'hex') FROM certificate x WHERE x.id = p.certificate_id), 'remove', p.absent, 'sha256', encode(f.sha256, 'hex'),
            'write', p.write_url, 'read', p.read_url, 'state', p.state, 'attempts', p.attempts,
            'next_at', api_time(CASE WHEN p.state <> 'done' THEN p.next_at END), 'last_error', p.last_error,
            'done_at', api_time(p.done_at), 'checked_at', api_time(p.checked_at), 'stands', w.rank::text,
            'stands_since', api_time(w.not_before), 'stands_age', api_age(w.not_before), 'stands_until', api_time(w.not_after)) ORDER BY p.id), '[]')
        INTO v_rows
    FROM (SELECT p.*, a.name AS ca, t.name, t.kind, t.artifact, t.write_url, t.read_url
          FROM publication p JOIN target t ON t.id = p.target_id JOIN ca a ON a.id = t.ca_id
          WHERE (v_ca IS NULL OR t.ca_id = v_ca) AND (p.certificate_id IS NULL OR p.state <> 'done') AND p.state <> 'over' AND (p_after IS NULL OR p.id > p_after)
          ORDER BY p.id LIMIT v_limit) p
    JOIN artifact f ON f.id = p.artifact_id
    LEFT JOIN artifact w ON w.id = p.published_id;
    RETURN jsonb_build_object('publications', v_rows,
        'backlog', (SELECT coalesce(jsonb_agg(jsonb_build_object('ca', a.name, 'target', t.name, 'looked_at', b.looked_at,
                'added', b.added) ORDER BY b.target_id), '[]')
            FROM entry_backlog b JOIN target t ON t.id = b.target_id JOIN ca a ON a.id = t.ca_id
            WHERE v_ca IS NULL OR t.ca_id = v_ca),
        'next', CASE WHEN jsonb_array_length(v_rows) = v_limit THEN v_rows->-1->'id' END);
END $$;

-- Tries again at once instead of at the end of the back-off; what is done is checked.
CREATE FUNCTION chancery.api_publication_retry(p_identity text, p_id bigint) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = chancery_store, pg_temp AS $$
DECLARE
    v_caller api_caller := api_caller(p_identity);
    v_state text;
    v_name text;
BEGIN
    IF v_caller.decides IS NOT TRUE THEN
        PERFORM api_fail('CH403', format('%s has no role that works on publications', v_caller.name));
    END IF;
    SELECT p.state, a.name || '/' || t.name INTO v_state, v_name
    FROM publication p JOIN target t ON t.id = p.target_id JOIN ca a ON a.id = t.ca_id WHERE p.id = p_id;
    IF v_state IS NULL THEN
        PERFORM api_fail('CH404', format('publication %s is not known', p_id));
    ELSIF v_state = 'over' THEN
        PERFORM api_fail('CH409', format('publication %s is over: nobody needs what stood at %s any more', p_id, v_name));
    ELSIF v_state = 'done' THEN
        -- Read back again, and written only where something else stands by now.
        UPDATE publication SET state = 'pending', attempts = 1, next_at = clock_timestamp(), changed_at = clock_timestamp()
        WHERE id = p_id AND state = 'done';
        PERFORM pg_notify('chancery_publish', '');
    ELSE
        PERFORM retry_publication(p_id);
    END IF;
    INSERT INTO audit (actor, action, object) VALUES (p_identity, 'publication.retried', v_name);
    RETURN jsonb_build_object('id', p_id::text, 'state', v_state);
END $$;

-- ------------------------------------------------------------ distribution
-- Public: CRLs and CA certificates are for everybody.

-- The CAs that have a certificate: what everybody may know of them. p_ca: one, with
-- its chain.
CREATE FUNCTION chancery.api_public_cas(p_ca text) RETURNS jsonb
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = chancery_store, pg_temp AS $$
    SELECT coalesce(jsonb_agg(jsonb_build_object('name', a.name, 'subject', n.readable,
            'sha256', encode(g.sha256, 'hex'), 'not_after', api_time(g.not_after),
            'crls', (SELECT coalesce(jsonb_agg(jsonb_build_object('label', s.label,
                    'crl', (SELECT jsonb_build_object('number', c.number::text, 'next_update', api_time(c.next_update))
                        FROM crl c WHERE c.scope_id = s.id AND NOT c.delta AND c.state = 'issued' ORDER BY c.number DESC LIMIT 1),
                    'delta', (SELECT jsonb_build_object('number', c.number::text, 'next_update', api_time(c.next_update))
                        FROM crl c WHERE c.scope_id = s.id AND c.delta AND c.state = 'issued' ORDER BY c.number DESC LIMIT 1))
                    ORDER BY s.id), '[]')
                FROM crl_scope s WHERE s.token_key_id = g.token_key_id AND s.current),
            'chain', CASE WHEN p_ca IS NOT NULL THEN (
                SELECT jsonb_agg(translate(encode(d.der, 'base64'), E'\n', '') ORDER BY d.i)
                FROM unnest(g.certificate || g.chain) WITH ORDINALITY d (der, i)) END,
            'rollovers', CASE WHEN p_ca IS NOT NULL THEN (
                SELECT jsonb_agg(translate(encode(v.certificate, 'base64'), E'\n', '') ORDER BY v.decision_id DESC)
                FROM rollover v WHERE v.ca_id = a.id AND v.not_after > clock_timestamp()) END,
            'crosses', CASE WHEN p_ca IS NOT NULL THEN (
                SELECT jsonb_agg(translate(encode(x.certificate, 'base64'), E'\n', '') ORDER BY x.decision_id DESC)
                FROM cross_certificate x WHERE x.ca_id = a.id AND x.not_after > clock_timestamp()) END)
        ORDER BY a.name), '[]')
    FROM ca a
    JOIN issuer_name n ON n.id = a.issuer_name_id
    CROSS JOIN LATERAL (SELECT * FROM generation x WHERE x.ca_id = a.id AND x.certificate IS NOT NULL
        ORDER BY x.certificate_index DESC LIMIT 1) g
    WHERE p_ca IS NULL OR a.name = p_ca
$$;

-- The newest complete artifact of one of a CA's keys: the p_index-th for CRLs, the one of
-- the p_index-th certificate for certificates, of which any of the same key serves. NULL:
-- the first, whose addresses have no suffix. Where a key has several CRLs, the label of
-- one of them stands behind the CA's name. No row: there is none.
CREATE FUNCTION chancery.api_artifact(p_ca text, p_kind text, p_index int)
RETURNS TABLE (id bigint, size bigint, sha256 bytea, not_before timestamptz, not_after timestamptz)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = chancery_store, pg_temp
SET plan_cache_mode = force_custom_plan AS $$
DECLARE
    v_ca bigint := (SELECT a.id FROM ca a
        WHERE a.name = CASE WHEN p_kind = 'ca-certificate' THEN p_ca ELSE split_part(p_ca, '~', 1) END);
    v_key int := CASE WHEN p_kind <> 'ca-certificate' THEN coalesce(p_index, 0)
        ELSE (SELECT g.key_index FROM generation g WHERE g.ca_id = v_ca AND g.certificate_index = coalesce(p_index, 0)) END;
BEGIN
    IF p_kind = 'ca-certificate' THEN
        RETURN QUERY SELECT f.id, f.size, f.sha256, f.not_before, f.not_after FROM artifact f
            WHERE f.ca_id = v_ca AND f.complete AND f.kind = 'ca-certificate' AND f.rank IN (
                SELECT g.certificate_index FROM generation g WHERE g.ca_id = v_ca AND g.key_index = v_key)
            ORDER BY f.rank DESC LIMIT 1;
    ELSE
        RETURN QUERY SELECT f.id, f.size, f.sha256, f.not_before, f.not_after FROM artifact f
            WHERE f.scope_id = (
                    SELECT s.id FROM generation g
                    JOIN crl_scope s ON s.token_key_id = g.token_key_id
                        AND s.label = substr(p_ca, length(split_part(p_ca, '~', 1)) + 1)
                    WHERE g.ca_id = v_ca AND g.key_index = v_key
                    ORDER BY g.certificate_index DESC, s.id DESC LIMIT 1)
                AND f.kind = p_kind AND f.complete
            ORDER BY f.rank DESC LIMIT 1;
    END IF;
END $$;

-- Octets of an artifact from p_from on, up to p_max of them or to the end of the
-- chunk they are in. Chunks are stored uncompressed, so that a part costs a part.
CREATE FUNCTION chancery.api_artifact_piece(p_id bigint, p_from bigint, p_max int) RETURNS bytea
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = chancery_store, pg_temp AS $$
    SELECT substring(c.data FROM (p_from - p.start + 1)::int FOR p_max)
    FROM (SELECT position, sum(length(data)) OVER (ORDER BY position) - length(data) AS start, length(data) AS len
          FROM artifact_chunk WHERE artifact_id = p_id) p
    JOIN artifact_chunk c ON c.artifact_id = p_id AND c.position = p.position
    WHERE p_from >= p.start AND p_from < p.start + p.len
$$;

-- ------------------------------------------------------------------ rights

GRANT EXECUTE ON FUNCTION api_time, api_age, api_pem, api_fail, api_uuid, api_limit, crl_reason_word, api_caller, api_reader,
    ca_stopped, ca_json, crosses_json, former_crls_json, newest_crl, api_find_ca, request_json, api_find_request, api_request_page, certificate_chain_pem, certificate_json,
    api_find_certificate, decide_on_request, decide_on_certificate, decide_on_ca, decide_credential, decide_check,
    decide_repeated, waits_for_pin TO chancery_api;
GRANT EXECUTE ON FUNCTION ca_stopped, api_time, crl_reason_word TO chancery_issuer; -- for load_cas
GRANT EXECUTE ON FUNCTION renewal_due_at, renewals_due TO chancery_issuer, chancery_api;

DO $$
DECLARE
    f regprocedure;
BEGIN
    FOR f IN SELECT p.oid FROM pg_proc p WHERE p.pronamespace = 'chancery'::regnamespace AND p.proname LIKE 'api\_%' LOOP
        EXECUTE format('ALTER FUNCTION %s OWNER TO chancery_api', f);
        EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', f);
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO chancery_front', f);
    END LOOP;
END $$;
