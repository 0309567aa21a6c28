#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon/core/config_int.h"

#define ADVICE \
	"separation: {signer: USER, issuer: USER, front: USER} gives each role a user of its own"

/* ---- users */

static bool
may_read(void *arg, struct error *err)
{
	const char *path = arg;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return error_set_errno(
		    err, ERROR_CONFIG, "uid %u cannot read %s", (unsigned)geteuid(), path);
	(void)close(fd);
	return true;
}

static void
read_user(struct reader *r, struct yaml_map *map, const char *key, struct identity *out)
{
	struct error why = ERROR_INIT;
	const char *text;

	if (!yaml_get_string(map, key, YAML_REQUIRED, &text, r->err))
		return;
	(void)snprintf(out->name, sizeof out->name, "%s", text);
	if (!r->files)
		return;
	/* Each role reads the file itself. */
	if (!identity_parse(text, out, &why) ||
	    (geteuid() == 0 && !identity_check(out, may_read, r->cfg->path, &why)))
		(void)yaml_fail_key(map, key, r->err, "%s", why.text);
}

/* The point of it: what one role has, another cannot touch. */
static void
check_users(struct reader *r, struct yaml_map *map)
{
	static const char *const keys[] = {"signer", "issuer", "front"};
	const struct identity *users[] = {
	    &r->cfg->signer_user, &r->cfg->issuer_user, &r->cfg->front_user};

	if (!r->files)
		return;
	for (size_t i = 0; i < COUNT_OF(users); i++) {
		for (size_t k = 0; k < i; k++) {
			if (users[i]->uid == users[k]->uid)
				(void)yaml_fail_key(map, keys[i], r->err,
				    "'%s' is the user of the %s as well; allowed: three different "
				    "users",
				    users[i]->name, keys[k]);
		}
	}
}

void
config_read_token_user(struct reader *r, struct yaml_map *map, struct config_token *t)
{
	const struct config *cfg = r->cfg;

	t->user = cfg->signer_user;
	if (!yaml_has(map, "user"))
		return;
	if (cfg->separation != CONFIG_SEPARATION_USERS) {
		(void)yaml_fail_key(map, "user", r->err,
		    "is allowed only where separation gives each role a user of its own");
		return;
	}
	read_user(r, map, "user", &t->user);
	if (r->files && !error_is_set(r->err) &&
	    (t->user.uid == cfg->issuer_user.uid || t->user.uid == cfg->front_user.uid))
		(void)yaml_fail_key(map, "user", r->err,
		    "'%s' is the user of issuer or front as well; allowed: another one",
		    t->user.name);
}

static void
read_users(struct reader *r, struct yaml_map *root)
{
	struct yaml_map map;

	if (!yaml_get_map(root, "separation", YAML_REQUIRED, &map, r->err))
		return;
	r->cfg->separation = CONFIG_SEPARATION_USERS;
	if (r->files && geteuid() != 0) {
		(void)yaml_fail_key(root, "separation", r->err,
		    "only root can give each role a user of its own; allowed: start as root, or "
		    "separation: none");
		return;
	}
	read_user(r, &map, "signer", &r->cfg->signer_user);
	read_user(r, &map, "issuer", &r->cfg->issuer_user);
	read_user(r, &map, "front", &r->cfg->front_user);
	if (yaml_map_end(&map, r->err))
		check_users(r, &map);
}

static void
read_separation(struct reader *r, struct yaml_map *root)
{
	struct error no_text = ERROR_INIT;
	const char *word;

	if (!yaml_has(root, "separation")) {
		if (r->files && geteuid() == 0)
			(void)yaml_fail_key(root, "separation", r->err,
			    "is missing, and this is root: " ADVICE
			    ", separation: none runs all of them as root");
		return;
	}
	if (!yaml_get_string(root, "separation", YAML_REQUIRED, &word, &no_text))
		read_users(r, root);
	else if (strcmp(word, "none") == 0)
		r->cfg->separation = CONFIG_SEPARATION_NONE;
	else
		(void)yaml_fail_key(root, "separation", r->err,
		    "'%.40s' is no separation; allowed: none, or users: " ADVICE, word);
}

/* ---- sandbox */

static void
read_sandbox(struct reader *r, struct yaml_map *root)
{
	static const char *const words[] = {"require", "best-effort", "off"};
	const char *told = getenv(SANDBOX_VARIABLE);
	size_t word = 1;

	yaml_get_enum(root, "sandbox", YAML_OPTIONAL, words, COUNT_OF(words), &word, r->err);
	if (!sandbox_mode_parse(words[word], &r->cfg->sandbox))
		error_set(r->err, ERROR_INTERNAL, "sandbox mode %s", words[word]);
	if (!r->files && told != NULL && !sandbox_mode_parse(told, &r->cfg->sandbox))
		error_set(r->err, ERROR_CONFIG, SANDBOX_VARIABLE " has no mode");
}

void
config_read_separation(struct reader *r, struct yaml_map *root)
{
	read_separation(r, root);
	read_sandbox(r, root);
}
