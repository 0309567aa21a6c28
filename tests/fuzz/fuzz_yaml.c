/* YAML on hostile bytes, and what reads it: templates and CA policies. Whatever
 * is refused is refused with a place. */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/core/yaml.h"
#include "daemon/x509/capolicy.h"
#include "daemon/x509/template.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* "f:LINE:COL: words", all printable. */
static void
check_error(bool ok, const struct error *err)
{
	if (ok == error_is_set(err))
		abort();
	if (ok)
		return;
	if (strncmp(err->text, "f:", 2) != 0 || err->text[2] < '1' || err->text[2] > '9')
		abort();
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *text = (const char *)data;
	struct yaml_doc *doc = NULL;
	struct template *t = NULL;
	struct capolicy policy;
	struct error err = ERROR_INIT;
	bool ok;

	ok = yaml_doc_load(text, size, "f", &doc, &err);
	check_error(ok, &err);
	yaml_doc_free(doc);
	err = ERROR_INIT;
	ok = template_parse(text, size, "f", &t, &err);
	check_error(ok, &err);
	template_free(t);
	err = ERROR_INIT;
	ok = capolicy_parse(text, size, "f", &policy, &err);
	check_error(ok, &err);
	if (ok)
		capolicy_free(&policy);
	return 0;
}
