#include "daemon/publish/job.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon/core/utf8.h"

static const char *const artifact_words[] = {
    [ARTIFACT_CA_CERTIFICATE] = "ca-certificate",
    [ARTIFACT_CRL] = "crl",
    [ARTIFACT_DELTA_CRL] = "delta-crl",
    [ARTIFACT_CERTIFICATE] = "certificate",
};
static const char *const kind_words[] = {
    [TARGET_FILE] = "file",
    [TARGET_HTTP] = "http",
    [TARGET_LDAP] = "ldap",
    [TARGET_SFTP] = "sftp",
    [TARGET_COMMAND] = "command",
};
static const char *const tls_words[] = {
    [TARGET_TLS_NONE] = "none",
    [TARGET_TLS_STARTTLS] = "starttls",
    [TARGET_TLS_LDAPS] = "ldaps",
};
static const char *const auth_words[] = {
    [TARGET_AUTH_BASIC] = "basic",
    [TARGET_AUTH_BEARER] = "bearer",
    [TARGET_AUTH_SIGV4] = "aws-sigv4",
    [TARGET_AUTH_KEY] = "key",
    [TARGET_AUTH_PASSWORD] = "password",
    [TARGET_AUTH_GSSAPI] = "gssapi",
};
static const char *const schema_words[] = {
    [TARGET_SCHEMA_RFC4523] = "rfc4523",
    [TARGET_SCHEMA_AD] = "ad",
};

static bool
find_word(const char *const words[], size_t count, const char *word, unsigned *index)
{
	for (size_t i = 0; i < count; i++) {
		if (strcmp(words[i], word) == 0) {
			*index = (unsigned)i;
			return true;
		}
	}
	return false;
}

bool
artifact_kind_parse(const char *word, enum artifact_kind *kind)
{
	return find_word(artifact_words, COUNT_OF(artifact_words), word, (unsigned *)kind);
}

bool
target_kind_parse(const char *word, enum target_kind *kind)
{
	return find_word(kind_words, COUNT_OF(kind_words), word, (unsigned *)kind);
}

bool
target_tls_parse(const char *word, enum target_tls *tls)
{
	return find_word(tls_words, COUNT_OF(tls_words), word, (unsigned *)tls);
}

bool
target_auth_parse(const char *word, enum target_auth *auth)
{
	return find_word(auth_words, COUNT_OF(auth_words), word, (unsigned *)auth);
}

bool
target_schema_parse(const char *word, enum target_schema *schema)
{
	return find_word(schema_words, COUNT_OF(schema_words), word, (unsigned *)schema);
}

const char *
artifact_kind_name(enum artifact_kind kind)
{
	return (size_t)kind < COUNT_OF(artifact_words) ? artifact_words[kind] : "unknown";
}

static void
put_certificates(struct wire_writer *w, const struct bytes *der, size_t count)
{
	wire_put_u16(w, (uint16_t)count);
	for (size_t i = 0; i < count; i++)
		wire_put_bytes(w, der[i].p, der[i].len);
}

void
publish_job_encode(const struct publish_job *job, struct wire_writer *w)
{
	wire_put_string(w, job->target);
	wire_put_u8(w, (uint8_t)job->kind);
	wire_put_u8(w, (uint8_t)job->artifact);
	wire_put_string(w, job->write_url);
	wire_put_string(w, job->read_url);
	wire_put_string(w, job->credential_path);
	wire_put_string(w, job->ca_file);
	wire_put_string(w, job->krb5_config);
	wire_put_string(w, job->certificate_path);
	wire_put_string(w, job->command_path);
	wire_put_string(w, job->bind_dn);
	wire_put_string(w, job->region);
	wire_put_string(w, job->user);
	wire_put_u16(w, job->mode);
	wire_put_string(w, job->group);
	wire_put_string(w, job->writer);
	wire_put_string(w, job->host_key);
	wire_put_u8(w, (uint8_t)job->schema);
	wire_put_u8(w, (uint8_t)job->tls);
	wire_put_u8(w, (uint8_t)job->auth);
	wire_put_u8(w, (uint8_t)job->sandbox);
	wire_put_u8(w, job->webdav);
	wire_put_u8(w, job->look);
	wire_put_u8(w, job->look_first);
	wire_put_u8(w, job->absent);
	wire_put_u8(w, job->vouched);
	wire_put_string(w, job->requester);
	wire_put_string(w, job->entry);
	wire_put_u32(w, job->timeout_ms);
	wire_put_u64(w, job->size);
	wire_put_bytes(w, job->sha256, sizeof job->sha256);
	wire_put_bytes(w, job->issuer.p, job->issuer.len);
	put_certificates(w, job->companions, job->companion_count);
	wire_put_u8(w, job->crossed);
	put_certificates(w, job->crosses, job->cross_count);
}

/* An enumeration of count values; anything above is no valid message. */
static unsigned
get_choice(struct wire_reader *r, size_t count)
{
	uint8_t v = wire_get_u8(r);

	if (v >= count) {
		r->failed = true;
		return 0;
	}
	return v;
}

static void
get_sha256(struct wire_reader *r, uint8_t out[PUBLISH_SHA256_LEN])
{
	struct bytes b = wire_get_bytes(r, PUBLISH_SHA256_LEN);

	if (r->failed || b.len != PUBLISH_SHA256_LEN) {
		r->failed = true;
		return;
	}
	memcpy(out, b.p, PUBLISH_SHA256_LEN);
}

static size_t
get_certificates(struct wire_reader *r, struct bytes *der, size_t max)
{
	size_t count = wire_get_u16(r);

	if (count > max) {
		r->failed = true;
		return 0;
	}
	for (size_t i = 0; i < count && !r->failed; i++)
		der[i] = wire_get_bytes(r, PUBLISH_COMPANION_MAX);
	return count;
}

bool
publish_job_decode(const void *payload, size_t len, struct publish_job *job, struct error *err)
{
	struct wire_reader r;

	memset(job, 0, sizeof *job);
	wire_reader_init(&r, payload, len);
	wire_get_string(&r, job->target, sizeof job->target);
	job->kind = get_choice(&r, COUNT_OF(kind_words));
	job->artifact = get_choice(&r, COUNT_OF(artifact_words));
	wire_get_string(&r, job->write_url, sizeof job->write_url);
	wire_get_string(&r, job->read_url, sizeof job->read_url);
	wire_get_string(&r, job->credential_path, sizeof job->credential_path);
	wire_get_string(&r, job->ca_file, sizeof job->ca_file);
	wire_get_string(&r, job->krb5_config, sizeof job->krb5_config);
	wire_get_string(&r, job->certificate_path, sizeof job->certificate_path);
	wire_get_string(&r, job->command_path, sizeof job->command_path);
	wire_get_string(&r, job->bind_dn, sizeof job->bind_dn);
	wire_get_string(&r, job->region, sizeof job->region);
	wire_get_string(&r, job->user, sizeof job->user);
	/* No program that runs as its owner, and none at all. */
	job->mode = wire_get_u16(&r);
	r.failed |= (job->mode & ~PUBLISH_MODE_MAX) != 0;
	wire_get_string(&r, job->group, sizeof job->group);
	wire_get_string(&r, job->writer, sizeof job->writer);
	wire_get_string(&r, job->host_key, sizeof job->host_key);
	job->schema = get_choice(&r, COUNT_OF(schema_words));
	job->tls = get_choice(&r, COUNT_OF(tls_words));
	job->auth = get_choice(&r, COUNT_OF(auth_words));
	job->sandbox = get_choice(&r, SANDBOX_OFF + 1);
	job->webdav = get_choice(&r, 2) != 0;
	job->look = get_choice(&r, 2) != 0;
	job->look_first = get_choice(&r, 2) != 0;
	job->absent = get_choice(&r, 2) != 0;
	job->vouched = get_choice(&r, 2) != 0;
	wire_get_string(&r, job->requester, sizeof job->requester);
	wire_get_string(&r, job->entry, sizeof job->entry);
	job->timeout_ms = wire_get_u32(&r);
	job->size = wire_get_u64(&r);
	get_sha256(&r, job->sha256);
	job->issuer = wire_get_bytes(&r, PUBLISH_COMPANION_MAX);
	job->companion_count = get_certificates(&r, job->companions, PUBLISH_COMPANIONS_MAX);
	job->crossed = get_choice(&r, 2) != 0;
	job->cross_count = get_certificates(&r, job->crosses, PUBLISH_CROSSES_MAX);
	if (!wire_reader_end(&r))
		return error_set(err, ERROR_INPUT, "the publication job is malformed");
	return true;
}

void
publish_result_encode(const struct publish_result *result, struct wire_writer *w)
{
	wire_put_u8(w, (uint8_t)result->outcome);
	wire_put_u64(w, result->read_size);
	wire_put_bytes(w, result->read_sha256, sizeof result->read_sha256);
	wire_put_string(w, result->entry);
	wire_put_u8(w, (uint8_t)result->error.code);
	wire_put_u8(w, (uint8_t)result->error.source);
	wire_put_string(w, result->error.foreign);
	wire_put_string(w, result->error.text);
}

bool
publish_result_decode(
    const void *payload, size_t len, struct publish_result *result, struct error *err)
{
	struct error told = ERROR_INIT;
	struct wire_reader r;

	memset(result, 0, sizeof *result);
	wire_reader_init(&r, payload, len);
	result->outcome = get_choice(&r, PUBLISH_NOWHERE + 1);
	result->read_size = wire_get_u64(&r);
	get_sha256(&r, result->read_sha256);
	wire_get_string(&r, result->entry, sizeof result->entry);
	told.code = get_choice(&r, ERROR_INTERNAL + 1);
	told.source = get_choice(&r, ERROR_CURL + 1);
	wire_get_string(&r, told.foreign, sizeof told.foreign);
	wire_get_string(&r, told.text, sizeof told.text);
	/* Servers had a say in it: what is no text would be refused by the database. */
	if (!wire_reader_end(&r) || !utf8_is_line(result->entry) || !utf8_is_line(told.foreign) ||
	    !utf8_is_line(told.text)) {
		memset(result, 0, sizeof *result);
		return error_set(err, ERROR_INPUT, "the courier's result is malformed");
	}
	result->error = told;
	return true;
}

static bool
write_all(int fd, const uint8_t *p, size_t len, struct error *err)
{
	while (len > 0) {
		ssize_t n = write(fd, p, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return error_set_errno(err, ERROR_SYSTEM, "writing a publication frame");
		p += n;
		len -= (size_t)n;
	}
	return true;
}

static bool
read_all(int fd, uint8_t *p, size_t len, struct error *err)
{
	while (len > 0) {
		ssize_t n = read(fd, p, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return error_set_errno(err, ERROR_SYSTEM, "reading a publication frame");
		if (n == 0)
			return error_set(err, ERROR_INPUT, "the publication frame is cut off");
		p += n;
		len -= (size_t)n;
	}
	return true;
}

bool
publish_frame_write(int fd, const struct wire_writer *payload, struct error *err)
{
	uint8_t head[4];

	if (!wire_writer_ok(payload) || payload->len > PUBLISH_FRAME_MAX)
		return error_set(err, ERROR_LIMIT, "a publication frame holds at most %zu octets",
		    PUBLISH_FRAME_MAX);
	head[0] = (uint8_t)(payload->len >> 24);
	head[1] = (uint8_t)(payload->len >> 16);
	head[2] = (uint8_t)(payload->len >> 8);
	head[3] = (uint8_t)payload->len;
	return write_all(fd, head, sizeof head, err) &&
	       write_all(fd, payload->buf, payload->len, err);
}

bool
publish_frame_read(int fd, uint8_t **payload, size_t *len, struct error *err)
{
	uint8_t head[4], *buf;
	size_t n;

	if (!read_all(fd, head, sizeof head, err))
		return false;
	n = (size_t)head[0] << 24 | (size_t)head[1] << 16 | (size_t)head[2] << 8 | head[3];
	if (n > PUBLISH_FRAME_MAX)
		return error_set(err, ERROR_LIMIT,
		    "a publication frame of %zu octets is above the limit of %zu", n,
		    PUBLISH_FRAME_MAX);
	if ((buf = malloc(n + 1)) == NULL)
		return error_set_errno(err, ERROR_SYSTEM, "memory for a publication frame");
	if (!read_all(fd, buf, n, err)) {
		free(buf);
		return false;
	}
	*payload = buf;
	*len = n;
	return true;
}

bool
publish_result_write(int fd, const struct publish_result *result, struct error *err)
{
	struct wire_writer w;
	bool ok;

	wire_writer_init(&w, PUBLISH_RESULT_MAX);
	publish_result_encode(result, &w);
	ok = publish_frame_write(fd, &w, err);
	wire_writer_free(&w);
	return ok;
}

union descriptors {
	char space[CMSG_SPACE(PUBLISH_DESCRIPTORS_MAX * sizeof(int))];
	struct cmsghdr align;
};

bool
publish_descriptors_send(int socket, const int *fds, size_t count, struct error *err)
{
	union descriptors control = {{0}};
	struct iovec iov = {.iov_base = (char[]){1}, .iov_len = 1};
	struct msghdr m = {
	    .msg_iov = &iov,
	    .msg_iovlen = 1,
	    .msg_control = control.space,
	    .msg_controllen = CMSG_SPACE(count * sizeof *fds),
	};
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);
	ssize_t n;

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(count * sizeof *fds);
	memcpy(CMSG_DATA(c), fds, count * sizeof *fds);
	do {
		n = sendmsg(socket, &m, MSG_NOSIGNAL | MSG_DONTWAIT);
	} while (n < 0 && errno == EINTR);
	if (n < 0 && (errno == EAGAIN || errno == ENOBUFS || errno == ETOOMANYREFS))
		return error_set_errno(
		    err, ERROR_LIMIT, "handing descriptors to a process that does not read");
	if (n != 1)
		return error_set_errno(err, ERROR_SYSTEM, "handing descriptors to a process");
	return true;
}

/* What came, also of messages that are not ours. */
static size_t
take_descriptors(struct msghdr *m, int fds[PUBLISH_DESCRIPTORS_MAX])
{
	struct cmsghdr *c = CMSG_FIRSTHDR(m);
	size_t count;

	if (c == NULL || c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
		return 0;
	count = (c->cmsg_len - CMSG_LEN(0)) / sizeof *fds;
	memcpy(fds, CMSG_DATA(c), count * sizeof *fds);
	return count;
}

bool
publish_descriptors_receive(
    int socket, int *fds, size_t min, size_t max, size_t *count, struct error *err)
{
	union descriptors control = {{0}};
	int came[PUBLISH_DESCRIPTORS_MAX];
	char octet;
	struct iovec iov = {.iov_base = &octet, .iov_len = 1};
	struct msghdr m = {
	    .msg_iov = &iov,
	    .msg_iovlen = 1,
	    .msg_control = control.space,
	    .msg_controllen = sizeof control.space,
	};
	ssize_t n;

	do {
		n = recvmsg(socket, &m, MSG_CMSG_CLOEXEC);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return error_set_errno(err, ERROR_SYSTEM, "receiving descriptors");
	if (n == 0)
		return error_set(err, ERROR_UNAVAILABLE, "no job came over the socket");
	*count = take_descriptors(&m, came);
	if (*count >= min && *count <= max && (m.msg_flags & (MSG_CTRUNC | MSG_TRUNC)) == 0) {
		memcpy(fds, came, *count * sizeof *fds);
		return true;
	}
	publish_descriptors_close(came, *count);
	return error_set(
	    err, ERROR_INPUT, "%zu descriptors came where %zu are expected", *count, min);
}

void
publish_descriptors_close(const int *fds, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		if (fds[i] >= 0)
			(void)close(fds[i]);
	}
}
