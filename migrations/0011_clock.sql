-- The clock: what is signed carries its time, and a clock that jumped back or far
-- ahead signs what cannot be taken back (a CRL of next year is newer than all that
-- follow it). Every issuer watches its own clock and the database's; a jump holds
-- all signing until an operator says that the clock is right.

SET search_path = chancery_store, pg_temp;

CREATE TABLE clock_watch (
    one      boolean PRIMARY KEY DEFAULT true CHECK (one),
    mark     timestamptz,  -- the latest time seen on the database's clock; NULL: none yet
    reason   text,         -- why signing is held; NULL: it is not
    since    timestamptz,
    apart    text,         -- an issuer's clock is another one; that issuer signs nothing ...
    apart_at timestamptz   -- ... as it last said at this time
);
INSERT INTO clock_watch DEFAULT VALUES;

GRANT SELECT, UPDATE ON clock_watch TO chancery_issuer, chancery_api;

-- Why nothing may be signed with the database's clock as it is now; NULL: nothing
-- speaks against it. Issuers move the mark every few seconds.
CREATE FUNCTION clock_doubt() RETURNS text
LANGUAGE sql VOLATILE SET search_path = chancery_store, pg_temp AS $$
    SELECT CASE WHEN reason IS NOT NULL THEN reason
        WHEN clock_timestamp() < mark - interval '1 minute' THEN 'the database''s clock jumped back'
        WHEN clock_timestamp() > mark + interval '1 hour' THEN 'the database''s clock jumped ahead' END
    FROM clock_watch WHERE one
$$;

-- An issuer looks at the clocks. p_host: its own. p_step_s: how far its own or the
-- database's went in another way than the time that passed since it last looked.
-- doubt: why it must not sign now. A pause of the whole service looks like a jump
-- ahead, so that one counts from 100 days on; a small step back is time service at work.
CREATE FUNCTION watch_clock(p_host timestamptz, p_step_s double precision, OUT doubt text, OUT now timestamptz)
LANGUAGE plpgsql SET search_path = chancery_store, pg_temp AS $$
DECLARE
    w clock_watch;
BEGIN
    SELECT * INTO w FROM clock_watch WHERE one FOR UPDATE;
    now := clock_timestamp();
    IF w.reason IS NOT NULL THEN
        doubt := w.reason;
        RETURN;
    END IF;
    doubt := CASE
        WHEN now < w.mark - interval '1 minute' THEN format(
            'the database''s clock shows %s, and %s was seen before', api_time(now), api_time(w.mark))
        WHEN now > w.mark + interval '100 days' THEN format(
            'the database''s clock shows %s, %s days after what was last seen', api_time(now),
            floor(extract(epoch FROM now - w.mark) / 86400))
        WHEN abs(p_step_s) > 3600 THEN format('a clock jumped %s by %s min', CASE WHEN p_step_s < 0 THEN 'back' ELSE
            'ahead' END, round(abs(p_step_s) / 60)) END;
    IF doubt IS NOT NULL THEN
        UPDATE clock_watch SET reason = doubt, since = now WHERE one;
        INSERT INTO audit (actor, action, object, detail)
        VALUES ('issuer', 'clock.held', 'clock', jsonb_build_object('reason', doubt));
        RETURN;
    END IF;
    IF abs(extract(epoch FROM p_host - now)) > 300 THEN
        doubt := format('the clock of an issuer''s host shows %s, and the database''s %s', api_time(p_host), api_time(now));
    END IF;
    UPDATE clock_watch SET mark = greatest(mark, now), apart = coalesce(doubt, apart),
        apart_at = CASE WHEN doubt IS NOT NULL THEN now ELSE apart_at END
    WHERE one;
END $$;

GRANT EXECUTE ON FUNCTION clock_doubt(), watch_clock(timestamptz, double precision) TO chancery_issuer;
GRANT EXECUTE ON FUNCTION api_time(timestamptz) TO chancery_issuer;

CREATE FUNCTION clock_json() RETURNS jsonb
LANGUAGE sql STABLE SET search_path = chancery_store, pg_temp AS $$
    SELECT jsonb_build_object('held', reason IS NOT NULL, 'reason', reason, 'since', api_time(since),
        'apart', CASE WHEN apart_at > clock_timestamp() - interval '1 minute' THEN apart END)
    FROM clock_watch WHERE one
$$;
GRANT EXECUTE ON FUNCTION clock_json() TO chancery_api;

-- An operator has looked: the clock is right as it is.
CREATE FUNCTION chancery.api_clock_confirm(p_identity text) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = chancery_store, pg_temp AS $$
DECLARE
    v_caller api_caller := api_caller(p_identity);
    w clock_watch;
BEGIN
    IF v_caller.decides IS NOT TRUE THEN
        PERFORM api_fail('CH403', format('%s has no role that confirms the clock', v_caller.name));
    END IF;
    SELECT * INTO w FROM clock_watch WHERE one FOR UPDATE;
    IF w.reason IS NULL THEN
        PERFORM api_fail('CH409', 'the clock is not held: there is nothing to confirm');
    END IF;
    UPDATE clock_watch SET mark = clock_timestamp(), reason = NULL, since = NULL WHERE one;
    INSERT INTO audit (actor, action, object, detail)
    VALUES (p_identity, 'clock.confirmed', 'clock', jsonb_build_object('reason', w.reason, 'time', api_time(clock_timestamp())));
    NOTIFY chancery_work;
    RETURN clock_json();
END $$;
ALTER FUNCTION chancery.api_clock_confirm(text) OWNER TO chancery_api;
REVOKE ALL ON FUNCTION chancery.api_clock_confirm(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION chancery.api_clock_confirm(text) TO chancery_front;
