-- What a monitoring system scrapes from a front: the facts that `chancery doctor`
-- looks at, as Prometheus' text. Every number is found by an index, and what may be
-- many rows (the queue) is counted up to a limit.

SET search_path = chancery_store, pg_temp;

-- name{label="value",...} value; p_labels: names and values in turn.
CREATE FUNCTION metric(p_name text, p_labels text[], p_value double precision) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = chancery_store, pg_temp AS $$
    SELECT p_name || CASE WHEN cardinality(p_labels) = 0 THEN '' ELSE '{' || (
        SELECT string_agg(format('%s="%s"', p_labels[i],
            replace(replace(replace(p_labels[i + 1], E'\\', E'\\\\'), '"', E'\\"'), E'\n', E'\\n')), ',' ORDER BY i)
        FROM generate_series(1, cardinality(p_labels), 2) i) || '}' END
        || ' ' || p_value || E'\n'
$$;

CREATE FUNCTION metric_head(p_name text, p_help text) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = chancery_store, pg_temp AS $$
    SELECT format(E'# HELP %1$s %2$s\n# TYPE %1$s gauge\n', p_name, p_help)
$$;

CREATE FUNCTION seconds_until(timestamptz) RETURNS double precision
LANGUAGE sql VOLATILE SET search_path = chancery_store, pg_temp AS $$
    SELECT round(extract(epoch FROM $1 - clock_timestamp()))::double precision
$$;

-- The newest CRL and delta CRL of each scope that gets another one.
CREATE FUNCTION metrics_of_crls() RETURNS text
LANGUAGE sql VOLATILE SET search_path = chancery_store, pg_temp AS $$
    WITH newest AS (
        SELECT ARRAY['ca', a.name, 'scope', s.id::text, 'kind', CASE WHEN k.delta THEN 'delta-crl' ELSE 'crl' END] AS labels, c.*,
            f.size
        FROM crl_scope s JOIN ca a ON a.id = s.ca_id
        CROSS JOIN (VALUES (false), (true)) k (delta)
        CROSS JOIN LATERAL (SELECT x.this_update, x.next_update, x.entries, x.artifact_id FROM crl x
            WHERE x.scope_id = s.id AND x.delta = k.delta AND x.state = 'issued' ORDER BY x.number DESC LIMIT 1) c
        LEFT JOIN artifact f ON f.id = c.artifact_id
        WHERE CASE WHEN k.delta THEN s.next_delta_at ELSE s.next_full_at END IS NOT NULL)
    SELECT concat(
        metric_head('chancery_crl_age_seconds', 'Since thisUpdate of the newest CRL issued.'),
        (SELECT string_agg(metric('chancery_crl_age_seconds', labels, -seconds_until(this_update)), '') FROM newest),
        metric_head('chancery_crl_left_seconds', 'Until nextUpdate of the newest CRL issued.'),
        (SELECT string_agg(metric('chancery_crl_left_seconds', labels, seconds_until(next_update)), '') FROM newest),
        metric_head('chancery_crl_entries', 'Entries of the newest CRL issued.'),
        (SELECT string_agg(metric('chancery_crl_entries', labels, coalesce(entries, 0)), '') FROM newest),
        metric_head('chancery_crl_size_bytes', 'Octets of the newest CRL issued.'),
        (SELECT string_agg(metric('chancery_crl_size_bytes', labels, coalesce(size, 0)), '') FROM newest))
$$;

CREATE FUNCTION metrics_of_scopes() RETURNS text
LANGUAGE sql VOLATILE SET search_path = chancery_store, pg_temp AS $$
    WITH scope AS (SELECT ARRAY['ca', a.name, 'scope', s.id::text] AS labels, s.*
        FROM crl_scope s JOIN ca a ON a.id = s.ca_id)
    SELECT concat(
        metric_head('chancery_crl_late_seconds', 'Since a CRL is due that is not issued; 0: none is.'),
        (SELECT string_agg(metric('chancery_crl_late_seconds', labels,
            greatest(0, coalesce(-seconds_until(least(next_full_at, next_delta_at)), 0))), '') FROM scope),
        metric_head('chancery_crl_alarm', '1: CRLs of this scope could not be issued, or were kept back by a gate.'),
        (SELECT string_agg(metric('chancery_crl_alarm', labels, (alarm IS NOT NULL)::int), '') FROM scope))
$$;

CREATE FUNCTION metrics_of_publications() RETURNS text
LANGUAGE sql VOLATILE SET search_path = chancery_store, pg_temp AS $$
    WITH place AS (
        SELECT ARRAY['ca', a.name, 'target', t.name, 'artifact', t.artifact, 'scope', coalesce(p.scope_id::text, '')] AS labels,
            p.state, p.attempts, w.created_at, f.not_after
        FROM publication p JOIN target t ON t.id = p.target_id JOIN ca a ON a.id = t.ca_id
        JOIN artifact w ON w.id = p.artifact_id
        LEFT JOIN artifact f ON f.id = p.published_id
        WHERE p.certificate_id IS NULL AND p.state <> 'over'),
    entry AS (
        SELECT ARRAY['ca', a.name, 'target', t.name, 'state', p.state] AS labels, count(*) AS n
        FROM publication p JOIN target t ON t.id = p.target_id JOIN ca a ON a.id = t.ca_id
        WHERE p.certificate_id IS NOT NULL AND p.state <> 'done' GROUP BY 1)
    SELECT concat(
        metric_head('chancery_publication_waiting_seconds', 'Since what is wanted at a target was made; 0: it was read back.'),
        (SELECT string_agg(metric('chancery_publication_waiting_seconds', labels,
            CASE WHEN state = 'done' THEN 0 ELSE greatest(0, -seconds_until(created_at)) END), '') FROM place),
        metric_head('chancery_publication_attempts', 'Attempts at what is wanted at a target.'),
        (SELECT string_agg(metric('chancery_publication_attempts', labels, attempts), '') FROM place),
        metric_head('chancery_published_left_seconds', 'Until what was last read back from a target ends.'),
        (SELECT string_agg(metric('chancery_published_left_seconds', labels, seconds_until(not_after)), '')
            FROM place WHERE not_after IS NOT NULL),
        metric_head('chancery_entry_certificates', 'Certificates that are not yet in, or not yet out of, the entries of their subjects.'),
        (SELECT string_agg(metric('chancery_entry_certificates', labels, n), '') FROM entry))
$$;

-- The oldest 100,000 of the queue stand for all.
CREATE FUNCTION metrics_of_queue() RETURNS text
LANGUAGE sql VOLATILE SET search_path = chancery_store, pg_temp AS $$
    WITH oldest AS (SELECT q.state, q.changed_at FROM request_queue q ORDER BY q.request_id LIMIT 100000),
    counted AS (SELECT state, count(*) AS n, min(changed_at) AS since FROM oldest GROUP BY state)
    SELECT concat(
        metric_head('chancery_requests', 'Open requests, up to 100000.'),
        (SELECT string_agg(metric('chancery_requests', ARRAY['state', state], n), '') FROM counted),
        metric_head('chancery_request_oldest_seconds', 'Since the oldest open request of a state came into it.'),
        (SELECT string_agg(metric('chancery_request_oldest_seconds', ARRAY['state', state], greatest(0, -seconds_until(since))),
            '') FROM counted),
        metric_head('chancery_decisions_open', 'Decisions that wait to be applied.'),
        metric('chancery_decisions_open', '{}', (SELECT count(*) FROM decision WHERE state IN ('queued', 'working'))))
$$;

CREATE FUNCTION metrics_of_service() RETURNS text
LANGUAGE sql VOLATILE SET search_path = chancery_store, pg_temp AS $$
    WITH token AS (SELECT ARRAY['token', t.token, 'signer', t.signer_id::text] AS labels, t.* FROM token_reports() t),
    host AS (SELECT * FROM host_status WHERE reported_at > clock_timestamp() - interval '1 hour'),
    active AS (SELECT ARRAY['ca', a.name] AS labels, g.not_before, g.not_after, g.sha256
        FROM ca a JOIN generation g ON g.ca_id = a.id AND g.state = 'active')
    SELECT concat(
        metric_head('chancery_token_ready', '1: the token can sign, as its issuer said in the last minute; one that people '
            'give a PIN for each signature can.'),
        (SELECT string_agg(metric('chancery_token_ready', labels,
            ((state = 'ready' OR state = 'locked' AND access = 'operation') AND reported_at > clock_timestamp() - interval '1 minute')::int), '') FROM token),
        metric_head('chancery_token_signatures', 'Signatures since the signer''s start.'),
        (SELECT string_agg(metric('chancery_token_signatures', labels, signatures), '') FROM token),
        metric_head('chancery_disk_free_bytes', 'Room on the disk of an issuer''s spool and journals.'),
        (SELECT string_agg(metric('chancery_disk_free_bytes', ARRAY['signer', signer_id::text], disk_free), '') FROM host),
        metric_head('chancery_disk_size_bytes', 'Size of that disk.'),
        (SELECT string_agg(metric('chancery_disk_size_bytes', ARRAY['signer', signer_id::text], disk_size), '') FROM host),
        metric_head('chancery_ca_certificate_left_seconds', 'Until the CA''s own certificate ends.'),
        (SELECT string_agg(metric('chancery_ca_certificate_left_seconds', labels, seconds_until(not_after)), '') FROM active),
        metric_head('chancery_ca_renewal_due', '1: half of the life of the CA''s own certificate is over, and it is not retired.'),
        (SELECT string_agg(metric('chancery_ca_renewal_due', ARRAY['ca', a.name], (a.id IN (SELECT ca_id FROM renewals_due()))::int), '')
            FROM ca a),
        metric_head('chancery_ca_certificate_life_seconds', 'The whole life of the CA''s own certificate.'),
        (SELECT string_agg(metric('chancery_ca_certificate_life_seconds', labels,
            extract(epoch FROM not_after - not_before)::double precision), '') FROM active),
        metric_head('chancery_ca_certificate_revoked', '1: the CA''s own certificate is revoked or on hold, by a CA of this service.'),
        (SELECT string_agg(metric('chancery_ca_certificate_revoked', labels, (EXISTS (
            SELECT FROM certificate_by_sha256(active.sha256) c
            JOIN revocation r ON r.scope_id = c.scope_id AND r.serial = c.serial))::int), '') FROM active),
        metric_head('chancery_rollover_left_seconds', 'Until a certificate ends by which keys of a root vouch for each other.'),
        (SELECT string_agg(metric('chancery_rollover_left_seconds', ARRAY['ca', a.name, 'signer_key', x.key_index::text,
            'subject_key', y.key_index::text], seconds_until(v.not_after)), '')
            FROM rollover v JOIN ca a ON a.id = v.ca_id JOIN generation x ON x.id = v.signer_generation
            JOIN generation y ON y.id = v.subject_generation WHERE v.certificate IS NOT NULL),
        metric_head('chancery_cross_left_seconds', 'Until a certificate ends by which a CA elsewhere vouches for one of ours.'),
        (SELECT string_agg(metric('chancery_cross_left_seconds', ARRAY['ca', a.name, 'issuer', x.issuer],
            seconds_until(x.not_after)), '')
            FROM (SELECT DISTINCT ON (ca_id, issuer) * FROM cross_certificate ORDER BY ca_id, issuer, not_after DESC) x
            JOIN ca a ON a.id = x.ca_id),
        metric_head('chancery_clock_held', '1: a clock jumped, and nothing is signed until an operator confirms it.'),
        (SELECT metric('chancery_clock_held', '{}', (reason IS NOT NULL)::int) FROM clock_watch WHERE one),
        metric_head('chancery_clock_apart', '1: an issuer signs nothing, because its clock is not the database''s.'),
        (SELECT metric('chancery_clock_apart', '{}',
            (coalesce(apart_at > clock_timestamp() - interval '1 minute', false))::int) FROM clock_watch WHERE one),
        metric_head('chancery_database_time_seconds', 'The database''s clock.'),
        metric('chancery_database_time_seconds', '{}', round(extract(epoch FROM clock_timestamp()))::double precision))
$$;

GRANT EXECUTE ON FUNCTION metric, metric_head, seconds_until, metrics_of_crls, metrics_of_scopes, metrics_of_publications,
    metrics_of_queue, metrics_of_service TO chancery_api;

-- p_identity NULL: at the listener for metrics, which knows nobody.
CREATE FUNCTION chancery.api_metrics(p_identity text) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = chancery_store, pg_temp AS $$
BEGIN
    IF p_identity IS NOT NULL THEN
        PERFORM api_reader(p_identity);
    END IF;
    RETURN to_jsonb(concat(metrics_of_service(), metrics_of_crls(), metrics_of_scopes(), metrics_of_publications(),
        metrics_of_queue()));
END $$;
ALTER FUNCTION chancery.api_metrics(text) OWNER TO chancery_api;
REVOKE ALL ON FUNCTION chancery.api_metrics(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION chancery.api_metrics(text) TO chancery_front;
