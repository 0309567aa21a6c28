-- CAs: their keys, generations, scopes and targets, made by the issuer when it
-- applies the decisions ca-create, ca-renew, ca-rekey and ca-install.

SET search_path = chancery_store, pg_temp;

-- All that an issuer keeps of each CA: of the generation that signs, or before there
-- is one of that which waits for its certificate; and then, of each older key whose
-- certificates have not all ended, its newest generation, which signs CRLs.
CREATE FUNCTION load_cas()
RETURNS TABLE (
    ca_id bigint, name text, kind text, state text, policy text,
    issuer_name_id bigint, subject bytea,
    generation_id bigint, key_index int, certificate bytea, chain bytea[], csr bytea,
    token_key_id bigint, token text, cka_id bytea, spki bytea, algorithm text,
    certificate_index int, scope_ids bigint[], scope_labels text[], superseded boolean, issued boolean,
    scope_total int, stopped text, over boolean)
LANGUAGE sql STABLE AS $$
    SELECT a.id, a.name, a.kind, CASE WHEN g.certificate IS NOT NULL THEN 'active' ELSE a.state END, CASE WHEN o.old THEN coalesce(g.policy, a.policy) ELSE a.policy END,
        a.issuer_name_id, n.der, g.id, g.key_index, g.certificate, g.chain, g.csr,
        k.id, k.token, k.cka_id, k.spki, k.algorithm, g.certificate_index, s.ids, s.labels, o.old,
        -- Whether the key has issued: its certificates are the newest. The comparison of
        -- rows leaves no index but that of CA and number: by the numbers alone the search
        -- for a CA that has issued nothing would pass over all that the others have.
        coalesce((SELECT c.ca_id = a.id AND x.token_key_id = k.id FROM (SELECT c.ca_id, c.generation_id FROM certificate c
            WHERE (c.ca_id, c.id) <= (a.id, 9223372036854775807) AND c.request_id IS NOT NULL
            ORDER BY c.ca_id DESC, c.id DESC LIMIT 1) c
            JOIN generation x ON x.id = c.generation_id), false),
        (SELECT count(*)::int FROM crl_scope x WHERE x.token_key_id = k.id),
        CASE WHEN NOT o.old AND g.certificate IS NOT NULL THEN ca_stopped(a.id) END, a.state = 'retired'
    FROM ca a
    JOIN issuer_name n ON n.id = a.issuer_name_id
    CROSS JOIN LATERAL (
        SELECT c.id, false FROM current_generation(a.id) c
        UNION ALL
        (SELECT DISTINCT ON (x.key_index) x.id, true FROM generation x
         WHERE x.ca_id = a.id AND x.state = 'superseded'
            AND x.key_index <> (SELECT y.key_index FROM current_generation(a.id) y)
         ORDER BY x.key_index, x.certificate_index DESC)) o (id, old)
    JOIN generation g ON g.id = o.id
    JOIN token_key k ON k.id = g.token_key_id
    -- In the order in which certificates are divided among them, and then those of some reasons.
    CROSS JOIN LATERAL (
        SELECT array_agg(s.id ORDER BY s.id) AS ids, array_agg(s.label ORDER BY s.id) AS labels
        FROM crl_scope s WHERE s.token_key_id = k.id AND s.current) s
    ORDER BY o.old, a.id, g.key_index
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

-- The CRLs of a key, as its policy says. p_scopes: [{kind, attribute, shard, shards, label,
-- idp, freshest, published}], DER in hexadecimal, and of some reasons those and `whole`, the
-- label of that of all.
CREATE FUNCTION ca_open_scopes(p_ca bigint, p_token_key bigint, p_scopes jsonb, p_keep_expired boolean) RETURNS void
LANGUAGE sql AS $$
    INSERT INTO crl_scope (ca_id, token_key_id, kind, attribute, shard, shards, label, idp, freshest, published, expired_since,
        reasons)
    SELECT p_ca, p_token_key, s->>'kind', s->>'attribute', (s->>'shard')::int, (s->>'shards')::int, s->>'label',
        decode(s->>'idp', 'hex'), decode(s->>'freshest', 'hex'), decode(s->>'published', 'hex'),
        CASE WHEN p_keep_expired THEN date_trunc('second', clock_timestamp()) END,
        (SELECT array_agg(r::smallint) FROM jsonb_array_elements_text(s->'reasons') r)
    FROM jsonb_array_elements(p_scopes) WITH ORDINALITY AS o (s, i) ORDER BY i;
    UPDATE crl_scope c SET whole_id = w.id
    FROM jsonb_array_elements(p_scopes) s JOIN crl_scope w ON w.token_key_id = p_token_key AND w.label = s->>'whole'
    WHERE c.token_key_id = p_token_key AND c.label = s->>'label';
$$;

-- The scope of a CA's own certificate that it signed itself.
CREATE FUNCTION ca_own_scope(p_token_key bigint) RETURNS bigint LANGUAGE sql STABLE AS $$
    SELECT id FROM crl_scope WHERE token_key_id = p_token_key AND current AND kind <> 'user' AND whole_id IS NULL
    ORDER BY kind = 'ca' DESC, id LIMIT 1
$$;

-- Commits serial and to-be-signed bytes of a root's own certificate; NULL: it is none.
CREATE FUNCTION ca_intend(p_issuer_name bigint, p_generation bigint, p_scope bigint, p_serial bytea, p_tbs bytea)
RETURNS void LANGUAGE sql AS $$
    INSERT INTO serial_intent (issuer_name_id, serial, generation_id, scope_id, epoch, tbs_sha256)
    SELECT p_issuer_name, p_serial, p_generation, p_scope, 0, sha256(p_tbs) WHERE p_serial IS NOT NULL;
    INSERT INTO intent_tbs (issuer_name_id, generation_id, scope_id, serial, tbs)
    SELECT p_issuer_name, p_generation, p_scope, p_serial, p_tbs WHERE p_serial IS NOT NULL;
$$;

-- A generation as those who begin one tell of it.
CREATE TYPE ca_begun AS (ca_id bigint, generation_id bigint, serial bytea, tbs bytea, certificate_index int, key_index int);

CREATE FUNCTION ca_begun_of(p_generation bigint) RETURNS ca_begun LANGUAGE sql STABLE AS $$
    SELECT ROW(g.ca_id, g.id, i.serial, t.tbs, g.certificate_index, g.key_index)::ca_begun
    FROM generation g JOIN ca a ON a.id = g.ca_id
    LEFT JOIN serial_intent i ON i.issuer_name_id = a.issuer_name_id AND i.generation_id = g.id AND i.request_id IS NULL
    LEFT JOIN intent_tbs t ON t.issuer_name_id = i.issuer_name_id AND t.serial = i.serial AND t.request_id IS NULL
    WHERE g.id = p_generation
$$;

-- Makes the CA with its first generation, its scope, limits, templates and targets. A
-- root brings serial and to-be-signed bytes of its own certificate, which are
-- thereby committed before the token is asked; a subordinate brings its CSR and
-- then waits for its certificate. Repeating it for the same decision is legal.
-- p_scopes: see ca_open_scopes; p_targets: see map_targets.
CREATE FUNCTION ca_begin(p_decision bigint, p_epoch int, p_name text, p_kind text, p_policy text,
    p_subject bytea, p_readable text, p_token_key bigint, p_csr bytea, p_scopes jsonb, p_keep_expired boolean,
    p_templates text[], p_targets jsonb, p_serial bytea, p_tbs bytea, p_limits text)
RETURNS SETOF ca_begun LANGUAGE plpgsql AS $$
DECLARE
    d decision := hold_decision(p_decision, p_epoch);
    v_name_id bigint;
    v_ca bigint;
    v_generation bigint;
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
        PERFORM ca_open_scopes(v_ca, p_token_key, p_scopes, p_keep_expired);
        INSERT INTO ca_limits (ca_id, version, document, sha256, decision_id)
        VALUES (v_ca, 1, p_limits, sha256(convert_to(p_limits, 'UTF8')), d.id);
        INSERT INTO ca_template (ca_id, template) SELECT v_ca, unnest(p_templates);
        PERFORM map_targets(v_generation, p_targets);
        PERFORM ca_intend(v_name_id, v_generation, ca_own_scope(p_token_key), p_serial, p_tbs);
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

-- The generation that a renewal is about to take the place of, with its CA locked. One
-- that another order began, and whose certificate never came, gives way.
CREATE FUNCTION ca_make_way(d decision) RETURNS generation LANGUAGE plpgsql AS $$
DECLARE
    g generation;
    v_name text;
    v_state text;
BEGIN
    SELECT name, state INTO v_name, v_state FROM ca WHERE id = d.ca_id FOR NO KEY UPDATE;
    SELECT * INTO g FROM current_generation(d.ca_id) c WHERE c.certificate IS NOT NULL;
    IF v_state = 'retired' THEN
        RAISE EXCEPTION USING ERRCODE = 'CH409', MESSAGE = format('CA %s is retired for good', v_name);
    ELSIF g.id IS NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'CH409', MESSAGE = format('CA %s has no certificate that could be renewed', v_name);
    ELSIF EXISTS (SELECT FROM generation w JOIN decision o ON o.id = w.decision_id WHERE w.ca_id = d.ca_id
            AND w.state = 'awaiting-certificate' AND o.state IN ('queued', 'working')) THEN
        RAISE EXCEPTION USING ERRCODE = 'CH409', MESSAGE = format('another renewal of CA %s is being carried out', v_name);
    END IF;
    UPDATE generation SET state = 'retired' WHERE ca_id = d.ca_id AND state = 'awaiting-certificate';
    RETURN g;
END $$;

-- A generation stands: says so, and what comes next where it has to wait.
CREATE FUNCTION ca_generation_begun(d decision, p_generation bigint, p_csr bytea) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    v_name text := (SELECT name FROM ca WHERE id = d.ca_id);
BEGIN
    INSERT INTO audit (actor, action, object, detail)
    SELECT decision_actor(d), 'ca.renewal-begun', v_name, jsonb_build_object('decision', d.public_id,
        'generation', g.certificate_index, 'key', g.key_index,
        'signed', (SELECT to_jsonb(array_agg(DISTINCT person)) FROM ceremony_signers(d)))
    FROM generation g WHERE g.id = p_generation;
    IF p_csr IS NOT NULL THEN
        PERFORM close_decision(d, 'applied', format(
            'CA %s waits for its renewed certificate: have its CSR signed and install the answer', v_name),
            jsonb_build_object('ca', v_name));
    END IF;
END $$;

-- Begins a renewal with the key that the CA has: a generation that waits for its
-- certificate, which a subordinate's CSR is for, and a root's serial and to-be-signed
-- bytes. Repeating it for the same decision is legal.
CREATE FUNCTION ca_renew(p_decision bigint, p_epoch int, p_csr bytea, p_serial bytea, p_tbs bytea)
RETURNS SETOF ca_begun LANGUAGE plpgsql AS $$
DECLARE
    d decision := hold_decision(p_decision, p_epoch);
    g generation;
    v_generation bigint := (SELECT id FROM generation WHERE ca_id = d.ca_id AND decision_id = d.id);
BEGIN
    IF v_generation IS NULL THEN
        g := ca_make_way(d);
        INSERT INTO generation (ca_id, certificate_index, key_index, token_key_id, state, csr, decision_id)
        VALUES (g.ca_id, (SELECT max(certificate_index) + 1 FROM generation WHERE ca_id = g.ca_id), g.key_index, g.token_key_id,
            'awaiting-certificate', p_csr, d.id)
        RETURNING id INTO v_generation;
        PERFORM ca_intend((SELECT issuer_name_id FROM ca WHERE id = g.ca_id), v_generation,
            ca_own_scope(g.token_key_id), p_serial, p_tbs);
        PERFORM ca_generation_begun(d, v_generation, p_csr);
    END IF;
    RETURN NEXT ca_begun_of(v_generation);
END $$;

-- The indexes that a new key's generation would have.
CREATE FUNCTION ca_next(p_ca bigint) RETURNS TABLE (certificate_index int, key_index int) LANGUAGE sql STABLE AS $$
    SELECT max(certificate_index) + 1, max(key_index) + 1 FROM generation WHERE ca_id = p_ca
$$;

-- The same with a new key, which ca_note_key has noted: with limits and a CRL scope of its
-- own. p_policy: of the CA from when its certificate is there. p_key_index: the one that
-- the addresses in p_scopes are of.
CREATE FUNCTION ca_rekey(p_decision bigint, p_epoch int, p_policy text, p_token_key bigint, p_key_index int, p_csr bytea,
    p_scopes jsonb, p_keep_expired boolean, p_serial bytea, p_tbs bytea, p_limits text)
RETURNS SETOF ca_begun LANGUAGE plpgsql AS $$
DECLARE
    d decision := hold_decision(p_decision, p_epoch);
    g generation;
    n record;
    v_generation bigint := (SELECT id FROM generation WHERE ca_id = d.ca_id AND decision_id = d.id);
BEGIN
    IF v_generation IS NULL THEN
        g := ca_make_way(d);
        SELECT * INTO n FROM ca_next(g.ca_id);
        IF n.key_index <> p_key_index THEN
            RAISE EXCEPTION USING ERRCODE = '40001', MESSAGE = 'another key of this CA was made meanwhile';
        END IF;
        INSERT INTO generation (ca_id, certificate_index, key_index, token_key_id, state, csr, decision_id, policy)
        VALUES (g.ca_id, n.certificate_index, n.key_index, p_token_key, 'awaiting-certificate', p_csr, d.id, p_policy)
        RETURNING id INTO v_generation;
        PERFORM ca_open_scopes(g.ca_id, p_token_key, p_scopes, p_keep_expired);
        INSERT INTO ca_limits (ca_id, key_index, version, document, sha256, decision_id)
        VALUES (g.ca_id, n.key_index, 1, p_limits, sha256(convert_to(p_limits, 'UTF8')), d.id);
        PERFORM ca_intend((SELECT issuer_name_id FROM ca WHERE id = g.ca_id), v_generation, ca_own_scope(p_token_key), p_serial, p_tbs);
        PERFORM ca_generation_begun(d, v_generation, p_csr);
    END IF;
    RETURN NEXT ca_begun_of(v_generation);
END $$;

-- The generation that waits for a certificate, and its key.
CREATE FUNCTION ca_waiting(p_ca bigint) RETURNS TABLE (generation_id bigint, token text, cka_id bytea, spki bytea,
    certificate_index int, key_index int, policy text)
LANGUAGE sql STABLE AS $$
    SELECT g.id, k.token, k.cka_id, k.spki, g.certificate_index, g.key_index, coalesce(g.policy, a.policy)
    FROM generation g JOIN token_key k ON k.id = g.token_key_id JOIN ca a ON a.id = g.ca_id
    WHERE g.ca_id = p_ca AND g.state = 'awaiting-certificate' ORDER BY g.certificate_index DESC LIMIT 1
$$;

CREATE FUNCTION set_templates(p_ca bigint, p_templates text[]) RETURNS void LANGUAGE sql AS $$
    DELETE FROM ca_template WHERE ca_id = p_ca AND template <> ALL (p_templates);
    INSERT INTO ca_template (ca_id, template) SELECT p_ca, unnest(p_templates) ON CONFLICT DO NOTHING;
$$;

-- The generation gets its certificate: the CA is active, its certificate is an
-- artifact, and its first CRL is due. p_targets: as of ca_begin, with the addresses of
-- this generation. p_chain: issuers, nearest first, root last.
-- p_own: the certificate was signed by this CA itself (a root) and belongs in
-- the table of certificates.
CREATE FUNCTION ca_activate(p_decision bigint, p_epoch int, p_generation bigint, p_certificate bytea,
    p_chain bytea[], p_ski bytea, p_not_before timestamptz, p_not_after timestamptz,
    p_own_serial bytea, p_readable text, p_templates text[], p_targets jsonb) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    d decision := hold_decision(p_decision, p_epoch);
    g generation;
    a ca;
    v_artifact bigint;
    v_spki_sha256 bytea;
BEGIN
    SELECT * INTO g FROM generation WHERE id = p_generation FOR UPDATE;
    IF g.state <> 'awaiting-certificate' THEN
        PERFORM close_decision(d, 'refused', CASE g.state
            WHEN 'retired' THEN 'another renewal of this CA was begun meanwhile, or it was retired'
            ELSE 'this CA has its certificate already' END, NULL);
        RETURN;
    END IF;
    -- Older keys go on with the policy that they had.
    UPDATE generation o SET policy = c.policy FROM ca c
    WHERE c.id = g.ca_id AND o.ca_id = c.id AND o.key_index <> g.key_index AND o.state IN ('active', 'superseded')
        AND o.policy IS NULL;
    UPDATE generation SET state = 'superseded' WHERE ca_id = g.ca_id AND state = 'active';
    UPDATE generation SET state = 'active', installed_by = d.id, certificate = p_certificate, chain = p_chain, sha256 = sha256(p_certificate),
        ski = p_ski, not_before = p_not_before, not_after = p_not_after, installed_at = clock_timestamp()
    WHERE id = g.id;
    UPDATE ca SET state = 'active', policy = coalesce(g.policy, policy) WHERE id = g.ca_id RETURNING * INTO a;
    UPDATE generation SET policy = NULL WHERE id = g.id;
    IF g.policy IS NOT NULL THEN
        PERFORM set_templates(a.id, p_templates);
    END IF;
    PERFORM map_targets(g.id, p_targets);
    UPDATE crl_scope SET next_full_at = clock_timestamp() WHERE token_key_id = g.token_key_id;
    IF p_own_serial IS NOT NULL THEN
        SELECT spki_sha256 INTO v_spki_sha256 FROM token_key WHERE id = g.token_key_id;
        INSERT INTO certificate (issuer_name_id, serial, ca_id, generation_id, scope_id, subject, not_before,
            not_after, spki_sha256, sha256, der)
        VALUES (a.issuer_name_id, p_own_serial, a.id, g.id, ca_own_scope(g.token_key_id), p_readable, p_not_before, p_not_after,
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

-- The CRLs and targets of a CA's key are those of a new policy. p_divide: its CRLs are
-- about other certificates, or have other names, than those that stand: new ones are
-- opened, and those that stand go on, at their places, for the certificates that they
-- have. Otherwise p_scopes are those that stand, and only their other extensions change.
-- Places that the policy no longer names are kept until the last certificate that may
-- name them has ended, or with p_keep not at all. Returns what is to be said of that.
CREATE FUNCTION ca_change_places(a ca, p_scopes jsonb, p_targets jsonb, p_divide boolean, p_keep_expired boolean,
    p_keep boolean, p_version int) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    g generation;
    v_valid bigint;
    v_until timestamptz;
    v_old bigint[];
BEGIN
    SELECT * INTO g FROM current_generation(a.id);
    SELECT count(*), max(not_after) INTO v_valid, v_until FROM certificate c
    WHERE c.ca_id = a.id AND c.not_after >= clock_timestamp() AND c.request_id IS NOT NULL
        AND c.scope_id IN (SELECT id FROM crl_scope WHERE token_key_id = g.token_key_id);
    IF p_divide THEN
        UPDATE crl_scope SET current = false WHERE token_key_id = g.token_key_id AND current;
        PERFORM ca_open_scopes(a.id, g.token_key_id, p_scopes, p_keep_expired);
        UPDATE crl_scope SET next_full_at = clock_timestamp()
        WHERE token_key_id = g.token_key_id AND current AND g.certificate IS NOT NULL;
    ELSE
        UPDATE crl_scope s SET freshest = decode(n->>'freshest', 'hex'), published = decode(n->>'published', 'hex'),
            expired_since = CASE WHEN p_keep_expired THEN coalesce(s.expired_since, date_trunc('second', clock_timestamp())) END
        FROM jsonb_array_elements(p_scopes) n WHERE s.token_key_id = g.token_key_id AND s.label = n->>'label';
    END IF;
    v_old := ARRAY(SELECT t.id FROM target t JOIN target_generation m ON m.target_id = t.id
        WHERE m.generation_id = g.id AND t.until IS NULL
            AND (t.scope_id IS NULL OR t.scope_id IN (SELECT id FROM crl_scope WHERE current) OR NOT p_keep)
            AND NOT EXISTS (SELECT FROM jsonb_array_elements(p_targets) n WHERE n->>'artifact' = t.artifact
                AND n->>'kind' = t.kind AND n->>'write' = t.write_url AND n->>'read' = t.read_url));
    -- The name is free for what takes its place.
    UPDATE target SET name = format('%s@%s', name, p_version - 1),
        until = CASE WHEN p_keep THEN coalesce(v_until, clock_timestamp()) ELSE clock_timestamp() END
    WHERE id = ANY (v_old);
    -- What does not get there any more is not tried any more.
    UPDATE publication SET state = 'done' WHERE target_id = ANY (v_old) AND state NOT IN ('done', 'over')
        AND (SELECT t.until <= clock_timestamp() FROM target t WHERE t.id = target_id);
    PERFORM end_publications();
    PERFORM map_targets(g.id, p_targets);
    PERFORM publish_newest(a.id);
    RETURN CASE WHEN v_valid = 0 OR NOT p_divide AND cardinality(v_old) = 0 THEN NULL
        WHEN NOT p_keep THEN format('valid certificates that may name places where nothing is published any more: %s', v_valid)
        ELSE format('valid certificates that may name the old places: %s; these are kept until the last of them has ended, at %s',
            v_valid, api_time(v_until)) END;
END $$;

-- A directory's entry has all certificates of a CA, and there is another one. Whoever works
-- on that entry now has the others alone: with the report it is due again.
CREATE FUNCTION ca_republish(p_ca bigint) RETURNS void LANGUAGE sql AS $$
    UPDATE publication p SET anew = p.state = 'working', state = CASE WHEN p.state = 'working' THEN p.state ELSE 'pending' END, attempts = 0,
        next_at = CASE WHEN p.state = 'working' THEN p.next_at ELSE clock_timestamp() END, changed_at = clock_timestamp()
    FROM target t WHERE t.id = p.target_id AND t.ca_id = p_ca AND t.kind = 'ldap' AND t.artifact = 'ca-certificate'
        AND p.state <> 'over';
    SELECT pg_notify('chancery_publish', '');
$$;

-- Keeps a certificate by which a CA elsewhere vouches for this one, beside the CA's own.
CREATE FUNCTION ca_cross(p_decision bigint, p_epoch int, p_certificate bytea, p_issuer text, p_not_after timestamptz)
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    d decision := hold_decision(p_decision, p_epoch);
    a ca;
BEGIN
    SELECT * INTO a FROM ca WHERE id = d.ca_id FOR NO KEY UPDATE;
    IF EXISTS (SELECT FROM generation WHERE ca_id = a.id AND sha256 = sha256(p_certificate)) THEN
        RAISE EXCEPTION USING ERRCODE = 'CH409', MESSAGE = format('this is a certificate of CA %s''s own chain', a.name);
    ELSIF EXISTS (SELECT FROM cross_certificate WHERE ca_id = a.id AND sha256 = sha256(p_certificate)) THEN
        RAISE EXCEPTION USING ERRCODE = 'CH409', MESSAGE = format('CA %s has this cross-certificate already', a.name);
    ELSIF (SELECT count(*) FROM cross_certificate WHERE ca_id = a.id AND not_after > clock_timestamp()) >= 8 THEN
        RAISE EXCEPTION USING ERRCODE = 'CH409', MESSAGE = format('CA %s has 8 cross-certificates already', a.name);
    END IF;
    INSERT INTO cross_certificate VALUES (d.id, a.id, p_issuer, p_certificate, sha256(p_certificate), p_not_after);
    PERFORM ca_republish(a.id);
    INSERT INTO audit (actor, action, object, detail)
    VALUES (decision_actor(d), 'ca.crossed', a.name, jsonb_build_object('decision', d.public_id, 'issuer', p_issuer,
        'certificate_sha256', encode(sha256(p_certificate), 'hex'), 'not_after', p_not_after));
    PERFORM close_decision(d, 'applied', format('%s vouches for CA %s until %s', p_issuer, a.name, api_time(p_not_after)), NULL);
END $$;

-- Commits serial and to-be-signed bytes of a rollover certificate; those of an earlier
-- attempt count before these.
CREATE FUNCTION ca_rollover_begin(p_decision bigint, p_epoch int, p_signer_key bigint, p_subject_key bigint,
    p_serial bytea, p_tbs bytea) RETURNS SETOF ca_begun LANGUAGE plpgsql AS $$
DECLARE
    d decision := hold_decision(p_decision, p_epoch);
    v_name bigint := (SELECT issuer_name_id FROM ca WHERE id = d.ca_id);
    s generation;
    o generation;
    b ca_begun;
BEGIN
    SELECT * INTO s FROM generation WHERE token_key_id = p_signer_key AND certificate IS NOT NULL
    ORDER BY certificate_index DESC LIMIT 1;
    SELECT * INTO o FROM generation WHERE token_key_id = p_subject_key AND certificate IS NOT NULL
    ORDER BY certificate_index DESC LIMIT 1;
    IF NOT EXISTS (SELECT FROM rollover WHERE decision_id = d.id) THEN
        INSERT INTO rollover (decision_id, ca_id, signer_generation, subject_generation, serial)
        VALUES (d.id, d.ca_id, s.id, o.id, p_serial);
        PERFORM ca_intend(v_name, s.id, ca_own_scope(p_signer_key), p_serial, p_tbs);
    END IF;
    SELECT d.ca_id, s.id, v.serial, t.tbs, s.certificate_index, s.key_index INTO b
    FROM rollover v LEFT JOIN intent_tbs t ON t.issuer_name_id = v_name AND t.serial = v.serial AND t.request_id IS NULL
    WHERE v.decision_id = d.id;
    RETURN NEXT b;
END $$;

-- It is signed: it stands among the CA's certificates, where it can be revoked, and is
-- published with those of the CA.
CREATE FUNCTION ca_rollover_end(p_decision bigint, p_epoch int, p_certificate bytea, p_not_before timestamptz,
    p_not_after timestamptz, p_readable text, p_spki_sha256 bytea) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    d decision := hold_decision(p_decision, p_epoch);
    a ca;
    v rollover;
    s generation;
BEGIN
    SELECT * INTO a FROM ca WHERE id = d.ca_id FOR NO KEY UPDATE;
    UPDATE rollover SET certificate = p_certificate, not_after = p_not_after WHERE decision_id = d.id RETURNING * INTO v;
    SELECT * INTO s FROM generation WHERE id = v.signer_generation;
    INSERT INTO certificate (issuer_name_id, serial, ca_id, generation_id, scope_id, subject, not_before,
        not_after, spki_sha256, sha256, der)
    VALUES (a.issuer_name_id, v.serial, a.id, s.id, ca_own_scope(s.token_key_id), p_readable, p_not_before, p_not_after,
        p_spki_sha256, sha256(p_certificate), p_certificate);
    DELETE FROM intent_tbs WHERE issuer_name_id = a.issuer_name_id AND serial = v.serial AND request_id IS NULL;
    PERFORM ca_republish(a.id);
    INSERT INTO audit (actor, action, object, detail)
    VALUES (decision_actor(d), 'ca.rollover', a.name, jsonb_build_object('decision', d.public_id, 'signer_key', s.key_index,
        'certificate_sha256', encode(sha256(p_certificate), 'hex'), 'not_after', p_not_after));
    PERFORM close_decision(d, 'applied', format('key %s of CA %s vouches for its key %s', s.key_index, a.name,
        (SELECT key_index FROM generation WHERE id = v.subject_generation)), jsonb_build_object('ca', a.name));
END $$;

-- Operators retired one of a CA's keys ('key'), or with the key that signs the whole CA
-- ('ca'): no certificate more, from its signer's side; CRLs until the last one has ended
-- (retire_generations). Says what comes of it.
CREATE FUNCTION ca_retire_key(d decision, a ca, p_key_index int, p_what text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    v_until timestamptz;
BEGIN
    UPDATE token_key SET retired_at = coalesce(retired_at, clock_timestamp())
    WHERE id IN (SELECT token_key_id FROM generation WHERE ca_id = a.id AND key_index = p_key_index);
    UPDATE generation SET state = 'retired'
    WHERE ca_id = a.id AND state = 'awaiting-certificate' AND (key_index = p_key_index OR p_what = 'ca');
    UPDATE generation SET used_until = NULL WHERE ca_id = a.id AND key_index = p_key_index;
    IF p_what = 'ca' THEN
        UPDATE ca SET state = 'retired' WHERE id = a.id;
    END IF;
    SELECT max(c.not_after) INTO v_until FROM certificate c JOIN generation g ON g.id = c.generation_id
    JOIN token_key k ON k.id = g.token_key_id
    WHERE c.ca_id = a.id AND g.key_index = p_key_index AND c.spki_sha256 <> k.spki_sha256 AND c.not_after >= clock_timestamp();
    INSERT INTO audit (actor, action, object, detail)
    VALUES (decision_actor(d), CASE p_what WHEN 'ca' THEN 'ca.retired' ELSE 'ca.key-retired' END, a.name,
        jsonb_build_object('decision', d.public_id, 'key', p_key_index, 'last_certificate_ends', v_until));
    RETURN CASE p_what WHEN 'ca' THEN format('CA %s is retired', a.name)
            ELSE format('key %s of CA %s is retired', p_key_index, a.name) END
        || ' and signs no certificates any more; '
        || CASE WHEN v_until IS NULL THEN 'none of those that it signed is valid any more'
           ELSE format('its CRLs go on until the last certificate that it signed has ended, at %s', api_time(v_until)) END;
END $$;

-- The next version of a CA's limits is in force at the signer. With a new policy
-- the CA's templates are the policy's, and so are its CRLs and targets
-- (ca_change_places), and its calendar (crl_change_calendar; NULL: that stays).
CREATE FUNCTION apply_limits(p_id bigint, p_epoch int, p_version int, p_document text, p_policy text, p_templates text[],
    p_scopes jsonb, p_targets jsonb, p_divide boolean, p_keep_expired boolean, p_keep boolean, p_calendar jsonb)
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    d decision := hold_decision(p_id, p_epoch);
    a ca;
    v_note text;
    v_key int := ordered_key(d.action, d.ca_id, d.body);
    v_last int := (limits_of_key(d.ca_id, v_key)).version;
    v_retired text := limits_line(p_document, 'retired');
BEGIN
    SELECT * INTO a FROM ca WHERE id = d.ca_id FOR NO KEY UPDATE;
    IF v_last IS DISTINCT FROM p_version - 1 THEN
        PERFORM close_decision(d, 'refused',
            format('the limits of CA %s are at version %s meanwhile: this is version %s', a.name, v_last, p_version), NULL);
        RETURN;
    END IF;
    INSERT INTO ca_limits (ca_id, key_index, version, document, sha256, decision_id)
    VALUES (a.id, v_key, p_version, p_document, sha256(convert_to(p_document, 'UTF8')), d.id);
    IF p_policy IS NOT NULL THEN
        UPDATE ca SET policy = p_policy WHERE id = a.id;
        PERFORM set_templates(a.id, p_templates);
        v_note := ca_change_places(a, p_scopes, p_targets, p_divide, p_keep_expired, p_keep, p_version);
        IF p_calendar IS NOT NULL THEN
            PERFORM crl_change_calendar((SELECT token_key_id FROM current_generation(a.id)), p_calendar);
        END IF;
    END IF;
    IF v_retired = 'ca' AND v_key <> (SELECT key_index FROM current_generation(a.id)) THEN
        v_retired := 'key'; -- it was superseded meanwhile: whose limits it has need not speak for the CA any more
    END IF;
    IF v_retired IS NOT NULL THEN
        v_note := concat_ws('; ', v_note, ca_retire_key(d, a, v_key, v_retired));
    END IF;
    INSERT INTO audit (actor, action, object, detail)
    VALUES (decision_actor(d), 'ca.limits-changed', a.name, jsonb_build_object('decision', d.public_id,
        'version', p_version, 'sha256', encode(sha256(convert_to(p_document, 'UTF8')), 'hex'),
        'signed', (SELECT to_jsonb(array_agg(person)) FROM ceremony_signers(d))));
    PERFORM close_decision(d, 'applied', format('the limits of CA %s are at version %s', a.name, p_version) || coalesce('; ' || v_note, ''),
        jsonb_build_object('ca', a.name, 'version', p_version));
END $$;

-- The keys that a signer may use, and how far operators have ordered about each (its
-- limits; the decision by which its CA's newest certificate was installed, which for a
-- root is the one that made or renewed it): for the issuers whose signers were not there.
CREATE FUNCTION key_versions(p_signer int)
RETURNS TABLE (token text, cka_id bytea, name text, version int, install bigint)
LANGUAGE sql STABLE AS $$
    SELECT k.token, k.cka_id, a.name, l.version, coalesce(i.installed_by, 0)
    FROM ca a
    CROSS JOIN LATERAL (SELECT DISTINCT g.key_index, g.token_key_id FROM generation g JOIN token_key k ON k.id = g.token_key_id
        WHERE g.ca_id = a.id AND (g.state <> 'retired' OR k.retired_at IS NOT NULL)) g
    JOIN token_key k ON k.id = g.token_key_id
    CROSS JOIN LATERAL limits_of_key(a.id, g.key_index) l
    LEFT JOIN LATERAL (SELECT x.installed_by FROM generation x WHERE x.token_key_id = k.id AND x.certificate IS NOT NULL
        ORDER BY x.certificate_index DESC LIMIT 1) i ON true
    WHERE p_signer::text = ANY (string_to_array(limits_line(l.document, 'signer-ids'), ',')) AND k.destroyed_at IS NULL
    ORDER BY a.id, g.key_index
$$;

-- What operators ordered about a key, in the order in which a signer needs it: its
-- limits after p_version, and then, if p_install is older, the newest certificate; that
-- of a root stands in no order, and its signer knows it by what the token remembers.
-- With all signatures: who left meanwhile signed all the same.
CREATE FUNCTION key_orders(p_cka_id bytea, p_version int, p_install bigint)
RETURNS TABLE (action text, version int, decision bigint, statement text, body text, spkis bytea[], signatures bytea[])
LANGUAGE sql STABLE AS $$
    WITH a AS (
        SELECT g.ca_id, g.key_index, g.certificate, g.installed_by FROM token_key k JOIN generation g ON g.token_key_id = k.id
        WHERE k.cka_id = p_cka_id ORDER BY g.certificate IS NOT NULL DESC, g.certificate_index DESC LIMIT 1
    ), o AS (
        SELECT d.action, l.version, d.id, d.body
        FROM a JOIN ca_limits l ON l.ca_id = a.ca_id AND l.key_index = a.key_index JOIN decision d ON d.id = l.decision_id
        WHERE l.version > p_version
        UNION ALL
        SELECT 'ca-install', NULL, d.id, CASE d.action WHEN 'ca-install' THEN d.body
            ELSE E'-----BEGIN CERTIFICATE-----\n' || encode(a.certificate, 'base64') || E'\n-----END CERTIFICATE-----\n' END
        FROM a JOIN decision d ON d.id = a.installed_by
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

-- Generations that are over: superseded ones whose certificate has ended, and those of
-- an older key, or one that operators retired, whose last certificate has ended and stood on a CRL once more (RFC 5280
-- 3.3). When that is, is looked up in all certificates only when a generation is first
-- asked about, and again when it seems to be over. How many were retired.
CREATE FUNCTION retire_generations() RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    g record;
    v_until timestamptz;
    n bigint := 0;
BEGIN
    FOR g IN SELECT x.*, a.name, (SELECT y.key_index FROM generation y JOIN token_key k ON k.id = y.token_key_id
                 WHERE y.ca_id = a.id AND y.state = 'active' AND k.retired_at IS NULL) AS current
             FROM generation x JOIN ca a ON a.id = x.ca_id JOIN token_key r ON r.id = x.token_key_id
             WHERE x.state = 'superseded' OR x.state = 'active' AND r.retired_at IS NOT NULL ORDER BY x.id FOR NO KEY UPDATE OF x SKIP LOCKED LOOP
        v_until := g.used_until;
        IF g.key_index = g.current OR g.not_after < clock_timestamp() THEN
            CONTINUE WHEN g.not_after >= clock_timestamp();
        ELSE
            IF v_until IS NULL OR v_until < clock_timestamp() THEN
                SELECT coalesce(max(c.not_after), '-infinity') INTO v_until FROM certificate c
                WHERE c.ca_id = g.ca_id AND c.generation_id IN (SELECT id FROM generation WHERE token_key_id = g.token_key_id)
                    AND c.spki_sha256 <> (SELECT spki_sha256 FROM token_key WHERE id = g.token_key_id);
                UPDATE generation SET used_until = v_until WHERE id = g.id AND used_until IS DISTINCT FROM v_until;
            END IF;
            CONTINUE WHEN v_until >= clock_timestamp() OR EXISTS (
                SELECT FROM crl_scope s WHERE s.token_key_id = g.token_key_id AND s.next_full_at IS NOT NULL AND NOT EXISTS (
                    SELECT FROM crl c WHERE c.scope_id = s.id AND NOT c.delta AND c.state = 'issued'
                        AND c.this_update > greatest(v_until, g.installed_at)));
        END IF;
        UPDATE generation SET state = 'retired' WHERE id = g.id;
        UPDATE crl_scope s SET next_full_at = NULL, next_delta_at = NULL, wanted_at = NULL, wanted_seq = NULL
        WHERE s.token_key_id = g.token_key_id AND NOT EXISTS (SELECT FROM generation o WHERE o.token_key_id = g.token_key_id
            AND o.state IN ('active', 'superseded'));
        INSERT INTO audit (actor, action, object, detail)
        VALUES ('issuer', 'ca.generation-retired', g.name, jsonb_build_object('generation', g.certificate_index,
            'key', g.key_index));
        n := n + 1;
    END LOOP;
    RETURN n;
END $$;

-- CAs whose certificate has passed half of its life since this was last asked, by any issuer:
-- each is told once.
CREATE FUNCTION remind_of_renewals() RETURNS TABLE (name text, not_after text) LANGUAGE sql AS $$
    WITH told AS (
        UPDATE generation SET reminded_at = clock_timestamp()
        WHERE id IN (SELECT id FROM renewals_due() WHERE reminded_at IS NULL LIMIT 64) AND reminded_at IS NULL RETURNING ca_id, certificate_index, not_after
    ), audited AS (
        INSERT INTO audit (actor, action, object, detail)
        SELECT 'issuer', 'ca.renewal-due', a.name, jsonb_build_object('generation', t.certificate_index, 'not_after', t.not_after)
        FROM told t JOIN ca a ON a.id = t.ca_id
    )
    SELECT a.name, api_time(t.not_after) FROM told t JOIN ca a ON a.id = t.ca_id ORDER BY 1
$$;

-- Only the issuer calls these.
GRANT EXECUTE ON FUNCTION
    load_cas,
    ca_obstacle,
    ca_open_scopes,
    ca_own_scope,
    ca_change_places,
    ca_note_key,
    ca_noted_key,
    ca_intend,
    ca_begun_of,
    ca_begin,
    ca_make_way,
    ca_generation_begun,
    ca_renew,
    ca_next,
    ca_rekey,
    ca_waiting,
    set_templates,
    ca_activate,
    ca_retire_key,
    apply_limits,
    ca_republish,
    ca_cross,
    ca_rollover_begin,
    ca_rollover_end,
    retire_generations,
    remind_of_renewals,
    key_versions,
    key_orders
    TO chancery_issuer;
