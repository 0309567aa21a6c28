#ifndef CHANCERY_CORE_CONFIG_H
#define CHANCERY_CORE_CONFIG_H

/*
 * The configuration file, chanceryd.conf(5). It is read whole or not at all;
 * each error names file, line, column and what is allowed. Every process
 * reads the file itself; a reload makes a new struct config and swaps it.
 *
 * All strings are owned by the struct. Optional ones are NULL when absent.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>

#include "daemon/core/attr.h"
#include "daemon/core/error.h"
#include "daemon/core/identity.h"
#include "daemon/core/log.h"
#include "daemon/core/sandbox.h"

#define CONFIG_DEFAULT_PATH "/etc/chancery/chanceryd.yaml"

#define CONFIG_TOKENS_MAX 16
#define CONFIG_TOKEN_NAME_MAX 32 /* characters: a-z 0-9 - */
#define CONFIG_MEMBERS_MAX 8	 /* tokens of a group */
#define CONFIG_CRL_LEASE_MAX_S 86400
#define CONFIG_THREADS_MAX 64
#define CONFIG_ENVIRONMENT_MAX 32
#define CONFIG_LISTENERS_MAX 16 /* of one kind */
#define CONFIG_BATCH_MAX 256
#define CONFIG_DRAIN_MAX_S 600
#define CONFIG_PATHS_MAX 32  /* of one list */
#define CONFIG_WRITER_MAX 32 /* bytes of the name of a user who files belong to */
#define CONFIG_PIN_OPERATORS_MAX 32
#define CONFIG_PERSON_MAX 64 /* bytes of a person's name */

struct config_variable {
	char *name, *value;
};

/* Paths, or other texts. */
struct config_paths {
	char **items;
	size_t count;
};

enum config_select {
	CONFIG_SELECT_LABEL,  /* CKA_LABEL of the token, without trailing blanks */
	CONFIG_SELECT_SERIAL, /* its serial number */
	CONFIG_SELECT_URI,    /* RFC 7512 "pkcs11:..." naming a token */
};

/* Whose PIN it is; the numbers are those of enum signproto_access. */
enum config_access {
	CONFIG_ACCESS_AUTO,	 /* kept on this host, used for each login */
	CONFIG_ACCESS_SESSION,	 /* an operator's, who unlocks for a while */
	CONFIG_ACCESS_OPERATION, /* an operator's, for each operation */
};

/* "auto", "session", "operation". */
const char *config_access_name(enum config_access access);

/* Whose envelopes a signer opens. */
struct config_pin_operator {
	char *name;
	char *key; /* path of a PEM file, or base64 of a SubjectPublicKeyInfo */
};

struct config_token {
	char *name;
	char *module; /* path of the PKCS#11 module */
	enum config_select select_by;
	char *select;
	/* Of a group: the tokens that come after that one, which have the same keys. */
	struct config_paths others;
	bool spread; /* all of them sign, not only the first that works */
	struct identity
	    user; /* of its signer: separation.signer, or its own; for a role only the name */
	enum config_access access;
	char *pin_file;	      /* with ACCESS_AUTO exactly one of these two is set */
	char *pin_credential; /* name of a file in $CREDENTIALS_DIRECTORY */
	struct config_pin_operator *pin_operators; /* without it, at least one */
	size_t pin_operator_count;
	/* What no unlock may exceed; 0: no such limit. */
	int64_t session_max_s, session_idle_max_s, session_signatures_max;
	int64_t user_type; /* for C_Login */
	unsigned threads;
	unsigned call_timeout_s;	     /* of a call of the module */
	unsigned crl_lease_s;		     /* how long CRL duty lasts from a CRL on */
	struct config_variable *environment; /* for that signer's process only */
	size_t environment_count;
	enum sandbox_profile profile;
	bool network, unix_sockets;   /* what sockets the module may make */
	struct config_paths writable; /* beyond the signer's own directory */
};

struct config_address {
	char *text; /* as written: "127.0.0.1:8080", "[::1]:8080" */
	struct sockaddr_storage addr;
	socklen_t len;
};

struct config_https {
	struct config_address listen;
	char *certificate, *key; /* paths of PEM files */
};

struct config_front {
	char *unix_path; /* NULL: no Unix socket */
	mode_t unix_mode;
	char *unix_group; /* NULL: the process's own */
	gid_t unix_gid;	  /* of unix_group; (gid_t)-1 without */
	struct config_address *http;
	size_t http_count;
	struct config_https *https;
	size_t https_count;
	struct config_address metrics; /* text NULL: none */
};

/* A directory that targets of kind file may lie below. */
struct config_publish_dir {
	char *path;
	/* Whose its files are: a writer's, which runs as that user (daemon/publish/writer.h);
	 * without a name the issuer's own. For a role only the name. */
	struct identity user;
};

struct config_publish_dirs {
	struct config_publish_dir *items;
	size_t count;
};

struct config_issuer {
	uint16_t signer_id;	    /* 1..65535, octets 2 and 3 of every serial number */
	unsigned batch;		    /* requests claimed at once */
	uint64_t crl_abstract_from; /* octets of a CRL that operators see by its abstract */
	char *credentials_dir;
	char *commands_dir; /* programs of targets of kind command */
	char *ca_file;
	char *krb5_config; /* NULL: the system's */
	struct config_publish_dirs publish_dirs;
};

enum config_separation {
	CONFIG_SEPARATION_UNSET, /* as none; but not for root */
	CONFIG_SEPARATION_NONE,	 /* all roles run as the user who starts the daemon */
	CONFIG_SEPARATION_USERS,
};

struct config {
	char *path; /* of the file itself, absolute */
	char *state_dir;
	enum log_level log_level;
	unsigned drain_timeout_s;
	enum sandbox_mode sandbox;
	enum config_separation separation;
	struct identity signer_user, issuer_user,
	    front_user;	      /* with users; for a role only the names */
	char *database_owner; /* libpq connection strings; owner only for --migrate */
	char *database_issuer;
	char *database_front;
	struct config_token *tokens;
	size_t token_count;
	struct config_front front;
	struct config_issuer issuer;
};

/* Reads and checks the file, and the files it names: modules exist and can be
 * read, PIN files are private (config_open_secret), users and a group are known.
 * Where roles have users of their own, each file is looked at by a child that is
 * the user who will need it. ERROR_CONFIG with one sentence otherwise, and *cfg is
 * left empty. */
bool config_load(const char *path, struct config *cfg, struct error *err) MUST_CHECK;

/* The same without looking at the files it names: for a role, which meets its
 * own ones when it uses them and must not fail because of another role's. */
bool config_load_for_role(const char *path, struct config *cfg, struct error *err) MUST_CHECK;

/* Frees what cfg owns and empties it. */
void config_free(struct config *cfg);

/* The token of that name, or NULL. */
const struct config_token *config_find_token(const struct config *cfg, const char *name);

/* The user of that name to whom files of publish_dirs belong, or NULL. */
const struct identity *config_find_writer(const struct config *cfg, const char *user);

/* Opens a file that holds a secret, for reading, close-on-exec: a regular file
 * and no symbolic link, owned by root or by our effective uid, mode 0600 or
 * stricter. The checks are made on the open descriptor. ERROR_CONFIG. */
bool config_open_secret(const char *path, int *fd, struct error *err) MUST_CHECK;

/* "127.0.0.1:8080" or "[::1]:8080", numeric, port 0..65535. On success out
 * owns its text. */
bool config_parse_address(
    const char *text, struct config_address *out, struct error *err) MUST_CHECK;

#endif
