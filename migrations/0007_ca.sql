-- CAs: their keys, generations, scopes and targets, made by the issuer when it
-- applies the decisions ca-create, ca-renew and ca-install.

SET search_path = chancery_store, pg_temp;

-- All that an issuer keeps of each CA: of the generation that signs, or before there
-- is one of that which waits for its certificate.
CREATE FUNCTION load_cas()
RETURNS TABLE (
    ca_id bigint, name text, kind text, state text, policy text,
    issuer_name_id bigint, subject bytea,
    generation_id bigint, key_index int, certificate bytea, chain bytea[], csr bytea,
    token_key_id bigint, token text, cka_id bytea, spki bytea, algorithm text,
    scope_id bigint, idp bytea, certificate_index int)
LANGUAGE sql STABLE AS $$
    SELECT a.id, a.name, a.kind, a.state, a.policy, a.issuer_name_id, n.der,
        g.id, g.key_index, g.certificate, g.chain, g.csr,
        k.id, k.token, k.cka_id, k.spki, k.algorithm, s.id, s.idp, g.certificate_index
    FROM ca a
    JOIN issuer_name n ON n.id = a.issuer_name_id
    JOIN LATERAL current_generation(a.id) g ON true
    JOIN token_key k ON k.id = g.token_key_id
    JOIN LATERAL (SELECT * FROM crl_scope s WHERE s.token_key_id = k.id AND s.kind = 'all'
                  ORDER BY s.id DESC LIMIT 1) s ON true
    ORDER BY a.id
$$;

-- Whether a CA of this name or with this subject stands already; a sentence, or NULL.
CREATE FUNCTION ca_obstacle(p_name text, p_subject bytea) RETURNS text
LANGUAGE sql STABLE AS $$
    SELECT CASE
        WHEN EXISTS (SELECT FROM ca WHERE name = p_name)
            THEN format('a CA named %s exists already', p_name)
        WHEN EXISTS (SELECT FROM ca JOIN issuer_name n ON n.id = issuer_name_id WHERE n.der_sha256 = sha256(p_subject))
            THEN 'a CA with this subject exists already: two CAs of one name could give one serial twice'
    END
$$;

-- The key exists on the token from here on; noted with the decision, so that a
-- repetition after a crash goes on with this key and makes no second one.
CREATE FUNCTION ca_note_key(p_decision bigint, p_epoch int, p_token text, p_cka_id bytea, p_label text,
    p_algorithm text, p_spki bytea) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    v_id bigint;
BEGIN
    PERFORM hold_decision(p_decision, p_epoch);
    INSERT INTO token_key (token, cka_id, label, purpose, algorithm, spki, spki_sha256)
    VALUES (p_token, p_cka_id, p_label, 'ca', p_algorithm, p_spki, sha256(p_spki))
    RETURNING id INTO v_id;
    UPDATE decision SET result = jsonb_build_object('token_key', v_id) WHERE id = p_decision;
    INSERT INTO audit (actor, action, object, detail)
    VALUES ('issuer', 'key.generated', encode(p_cka_id, 'hex'),
        jsonb_build_object('token', p_token, 'label', p_label, 'algorithm', p_algorithm,
            'spki_sha256', encode(sha256(p_spki), 'hex')));
    RETURN v_id;
END $$;

CREATE FUNCTION ca_noted_key(p_decision bigint)
RETURNS TABLE (token_key_id bigint, cka_id bytea, spki bytea)
LANGUAGE sql STABLE AS $$
    SELECT k.id, k.cka_id, k.spki FROM decision d
    JOIN token_key k ON k.id = (d.result->>'token_key')::bigint
    WHERE d.id = p_decision
$$;

-- Commits serial and to-be-signed bytes of a root's own certificate; NULL: it is none.
CREATE FUNCTION ca_intend(p_issuer_name bigint, p_generation bigint, p_scope bigint, p_serial bytea, p_tbs bytea)
RETURNS void LANGUAGE sql AS $$
    INSERT INTO serial_intent (issuer_name_id, serial, generation_id, scope_id, epoch, tbs_sha256)
    SELECT p_issuer_name, p_serial, p_generation, p_scope, 0, sha256(p_tbs) WHERE p_serial IS NOT NULL;
    INSERT INTO intent_tbs (issuer_name_id, generation_id, scope_id, serial, tbs)
    SELECT p_issuer_name, p_generation, p_scope, p_serial, p_tbs WHERE p_serial IS NOT NULL;
$$;

-- A generation as ca_begin and ca_renew tell of it.
CREATE TYPE ca_begun AS (ca_id bigint, generation_id bigint, serial bytea, tbs bytea);

CREATE FUNCTION ca_begun_of(p_generation bigint) RETURNS ca_begun LANGUAGE sql STABLE AS $$
    SELECT ROW(g.ca_id, g.id, i.serial, t.tbs)::ca_begun
    FROM generation g JOIN ca a ON a.id = g.ca_id
    LEFT JOIN serial_intent i ON i.issuer_name_id = a.issuer_name_id AND i.generation_id = g.id AND i.request_id IS NULL
    LEFT JOIN intent_tbs t ON t.issuer_name_id = i.issuer_name_id AND t.serial = i.serial AND t.request_id IS NULL
    WHERE g.id = p_generation
$$;

-- Makes the CA with its first generation, its scope, limits, templates and targets. A
-- root brings serial and to-be-signed bytes of its own certificate, which are
-- thereby committed before the token is asked; a subordinate brings its CSR and
-- then waits for its certificate. Repeating it for the same decision is legal.
-- p_targets: [{name, artifact, kind, write, read, options}]
CREATE FUNCTION ca_begin(p_decision bigint, p_epoch int, p_name text, p_kind text, p_policy text,
    p_subject bytea, p_readable text, p_token_key bigint, p_csr bytea, p_idp bytea,
    p_templates text[], p_targets jsonb, p_serial bytea, p_tbs bytea, p_limits text)
RETURNS SETOF ca_begun LANGUAGE plpgsql AS $$
DECLARE
    d decision := hold_decision(p_decision, p_epoch);
    v_name_id bigint;
    v_ca bigint;
    v_generation bigint;
    v_scope bigint;
    v_obstacle text;
BEGIN
    LOCK TABLE ca IN SHARE ROW EXCLUSIVE MODE; -- one at a time
    SELECT g.ca_id, g.id INTO v_ca, v_generation FROM generation g WHERE g.token_key_id = p_token_key;
    IF v_ca IS NULL THEN
        v_obstacle := ca_obstacle(p_name, p_subject);
        IF v_obstacle IS NOT NULL THEN
            RAISE EXCEPTION USING ERRCODE = 'CH409', MESSAGE = v_obstacle;
        END IF;
        INSERT INTO issuer_name (der, der_sha256, readable) VALUES (p_subject, sha256(p_subject), p_readable)
            ON CONFLICT (der_sha256) DO NOTHING;
        SELECT n.id INTO v_name_id FROM issuer_name n WHERE n.der_sha256 = sha256(p_subject);
        INSERT INTO ca (name, issuer_name_id, kind, state, policy)
        VALUES (p_name, v_name_id, p_kind, 'awaiting-certificate', p_policy) RETURNING id INTO v_ca;
        INSERT INTO generation (ca_id, certificate_index, key_index, token_key_id, state, csr, decision_id)
        VALUES (v_ca, 0, 0, p_token_key, 'awaiting-certificate', p_csr, d.id) RETURNING id INTO v_generation;
        INSERT INTO crl_scope (ca_id, token_key_id, idp) VALUES (v_ca, p_token_key, p_idp) RETURNING id INTO v_scope;
        INSERT INTO ca_limits (ca_id, version, document, sha256, decision_id)
        VALUES (v_ca, 1, p_limits, sha256(convert_to(p_limits, 'UTF8')), d.id);
        INSERT INTO ca_template (ca_id, template) SELECT v_ca, unnest(p_templates);
        INSERT INTO target (ca_id, name, kind, artifact, write_url, read_url, options)
            SELECT v_ca, t->>'name', t->>'kind', t->>'artifact', t->>'write', t->>'read', coalesce(t->'options', '{}')
            FROM jsonb_array_elements(p_targets) t;
        PERFORM ca_intend(v_name_id, v_generation, v_scope, p_serial, p_tbs);
        INSERT INTO audit (actor, action, object, detail)
        VALUES (decision_actor(d), 'ca.created', p_name, jsonb_build_object('decision', d.public_id, 'kind', p_kind));
        IF p_csr IS NOT NULL THEN
            PERFORM close_decision(d, 'applied',
                format('CA %s has its key and waits for its certificate: have its CSR signed and install the answer', p_name),
                jsonb_build_object('ca', p_name));
        END IF;
    END IF;
    RETURN NEXT ca_begun_of(v_generation);
END $$;

-- Begins a renewal with the key that the CA has: a generation that waits for its
-- certificate, which a subordinate's CSR is for, and a root's serial and to-be-signed
-- bytes. One that another order began, and whose certificate never came, gives way.
-- Repeating it for the same decision is legal.
CREATE FUNCTION ca_renew(p_decision bigint, p_epoch int, p_csr bytea, p_serial bytea, p_tbs bytea)
RETURNS SETOF ca_begun LANGUAGE plpgsql AS $$
DECLARE
    d decision := hold_decision(p_decision, p_epoch);
    a ca;
    g generation;
    v_generation bigint;
    v_scope bigint;
BEGIN
    SELECT * INTO a FROM ca WHERE id = d.ca_id FOR NO KEY UPDATE;
    SELECT id INTO v_generation FROM generation WHERE ca_id = a.id AND decision_id = d.id;
    IF v_generation IS NULL THEN
        SELECT * INTO g FROM generation WHERE ca_id = a.id AND state = 'active';
        IF g.id IS NULL THEN
            RAISE EXCEPTION USING ERRCODE = 'CH409', MESSAGE = format('CA %s has no certificate that could be renewed', a.name);
        ELSIF EXISTS (SELECT FROM generation w JOIN decision o ON o.id = w.decision_id WHERE w.ca_id = a.id
                AND w.state = 'awaiting-certificate' AND o.state IN ('queued', 'working')) THEN
            RAISE EXCEPTION USING ERRCODE = 'CH409', MESSAGE = format('another renewal of CA %s is being carried out', a.name);
        END IF;
        UPDATE generation SET state = 'retired' WHERE ca_id = a.id AND state = 'awaiting-certificate';
        INSERT INTO generation (ca_id, certificate_index, key_index, token_key_id, state, csr, decision_id)
        VALUES (a.id, (SELECT max(certificate_index) + 1 FROM generation WHERE ca_id = a.id), g.key_index, g.token_key_id,
            'awaiting-certificate', p_csr, d.id)
        RETURNING id INTO v_generation;
        SELECT id INTO v_scope FROM crl_scope WHERE token_key_id = g.token_key_id AND kind = 'all' ORDER BY id DESC LIMIT 1;
        PERFORM ca_intend(a.issuer_name_id, v_generation, v_scope, p_serial, p_tbs);
        INSERT INTO audit (actor, action, object, detail)
        VALUES (decision_actor(d), 'ca.renewal-begun', a.name, jsonb_build_object('decision', d.public_id,
            'signed', (SELECT to_jsonb(array_agg(person)) FROM ceremony_signers(d))));
        IF p_csr IS NOT NULL THEN
            PERFORM close_decision(d, 'applied', format(
                'CA %s waits for its renewed certificate: have its CSR signed and install the answer', a.name),
                jsonb_build_object('ca', a.name));
        END IF;
    END IF;
    RETURN NEXT ca_begun_of(v_generation);
END $$;

-- The generation that waits for a certificate, and its key.
CREATE FUNCTION ca_waiting(p_ca bigint) RETURNS TABLE (generation_id bigint, token text, cka_id bytea, spki bytea)
LANGUAGE sql STABLE AS $$
    SELECT g.id, k.token, k.cka_id, k.spki FROM generation g JOIN token_key k ON k.id = g.token_key_id
    WHERE g.ca_id = p_ca AND g.state = 'awaiting-certificate' ORDER BY g.certificate_index DESC LIMIT 1
$$;

-- The generation gets its certificate: the CA is active, its certificate is an
-- artifact, and its first CRL is due. p_chain: issuers, nearest first, root last.
-- p_own: the certificate was signed by this CA itself (a root) and belongs in
-- the table of certificates.
CREATE FUNCTION ca_activate(p_decision bigint, p_epoch int, p_generation bigint, p_certificate bytea,
    p_chain bytea[], p_ski bytea, p_not_before timestamptz, p_not_after timestamptz,
    p_own_serial bytea, p_readable text) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    d decision := hold_decision(p_decision, p_epoch);
    g generation;
    a ca;
    v_scope bigint;
    v_artifact bigint;
    v_spki_sha256 bytea;
BEGIN
    SELECT * INTO g FROM generation WHERE id = p_generation FOR UPDATE;
    IF g.state <> 'awaiting-certificate' THEN
        PERFORM close_decision(d, 'refused', CASE g.state
            WHEN 'retired' THEN 'another renewal of this CA was begun meanwhile'
            ELSE 'this CA has its certificate already' END, NULL);
        RETURN;
    END IF;
    UPDATE generation SET state = 'superseded' WHERE ca_id = g.ca_id AND state = 'active';
    UPDATE generation SET state = 'active', certificate = p_certificate, chain = p_chain, sha256 = sha256(p_certificate),
        ski = p_ski, not_before = p_not_before, not_after = p_not_after, installed_at = clock_timestamp()
    WHERE id = g.id;
    UPDATE ca SET state = 'active' WHERE id = g.ca_id RETURNING * INTO a;
    UPDATE crl_scope SET next_full_at = clock_timestamp() WHERE token_key_id = g.token_key_id
        RETURNING id INTO v_scope;
    IF p_own_serial IS NOT NULL THEN
        SELECT spki_sha256 INTO v_spki_sha256 FROM token_key WHERE id = g.token_key_id;
        INSERT INTO certificate (issuer_name_id, serial, ca_id, generation_id, scope_id, subject, not_before,
            not_after, spki_sha256, sha256, der)
        VALUES (a.issuer_name_id, p_own_serial, a.id, g.id, v_scope, p_readable, p_not_before, p_not_after,
            v_spki_sha256, sha256(p_certificate), p_certificate);
        DELETE FROM intent_tbs
        WHERE issuer_name_id = a.issuer_name_id AND serial = p_own_serial AND request_id IS NULL;
    END IF;
    INSERT INTO artifact (kind, ca_id, generation_id, rank, size, sha256, not_before, not_after, complete)
    VALUES ('ca-certificate', a.id, g.id, g.certificate_index, length(p_certificate), sha256(p_certificate),
        p_not_before, p_not_after, true)
    RETURNING id INTO v_artifact;
    INSERT INTO artifact_chunk (artifact_id, position, data) VALUES (v_artifact, 0, p_certificate);
    PERFORM publish_artifact(v_artifact);
    INSERT INTO audit (actor, action, object, detail)
    VALUES (decision_actor(d), 'ca.activated', a.name, jsonb_build_object('decision', d.public_id,
        'certificate_sha256', encode(sha256(p_certificate), 'hex'), 'not_after', p_not_after));
    PERFORM close_decision(d, 'applied', format(CASE WHEN g.certificate_index = 0 THEN 'CA %s is active'
        ELSE 'CA %s signs under its renewed certificate' END, a.name), jsonb_build_object('ca', a.name));
    NOTIFY chancery_work;
END $$;

-- The next version of a CA's limits is in force at the signer. With a new policy
-- the CA's templates are the policy's.
CREATE FUNCTION apply_limits(p_id bigint, p_epoch int, p_version int, p_document text, p_policy text, p_templates text[])
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    d decision := hold_decision(p_id, p_epoch);
    a ca;
    v_last int;
BEGIN
    SELECT * INTO a FROM ca WHERE id = d.ca_id FOR NO KEY UPDATE;
    v_last := (limits_in_force(a.id)).version;
    IF v_last IS DISTINCT FROM p_version - 1 THEN
        PERFORM close_decision(d, 'refused',
            format('the limits of CA %s are at version %s meanwhile: this is version %s', a.name, v_last, p_version), NULL);
        RETURN;
    END IF;
    INSERT INTO ca_limits (ca_id, version, document, sha256, decision_id)
    VALUES (a.id, p_version, p_document, sha256(convert_to(p_document, 'UTF8')), d.id);
    IF p_policy IS NOT NULL THEN
        UPDATE ca SET policy = p_policy WHERE id = a.id;
        DELETE FROM ca_template WHERE ca_id = a.id AND template <> ALL (p_templates);
        INSERT INTO ca_template (ca_id, template) SELECT a.id, unnest(p_templates) ON CONFLICT DO NOTHING;
    END IF;
    INSERT INTO audit (actor, action, object, detail)
    VALUES (decision_actor(d), 'ca.limits-changed', a.name, jsonb_build_object('decision', d.public_id,
        'version', p_version, 'sha256', encode(sha256(convert_to(p_document, 'UTF8')), 'hex'),
        'signed', (SELECT to_jsonb(array_agg(person)) FROM ceremony_signers(d))));
    PERFORM close_decision(d, 'applied', format('the limits of CA %s are at version %s', a.name, p_version),
        jsonb_build_object('ca', a.name, 'version', p_version));
END $$;

-- The decision that a CA's certificate was installed by; of a root, which signs its
-- own, the one that renewed or made the CA. NULL without a certificate.
CREATE FUNCTION installed_by(p_ca bigint) RETURNS bigint LANGUAGE sql STABLE AS $$
    SELECT max(id) FROM (
        SELECT d.id FROM decision d JOIN ca a ON a.id = d.ca_id WHERE d.ca_id = p_ca AND d.state = 'applied'
            AND d.action = CASE a.kind WHEN 'root' THEN 'ca-renew' ELSE 'ca-install' END
        UNION ALL
        SELECT l.decision_id FROM ca_limits l JOIN ca a ON a.id = l.ca_id JOIN generation g ON g.ca_id = a.id
        WHERE l.ca_id = p_ca AND l.version = 1 AND a.kind = 'root' AND g.certificate IS NOT NULL) d (id)
$$;

-- The keys that a signer may use, and how far operators have ordered about each: for
-- the issuers whose signers were not there.
CREATE FUNCTION key_versions(p_signer int)
RETURNS TABLE (token text, cka_id bytea, name text, version int, install bigint)
LANGUAGE sql STABLE AS $$
    SELECT k.token, k.cka_id, a.name, l.version, coalesce(installed_by(a.id), 0)
    FROM ca a
    CROSS JOIN LATERAL (SELECT * FROM ca_limits l WHERE l.ca_id = a.id ORDER BY version DESC LIMIT 1) l
    JOIN LATERAL current_generation(a.id) g ON true
    JOIN token_key k ON k.id = g.token_key_id
    WHERE p_signer::text = ANY (string_to_array(limits_line(l.document, 'signer-ids'), ','))
    ORDER BY a.id
$$;

-- What operators ordered about a key, in the order in which a signer needs it: its
-- limits after p_version, and then, if p_install is older, the newest certificate; that
-- of a root stands in no order, and its signer knows it by what the token remembers.
-- With all signatures: who left meanwhile signed all the same.
CREATE FUNCTION key_orders(p_cka_id bytea, p_version int, p_install bigint)
RETURNS TABLE (action text, version int, decision bigint, statement text, body text, spkis bytea[], signatures bytea[])
LANGUAGE sql STABLE AS $$
    WITH a AS (
        SELECT g.ca_id, g.certificate FROM token_key k JOIN generation g ON g.token_key_id = k.id
        WHERE k.cka_id = p_cka_id ORDER BY g.certificate IS NOT NULL DESC, g.certificate_index DESC LIMIT 1
    ), o AS (
        SELECT d.action, l.version, d.id, d.body
        FROM a JOIN ca_limits l ON l.ca_id = a.ca_id JOIN decision d ON d.id = l.decision_id
        WHERE l.version > p_version
        UNION ALL
        SELECT 'ca-install', NULL, d.id, CASE d.action WHEN 'ca-install' THEN d.body
            ELSE E'-----BEGIN CERTIFICATE-----\n' || encode(a.certificate, 'base64') || E'\n-----END CERTIFICATE-----\n' END
        FROM a JOIN decision d ON d.id = installed_by(a.ca_id)
        WHERE d.id > p_install
    )
    SELECT o.action, o.version, d.id, d.statement, o.body, s.spkis, s.signatures
    FROM o JOIN decision d ON d.id = o.id
    CROSS JOIN LATERAL (
        SELECT array_agg(c.spki ORDER BY w.n, c.id) AS spkis, array_agg(w.signature ORDER BY w.n, c.id) AS signatures
        FROM (SELECT 0, d.credential_id, d.signature
              UNION ALL
              SELECT 1, g.credential_id, g.signature FROM decision_signature g WHERE g.decision_id = d.id) w (n, id, signature)
        JOIN credential c ON c.id = w.id) s
    ORDER BY o.version NULLS LAST
    LIMIT 64
$$;

-- Only the issuer calls these.
GRANT EXECUTE ON FUNCTION
    load_cas,
    ca_obstacle,
    ca_note_key,
    ca_noted_key,
    ca_intend,
    ca_begun_of,
    ca_begin,
    ca_renew,
    ca_waiting,
    ca_activate,
    apply_limits,
    installed_by,
    key_versions,
    key_orders
    TO chancery_issuer;
