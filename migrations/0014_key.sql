-- The end of a CA's key: destroyed on its token because its operators ordered it
-- (daemon/x509/destruction.h). What was signed with it, and what was ordered about it, stays.

SET search_path = chancery_store, pg_temp;

-- What a key is still needed for: a sentence, or NULL. Certificates that have not ended
-- need it for their CRLs, unless the last of those lasts as long as they do.
CREATE FUNCTION key_need(p_key bigint) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT coalesce(
        (SELECT format('generation %s of the CA, which has it, is %s', g.certificate_index, g.state)
         FROM generation g JOIN ca a ON a.id = g.ca_id
         WHERE g.token_key_id = p_key AND g.state <> 'retired' AND a.state <> 'retired'
         ORDER BY g.certificate_index DESC LIMIT 1),
        (SELECT format('CRL %s of it is %s', c.number, c.state) FROM crl c JOIN crl_scope s ON s.id = c.scope_id
         WHERE s.token_key_id = p_key AND c.state IN ('building', 'signing', 'awaiting-pin') LIMIT 1),
        (SELECT 'the calendar of its CRLs goes on' FROM crl_scope s
         WHERE s.token_key_id = p_key AND (s.next_full_at IS NOT NULL OR s.next_delta_at IS NOT NULL) LIMIT 1),
        (SELECT format('%s certificates that it signed are valid until %s, and no CRL of it lasts as long', v.count,
                api_time(v.until))
         FROM crl_scope s JOIN scope_use u ON u.scope_id = s.id AND u.until >= clock_timestamp() CROSS JOIN LATERAL (
             SELECT count(*), max(x.not_after) AS until FROM certificate x
             WHERE x.ca_id = s.ca_id AND x.scope_id = s.id AND x.not_after >= clock_timestamp()
                 AND x.spki_sha256 <> (SELECT k.spki_sha256 FROM token_key k WHERE k.id = p_key)) v
         WHERE s.token_key_id = p_key AND v.count > 0 AND NOT EXISTS (
             SELECT FROM crl c WHERE c.scope_id = s.id AND NOT c.delta AND c.state = 'issued' AND c.next_update >= v.until)
         LIMIT 1))
$$;

-- The key that an order to destroy one names, in its body.
CREATE FUNCTION key_ordered_to_end(d decision) RETURNS token_key LANGUAGE sql STABLE AS $$
    SELECT k FROM token_key k JOIN generation g ON g.token_key_id = k.id
    WHERE g.ca_id = d.ca_id AND encode(k.spki_sha256, 'hex') = limits_line(d.body, 'key') LIMIT 1
$$;

-- Why it cannot be carried out; or NULL.
CREATE FUNCTION key_end_obstacle(d decision) RETURNS text LANGUAGE plpgsql STABLE AS $$
DECLARE
    k token_key := key_ordered_to_end(d);
    v_ca text := (SELECT name FROM ca WHERE id = d.ca_id);
BEGIN
    RETURN CASE
        WHEN k.id IS NULL THEN format('CA "%s" has no such key', v_ca)
        WHEN limits_line(d.body, 'ca') <> v_ca OR limits_line(d.body, 'token') <> k.token
            THEN format('the key of CA "%s" is on token "%s"', v_ca, k.token)
        WHEN k.destroyed_at IS NOT NULL THEN format('the key was destroyed already, at %s', api_time(k.destroyed_at))
        ELSE 'the key is still needed: ' || key_need(k.id) END;
END $$;

-- Before the signer is asked.
CREATE FUNCTION key_end_begin(p_id bigint, p_epoch int) RETURNS TABLE (obstacle text, token text, cka_id bytea)
LANGUAGE plpgsql AS $$
DECLARE
    d decision := hold_decision(p_id, p_epoch);
    k token_key := key_ordered_to_end(d);
BEGIN
    RETURN QUERY SELECT key_end_obstacle(d), k.token, k.cka_id;
END $$;

-- The signer has destroyed it.
CREATE FUNCTION key_end(p_id bigint, p_epoch int) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    d decision := hold_decision(p_id, p_epoch);
    k token_key := key_ordered_to_end(d);
    v_ca text := (SELECT name FROM ca WHERE id = d.ca_id);
BEGIN
    UPDATE token_key SET destroyed_at = clock_timestamp() WHERE id = k.id AND destroyed_at IS NULL;
    INSERT INTO audit (actor, action, object, detail)
    VALUES (decision_actor(d), 'key.destroyed', v_ca, jsonb_build_object('decision', d.public_id, 'token', k.token,
        'key_sha256', encode(k.spki_sha256, 'hex'), 'signed', (SELECT to_jsonb(array_agg(person)) FROM ceremony_signers(d))));
    PERFORM close_decision(d, 'applied', format('the key %s of CA %s is destroyed', encode(k.spki_sha256, 'hex'), v_ca),
        jsonb_build_object('ca', v_ca));
END $$;

GRANT EXECUTE ON FUNCTION key_need, key_ordered_to_end, key_end_obstacle TO chancery_api, chancery_issuer;
GRANT EXECUTE ON FUNCTION key_end_begin, key_end TO chancery_issuer;
