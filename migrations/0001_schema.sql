-- The tables, and what is hard to change later.
--
-- Schema chancery_store holds tables and the functions of our own processes;
-- schema chancery holds what others may call. Roles come from the bootstrap
-- (migrations/bootstrap.sql): chancery_owner owns the tables, chancery_api owns
-- the SECURITY DEFINER functions and is not the table owner, so that row-level
-- security binds it.
--
-- Conventions: internal keys are bigint, public ids are random UUIDs; times are
-- timestamptz, and in whole seconds where they go into DER; DER is bytea beside
-- its readable form; states are lookup tables, and one function moves.

CREATE SCHEMA chancery_store;
CREATE SCHEMA chancery;
REVOKE ALL ON SCHEMA chancery_store, chancery FROM PUBLIC;
GRANT USAGE ON SCHEMA chancery TO chancery_front, chancery_submitter, chancery_auditor, chancery_issuer;
GRANT USAGE ON SCHEMA chancery_store TO chancery_issuer, chancery_api;
GRANT CREATE ON SCHEMA chancery, chancery_store TO chancery_api;
ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;
ALTER DEFAULT PRIVILEGES FOR ROLE chancery_api REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;

SET search_path = chancery_store, pg_temp;

-- ---------------------------------------------------------------- people

CREATE TABLE person (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name        text NOT NULL UNIQUE CHECK (name ~ '^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$'),
    created_at  timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE TABLE role (name text PRIMARY KEY, meaning text NOT NULL);
INSERT INTO role VALUES
    ('administrator', 'creates CAs, applies templates, adds operators'),
    ('manager', 'approves, denies, revokes, holds and releases; orders CRLs'),
    ('auditor', 'reads everything, changes nothing'),
    ('submitter', 'submits requests and reads its own');

CREATE TABLE person_role (
    person_id   bigint NOT NULL REFERENCES person,
    role        text NOT NULL REFERENCES role,
    PRIMARY KEY (person_id, role)
);

-- What a person proves an identity with. operator_key: the public key that
-- verifies decisions; tls_client: a key of a client certificate. Both are known
-- by the SHA-256 of their SubjectPublicKeyInfo.
CREATE TABLE credential (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    person_id   bigint NOT NULL REFERENCES person,
    kind        text NOT NULL CHECK (kind IN ('operator_key', 'tls_client')),
    spki        bytea NOT NULL,
    spki_sha256 bytea NOT NULL CHECK (length(spki_sha256) = 32),
    added_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    revoked_at  timestamptz,
    UNIQUE (kind, spki_sha256)
);
CREATE INDEX ON credential (person_id);

-- ------------------------------------------------- keys, CAs, generations

-- Uniqueness of serials is per issuer *name*, across key generations.
CREATE TABLE issuer_name (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    der         bytea NOT NULL,
    der_sha256  bytea NOT NULL UNIQUE CHECK (der_sha256 = sha256(der)),
    readable    text NOT NULL
);

-- A key on a token has one purpose and is apart from any certificate.
CREATE TABLE token_key (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    public_id   uuid NOT NULL UNIQUE DEFAULT gen_random_uuid(),
    token       text NOT NULL,           -- the configuration's name of the login
    cka_id      bytea NOT NULL,
    label       text NOT NULL,
    purpose     text NOT NULL CHECK (purpose IN ('ca', 'ocsp', 'audit', 'ra')),
    algorithm   text NOT NULL,           -- rsa2048 ... p521
    spki        bytea NOT NULL,
    spki_sha256 bytea NOT NULL UNIQUE CHECK (spki_sha256 = sha256(spki)),
    created_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    destroyed_at timestamptz,            -- by an order of its operators
    retired_at  timestamptz,             -- by operators' order: it signs no certificate any more, for good
    UNIQUE (token, cka_id)
);

CREATE TABLE ca (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    public_id       uuid NOT NULL UNIQUE DEFAULT gen_random_uuid(),
    name            text NOT NULL UNIQUE CHECK (name ~ '^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$'),
    issuer_name_id  bigint NOT NULL UNIQUE REFERENCES issuer_name,
    kind            text NOT NULL CHECK (kind IN ('root', 'subordinate')),
    state           text NOT NULL CHECK (state IN ('awaiting-certificate', 'active', 'retired')),
    policy          text NOT NULL,       -- the CA policy file (YAML) as given
    event_seq       bigint NOT NULL DEFAULT 0, -- last revocation event's number
    created_at      timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- CA = name; generation = key + certificate. certificate_index and key_index
-- count from 0: a renewal with the same key raises only the first.
CREATE TABLE generation (
    id                bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    ca_id             bigint NOT NULL REFERENCES ca,
    certificate_index int NOT NULL,
    key_index         int NOT NULL,
    token_key_id      bigint NOT NULL REFERENCES token_key,
    state             text NOT NULL CHECK (state IN ('awaiting-certificate', 'active', 'superseded', 'retired')),
    csr               bytea,
    certificate       bytea,
    chain             bytea[] NOT NULL DEFAULT '{}',  -- its issuers, nearest first, root last
    sha256            bytea,
    ski               bytea,
    not_before        timestamptz,
    not_after         timestamptz,
    installed_at      timestamptz,
    decision_id       bigint,            -- the order that began it, ...
    installed_by      bigint,            -- ... and the one by which it got its certificate
    reminded_at       timestamptz,       -- when it was said that half of its certificate's life is over
    used_until        timestamptz,       -- superseded by another key: its last certificate ends, as last seen
    policy            text,              -- that it was begun with, or was left with; NULL: the CA's
    UNIQUE (ca_id, certificate_index)
);
CREATE UNIQUE INDEX generation_one_active ON generation (ca_id) WHERE state = 'active';
CREATE UNIQUE INDEX ON generation (sha256) WHERE sha256 IS NOT NULL;
CREATE INDEX ON generation (token_key_id);

-- -------------------------------------------------------------- templates

CREATE TABLE template (
    id    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name  text NOT NULL UNIQUE CHECK (name ~ '^[a-z0-9][a-z0-9-]{0,63}$')
);

-- Versions are immutable; a request keeps the version it was submitted under.
CREATE TABLE template_version (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    template_id  bigint NOT NULL REFERENCES template,
    version      int NOT NULL CHECK (version > 0),
    body         text NOT NULL CHECK (length(body) <= 65536),  -- YAML
    body_sha256  bytea NOT NULL CHECK (body_sha256 = sha256(convert_to(body, 'UTF8'))),
    automatic    boolean NOT NULL,       -- issues without a decision
    applied_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    UNIQUE (template_id, version)
);

-- Which templates a CA issues, by name: a CA's policy may name one that is
-- applied later.
CREATE TABLE ca_template (
    ca_id    bigint NOT NULL REFERENCES ca,
    template text NOT NULL,
    PRIMARY KEY (ca_id, template)
);

-- ------------------------------------------------------------ CRL scopes

-- Key generation x kind x attribute x shard; immutable, stored with each certificate at
-- its issuance. Beside it there may be scopes of some reasons for the same certificates.
-- Number floors are per scope. Times of the calendar live here.
CREATE TABLE crl_scope (
    id             bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    ca_id          bigint NOT NULL REFERENCES ca,
    token_key_id   bigint NOT NULL REFERENCES token_key,
    kind           text NOT NULL DEFAULT 'all' CHECK (kind IN ('all', 'user', 'ca')),
    attribute      text NOT NULL DEFAULT '', -- of the certificates' templates; '': of all others
    shard          int NOT NULL DEFAULT 0,
    shards         int NOT NULL DEFAULT 1,
    whole_id       bigint REFERENCES crl_scope, -- of some reasons: the scope of all reasons, that of the certificates
    reasons        smallint[],           -- of some: CRLReasons
    label          text NOT NULL DEFAULT '' CHECK (label ~ '^(~[a-z0-9]{1,16}){0,5}$'), -- in addresses, behind the CA's name
    current        boolean NOT NULL DEFAULT true, -- new certificates get it
    -- Values of extensions of its CRLs, DER, or absent.
    idp            bytea,                -- issuingDistributionPoint
    freshest       bytea,                -- freshestCRL of complete CRLs
    published      bytea,                -- 1.3.6.1.4.1.311.21.14
    expired_since  timestamptz,          -- expiredCertsOnCRL: who expires later stays
    last_number    numeric(49) NOT NULL DEFAULT 0,  -- CRL numbers take 20 octets
    next_full_at   timestamptz,
    next_delta_at  timestamptz,
    wanted_at      timestamptz,          -- a CRL is wanted by then, because of ...
    wanted_seq     bigint,               -- ... events up to this one
    alarm          text,                 -- why no CRL could be issued; cleared by the next one
    alarm_since    timestamptz,
    CHECK (shard >= 0 AND shard < shards)
);
CREATE UNIQUE INDEX ON crl_scope (token_key_id, kind, shard, shards, coalesce(sha256(idp), ''));
CREATE UNIQUE INDEX ON crl_scope (token_key_id, label);
CREATE INDEX ON crl_scope (whole_id);
CREATE INDEX ON crl_scope (ca_id);
CREATE INDEX ON crl_scope (next_full_at);
CREATE INDEX ON crl_scope (next_delta_at);
CREATE INDEX ON crl_scope (wanted_at);

-- ---------------------------------------------------------------- requests

CREATE TABLE request_state (name text PRIMARY KEY, final boolean NOT NULL, meaning text NOT NULL);
INSERT INTO request_state VALUES
    ('submitted',    false, 'waits for the issuer to check it'),
    ('pending',      false, 'waits for an operator''s decision'),
    ('approved',     false, 'waits for the issuer to issue it'),
    ('claimed',      false, 'an issuer works on it under a lease'),
    ('awaiting-pin', false, 'to-be-signed bytes stand; waits for a PIN'),
    ('signing',      false, 'serial and to-be-signed bytes are committed; the token signs'),
    ('issued',       true,  'the certificate exists'),
    ('rejected',     true,  'breaks a rule of its template or is no valid CSR'),
    ('denied',       true,  'an operator decided against it'),
    ('expired',      true,  'nobody decided in time'),
    ('withdrawn',    true,  'its submitter took it back'),
    ('failed',       true,  'could not be issued; says why');

CREATE TABLE request_move (
    from_state text NOT NULL REFERENCES request_state,
    to_state   text NOT NULL REFERENCES request_state,
    PRIMARY KEY (from_state, to_state)
);
INSERT INTO request_move VALUES
    ('submitted', 'claimed'), ('submitted', 'withdrawn'),
    ('claimed', 'pending'),        -- checked; the template wants a decision
    ('claimed', 'rejected'), ('claimed', 'signing'), ('claimed', 'failed'),
    ('claimed', 'submitted'), ('claimed', 'approved'),  -- lease ended: back to where it came from
    ('pending', 'approved'), ('pending', 'denied'), ('pending', 'expired'), ('pending', 'withdrawn'),
    ('approved', 'claimed'), ('approved', 'withdrawn'),
    ('signing', 'issued'), ('signing', 'failed'), ('signing', 'approved'), ('signing', 'awaiting-pin'),
    ('awaiting-pin', 'signing'), ('awaiting-pin', 'approved'), ('awaiting-pin', 'failed'),
    ('awaiting-pin', 'expired');

-- A request is in up to two of these places, none of which has what another has:
--
--   request_record  what was submitted; written once, never changed
--   request_queue   where it stands while it is open; the row that changes
--   request_end     how it ended, if not with a certificate
--
-- A request that is in neither of the last two is issued: its certificate says so.
-- The view request (below) shows all of it. No foreign keys: each submission would
-- lock the same row of ca, against those who change it, for as long as a service
-- leaves its transaction open. Rows of ca and template_version are never deleted.
-- No CHECK where single rows are written: PostgreSQL reads its text again for each
-- INSERT.
CREATE TABLE request_record (
    id                  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    ca_id               bigint NOT NULL,
    template_version_id bigint NOT NULL,
    submitted_at        timestamptz NOT NULL DEFAULT clock_timestamp(),
    public_id           uuid NOT NULL UNIQUE,
    submitter           text NOT NULL,
    idempotency_key     text,
    payload_sha256      bytea,           -- of (CA, template, CSR, attributes), beside a key
    csr                 bytea NOT NULL,  -- DER, at most 65536 octets
    attributes          jsonb NOT NULL DEFAULT '{}' -- an object
) WITH (autovacuum_vacuum_insert_scale_factor = 0.05);
ALTER TABLE request_record ALTER COLUMN csr SET STORAGE EXTERNAL; -- DER does not compress
CREATE UNIQUE INDEX request_idempotency ON request_record (submitter, idempotency_key) WHERE idempotency_key IS NOT NULL;
CREATE INDEX request_by_submitter ON request_record (submitter, id);
CREATE INDEX request_by_ca ON request_record (ca_id, id);

-- No index has a column that changes between submission and certificate, so that
-- updates stay on their page (HOT), where the next look clears them away; half of
-- each page is kept free for them. What waits for a person is due at infinity, out
-- of the way of those who claim.
--
-- Measured with backlogs of 20,000, 200,000 requests in all, four databases in turns:
-- with a fill factor of 50, 98 % of the updates stay on their page and both indexes take
-- 4 MiB; with 80 and 100 it is 39 % and 10 %, 11 and 8 MiB, and the issuer's session
-- needs a tenth to a third more CPU. What autovacuum's own settings do depends on the
-- size of the table; these keep to a number of dead rows.
CREATE TABLE request_queue (
    request_id          bigint PRIMARY KEY,
    ca_id               bigint NOT NULL,
    template_version_id bigint NOT NULL,
    retry_at            timestamptz NOT NULL DEFAULT clock_timestamp(), -- not claimed before; the queue's order
    changed_at          timestamptz NOT NULL DEFAULT clock_timestamp(),
    lease_until         timestamptz,                -- of a claim
    public_id           uuid NOT NULL,
    epoch               int NOT NULL DEFAULT 0,     -- raised by each claim
    cleared             boolean NOT NULL DEFAULT false, -- a verified decision, or an automatic template
    refusals            smallint NOT NULL DEFAULT 0,    -- serials that the signer did not take (refuse_intents)
    state               text NOT NULL DEFAULT 'submitted', -- request_check_move holds it to request_move
    reason              text                        -- why it waits
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000,
    autovacuum_vacuum_cost_delay = 0, autovacuum_vacuum_insert_threshold = -1);
-- Without request_id: once the table was vacuumed while empty, PostgreSQL would as
-- soon pass over all of this index as look a request up in the primary key.
CREATE INDEX request_due ON request_queue (ca_id, retry_at);

CREATE TABLE request_end (
    request_id bigint PRIMARY KEY,
    state      text NOT NULL CHECK (state IN ('rejected', 'denied', 'expired', 'withdrawn', 'failed')),
    reason     text,
    ended_at   timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX request_end_by_state ON request_end (state, request_id);

-- Nothing else moves a request, whoever updates the row. The condition is made
-- from request_move, because looking a move up there costs as much as the move;
-- after a change of that table it must be made again. AFTER, because a BEFORE
-- trigger would lock each row once more.
CREATE FUNCTION refuse_request_move() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION USING ERRCODE = 'CH409',
        MESSAGE = format('request %s is %s and cannot become %s', OLD.public_id, OLD.state, NEW.state);
END $$;

CREATE FUNCTION make_request_check_move() RETURNS void LANGUAGE plpgsql
SET search_path = chancery_store, pg_temp AS $$
BEGIN
    DROP TRIGGER IF EXISTS request_check_move ON request_queue;
    EXECUTE format('CREATE TRIGGER request_check_move AFTER UPDATE OF state ON request_queue FOR EACH ROW
        WHEN ((OLD.state || ''>'' || NEW.state = ANY (%L::text[])) IS NOT TRUE)
        EXECUTE FUNCTION refuse_request_move()',
        (SELECT array_agg(m.from_state || '>' || m.to_state) FROM request_move m
         JOIN request_state s ON s.name = m.to_state WHERE NOT s.final));
END $$;
SELECT make_request_check_move();

-- A row leaves the queue when its end, or its certificate, is written, by the
-- triggers on these tables, and in no other way.
CREATE FUNCTION refuse_leaving_queue() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION USING ERRCODE = 'CH403',
        MESSAGE = 'a request leaves the queue by its certificate or its end, and not otherwise';
END $$;
CREATE TRIGGER request_queue_leaving BEFORE DELETE ON request_queue
    FOR EACH STATEMENT WHEN (pg_trigger_depth() = 0) EXECUTE FUNCTION refuse_leaving_queue();
CREATE TRIGGER request_queue_emptying BEFORE TRUNCATE ON request_queue
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_leaving_queue();

CREATE FUNCTION end_requests() RETURNS trigger LANGUAGE plpgsql
SET search_path = chancery_store, pg_temp AS $$
DECLARE
    v record;
BEGIN
    WITH gone AS (
        DELETE FROM request_queue WHERE ctid = ANY (ARRAY(
            SELECT q.place FROM ended n CROSS JOIN LATERAL (
                SELECT q.ctid AS place FROM request_queue q WHERE q.request_id = n.request_id OFFSET 0) q))
        RETURNING request_id, state
    )
    SELECT n.request_id, n.state, g.state AS was INTO v FROM ended n LEFT JOIN gone g ON g.request_id = n.request_id
    WHERE NOT EXISTS (SELECT FROM request_move m WHERE m.from_state = g.state AND m.to_state = n.state) LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION USING ERRCODE = 'CH409', MESSAGE = format('request %s is %s and cannot become %s',
            (SELECT r.public_id FROM request_record r WHERE r.id = v.request_id), coalesce(v.was, 'not open'), v.state);
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER request_end_leaves_queue AFTER INSERT ON request_end REFERENCING NEW TABLE AS ended
    FOR EACH STATEMENT EXECUTE FUNCTION end_requests();

-- What the CSR asks for, as the issuer read it; what an operator is shown in a list.
CREATE TABLE request_summary (
    request_id   bigint PRIMARY KEY,
    subject      text NOT NULL,
    names        text[] NOT NULL DEFAULT '{}',   -- "dns:a.example", "ip:192.0.2.1", ...
    key_type     text NOT NULL,
    spki_sha256  bytea NOT NULL,
    csr_sha256   bytea NOT NULL                  -- of the DER; decisions are bound to it
);

-- --------------------------------------------------------------- decisions

-- An operator's signed order. The statement is the exact text that was signed;
-- nothing acts on a row before the issuer has verified the signature.
CREATE TABLE decision (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    public_id     uuid NOT NULL UNIQUE DEFAULT gen_random_uuid(),
    action        text NOT NULL CHECK (action IN ('approve', 'deny', 'revoke', 'hold', 'release',
                      'ca-create', 'ca-install', 'crl-issue', 'template-apply', 'operator-add',
                      'ca-limits', 'ca-renew', 'ca-rekey', 'ca-rollover', 'ca-cross', 'signer-reseed',
                      'key-attest', 'key-destroy')),
    request_id    bigint REFERENCES request_record, -- approve, deny
    certificate_id bigint,                       -- revoke, hold, release
    ca_id         bigint REFERENCES ca,
    credential_id bigint REFERENCES credential,  -- NULL only for the very first operator
    statement     text NOT NULL CHECK (length(statement) <= 8192),
    signature     bytea CHECK (length(signature) <= 1024),
    body          text CHECK (length(body) <= 262144), -- what the statement's digest covers (policy, template, chain)
    nonce         bytea NOT NULL CHECK (length(nonce) = 16),
    expires_at    timestamptz NOT NULL,
    state         text NOT NULL DEFAULT 'queued'
                      CHECK (state IN ('collecting', 'queued', 'working', 'applied', 'refused', 'expired')),
    epoch         int NOT NULL DEFAULT 0,
    lease_until   timestamptz,
    retry_at      timestamptz,
    outcome       text,                          -- one sentence
    result        jsonb,                         -- what was made: ids, CSR, ...
    received_via  text NOT NULL,                 -- door: "uid:1000", "tls:<sha256>"
    received_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    applied_at    timestamptz,
    UNIQUE (credential_id, nonce)
);
CREATE INDEX decision_queue ON decision (id) WHERE state IN ('queued', 'working');
CREATE UNIQUE INDEX decision_one_open_per_request ON decision (request_id)
    WHERE state IN ('queued', 'working') AND request_id IS NOT NULL;
CREATE UNIQUE INDEX decision_one_open_per_certificate ON decision (certificate_id)
    WHERE state IN ('queued', 'working') AND certificate_id IS NOT NULL;
CREATE INDEX ON decision (request_id);
CREATE INDEX ON decision (certificate_id);
CREATE INDEX decision_unapplied ON decision (state, id) WHERE state IN ('collecting', 'refused', 'expired');

-- The same statement signed by others: what the limits of a CA say takes several
-- persons collects here (migrations/0009_ceremony.sql). The first signature
-- stands in the decision itself.
CREATE TABLE decision_signature (
    decision_id   bigint NOT NULL REFERENCES decision,
    credential_id bigint NOT NULL REFERENCES credential,
    signature     bytea NOT NULL CHECK (length(signature) <= 1024),
    received_via  text NOT NULL,
    received_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (decision_id, credential_id)
);

-- The limits of a CA's key, each version as it was signed (daemon/x509/limits.h).
-- The signer has its own copy and believes no other.
CREATE TABLE ca_limits (
    ca_id        bigint NOT NULL REFERENCES ca,
    key_index    int NOT NULL DEFAULT 0,  -- of the generations that have the key
    version      int NOT NULL CHECK (version > 0),
    document     text NOT NULL CHECK (length(document) <= 32768),
    sha256       bytea NOT NULL CHECK (sha256 = sha256(convert_to(document, 'UTF8'))),
    decision_id  bigint NOT NULL REFERENCES decision,
    applied_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (ca_id, key_index, version)
);

-- ------------------------------------------------- serials, certificates

-- The intent: a serial is given away here, with the digest of the only
-- to-be-signed bytes it may ever have, before the token is asked. Never
-- partitioned: uniqueness must span everything a name ever issued. No foreign key
-- to issuer_name, whose one row all would lock, and which nothing deletes.
CREATE TABLE serial_intent (
    issuer_name_id bigint NOT NULL,
    serial         bytea NOT NULL CHECK (length(serial) = 20 AND get_byte(serial, 0) BETWEEN 1 AND 127),
    request_id     bigint,               -- NULL: a CA's own self-signed certificate
    generation_id  bigint NOT NULL,
    scope_id       bigint,
    epoch          int NOT NULL,
    tbs_sha256     bytea NOT NULL CHECK (length(tbs_sha256) = 32),
    created_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (issuer_name_id, serial)
);

-- The to-be-signed bytes of an intent until its certificate holds them. A
-- request has at most one live intent, which every retry signs again; one that
-- was given up keeps its bytes, without the request. Written in one statement with
-- its serial_intent, whose key keeps serials apart.
CREATE TABLE intent_tbs (
    issuer_name_id bigint NOT NULL,
    generation_id  bigint NOT NULL,
    scope_id       bigint NOT NULL,
    request_id     bigint UNIQUE,
    serial         bytea NOT NULL,
    tbs            bytea NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_cost_delay = 0,
    autovacuum_vacuum_insert_threshold = -1);
ALTER TABLE intent_tbs ALTER COLUMN tbs SET STORAGE EXTERNAL; -- DER does not compress
CREATE INDEX intent_tbs_without_request ON intent_tbs (issuer_name_id, serial) WHERE request_id IS NULL;

CREATE TABLE certificate (
    id                  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    issuer_name_id      bigint NOT NULL,
    serial              bytea NOT NULL,
    ca_id               bigint NOT NULL,
    generation_id       bigint NOT NULL,
    scope_id            bigint NOT NULL,
    template_version_id bigint,
    request_id          bigint,
    subject             text NOT NULL,
    names               text[] NOT NULL DEFAULT '{}',
    key_type            text,
    not_before          timestamptz NOT NULL,
    not_after           timestamptz NOT NULL,
    spki_sha256         bytea NOT NULL,
    sha256              bytea NOT NULL,  -- the thumbprint
    der                 bytea NOT NULL,
    issued_at           timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (autovacuum_vacuum_insert_scale_factor = 0.05);
ALTER TABLE certificate ALTER COLUMN der SET STORAGE EXTERNAL; -- DER does not compress
CREATE UNIQUE INDEX ON certificate (serial, issuer_name_id);
-- By thumbprint. Those of a quarter of a million certificates stand together, as
-- thumbprints are random: the pages that issuance touches stay few, however many
-- certificates there are, where one order of all would read, log and write a page of
-- its own for each. Who looks up asks one part after the other, the newest first.
CREATE INDEX certificate_thumbprint ON certificate ((id >> 18), sha256);
CREATE UNIQUE INDEX certificate_one_per_request ON certificate (request_id) WHERE request_id IS NOT NULL;
CREATE INDEX ON certificate (ca_id, id);

CREATE FUNCTION certificate_by_sha256(p_sha256 bytea) RETURNS SETOF certificate
LANGUAGE sql STABLE SET search_path = chancery_store, pg_temp AS $$
    SELECT c.* FROM generate_series((SELECT max(id) FROM certificate) >> 18, 0, -1) part
    CROSS JOIN LATERAL (SELECT * FROM certificate x WHERE x.id >> 18 = part AND x.sha256 = p_sha256 OFFSET 0) c
    LIMIT 1
$$;

-- A certificate has its intent, which is never changed or deleted (a foreign key
-- would lock each of these rows), and a request that is being signed; that request
-- leaves the queue with it.
CREATE FUNCTION issue_requests() RETURNS trigger LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET enable_material = off
SET search_path = chancery_store, pg_temp AS $$
DECLARE
    v record;
    v_gone bigint;
BEGIN
    SELECT count(*) AS certificates, count(i.known) AS known, count(n.request_id) AS requests,
        array_agg(q.place) FILTER (WHERE q.place IS NOT NULL) AS places
    INTO v FROM issued n
    LEFT JOIN LATERAL (SELECT true AS known FROM serial_intent i WHERE i.issuer_name_id = n.issuer_name_id
        AND i.serial = n.serial AND i.request_id IS NOT DISTINCT FROM n.request_id OFFSET 0) i ON true
    LEFT JOIN LATERAL (SELECT q.ctid AS place FROM request_queue q WHERE q.request_id = n.request_id OFFSET 0) q ON true;
    IF v.known < v.certificates THEN
        RAISE EXCEPTION USING ERRCODE = 'foreign_key_violation',
            MESSAGE = 'a certificate whose serial number was not committed before (serial_intent)';
    END IF;
    IF v.requests > 0 THEN
        DELETE FROM request_queue WHERE ctid = ANY (v.places) AND state = 'signing';
        GET DIAGNOSTICS v_gone = ROW_COUNT;
        IF v_gone < v.requests THEN
            RAISE EXCEPTION USING ERRCODE = 'CH409', MESSAGE = 'a certificate for a request that is not being signed';
        END IF;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER certificate_issues_request AFTER INSERT ON certificate REFERENCING NEW TABLE AS issued
    FOR EACH STATEMENT EXECUTE FUNCTION issue_requests();

-- A request as a whole. Who reads it by a column of the queue, of its end or of its
-- certificate asks that table.
CREATE VIEW request WITH (security_invoker = true) AS
SELECT r.id, r.public_id, r.ca_id, r.template_version_id, r.submitter, r.idempotency_key, r.payload_sha256,
    r.submitted_at, r.csr, r.attributes,
    CASE WHEN q.request_id IS NOT NULL THEN q.state WHEN c.id IS NOT NULL THEN 'issued' ELSE e.state END AS state,
    coalesce(q.reason, e.reason) AS reason,
    coalesce(q.changed_at, c.issued_at, e.ended_at) AS changed_at,
    coalesce(q.cleared, c.id IS NOT NULL) AS cleared,
    q.epoch, q.lease_until, q.retry_at, c.id AS certificate_id
FROM request_record r
LEFT JOIN request_queue q ON q.request_id = r.id
LEFT JOIN certificate c ON c.request_id = r.id
LEFT JOIN request_end e ON e.request_id = r.id;

-- -------------------------------------------------------------- revocation

-- Append-only, numbered under the CA row's lock, so that number order is
-- commit order. A CRL records the last number it holds.
CREATE TABLE revocation_event (
    ca_id           bigint NOT NULL REFERENCES ca,
    seq             bigint NOT NULL,
    scope_id        bigint NOT NULL,
    serial          bytea NOT NULL,
    kind            text NOT NULL CHECK (kind IN ('revoke', 'hold', 'release')),
    reason          smallint NOT NULL CHECK (reason IN (0, 1, 2, 3, 4, 5, 6, 8, 9, 10)), -- CRLReason
    revoked_at      timestamptz NOT NULL,
    not_after       timestamptz NOT NULL,   -- of the certificate
    invalidity_date timestamptz,
    decision_id     bigint REFERENCES decision,
    recorded_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (ca_id, seq),
    CHECK ((kind = 'release') = (reason = 8))
);
CREATE INDEX ON revocation_event (scope_id, seq) INCLUDE (serial);
-- The history of each serial, for the gate of CRLs: read without the table.
CREATE INDEX revocation_history ON revocation_event (scope_id, serial, seq DESC)
    INCLUDE (reason, revoked_at, not_after, invalidity_date);
-- A key in strange hands makes every CRL without it worthless, also one that waits.
CREATE INDEX revocation_compromise ON revocation_event (scope_id, seq) WHERE kind = 'revoke' AND reason IN (1, 2);

-- What stands now: narrow, one row for each certificate that is revoked or on
-- hold; a release deletes it. seq is the event that last changed it.
CREATE TABLE revocation (
    scope_id        bigint NOT NULL,
    serial          bytea NOT NULL,
    revoked_at      timestamptz NOT NULL,
    not_after       timestamptz NOT NULL,   -- of the certificate
    seq             bigint NOT NULL,
    reason          smallint NOT NULL,
    invalidity_date timestamptz
);
CREATE UNIQUE INDEX revocation_entry ON revocation (scope_id, serial)
    INCLUDE (revoked_at, not_after, seq, reason, invalidity_date);

-- -------------------------------------------------------------------- CRLs

-- An artifact is what gets published: DER in chunks of at most 1 MiB.
CREATE TABLE artifact (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind          text NOT NULL CHECK (kind IN ('ca-certificate', 'crl', 'delta-crl', 'certificate')),
    ca_id         bigint NOT NULL REFERENCES ca,
    generation_id bigint REFERENCES generation,
    scope_id      bigint REFERENCES crl_scope,
    rank          numeric(49) NOT NULL,     -- newest wins: CRL number, certificate index
    size          bigint,                   -- octets; NULL until complete
    sha256        bytea,                    -- NULL until complete
    not_before    timestamptz,
    not_after     timestamptz,              -- notAfter, nextUpdate
    complete      boolean NOT NULL DEFAULT false,
    created_at    timestamptz NOT NULL DEFAULT clock_timestamp()
);
-- Which artifact stands for a slot is one index look-up.
CREATE INDEX artifact_newest_crl ON artifact (scope_id, kind, rank DESC) WHERE complete AND scope_id IS NOT NULL;
CREATE INDEX artifact_newest_certificate ON artifact (ca_id, rank DESC) WHERE complete AND kind = 'ca-certificate';

CREATE TABLE artifact_chunk (
    artifact_id bigint NOT NULL REFERENCES artifact ON DELETE CASCADE,
    position    int NOT NULL,
    data        bytea NOT NULL CHECK (length(data) <= 1048576),
    PRIMARY KEY (artifact_id, position)
);
ALTER TABLE artifact_chunk ALTER COLUMN data SET STORAGE EXTERNAL; -- DER does not compress

CREATE TABLE crl (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    scope_id     bigint NOT NULL REFERENCES crl_scope,
    number       numeric(49) NOT NULL CHECK (number > 0),
    delta        boolean NOT NULL,
    base_id      bigint REFERENCES crl,     -- of a delta
    scheduled    boolean NOT NULL,          -- by the calendar; on demand releases no entry
    this_update  timestamptz NOT NULL,
    next_update  timestamptz NOT NULL,
    upto_seq     bigint,                    -- set with the spool's snapshot
    entries      bigint,
    tbs_sha256   bytea,                     -- committed before the token is asked
    artifact_id  bigint REFERENCES artifact,
    decision_id  bigint REFERENCES decision,
    state        text NOT NULL CHECK (state IN ('building', 'signing', 'awaiting-pin', 'prepared', 'issued', 'burnt')),
    epoch        int NOT NULL DEFAULT 0,
    lease_until  timestamptz,
    stale_at     timestamptz,               -- waits for a PIN: from then on another is made instead
    created_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    issued_at    timestamptz,
    CHECK (delta = (base_id IS NOT NULL)),
    UNIQUE (scope_id, number, delta)        -- a number serves one complete and one delta CRL
);
CREATE UNIQUE INDEX crl_one_open ON crl (scope_id) WHERE state IN ('building', 'signing', 'awaiting-pin');
CREATE INDEX crl_awaiting_pin ON crl (decision_id) WHERE state = 'awaiting-pin';
CREATE INDEX crl_newest ON crl (scope_id, delta, number DESC) WHERE state = 'issued';

-- By which one of a root's keys vouches for another (RFC 4210 4.4). Its certificate is in
-- the table of certificates, too, once it is signed.
CREATE TABLE rollover (
    decision_id        bigint PRIMARY KEY REFERENCES decision,
    ca_id              bigint NOT NULL REFERENCES ca,
    signer_generation  bigint NOT NULL REFERENCES generation,
    subject_generation bigint NOT NULL REFERENCES generation,
    serial             bytea NOT NULL,
    certificate        bytea,
    not_after          timestamptz
);
CREATE INDEX ON rollover (ca_id);

-- By which a CA elsewhere vouches for a key of ours (RFC 5280 3.2, cross-certificate):
-- handed out beside the CA's own, and never part of the chain that it issues under.
CREATE TABLE cross_certificate (
    decision_id bigint PRIMARY KEY REFERENCES decision,
    ca_id       bigint NOT NULL REFERENCES ca,
    issuer      text NOT NULL, -- readable
    certificate bytea NOT NULL,
    sha256      bytea NOT NULL,
    not_after   timestamptz NOT NULL,
    UNIQUE (ca_id, sha256)
);

-- ------------------------------------------------------------- publication

-- Where the artifacts of a CA go, and the URL at which clients read them.
CREATE TABLE target (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    ca_id       bigint NOT NULL REFERENCES ca,
    scope_id    bigint REFERENCES crl_scope, -- only CRLs of this one; NULL: all of the CA's
    name        text NOT NULL,
    kind        text NOT NULL CHECK (kind IN ('file', 'http', 'ldap', 'sftp', 'command')),
    artifact    text NOT NULL CHECK (artifact IN ('ca-certificate', 'crl', 'delta-crl', 'certificate')),
    write_url   text NOT NULL,   -- file path, URL to PUT, LDAP URL with DN, sftp URL, program
    read_url    text NOT NULL,   -- where clients look
    options     jsonb NOT NULL DEFAULT '{}', -- credential names, never credentials
    until       timestamptz,     -- of a place that the policy no longer names: nothing new goes there afterwards
    UNIQUE (ca_id, name)
);

-- Whose artifacts go there: those of these generations, and of their keys. A target
-- that stands here with none takes all of its CA's.
CREATE TABLE target_generation (
    target_id     bigint NOT NULL REFERENCES target,
    generation_id bigint NOT NULL REFERENCES generation,
    PRIMARY KEY (target_id, generation_id)
);

-- One desired state for each target and slot; the newest artifact wins.
CREATE TABLE publication (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    target_id    bigint NOT NULL REFERENCES target,
    scope_id     bigint REFERENCES crl_scope,     -- NULL for certificates
    certificate_id bigint,                        -- of a certificate that goes to its subject's entry
    artifact_id  bigint NOT NULL REFERENCES artifact,
    state        text NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'working', 'done', 'no-entry', 'over')),
    epoch        int NOT NULL DEFAULT 0,          -- the fence: a stale worker cannot report
    lease_until  timestamptz,
    attempts     int NOT NULL DEFAULT 0,          -- for this artifact
    next_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    last_error   text,
    done_at      timestamptz,
    changed_at   timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE UNIQUE INDEX ON publication (target_id, coalesce(scope_id, 0), coalesce(certificate_id, 0));
CREATE INDEX publication_due ON publication (next_at) WHERE state <> 'done';

CREATE TABLE publication_attempt (
    id             bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    publication_id bigint NOT NULL REFERENCES publication,
    artifact_id    bigint NOT NULL REFERENCES artifact,
    started_at     timestamptz NOT NULL,
    ended_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    outcome        text NOT NULL CHECK (outcome IN ('done', 'superseded', 'failed')),
    error          text
);
CREATE INDEX ON publication_attempt (publication_id, id);

-- ------------------------------------------------------------------- audit

-- Written in the transaction of the change itself; nobody may update or delete.
CREATE TABLE audit (
    id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    writer   text NOT NULL DEFAULT session_user,
    actor    text NOT NULL,      -- who caused it
    action   text NOT NULL,      -- request.submitted, certificate.issued, ...
    object   text NOT NULL,      -- the public name of what it is about
    detail   jsonb NOT NULL DEFAULT '{}'
);

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION USING ERRCODE = 'CH403',
        MESSAGE = format('table %s is append-only: rows are never changed or deleted', TG_TABLE_NAME);
END $$;
CREATE TRIGGER audit_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER revocation_event_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON revocation_event
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER serial_intent_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON serial_intent
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER request_record_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON request_record
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER request_end_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON request_end
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER template_version_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON template_version
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER decision_signature_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON decision_signature
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER ca_limits_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON ca_limits
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- ------------------------------------------------------ row-level security

-- A submitter's functions run as chancery_api and see only rows of the
-- session's own user; front and issuer see all.
ALTER TABLE request_record ENABLE ROW LEVEL SECURITY;
ALTER TABLE request_record FORCE ROW LEVEL SECURITY;
ALTER TABLE request_queue ENABLE ROW LEVEL SECURITY;
ALTER TABLE request_queue FORCE ROW LEVEL SECURITY;
ALTER TABLE request_end ENABLE ROW LEVEL SECURITY;
ALTER TABLE request_end FORCE ROW LEVEL SECURITY;
CREATE POLICY issuer_all ON request_record FOR SELECT TO chancery_issuer USING (true);
CREATE POLICY issuer_all ON request_queue TO chancery_issuer USING (true) WITH CHECK (true);
CREATE POLICY issuer_all ON request_end TO chancery_issuer USING (true) WITH CHECK (true);
CREATE POLICY own_rows ON request_record FOR SELECT TO chancery_api
    USING (session_user = 'chancery_front' OR session_user = 'chancery_issuer' OR submitter = 'sql:' || session_user);
CREATE POLICY own_submits ON request_record FOR INSERT TO chancery_api
    WITH CHECK (submitter = 'sql:' || session_user
        OR session_user = 'chancery_front' AND submitter NOT LIKE 'sql:%');
-- The record's own policy says whose it is. A scalar subquery, because the planner
-- would as soon answer EXISTS by a pass over all records.
CREATE POLICY own_rows ON request_queue FOR SELECT TO chancery_api
    USING (session_user IN ('chancery_front', 'chancery_issuer')
        OR (SELECT true FROM request_record r WHERE r.id = request_id));
-- What has ended stays ended. The record is of the same statement, and not to be
-- seen yet.
CREATE POLICY submits ON request_queue FOR INSERT TO chancery_api
    WITH CHECK (NOT EXISTS (SELECT FROM request_end e WHERE e.request_id = request_queue.request_id)
        AND NOT EXISTS (SELECT FROM certificate c WHERE c.request_id = request_queue.request_id));
CREATE POLICY own_ends ON request_queue FOR DELETE TO chancery_api
    USING ((SELECT true FROM request_record r WHERE r.id = request_id));
CREATE POLICY own_rows ON request_end FOR SELECT TO chancery_api
    USING (session_user IN ('chancery_front', 'chancery_issuer')
        OR (SELECT true FROM request_record r WHERE r.id = request_id));
-- Withdrawing is the only move that a caller of our functions makes.
CREATE POLICY own_withdrawals ON request_end FOR INSERT TO chancery_api
    WITH CHECK (state = 'withdrawn' AND (SELECT true FROM request_record r WHERE r.id = request_id));

-- --------------------------------------------------------------- the grants

-- Functions of schema chancery run as chancery_api: just what they need.
GRANT SELECT ON ALL TABLES IN SCHEMA chancery_store TO chancery_api;
GRANT EXECUTE ON FUNCTION certificate_by_sha256 TO chancery_api, chancery_issuer;
GRANT INSERT ON request_record, decision, decision_signature TO chancery_api;
-- A request starts as submitted, undecided, never claimed and due at once.
GRANT INSERT (request_id, ca_id, template_version_id, public_id) ON request_queue TO chancery_api;
GRANT INSERT (request_id, state, reason) ON request_end TO chancery_api;
GRANT DELETE ON request_queue TO chancery_api; -- by the triggers
GRANT UPDATE (state, outcome, applied_at) ON decision TO chancery_api; -- collecting to queued, or withdrawn
GRANT UPDATE (next_at, changed_at) ON publication TO chancery_api;

-- The issuer works on the tables, but can rewrite no history.
GRANT SELECT ON ALL TABLES IN SCHEMA chancery_store TO chancery_issuer;
GRANT INSERT ON ALL TABLES IN SCHEMA chancery_store TO chancery_issuer;
REVOKE INSERT ON role, request_state, request_move, request_record, request_queue, audit, decision_signature
    FROM chancery_issuer;
-- Number, time and writer of an entry are the server's to say.
GRANT INSERT (actor, action, object, detail) ON audit TO chancery_api, chancery_issuer;
GRANT UPDATE (state, cleared, epoch, lease_until, retry_at, reason, refusals, changed_at) ON request_queue
    TO chancery_issuer;
GRANT DELETE ON request_queue TO chancery_issuer; -- by the triggers
GRANT UPDATE (request_id, certificate_id, ca_id, state, epoch, lease_until, retry_at, outcome, result, applied_at)
    ON decision TO chancery_issuer;
GRANT UPDATE (request_id) ON intent_tbs TO chancery_issuer;
GRANT UPDATE (revoked_at) ON credential TO chancery_issuer;
GRANT UPDATE (destroyed_at) ON token_key TO chancery_issuer;
GRANT UPDATE (retired_at) ON token_key TO chancery_issuer;
GRANT UPDATE ON rollover, ca, generation, crl_scope, crl, artifact, revocation, publication, target TO chancery_issuer;
GRANT UPDATE, DELETE ON request_summary TO chancery_issuer; -- a check that is repeated
GRANT DELETE ON ca_template, intent_tbs, revocation, artifact, artifact_chunk TO chancery_issuer;
