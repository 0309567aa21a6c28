#ifndef CHANCERY_CORE_CONFIG_INT_H
#define CHANCERY_CORE_CONFIG_INT_H

#include "daemon/core/config.h"
#include "daemon/core/yaml.h"

/* ---- config_check.c: rules on the files that the configuration names. Each fills
 * in err with the words that follow the key's place: "'/x' is ...; allowed: ...". */

/* A regular, readable file. */
bool config_check_file(const char *path, struct error *err) MUST_CHECK;

/* The same, and a shared library: an ELF file. */
bool config_check_module(const char *path, struct error *err) MUST_CHECK;

/* A file that config_open_secret opens. */
bool config_check_secret(const char *path, struct error *err) MUST_CHECK;

/* A directory that belongs to root or us and that we may enter, without the
 * forbidden bits in its mode; with may_be_made it may be missing as long as its
 * parent is there. */
bool config_check_directory(
    const char *path, mode_t forbidden, bool may_be_made, struct error *err) MUST_CHECK;

/* ---- config_read.c: what all readers share */

/* Goes through all readers. Like the getters of yaml.h they do nothing once
 * err is set; the end of each mapping tells. */
struct reader {
	struct config *cfg;
	bool files;  /* look at the files that are named */
	bool public; /* others may read the file: no place for passwords */
	struct error *err;
};

/* NULL when out of memory, with err set. */
char *config_copy(struct reader *r, const char *text);

/* True when the key is there and its value was taken. */
bool config_read_text(
    struct reader *r, struct yaml_map *map, const char *key, enum yaml_need need, char **out);

/* The same for an absolute path. */
bool config_read_path(
    struct reader *r, struct yaml_map *map, const char *key, enum yaml_need need, char **out);

/* Begins with '/', and is no longer than the kernel takes. */
bool config_is_absolute(const char *path) MUST_CHECK;

/* A list of at most CONFIG_PATHS_MAX absolute paths. */
void config_read_paths(
    struct reader *r, struct yaml_map *map, const char *key, struct config_paths *out);

/* A path and the rule that its file has to keep, for the user who will use it: one
 * of the users in cfg, who does not matter where roles have none of their own. */
typedef bool config_check_fn(const char *path, struct error *err);
void config_read_file(struct reader *r, struct yaml_map *map, const char *key, enum yaml_need need,
    char **out, config_check_fn *check, const struct identity *user);

/* True if the text has 1..max bytes, all of them of these characters. */
bool config_consists_of(const char *text, size_t max, const char *characters);

void config_free_paths(struct config_paths *paths);

/* ---- config_token.c */

void config_read_tokens(struct reader *r, struct yaml_map *root);
void config_free_token(struct config_token *t);
/* Whether `select` names this one, by itself or among others. */
bool config_names_token(const struct config_token *t, const char *what) MUST_CHECK;

/* ---- config_access.c: `access` and what belongs to it; the PIN's source */

void config_read_access(struct reader *r, struct yaml_map *map, struct config_token *t);
void config_free_access(struct config_token *t);

/* False when another token of the configuration is the same one, with another way
 * of access: *other. */
bool config_check_mixed_access(const struct config *cfg, const struct config_token *t,
    const struct config_token **other) MUST_CHECK;

/* ---- config_publish.c: issuer.publish_dirs */

/* After the tokens, whose users it knows. */
void config_read_publish_dirs(struct reader *r, struct yaml_map *issuer);
void config_free_publish_dirs(struct config_publish_dirs *dirs);

/* ---- config_separation.c: `separation` and `sandbox` */

/* The user of one token's signer; after config_read_separation. */
void config_read_token_user(struct reader *r, struct yaml_map *map, struct config_token *t);
void config_read_separation(struct reader *r, struct yaml_map *root);

#endif
