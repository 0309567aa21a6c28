#include <stdlib.h>
#include <string.h>

#include "daemon/cli/cli.h"
#include "daemon/x509/capolicy.h"
#include "daemon/x509/crl.h"

/* "bad: keyCompromise cACompromise" */
static json_t *
reasons_line(const struct capolicy_reasons *set)
{
	char words[256] = "";
	size_t at = 0;

	for (unsigned i = 0; set->reasons >> i != 0 && at < sizeof words; i++)
		if ((set->reasons >> i & 1) != 0)
			at += (size_t)snprintf(
			    words + at, sizeof words - at, " %s", crl_reason_name(i));
	return json_sprintf("%s:%s", set->name, words);
}

/* By what the policy divides certificates among CRLs; a member for each that it does. */
static void
add_division(json_t *ca, const struct capolicy *p)
{
	json_t *attributes = json_array(), *reasons = json_array();

	for (size_t i = 0; i < p->attribute_count; i++)
		(void)json_array_append_new(attributes, json_string(p->attributes[i]));
	for (size_t i = 0; i < p->reason_count; i++)
		(void)json_array_append_new(reasons, reasons_line(&p->reasons[i]));
	(void)json_object_set_new(ca, "by_attribute", attributes);
	(void)json_object_set_new(ca, "by_reasons", reasons);
	if (p->crl_by_kind)
		(void)json_object_set_new(ca, "by_kind", json_true());
	if (p->crl_shards > 1)
		(void)json_object_set_new(ca, "shards", json_integer(p->crl_shards));
}

/* Each alarm behind the name that its CRL has in addresses. */
static void
add_alarms(json_t *ca)
{
	json_t *alarms = json_array(), *crl;
	size_t i;

	json_array_foreach(json_object_get(ca, "crls"), i, crl)
	{
		if (json_is_string(json_object_get(crl, "alarm")))
			(void)json_array_append_new(
			    alarms, json_sprintf("%s%s: %s", cli_text(ca, "name"),
					cli_text(crl, "label"), cli_text(crl, "alarm")));
	}
	(void)json_object_set_new(ca, "alarms", alarms);
}

static bool
prepare(json_t *ca, struct error *e)
{
	const char *text = cli_text(ca, "policy"), *name = cli_text(ca, "name");
	struct capolicy *policy = calloc(1, sizeof *policy);
	struct error why = ERROR_INIT;

	if (policy == NULL)
		return error_set_errno(e, ERROR_SYSTEM, "allocating a CA's policy");
	if (capolicy_parse(text, strlen(text), name, policy, &why))
		add_division(ca, policy);
	else if (text[0] != '\0')
		cli_note("The policy of CA %s cannot be read here: %s", name, why.text);
	add_alarms(ca);
	capolicy_free(policy);
	free(policy);
	return true;
}

bool
cmd_ca_show(struct cli *cli, struct error *e)
{
	static const struct table_column fields[] = {{"name", "name"}, {"kind", "kind"},
	    {"state", "state"}, {"stopped", "stopped"}, {"subject", "subject"},
	    {"key", "key/algorithm"}, {"token", "key/token"}, {"key label", "key/label"},
	    {"key SHA-256", "key/spki_sha256"}, {"certificate SHA-256", "certificate/sha256"},
	    {"subject key id", "certificate/ski"}, {"not before", "certificate/not_before"},
	    {"not after", "certificate/not_after"}, {"renewal due", "certificate/renewal_due_at"},
	    {"waiting for certificate", "waiting"}, {"templates", "templates"},
	    {"CRLs by kind", "by_kind"}, {"CRLs by attribute", "by_attribute"},
	    {"CRLs by shards", "shards"}, {"CRLs by reasons", "by_reasons"}, {"alarms", "alarms"},
	    {"created", "created_at"}};
	json_t *ca = NULL;
	char path[CLI_PATH_MAX];
	bool ok;

	if (!cli_path(path, "/v1/cas/", cli->words[0], "", e) ||
	    !cli_get_object(cli, path, "name", cli->words[0], &ca, e))
		return false;
	ok = cli->json || prepare(ca, e);
	if (ok && cli->json)
		cli_print_json(ca);
	else if (ok)
		table_print_object(stdout, ca, fields, COUNT_OF(fields));
	json_decref(ca);
	return ok;
}
