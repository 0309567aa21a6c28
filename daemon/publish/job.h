#ifndef CHANCERY_PUBLISH_JOB_H
#define CHANCERY_PUBLISH_JOB_H

/*
 * What the outbox tells a courier and what the courier answers: the order to
 * bring one artifact to one target and to read it back, and its result. Each
 * is a frame: u32 length, then the payload in the codec of wire.h. The job's
 * frame lies in a file, so that handing it over never waits for the courier;
 * it and the artifact travel as descriptors over the courier's socket.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/core/attr.h"
#include "daemon/core/error.h"
#include "daemon/core/sandbox.h"
#include "daemon/core/wire.h"

#define PUBLISH_URL_MAX 2048	    /* a target's write or read URL, with its NUL */
#define PUBLISH_NAME_MAX 128	    /* names of targets, credentials; with NUL */
#define PUBLISH_PATH_MAX 1024	    /* paths from the configuration, with NUL */
#define PUBLISH_COMPANIONS_MAX 64   /* other CA certificates kept beside an artifact */
#define PUBLISH_COMPANION_MAX 65536 /* octets of one */
#define PUBLISH_CROSSES_MAX 8	    /* certificates of CAs elsewhere for one of ours */
#define PUBLISH_FRAME_MAX \
	((size_t)(PUBLISH_COMPANIONS_MAX + PUBLISH_CROSSES_MAX) * PUBLISH_COMPANION_MAX + 131072)
#define PUBLISH_SHA256_LEN 32
#define PUBLISH_MODE_MAX 0666 /* permissions of a file */

enum artifact_kind {
	ARTIFACT_CA_CERTIFICATE,
	ARTIFACT_CRL,
	ARTIFACT_DELTA_CRL,
	ARTIFACT_CERTIFICATE, /* of a person or a machine, for its entry */
};

enum target_kind {
	TARGET_FILE,
	TARGET_HTTP,
	TARGET_LDAP,
	TARGET_SFTP,
	TARGET_COMMAND,
};

enum target_tls {
	TARGET_TLS_NONE,     /* as the URL's scheme says */
	TARGET_TLS_STARTTLS, /* ldap:// and StartTLS, RFC 4513 3 */
	TARGET_TLS_LDAPS,
};

enum target_auth {
	TARGET_AUTH_BASIC,  /* the credential is "user:password", RFC 7617 */
	TARGET_AUTH_BEARER, /* the credential is a token, RFC 6750 */
	TARGET_AUTH_SIGV4,  /* it is "access key:secret key" of an S3 server */
	TARGET_AUTH_KEY,    /* it is a private key of SSH */
	TARGET_AUTH_PASSWORD,
	TARGET_AUTH_GSSAPI, /* it is a keytab or a cache of Kerberos tickets */
};

/* How a directory keeps what is published. */
enum target_schema {
	TARGET_SCHEMA_RFC4523,
	TARGET_SCHEMA_AD, /* Active Directory's: no ";binary", other classes */
};

struct publish_job {
	char target[PUBLISH_NAME_MAX]; /* for messages: "demo/web-crl" */
	enum target_kind kind;
	enum artifact_kind artifact;
	char write_url[PUBLISH_URL_MAX]; /* kind file: an absolute path or file:///path */
	char read_url[PUBLISH_URL_MAX];
	char credential_path[PUBLISH_PATH_MAX];	 /* "" : none */
	char ca_file[PUBLISH_PATH_MAX];		 /* "" : the system's own */
	char krb5_config[PUBLISH_PATH_MAX];	 /* "" : the system's own */
	char certificate_path[PUBLISH_PATH_MAX]; /* PEM of our certificate and key; "" : none */
	char command_path[PUBLISH_PATH_MAX];	 /* kind command */
	char bind_dn[PUBLISH_URL_MAX];
	char region[PUBLISH_NAME_MAX];	 /* of an S3 bucket */
	char user[PUBLISH_NAME_MAX];	 /* kind sftp */
	uint16_t mode;			 /* kind file: permissions ... */
	char group[PUBLISH_NAME_MAX];	 /* ... and group, or "" */
	char writer[PUBLISH_NAME_MAX];	 /* ... and the user whose it is; "" : the courier's */
	char host_key[PUBLISH_NAME_MAX]; /* base64 of its SHA-256 */
	enum target_schema schema;
	enum target_tls tls;
	enum target_auth auth;
	enum sandbox_mode sandbox;
	bool webdav; /* PUT under another name, then MOVE (RFC 4918 9.9) */
	/* Of a certificate: */
	bool absent;			  /* take it out */
	bool vouched;			  /* an operator decided about the names in it */
	char requester[PUBLISH_NAME_MAX]; /* "": nobody with a name */
	char entry[PUBLISH_URL_MAX];	  /* DN where it was put before; "": not known */
	bool look;			  /* only fetch, into the artifact's descriptor (look.h) */
	bool look_first;     /* when the read URL has the artifact already, write nothing */
	uint32_t timeout_ms; /* for everything together */
	uint64_t size;	     /* of the artifact */
	uint8_t sha256[PUBLISH_SHA256_LEN];
	struct bytes issuer; /* DER of the certificate whose key signs the CRLs; empty: unknown */
	/* DER of the CA's other unexpired certificates, which stay in a directory's
	 * cACertificate beside this one. After decoding they and issuer point into the
	 * frame. */
	size_t companion_count;
	struct bytes companions[PUBLISH_COMPANIONS_MAX];
	/* By which CAs elsewhere vouch for the CA, DER, for crossCertificatePair; that
	 * attribute is left alone unless crossed. */
	bool crossed;
	size_t cross_count;
	struct bytes crosses[PUBLISH_CROSSES_MAX];
};

enum publish_outcome {
	PUBLISH_FAILED,	   /* error says why */
	PUBLISH_SAME,	   /* read back byte-identical */
	PUBLISH_DIFFERENT, /* read back something else, described by read_* */
	PUBLISH_NOWHERE,   /* the certificate's subject has no entry there; error says why */
};

struct publish_result {
	enum publish_outcome outcome;
	uint64_t read_size;
	uint8_t read_sha256[PUBLISH_SHA256_LEN];
	char entry[PUBLISH_URL_MAX]; /* of a certificate: DN of its entry, or "" */
	struct error error;	     /* of PUBLISH_FAILED, and a sentence for PUBLISH_DIFFERENT */
};

/* Words of the database and the policy file: "ca-certificate", "crl",
 * "delta-crl", "certificate"; "file", "http", "ldap", "sftp", "command"; "none", "starttls",
 * "ldaps"; "basic", "bearer", "aws-sigv4", "key", "password", "gssapi"; "rfc4523", "ad".
 * False for any other word. */
bool artifact_kind_parse(const char *word, enum artifact_kind *kind) MUST_CHECK;
bool target_kind_parse(const char *word, enum target_kind *kind) MUST_CHECK;
bool target_tls_parse(const char *word, enum target_tls *tls) MUST_CHECK;
bool target_auth_parse(const char *word, enum target_auth *auth) MUST_CHECK;
bool target_schema_parse(const char *word, enum target_schema *schema) MUST_CHECK;
const char *artifact_kind_name(enum artifact_kind kind);

/* Appends the payload to an initialised writer; ask wire_writer_ok. */
void publish_job_encode(const struct publish_job *job, struct wire_writer *w);
/* Reads a payload; companions point into it. ERROR_INPUT. */
bool publish_job_decode(
    const void *payload, size_t len, struct publish_job *job, struct error *err) MUST_CHECK;

void publish_result_encode(const struct publish_result *result, struct wire_writer *w);
/* Its texts are lines of UTF-8. On failure the result is empty; err may be its own. */
bool publish_result_decode(
    const void *payload, size_t len, struct publish_result *result, struct error *err) MUST_CHECK;

#define PUBLISH_RESULT_MAX 4096 /* octets of a result's payload */

/* One frame over a blocking descriptor, whole; in a file, from its current
 * offset. The read buffer is the caller's to free. */
bool publish_frame_write(int fd, const struct wire_writer *payload, struct error *err) MUST_CHECK;
bool publish_frame_read(int fd, uint8_t **payload, size_t *len, struct error *err) MUST_CHECK;

/* A result as one such frame. */
bool publish_result_write(
    int fd, const struct publish_result *result, struct error *err) MUST_CHECK;

/* Descriptors over a Unix socket, in one message (SCM_RIGHTS): to a courier job file and
 * artifact, and its socket to a writer where it has one. Sending copies them, and never
 * waits: ERROR_LIMIT where there is no room. */
#define PUBLISH_DESCRIPTORS_MAX 3
bool publish_descriptors_send(
    int socket, const int *fds, size_t count, struct error *err) MUST_CHECK;
/* Waits for a message with min to max descriptors, which are close-on-exec and the
 * caller's. ERROR_UNAVAILABLE: the other end is closed. */
bool publish_descriptors_receive(
    int socket, int *fds, size_t min, size_t max, size_t *count, struct error *err) MUST_CHECK;
/* Those that are there; -1: none is. */
void publish_descriptors_close(const int *fds, size_t count);

#endif
