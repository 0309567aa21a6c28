#include "daemon/cli/output.h"

bool
output_write(struct cli *cli, const void *data, size_t len, struct error *e)
{
	const char *path = cli->options->value[OPTION_OUT];
	FILE *f = path != NULL ? fopen(path, "we") : stdout;
	bool ok;

	if (f == NULL)
		return error_set_errno(e, ERROR_SYSTEM, "%s cannot be written", path);
	ok = fwrite(data, 1, len, f) == len;
	if (path != NULL && fclose(f) != 0)
		ok = false;
	return ok || error_set_errno(
			 e, ERROR_SYSTEM, "writing %s", path != NULL ? path : "to standard output");
}
