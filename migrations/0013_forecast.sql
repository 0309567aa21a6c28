-- What the calendar is going to issue, when, and about how large it will be.

SET search_path = chancery_store, pg_temp;

-- One row for the next CRL of each kind of each scope. Entries are those of the last one
-- and what happened since, of which up to 100,000 events are counted.
CREATE FUNCTION crl_forecast(p_ca bigint)
RETURNS TABLE (ca text, scope_id bigint, label text, kind text, due_at timestamptz, because text, entries bigint, size bigint, pin boolean)
LANGUAGE sql VOLATILE SET search_path = chancery_store, pg_temp AS $$
    SELECT a.name, s.id, s.label, CASE WHEN k.delta THEN 'delta-crl' ELSE 'crl' END, k.due_at, k.because,
        CASE WHEN k.delta THEN n.news ELSE coalesce(l.entries, 0) + n.news END,
        CASE WHEN NOT k.delta THEN coalesce(l.size, 600) WHEN d.size > d.entries * e.octets THEN d.size - d.entries * e.octets ELSE 600 END
            + n.news * e.octets,
        EXISTS (SELECT FROM token_reports() t JOIN token_key y ON y.token = t.token
            WHERE y.id = s.token_key_id AND t.access = 'operation')
    FROM crl_scope s JOIN ca a ON a.id = s.ca_id
    CROSS JOIN LATERAL (
        SELECT false AS delta, s.next_full_at AS due_at, 'calendar' AS because WHERE s.next_full_at IS NOT NULL
        UNION ALL
        SELECT true, s.next_delta_at, 'calendar' WHERE s.next_delta_at IS NOT NULL
        UNION ALL
        SELECT s.next_delta_at IS NOT NULL, s.wanted_at, 'revocation' WHERE s.wanted_at IS NOT NULL) k
    LEFT JOIN LATERAL (SELECT c.entries, c.upto_seq, f.size FROM crl c LEFT JOIN artifact f ON f.id = c.artifact_id
        WHERE c.scope_id = s.id AND NOT c.delta AND c.state = 'issued' ORDER BY c.number DESC LIMIT 1) l ON true
    CROSS JOIN LATERAL (SELECT count(*) AS news FROM (SELECT FROM revocation_event v
        WHERE v.scope_id = s.id AND v.seq > coalesce(l.upto_seq, 0) LIMIT 100000) v) n
    CROSS JOIN LATERAL (SELECT CASE WHEN l.entries >= 100 THEN l.size / l.entries ELSE 40 END AS octets) e
    LEFT JOIN LATERAL (SELECT c.entries, f.size FROM crl c JOIN artifact f ON f.id = c.artifact_id
        WHERE k.delta AND c.scope_id = s.id AND c.delta AND c.state = 'issued' ORDER BY c.number DESC LIMIT 1) d ON true
    WHERE p_ca IS NULL OR s.ca_id = p_ca
    ORDER BY k.due_at, a.name, s.id LIMIT 1000
$$;
GRANT EXECUTE ON FUNCTION crl_forecast TO chancery_api;

CREATE FUNCTION chancery.api_crl_forecast(p_identity text, p_ca text) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = chancery_store, pg_temp AS $$
DECLARE
    v_ca bigint := CASE WHEN p_ca IS NOT NULL THEN (api_find_ca(p_identity, p_ca)).id END;
BEGIN
    PERFORM api_reader(p_identity);
    RETURN jsonb_build_object('crls', coalesce((
        SELECT jsonb_agg(jsonb_build_object('ca', f.ca, 'scope', f.scope_id::text, 'label', f.label, 'kind', f.kind, 'due_at', api_time(f.due_at),
            'because', f.because, 'entries', f.entries, 'size', f.size, 'pin', f.pin))
        FROM crl_forecast(v_ca) f), '[]'));
END $$;
ALTER FUNCTION chancery.api_crl_forecast(text, text) OWNER TO chancery_api;
REVOKE ALL ON FUNCTION chancery.api_crl_forecast(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION chancery.api_crl_forecast(text, text) TO chancery_front;
