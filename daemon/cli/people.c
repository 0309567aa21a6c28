#include "daemon/cli/people.h"

#include <stdlib.h>
#include <string.h>

#include <openssl/sha.h>

#include "daemon/core/encode.h"

#define PAGE "/v1/operators?limit=200"

static bool
take_key(const char *base64, const char *sha256, struct person_key *k, struct error *e)
{
	uint8_t digest[SHA256_DIGEST_LENGTH];
	char hex[2 * SHA256_DIGEST_LENGTH + 1];

	if (base64 == NULL || sha256 == NULL ||
	    !base64_decode((struct bytes){(const uint8_t *)base64, strlen(base64)}, false, k->spki,
		sizeof k->spki, &k->spki_len, e) ||
	    !statement_check_key(k->spki, k->spki_len, e))
		return error_set(e, ERROR_INTERNAL,
		    "the service shows something for the key of %s that is none", k->person);
	SHA256(k->spki, k->spki_len, digest);
	hex_encode(digest, sizeof digest, hex);
	return strcmp(hex, sha256) == 0 ||
	       error_set(e, ERROR_INTERNAL,
		   "the service shows another key of %s than the one with the SHA-256 it names",
		   k->person);
}

/* Room for one more. */
static struct person_key *
grow(struct people *people, struct error *e)
{
	struct person_key *keys;

	if (people->count == PEOPLE_KEYS_MAX) {
		error_set(e, ERROR_LIMIT, "more than %d keys of operators are registered",
		    PEOPLE_KEYS_MAX);
		return NULL;
	}
	keys = realloc(people->keys, (people->count + 1) * sizeof *keys);
	if (keys == NULL) {
		error_set_errno(e, ERROR_SYSTEM, "allocating the list of operators");
		return NULL;
	}
	people->keys = keys;
	keys[people->count] = (struct person_key){0};
	return &keys[people->count];
}

static bool
add_credential(struct people *people, const char *name, bool manager, json_t *one, struct error *e)
{
	const char *kind = json_string_value(json_object_get(one, "kind"));
	struct person_key *k;

	if (kind == NULL || strcmp(kind, "operator_key") != 0 ||
	    json_is_string(json_object_get(one, "revoked_at")))
		return true;
	k = grow(people, e);
	if (k == NULL)
		return false;
	if (strlen(name) >= sizeof k->person)
		return error_set(e, ERROR_INTERNAL, "the service names a person of %zu characters",
		    strlen(name));
	memcpy(k->person, name, strlen(name) + 1);
	k->manager = manager;
	if (!take_key(json_string_value(json_object_get(one, "spki")),
		json_string_value(json_object_get(one, "sha256")), k, e))
		return false;
	people->count++;
	return true;
}

static bool
add_person(struct people *people, json_t *person, struct error *e)
{
	const char *name = json_string_value(json_object_get(person, "name")), *role;
	bool manager = false;
	json_t *one;
	size_t i;

	if (name == NULL)
		return error_set(e, ERROR_INTERNAL, "the service names an operator without a name");
	json_array_foreach(json_object_get(person, "roles"), i, one)
	{
		role = json_string_value(one);
		manager = manager || (role != NULL && strcmp(role, "manager") == 0);
	}
	json_array_foreach(json_object_get(person, "credentials"), i, one)
	{
		if (!add_credential(people, name, manager, one, e))
			return false;
	}
	return true;
}

/* One page; *next is where the next one begins, "" for none. */
static bool
add_page(struct cli *cli, struct people *people, char path[CLI_PATH_MAX], struct error *e)
{
	json_t *answer = NULL, *one;
	const char *next;
	size_t i;
	bool ok = true;

	if (!http_get(cli->http, path, &answer, e))
		return false;
	json_array_foreach(json_object_get(answer, "operators"), i, one)
	{
		ok = ok && add_person(people, one, e);
	}
	next = json_string_value(json_object_get(answer, "next"));
	path[0] = '\0';
	if (ok && next != NULL && next[0] != '\0') {
		(void)snprintf(path, CLI_PATH_MAX, "%s", PAGE);
		ok = cli_path_add(path, "after", next, e);
	}
	json_decref(answer);
	return ok;
}

bool
people_load(struct cli *cli, struct people *people, struct error *e)
{
	char path[CLI_PATH_MAX] = PAGE;

	*people = (struct people){0};
	for (size_t page = 0; path[0] != '\0' && page < PEOPLE_KEYS_MAX; page++) {
		if (!add_page(cli, people, path, e)) {
			people_free(people);
			return false;
		}
	}
	return true;
}

void
people_free(struct people *people)
{
	free(people->keys);
	*people = (struct people){0};
}

const struct person_key *
people_find_key(const struct people *people, struct bytes spki)
{
	for (size_t i = 0; i < people->count; i++) {
		const struct person_key *k = &people->keys[i];

		if (bytes_equal(spki, (struct bytes){k->spki, k->spki_len}))
			return k;
	}
	return NULL;
}

bool
people_has(const struct people *people, const char *person)
{
	for (size_t i = 0; i < people->count; i++) {
		if (strcmp(people->keys[i].person, person) == 0)
			return true;
	}
	return false;
}
