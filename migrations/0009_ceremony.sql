-- What the front may ask about decisions: what they say, who signed and who is
-- missing, and the way to sign them after others.

SET search_path = chancery_store, pg_temp;

-- ------------------------------------------------------------------ signing

CREATE FUNCTION unnamed_sentence(d decision, p_person text) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT format('the limits of CA "%s" do not name this key as that of operator %s with the right "limits", so that its '
        'signature would not count; those who may sign: %s', (SELECT string_agg(ca, '", "') FROM ceremony_state(d)), p_person,
        (SELECT string_agg(DISTINCT m, ', ') FROM ceremony_state(d), unnest(may_sign) m))
$$;

-- Refuses the first signature when it would not count, or when what is signed
-- could not be carried out anyway.
CREATE FUNCTION ceremony_begin(d decision, p_ca text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    v_person text := (SELECT p.name FROM credential c JOIN person p ON p.id = c.person_id WHERE c.id = d.credential_id);
    v_version int := (limits_of_key(d.ca_id, ordered_key(d.action, d.ca_id, d.body))).version;
    v_new text := CASE WHEN d.action = 'ca-limits' THEN limits_line(limits_of_body(d.body), 'version') END;
BEGIN
    IF v_new <> (v_version + 1)::text THEN
        PERFORM api_fail('CH409', format('the limits of CA "%s" are at version %s: a change of them is version %s and not %s',
            p_ca, v_version, v_version + 1, left(v_new, 20)));
    ELSIF d.action = 'key-destroy' AND key_end_obstacle(d) IS NOT NULL THEN
        PERFORM api_fail('CH409', key_end_obstacle(d));
    ELSIF NOT EXISTS (SELECT FROM ceremony_state(d)) THEN
        PERFORM api_fail('CH409', CASE WHEN d.action = 'signer-reseed' THEN 'the document lists no key of a CA'
            ELSE format('CA "%s" has no limits', p_ca) END);
    ELSIF NOT EXISTS (SELECT FROM ceremony_state(d) WHERE cardinality(signed) > 0) THEN
        PERFORM api_fail('CH403', unnamed_sentence(d, v_person));
    END IF;
END $$;

-- Hands the decision to the issuer when nobody is missing any more.
CREATE FUNCTION ceremony_go_on(d decision) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    v_missing int := (SELECT max(missing) FROM ceremony_state(d));
BEGIN
    IF d.state = 'collecting' AND v_missing = 0 THEN
        UPDATE decision SET state = 'queued' WHERE id = d.id RETURNING * INTO d;
        NOTIFY chancery_work;
    END IF;
    NOTIFY chancery_done;
    RETURN jsonb_build_object('id', d.public_id, 'action', d.action, 'state', d.state, 'missing', v_missing);
END $$;

-- The statement that a key is to sign, or signed, and the key: what the front
-- needs to verify a signature before it is counted.
CREATE FUNCTION chancery.api_signer(p_identity text, p_decision text, p_credential bytea) RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = chancery_store, pg_temp AS $$
DECLARE
    v_caller api_caller := api_caller(p_identity);
    v_statement text;
    v_spki bytea;
BEGIN
    IF v_caller.decides IS NOT TRUE THEN
        PERFORM api_fail('CH403', format('%s has no role that decides', v_caller.name));
    END IF;
    IF p_decision IS NOT NULL THEN
        SELECT statement INTO v_statement FROM decision WHERE public_id = api_uuid('decision', p_decision);
        IF v_statement IS NULL THEN
            PERFORM api_fail('CH404', format('decision %s is not known', p_decision));
        END IF;
    END IF;
    SELECT spki INTO v_spki FROM credential
    WHERE kind = 'operator_key' AND spki_sha256 = p_credential AND revoked_at IS NULL;
    IF v_spki IS NULL THEN
        PERFORM api_fail('CH403', format('the operator''s key %s is not registered, or no longer valid',
            encode(p_credential, 'hex')));
    END IF;
    RETURN jsonb_build_object('statement', v_statement, 'spki', replace(encode(v_spki, 'base64'), E'\n', ''));
END $$;

-- Why this key cannot sign that decision (any more); a sentence, or NULL.
CREATE FUNCTION signature_obstacle(d decision, p_spki bytea, p_person text) RETURNS text
LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN CASE
        WHEN d.state = 'expired' OR d.state = 'collecting' AND d.expires_at <= clock_timestamp() THEN
            format('decision %s expired at %s before enough operators had signed it: the statement has to be made and '
                'signed anew', d.public_id, api_time(d.expires_at))
        WHEN NOT is_ceremony(d.action) THEN format('a decision %s takes one signature only', d.action)
        WHEN d.state IN ('queued', 'working') THEN
            format('decision %s has all signatures that it needs and is being carried out', d.public_id)
        WHEN d.state = 'applied' THEN format('decision %s is carried out already', d.public_id)
        WHEN d.state = 'refused' THEN format('decision %s was refused: %s', d.public_id, d.outcome)
        WHEN NOT EXISTS (SELECT FROM ceremony_state(d) s WHERE limits_person(s.document, p_spki, 'limits') = p_person) THEN
            unnamed_sentence(d, p_person)
        WHEN NOT EXISTS (SELECT FROM ceremony_state(d) s WHERE limits_person(s.document, p_spki, 'limits') = p_person
                AND p_person <> ALL (s.signed)) THEN
            format('%s has signed decision %s already: each person counts once, and another one has to sign: %s',
                p_person, d.public_id,
                (SELECT string_agg(DISTINCT m, ', ') FROM ceremony_state(d), unnest(may_sign) m WHERE missing > 0))
    END;
END $$;

CREATE FUNCTION chancery.api_sign(p_identity text, p_id text, p_signature bytea, p_credential bytea) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = chancery_store, pg_temp AS $$
DECLARE
    v_caller api_caller := api_caller(p_identity);
    v_id uuid := api_uuid('decision', p_id);
    v_words text;
    d decision;
    k record;
BEGIN
    IF v_caller.decides IS NOT TRUE THEN
        PERFORM api_fail('CH403', format('%s has no role that decides', v_caller.name));
    END IF;
    -- One signature after the other, so that none finds itself the last but one.
    SELECT * INTO d FROM decision WHERE public_id = v_id FOR NO KEY UPDATE;
    IF d.id IS NULL THEN
        PERFORM api_fail('CH404', format('decision %s is not known', v_id));
    END IF;
    SELECT c.id, c.spki, p.name INTO k FROM credential c JOIN person p ON p.id = c.person_id
    WHERE c.kind = 'operator_key' AND c.spki_sha256 = p_credential AND c.revoked_at IS NULL;
    IF k.id IS NULL THEN
        PERFORM api_fail('CH403', format('the operator''s key %s is not registered, or no longer valid',
            encode(p_credential, 'hex')));
    END IF;
    -- Handing in the same again, because the answer was lost, gives the same answer.
    IF EXISTS (SELECT FROM decision_signature WHERE decision_id = d.id AND credential_id = k.id AND signature = p_signature) THEN
        RETURN ceremony_go_on(d);
    END IF;
    v_words := signature_obstacle(d, k.spki, k.name);
    IF v_words IS NOT NULL THEN
        PERFORM api_fail('CH409', v_words);
    END IF;
    INSERT INTO decision_signature (decision_id, credential_id, signature, received_via)
    VALUES (d.id, k.id, p_signature, p_identity);
    INSERT INTO audit (actor, action, object, detail)
    VALUES (p_identity, 'decision.signed', d.public_id::text, jsonb_build_object('action', d.action, 'operator', k.name,
        'credential', encode(p_credential, 'hex')));
    RETURN ceremony_go_on(d);
END $$;

-- Takes back what still waits for signatures: who handed it in may, and who may hand in
-- decisions. What is withdrawn takes no more signatures, and is carried out by nobody;
-- to be signed again it has to be handed in anew.
CREATE FUNCTION chancery.api_withdraw_decision(p_identity text, p_id text) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = chancery_store, pg_temp AS $$
DECLARE
    v_caller api_caller := api_caller(p_identity);
    v_id uuid := api_uuid('decision', p_id);
    d decision;
BEGIN
    SELECT * INTO d FROM decision WHERE public_id = v_id FOR NO KEY UPDATE;
    IF d.id IS NULL OR NOT coalesce(v_caller.reads OR d.received_via = p_identity, false) THEN
        PERFORM api_fail('CH404', format('decision %s is not known', v_id));
    ELSIF NOT coalesce(v_caller.decides OR d.received_via = p_identity, false) THEN
        PERFORM api_fail('CH403', format('%s has no role that decides, and did not hand this decision in', v_caller.name));
    ELSIF d.state <> 'collecting' THEN
        PERFORM api_fail('CH409', format('decision %s is %s: only one that waits for signatures can be withdrawn', v_id, d.state));
    END IF;
    UPDATE decision SET state = 'refused', outcome = format('withdrawn by %s before all had signed', v_caller.name),
        applied_at = clock_timestamp()
    WHERE id = d.id RETURNING * INTO d;
    INSERT INTO audit (actor, action, object, detail)
    VALUES (p_identity, 'decision.withdrawn', d.public_id::text, jsonb_build_object('action', d.action, 'by', v_caller.name));
    NOTIFY chancery_done;
    RETURN jsonb_build_object('id', d.public_id, 'action', d.action, 'state', d.state);
END $$;

-- -------------------------------------------------------------------- shown

CREATE FUNCTION ceremony_needs(d decision) RETURNS jsonb LANGUAGE sql STABLE AS $$
    SELECT CASE WHEN is_ceremony(d.action) THEN coalesce((
        SELECT jsonb_agg(jsonb_build_object('ca', s.ca, 'quorum', s.quorum, 'signed', to_jsonb(s.signed),
            'missing', s.missing, 'may_sign', to_jsonb(s.may_sign)) ORDER BY s.ca)
        FROM ceremony_state(d) s), '[]') ELSE '[]' END
$$;

CREATE FUNCTION ceremony_signatures(d decision) RETURNS jsonb LANGUAGE sql STABLE AS $$
    SELECT coalesce(jsonb_agg(jsonb_build_object('operator', s.person, 'sha256', encode(sha256(s.spki), 'hex'),
        'spki', replace(encode(s.spki, 'base64'), E'\n', ''),
        'signature', replace(encode(s.signature, 'base64'), E'\n', ''),
        'received_at', api_time(s.received_at)) ORDER BY s.received_at, s.credential_id), '[]')
    FROM ceremony_signers(d) s
$$;

CREATE FUNCTION decision_json(d decision, p_detail boolean) RETURNS jsonb
LANGUAGE sql STABLE SET search_path = chancery_store, pg_temp AS $$
    SELECT jsonb_build_object('id', d.public_id, 'action', d.action, 'state', d.state, 'outcome', d.outcome,
            'ca', nullif(limits_line(d.statement, 'ca'), '-'), 'object', limits_line(d.statement, 'object'),
            'operator', (SELECT p.name FROM credential c JOIN person p ON p.id = c.person_id WHERE c.id = d.credential_id),
            'received_via', d.received_via, 'received_at', api_time(d.received_at), 'applied_at', api_time(d.applied_at),
            'expires_at', api_time(d.expires_at), 'needs', ceremony_needs(d), 'waits_for_pin', waits_for_pin(d))
        || CASE WHEN NOT p_detail THEN '{}' ELSE jsonb_build_object(
            'statement', d.statement, 'body', d.body, 'result', d.result, 'signatures', ceremony_signatures(d),
            'request', (SELECT r.public_id FROM request_record r WHERE r.id = d.request_id),
            'certificate', (SELECT encode(x.sha256, 'hex') FROM certificate x WHERE x.id = d.certificate_id)) END
$$;

CREATE FUNCTION chancery.api_decision(p_identity text, p_id text) RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = chancery_store, pg_temp AS $$
DECLARE
    v_caller api_caller := api_caller(p_identity);
    v_id uuid := api_uuid('decision', p_id);
    v jsonb;
BEGIN
    SELECT decision_json(d, true) INTO v FROM decision d
    WHERE d.public_id = v_id AND (v_caller.reads OR d.received_via = p_identity);
    IF v IS NULL THEN
        PERFORM api_fail('CH404', format('decision %s is not known', v_id));
    END IF;
    RETURN v;
END $$;

CREATE FUNCTION chancery.api_decisions(p_identity text, p_state text, p_limit int, p_after text) RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = chancery_store, pg_temp
SET plan_cache_mode = force_custom_plan AS $$
DECLARE
    v_limit int := api_limit(p_limit);
    v_after bigint;
    v_rows jsonb;
BEGIN
    PERFORM api_reader(p_identity);
    IF p_state NOT IN ('collecting', 'queued', 'working', 'applied', 'refused', 'expired') THEN
        PERFORM api_fail('CH400', format('"%s" is no state of a decision; the states are collecting, queued, working, '
            'applied, refused, expired', left(p_state, 32)));
    END IF;
    IF p_after IS NOT NULL THEN
        SELECT id INTO v_after FROM decision WHERE public_id = api_uuid('decision', p_after);
        IF v_after IS NULL THEN
            PERFORM api_fail('CH404', format('decision %s is not known', p_after));
        END IF;
    END IF;
    SELECT coalesce(jsonb_agg(decision_json(d::decision, false) ORDER BY d.id DESC), '[]') INTO v_rows
    FROM (SELECT * FROM decision
          WHERE (p_state IS NULL OR state = p_state) AND (v_after IS NULL OR id < v_after)
          ORDER BY id DESC LIMIT v_limit) d;
    RETURN jsonb_build_object('decisions', v_rows,
        'next', CASE WHEN jsonb_array_length(v_rows) = v_limit THEN v_rows->-1->'id' END);
END $$;

-- p_version NULL: those in force. p_key: the key's CKA_ID or
-- the SHA-256 of its SubjectPublicKeyInfo, in hex, or 'waiting' for the one that waits for its certificate; NULL: the one that signs.
CREATE FUNCTION chancery.api_ca_limits(p_identity text, p_name text, p_version int, p_key text) RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = chancery_store, pg_temp AS $$
DECLARE
    a ca := api_find_ca(p_identity, p_name);
    v jsonb;
BEGIN
    SELECT jsonb_build_object('ca', a.name, 'version', l.version, 'sha256', encode(l.sha256, 'hex'),
            'document', l.document, 'applied_at', api_time(l.applied_at), 'decision', d.public_id,
            'key_sha256', encode(g.spki_sha256, 'hex'), 'key_index', g.key_index)
        INTO v
    FROM (SELECT x.key_index, k.spki_sha256 FROM generation x JOIN token_key k ON k.id = x.token_key_id
          WHERE x.ca_id = a.id AND (p_key IN (encode(k.cka_id, 'hex'), encode(k.spki_sha256, 'hex')) OR p_key = 'waiting' AND x.state = 'awaiting-certificate' OR p_key IS NULL
              AND x.id = (SELECT c.id FROM current_generation(a.id) c))
          ORDER BY x.certificate_index DESC LIMIT 1) g
    JOIN ca_limits l ON l.ca_id = a.id AND l.key_index = g.key_index JOIN decision d ON d.id = l.decision_id
    WHERE p_version IS NULL OR l.version = p_version ORDER BY l.version DESC LIMIT 1;
    IF v IS NULL THEN
        PERFORM api_fail('CH404', CASE WHEN p_key = 'waiting' AND a.state = 'retired' THEN format('CA "%s" is retired for good', a.name)
            WHEN p_key = 'waiting' THEN format('CA "%s" does not wait for a certificate: it is %s; "chancery ca renew" begins a renewal', a.name, a.state)
            WHEN NOT EXISTS (SELECT FROM generation g JOIN token_key k ON k.id = g.token_key_id
                    WHERE g.ca_id = a.id AND p_key IN (encode(k.cka_id, 'hex'), encode(k.spki_sha256, 'hex'))) THEN
                format('CA "%1$s" has no key %2$s: "chancery ca generations %1$s" shows the SHA-256 of each', a.name, left(p_key, 80))
            ELSE format('CA "%s" has no limits%s', a.name, coalesce(' of version ' || p_version, '')) END);
    END IF;
    RETURN v;
END $$;

-- ------------------------------------------------------------------- reseed

-- The time in a serial number: octets 4 to 9 (daemon/x509/serial.h).
CREATE FUNCTION serial_time(p_serial bytea) RETURNS timestamptz LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT to_timestamp(least(('x' || encode(substring(p_serial FROM 4 FOR 6), 'hex'))::bit(48)::bigint, 253402300799))
$$;

-- What was used last, as far as the database knows, and so the floor for a journal
-- that begins anew: serials, and the approvals that led to certificates. Of the
-- certificates the newest do, since they are stored in the order of their making,
-- give or take a batch. What was being signed when the signer closed is not later
-- than that, which the signer adds itself; what was approved since shall be issued.
CREATE FUNCTION last_use() RETURNS timestamptz LANGUAGE sql STABLE AS $$
    WITH used AS (
        SELECT serial, request_id FROM certificate ORDER BY id DESC LIMIT 1000)
    SELECT greatest((SELECT max(serial_time(serial)) FROM used),
        (SELECT max(limits_line(d.statement, 'issued')::timestamptz) FROM used u
         JOIN decision d ON d.request_id = u.request_id AND d.action = 'approve' AND d.state = 'applied'),
        (SELECT max(date_trunc('second', created_at)) FROM token_key))
$$;

CREATE FUNCTION reseed_scopes(p_token_key bigint) RETURNS jsonb LANGUAGE sql STABLE AS $$
    SELECT coalesce(jsonb_agg(jsonb_build_object('scope', encode(sha256(s.idp), 'hex'), 'number', s.last_number::text,
        'base', b.number::text, 'this_update', api_time(t.this_update)) ORDER BY s.idp IS NOT NULL, sha256(s.idp)), '[]')
    FROM crl_scope s
    CROSS JOIN LATERAL (SELECT max(number) AS number FROM crl WHERE scope_id = s.id AND NOT delta AND state = 'issued') b
    CROSS JOIN LATERAL (SELECT max(this_update) AS this_update FROM crl WHERE scope_id = s.id) t
    WHERE s.token_key_id = p_token_key AND s.last_number > 0
$$;

-- What a reseed of a signer's journal has to say: its challenge, and where each of
-- the keys that it may use goes on. p_signer NULL: of the token's only closed one.
CREATE FUNCTION chancery.api_reseed(p_identity text, p_token text, p_signer int) RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = chancery_store, pg_temp AS $$
DECLARE
    t token_status;
    v_count int;
BEGIN
    PERFORM api_reader(p_identity);
    SELECT count(*) INTO v_count FROM token_reports() WHERE token = p_token AND (p_signer IS NULL OR signer_id = p_signer)
        AND (p_signer IS NOT NULL OR state = 'closed' OR (SELECT count(*) FROM token_reports() WHERE token = p_token) = 1);
    IF v_count = 0 THEN
        PERFORM api_fail('CH404', CASE WHEN p_signer IS NOT NULL
            THEN format('signer %s reports no token "%s"', p_signer, left(p_token, 64))
            ELSE format('no closed signer reports a token "%s"; "chancery token status" shows them all', left(p_token, 64)) END);
    ELSIF v_count > 1 THEN
        PERFORM api_fail('CH409', format('several signers of token "%s" are closed: say which, they are %s', p_token,
            (SELECT string_agg(signer_id::text, ', ' ORDER BY signer_id) FROM token_reports()
             WHERE token = p_token AND state = 'closed')));
    END IF;
    SELECT * INTO t FROM token_reports() WHERE token = p_token AND (p_signer IS NULL OR signer_id = p_signer)
    ORDER BY state = 'closed' DESC LIMIT 1;
    IF t.challenge IS NULL THEN
        PERFORM api_fail('CH409', format('signer %s of token "%s" tells no challenge of its journal: %s', t.signer_id, p_token,
            t.sentence));
    END IF;
    RETURN jsonb_build_object('token', t.token, 'signer_id', t.signer_id, 'state', t.state, 'sentence', t.sentence,
        'journal', t.journal, 'challenge', t.challenge, 'floor', api_time(last_use()),
        'keys', (SELECT coalesce(jsonb_agg(jsonb_build_object('id', encode(k.cka_id, 'hex'), 'ca', a.name,
                'key_sha256', encode(k.spki_sha256, 'hex'),
                'scopes', reseed_scopes(k.id)) ORDER BY k.cka_id), '[]')
            FROM token_key k
            JOIN LATERAL (SELECT ca_id, key_index FROM generation WHERE token_key_id = k.id LIMIT 1) g ON true
            JOIN ca a ON a.id = g.ca_id
            WHERE k.token = p_token AND k.destroyed_at IS NULL AND t.signer_id::text = ANY (
                string_to_array(limits_line((limits_of_key(a.id, g.key_index)).document, 'signer-ids'), ','))));
END $$;

-- ------------------------------------------------------------------- rights

GRANT EXECUTE ON FUNCTION ceremony_needs, ceremony_signatures, unnamed_sentence, ceremony_begin, ceremony_go_on, signature_obstacle,
    decision_json, serial_time, last_use, reseed_scopes TO chancery_api;
GRANT EXECUTE ON FUNCTION api_time TO chancery_issuer; -- for expire_decisions

DO $$
DECLARE
    f regprocedure;
BEGIN
    FOR f IN SELECT unnest(ARRAY['chancery.api_signer(text,text,bytea)', 'chancery.api_sign(text,text,bytea,bytea)',
                 'chancery.api_withdraw_decision(text,text)',
                 'chancery.api_decision(text,text)', 'chancery.api_decisions(text,text,int,text)', 'chancery.api_ca_limits(text,text,int,text)',
                 'chancery.api_reseed(text,text,int)'])::regprocedure LOOP
        EXECUTE format('ALTER FUNCTION %s OWNER TO chancery_api', f);
        EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', f);
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO chancery_front', f);
    END LOOP;
END $$;
