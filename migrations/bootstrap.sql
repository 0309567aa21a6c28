-- Cluster roles. Run once by a superuser of the cluster, connected to the
-- database that Chancery will use; can be run again.
--
--   createdb chancery && psql -d chancery -f bootstrap.sql
--
-- chancery_owner     owns tables, runs migrations
-- chancery_api       owns the functions that others call; no login
-- chancery_issuer    the issuer process
-- chancery_front     the front process: may only call functions of schema chancery
-- chancery_submitter group of the services that submit requests by SQL
-- chancery_auditor   group of those who read

DO $$
DECLARE
    r record;
BEGIN
    FOR r IN SELECT * FROM (VALUES
        ('chancery_owner', true), ('chancery_api', false), ('chancery_issuer', true),
        ('chancery_front', true), ('chancery_submitter', false), ('chancery_auditor', false)
    ) AS v (name, login)
    LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = r.name) THEN
            EXECUTE format('CREATE ROLE %I %s NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION',
                r.name, CASE WHEN r.login THEN 'LOGIN' ELSE 'NOLOGIN' END);
        END IF;
    END LOOP;
END $$;

-- The owner hands new functions to chancery_api, for which it must be a member.
GRANT chancery_api TO chancery_owner;

DO $$
BEGIN
    EXECUTE format('REVOKE ALL ON DATABASE %I FROM PUBLIC', current_database());
    EXECUTE format('GRANT CONNECT ON DATABASE %I TO chancery_owner, chancery_issuer, chancery_front, chancery_submitter, chancery_auditor', current_database());
    EXECUTE format('GRANT CREATE ON DATABASE %I TO chancery_owner', current_database());
    EXECUTE format('ALTER DATABASE %I OWNER TO chancery_owner', current_database());
END $$;
REVOKE CREATE ON SCHEMA public FROM PUBLIC;

-- Large objects need no right on any table: every login could fill the disk.
REVOKE EXECUTE ON FUNCTION lo_creat(integer), lo_create(oid), lo_from_bytea(oid, bytea) FROM PUBLIC;
