#include "daemon/cli/output.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon/x509/cert.h"
#include "daemon/x509/pem.h"

static bool
read_all(int fd, const char *name, size_t max, char *buf, size_t *len, struct error *e)
{
	size_t at = 0;
	ssize_t n;

	while (at <= max) {
		n = read(fd, buf + at, max + 1 - at);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return error_set_errno(e, ERROR_INPUT, "%s cannot be read", name);
		if (n == 0)
			break;
		at += (size_t)n;
	}
	if (at > max)
		return error_set(e, ERROR_LIMIT, "%s is longer than %zu octets", name, max);
	buf[at] = '\0';
	*len = at;
	return true;
}

bool
output_read_file(const char *path, size_t max, char **text, size_t *len, struct error *e)
{
	bool standard = strcmp(path, "-") == 0, ok;
	char *buf = NULL;
	int fd;

	fd = standard ? dup(STDIN_FILENO) : open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return error_set_errno(
		    e, ERROR_INPUT, "%s cannot be opened", standard ? "standard input" : path);
	buf = malloc(max + 2);
	if (buf == NULL)
		ok = error_set_errno(e, ERROR_SYSTEM, "allocating memory for %s", path);
	else
		ok = read_all(fd, standard ? "standard input" : path, max, buf, len, e);
	(void)close(fd);
	if (ok)
		*text = buf;
	else
		free(buf);
	return ok;
}

bool
output_write(struct cli *cli, const void *data, size_t len, struct error *e)
{
	const char *path = cli->options->value[OPTION_OUT];
	FILE *f;
	bool ok;

	if (path != NULL && strcmp(path, "-") == 0)
		path = NULL;
	f = path != NULL ? fopen(path, "we") : stdout;
	if (f == NULL)
		return error_set_errno(e, ERROR_SYSTEM, "%s cannot be written", path);
	ok = fwrite(data, 1, len, f) == len && fflush(f) == 0;
	if (path != NULL && fclose(f) != 0)
		ok = false;
	return ok || error_set_errno(
			 e, ERROR_SYSTEM, "writing %s", path != NULL ? path : "to standard output");
}

static bool
write_text(struct cli *cli, const char *text, size_t len, struct error *e)
{
	char *buf = NULL;
	json_t *json;
	size_t size;
	FILE *f;
	bool ok;

	if (!cli->json)
		return output_write(cli, text, len, e);
	json = json_pack("{s:s%}", "pem", text, len);
	f = open_memstream(&buf, &size);
	ok = json != NULL && f != NULL && table_write_json(f, json);
	if (f != NULL && fclose(f) != 0)
		ok = false;
	ok = ok ? output_write(cli, buf, size, e) : error_set(e, ERROR_SYSTEM, "no memory for PEM");
	json_decref(json);
	free(buf);
	return ok;
}

bool
output_write_pem(struct cli *cli, const char *text, const char *label, size_t most, struct error *e)
{
	struct bytes rest = {(const uint8_t *)text, strlen(text)};
	size_t size = pem_encoded_size(label, CERTIFICATE_MAX), len = 0, der_len, count = 0;
	uint8_t *der = malloc(CERTIFICATE_MAX);
	char *one = malloc(size), *out = NULL;
	FILE *f = open_memstream(&out, &len);
	struct error why = ERROR_INIT;
	bool ok = false;

	if (der == NULL || one == NULL || f == NULL) {
		error_set(e, ERROR_SYSTEM, "no memory for PEM");
		goto out;
	}
	while (pem_decode(&rest, label, der, CERTIFICATE_MAX, &der_len, &why)) {
		if (count++ == most) {
			error_set(
			    e, ERROR_LIMIT, "the service's answer has more than %zu blocks", most);
			goto out;
		}
		if (!pem_encode(label, (struct bytes){der, der_len}, one, size) ||
		    fputs(one, f) < 0) {
			error_set(e, ERROR_SYSTEM, "no memory for PEM");
			goto out;
		}
	}
	if (why.code != ERROR_NOT_FOUND || count == 0) {
		error_set(e, ERROR_INTERNAL, "the service's answer is no PEM: %s", why.text);
		goto out;
	}
	ok = fflush(f) == 0 && write_text(cli, out, len, e);
out:
	if (f != NULL)
		(void)fclose(f);
	free(out);
	free(one);
	free(der);
	return ok;
}
