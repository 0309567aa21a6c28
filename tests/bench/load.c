/*
 * Services that want certificates: submit requests by SQL, wait for
 * chancery_done, read the certificates.
 *
 *	load CONNINFO CA TEMPLATE CSRS COUNT SUBMITTERS GROUP RATE
 *
 * CSRS is a file of CSRs in DER, each after its length in 4 octets; it is read
 * round and round. Each of SUBMITTERS connections commits GROUP submissions at
 * a time. RATE is how many a second are begun, whether earlier ones are answered
 * or not; 0: each connection begins its next when the last is committed. One
 * further connection reads the certificates, as the same database role.
 *
 * Prints "ready", waits for a line, works, prints seconds (from the first
 * submission) and milliseconds (of one request, from when it was due to be
 * submitted until its certificate was read), and stays connected until its input
 * ends, so that somebody can look at what the connections cost.
 *
 * A group of more than one is submitted as one array (chancery.submit_requests).
 */

#include <err.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>

#include <arpa/inet.h>
#include <libpq-fe.h>

#define SUBMITTERS_MAX 256
#define READ_MIN 8 /* requests asked for at once */
#define READ_MAX 256
#define LOOK_MS 50 /* a missed hint costs no more */
#define STALL_S 60
#define UUID_LEN 16
#define CSR_MAX 4096
#define ARRAY_MAX 256 /* CSRs of one call */
enum {
	OID_BYTEA = 17,
	OID_TEXT = 25,
	OID_BYTEA_ARRAY = 1001,
	OID_UUID = 2950,
	OID_UUID_ARRAY = 2951
};

struct request {
	uint8_t id[UUID_LEN];
	double due, read; /* seconds; read is 0 until its certificate was */
};

struct submitter {
	PGconn *conn;
	size_t first, count; /* of the group under way; count 0: idle */
	size_t answered;
};

static const char *ca, *template;
static const uint8_t *csrs;
static size_t csrs_len, csrs_at;
static size_t count, group;
static double rate;
static double start;

static struct submitter submitters[SUBMITTERS_MAX];
static size_t submitter_count;
static struct request *requests; /* by submission */
static size_t *known;		 /* requests that were committed, in that order */
static size_t begun, known_count, first_unread, read_count;
static double submitted_at;

static PGconn *reader;
static bool hinted, asking;
static size_t asked[READ_MAX], asked_count, ask_next = READ_MIN, queries;
static double looked_at, progress_at;

static double
now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static PGconn *
open_connection(const char *conninfo)
{
	PGconn *conn = PQconnectdb(conninfo);

	if (PQstatus(conn) != CONNECTION_OK)
		errx(1, "%s", PQerrorMessage(conn));
	return conn;
}

static void
prepare(PGconn *conn, const char *name, const char *sql, int n, const Oid *types)
{
	PGresult *r = PQprepare(conn, name, sql, n, types);

	if (PQresultStatus(r) != PGRES_COMMAND_OK)
		errx(1, "%s", PQerrorMessage(conn));
	PQclear(r);
	if (PQsetnonblocking(conn, 1) != 0)
		errx(1, "%s", PQerrorMessage(conn));
}

static void
map_csrs(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) != 0)
		err(1, "%s", path);
	csrs_len = (size_t)st.st_size;
	csrs = mmap(NULL, csrs_len, PROT_READ, MAP_PRIVATE, fd, 0);
	if (csrs == MAP_FAILED)
		err(1, "%s", path);
}

static const uint8_t *
next_csr(int *len)
{
	const uint8_t *p;
	uint32_t n;

	if (csrs_at + sizeof n > csrs_len)
		csrs_at = 0;
	p = csrs + csrs_at;
	memcpy(&n, p, sizeof n);
	n = ntohl(n);
	csrs_at += sizeof n + n;
	*len = (int)n;
	return p + sizeof n;
}

/* ------------------------------------------------------------------- submit */

static void
put32(uint8_t **p, uint32_t v)
{
	v = htonl(v);
	memcpy(*p, &v, sizeof v);
	*p += sizeof v;
}

static void
send_one(PGconn *conn)
{
	int len;
	const uint8_t *der = next_csr(&len);
	const char *values[] = {ca, template, (const char *)der};
	const int lengths[] = {0, 0, len}, formats[] = {0, 0, 1};

	if (!PQsendQueryPrepared(conn, "one", 3, values, lengths, formats, 1))
		errx(1, "%s", PQerrorMessage(conn));
}

static void
send_array(PGconn *conn, size_t n)
{
	static uint8_t *array;
	const char *values[] = {ca, template, NULL};
	const int formats[] = {0, 0, 1};
	int lengths[] = {0, 0, 0};
	uint8_t *p;

	if (array == NULL && (array = malloc(20 + ARRAY_MAX * (4 + CSR_MAX))) == NULL)
		err(1, "malloc");
	p = array;
	put32(&p, 1);
	put32(&p, 0);
	put32(&p, OID_BYTEA);
	put32(&p, (uint32_t)n);
	put32(&p, 1);
	for (size_t i = 0; i < n; i++) {
		int len;
		const uint8_t *der = next_csr(&len);

		if (len > CSR_MAX)
			errx(1, "a CSR of %d octets", len);
		put32(&p, (uint32_t)len);
		memcpy(p, der, (size_t)len);
		p += len;
	}
	values[2] = (const char *)array;
	lengths[2] = (int)(p - array);
	if (!PQsendQueryPrepared(conn, "many", 3, values, lengths, formats, 1))
		errx(1, "%s", PQerrorMessage(conn));
}

/* How many of the requests are due by now. */
static size_t
due_count(void)
{
	double due = rate > 0 ? (now() - start) * rate + 1 : (double)count;

	return due < (double)count ? (size_t)due : count;
}

static void
begin_group(struct submitter *s)
{
	size_t due = due_count();

	if (s->count > 0 || begun >= due)
		return;
	s->first = begun;
	s->count = due - begun < group ? due - begun : group;
	s->answered = 0;
	for (size_t i = 0; i < s->count; i++) {
		requests[begun + i].due = rate > 0 ? start + (double)(begun + i) / rate : now();
		if (s->count == 1)
			send_one(s->conn);
		else if (i % ARRAY_MAX == 0)
			send_array(s->conn, s->count - i < ARRAY_MAX ? s->count - i : ARRAY_MAX);
	}
	begun += s->count;
	if (!PQpipelineSync(s->conn))
		errx(1, "%s", PQerrorMessage(s->conn));
}

static void
end_group(struct submitter *s)
{
	if (s->answered != s->count)
		errx(1, "%zu of %zu submissions were answered", s->answered, s->count);
	for (size_t i = 0; i < s->count; i++)
		known[known_count++] = s->first + i;
	s->count = 0;
	if (known_count == count)
		submitted_at = now();
}

static void
take_answers(struct submitter *s)
{
	if (!PQconsumeInput(s->conn))
		errx(1, "%s", PQerrorMessage(s->conn));
	while (s->count > 0 && !PQisBusy(s->conn)) {
		PGresult *r = PQgetResult(s->conn);

		switch (PQresultStatus(r)) {
		case PGRES_TUPLES_OK:
			for (int i = 0; i < PQntuples(r) && s->answered < s->count; i++)
				memcpy(requests[s->first + s->answered++].id, PQgetvalue(r, i, 0),
				    UUID_LEN);
			break;
		case PGRES_PIPELINE_SYNC:
			end_group(s);
			break;
		default:
			if (r != NULL)
				errx(1, "%s", PQresultErrorMessage(r));
		}
		PQclear(r);
	}
}

/* --------------------------------------------------------------------- read */

static void
ask(void)
{
	uint8_t array[20 + READ_MAX * (4 + UUID_LEN)], *p = array;
	const char *values[] = {(const char *)array};
	const int formats[] = {1};
	int length;

	asked_count = 0;
	while (first_unread < known_count && requests[known[first_unread]].read > 0)
		first_unread++;
	for (size_t i = first_unread; i < known_count && asked_count < ask_next; i++) {
		if (requests[known[i]].read == 0)
			asked[asked_count++] = known[i];
	}
	if (asked_count == 0)
		return;
	put32(&p, 1);
	put32(&p, 0);
	put32(&p, OID_UUID);
	put32(&p, (uint32_t)asked_count);
	put32(&p, 1);
	for (size_t i = 0; i < asked_count; i++) {
		put32(&p, UUID_LEN);
		memcpy(p, requests[asked[i]].id, UUID_LEN);
		p += UUID_LEN;
	}
	length = (int)(p - array);
	if (!PQsendQueryPrepared(reader, "s", 1, values, &length, formats, 1))
		errx(1, "%s", PQerrorMessage(reader));
	asking = true;
	hinted = false;
	looked_at = now();
	queries++;
}

static void
take_certificates(PGresult *r)
{
	int rows = PQntuples(r);

	for (int i = 0; i < rows; i++) {
		uint64_t n;
		struct request *q;

		memcpy(&n, PQgetvalue(r, i, 0), sizeof n);
		n = be64toh(n);
		q = &requests[asked[n - 1]];
		if (PQgetisnull(r, i, 1))
			errx(1, "a request ended without a certificate: %s", PQgetvalue(r, i, 2));
		q->read = progress_at = now();
		read_count++;
	}
	/* Where all were ready there may be more; where few were, looking at so many
	 * is work for nothing. */
	if ((size_t)rows == asked_count)
		hinted = true;
	ask_next = (size_t)rows * 2 < READ_MIN	 ? READ_MIN
		   : (size_t)rows * 2 > READ_MAX ? READ_MAX
						 : (size_t)rows * 2;
}

static void
take_hints(void)
{
	PGnotify *hint;

	while ((hint = PQnotifies(reader)) != NULL) {
		hinted = true;
		PQfreemem(hint);
	}
}

static void
read_certificates(void)
{
	if (!PQconsumeInput(reader))
		errx(1, "%s", PQerrorMessage(reader));
	while (asking && !PQisBusy(reader)) {
		PGresult *r = PQgetResult(reader);

		if (r == NULL)
			asking = false;
		else if (PQresultStatus(r) == PGRES_TUPLES_OK)
			take_certificates(r);
		else
			errx(1, "%s", PQresultErrorMessage(r));
		PQclear(r);
	}
	take_hints();
	if (!asking && (hinted || now() - looked_at >= LOOK_MS / 1000.0))
		ask();
	if (now() - progress_at > STALL_S)
		errx(
		    1, "no certificate for %d s; %zu of %zu were read", STALL_S, read_count, count);
}

/* --------------------------------------------------------------------- loop */

static void
flush(PGconn *conn, struct pollfd *p)
{
	int rc = PQflush(conn);

	if (rc < 0)
		errx(1, "%s", PQerrorMessage(conn));
	*p = (struct pollfd){.fd = PQsocket(conn), .events = POLLIN};
	if (rc > 0)
		p->events |= POLLOUT;
}

static void
turn(void)
{
	struct pollfd fds[SUBMITTERS_MAX + 1];

	for (size_t i = 0; i < submitter_count; i++) {
		begin_group(&submitters[i]);
		flush(submitters[i].conn, &fds[i]);
	}
	flush(reader, &fds[submitter_count]);
	if (poll(fds, submitter_count + 1, rate > 0 && begun < count ? 1 : LOOK_MS) < 0)
		err(1, "poll");
	for (size_t i = 0; i < submitter_count; i++) {
		if (fds[i].revents != 0)
			take_answers(&submitters[i]);
	}
	read_certificates();
}

static int
by_size(const void *a, const void *b)
{
	const double *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

static void
report(void)
{
	double *ms = calloc(count, sizeof *ms), end = now();

	if (ms == NULL)
		err(1, "calloc");
	for (size_t i = 0; i < count; i++)
		ms[i] = (requests[i].read - requests[i].due) * 1e3;
	qsort(ms, count, sizeof *ms, by_size);
	printf("submit_s %.6f\ntotal_s %.6f\np50_ms %.3f\np90_ms %.3f\np99_ms %.3f\nmax_ms %.3f\n"
	       "queries %zu\n",
	    submitted_at - start, end - start, ms[count / 2], ms[count * 9 / 10],
	    ms[count * 99 / 100], ms[count - 1], queries);
	(void)fflush(stdout);
	free(ms);
}

/* Submits many and waits until all were read. */
static void
work(size_t many, size_t at_a_time, double a_second)
{
	count = many;
	group = at_a_time;
	rate = a_second;
	free(requests);
	free(known);
	requests = calloc(count, sizeof *requests);
	known = calloc(count, sizeof *known);
	if (requests == NULL || known == NULL)
		err(1, "calloc");
	begun = known_count = first_unread = read_count = queries = 0;
	start = looked_at = progress_at = now();
	while (read_count < count)
		turn();
}

int
main(int argc, char **argv)
{
	static const Oid submit_types[] = {OID_TEXT, OID_TEXT, OID_BYTEA};
	static const Oid array_types[] = {OID_TEXT, OID_TEXT, OID_BYTEA_ARRAY};
	static const Oid read_types[] = {OID_UUID_ARRAY};

	if (argc != 9)
		errx(2, "usage: load CONNINFO CA TEMPLATE CSRS COUNT SUBMITTERS GROUP RATE");
	ca = argv[2];
	template = argv[3];
	map_csrs(argv[4]);
	submitter_count = (size_t)atol(argv[6]);
	if (atol(argv[5]) < 1 || atol(argv[7]) < 1 || submitter_count == 0 ||
	    submitter_count > SUBMITTERS_MAX)
		errx(2, "COUNT and GROUP are at least 1, SUBMITTERS 1 to %d", SUBMITTERS_MAX);
	reader = open_connection(argv[1]);
	PQclear(PQexec(reader, "LISTEN chancery_done"));
	prepare(reader, "s",
	    "SELECT u.n, f.certificate, f.state || ': ' || coalesce(f.reason, '') "
	    "FROM unnest($1) WITH ORDINALITY u (id, n) "
	    "JOIN chancery.finished_requests($1) f ON f.request = u.id",
	    1, read_types);
	for (size_t i = 0; i < submitter_count; i++) {
		PGconn *conn = open_connection(argv[1]);

		prepare(conn, "one", "SELECT chancery.submit_request($1, $2, $3)", 3, submit_types);
		prepare(conn, "many", "SELECT unnest(chancery.submit_requests($1, $2, $3))", 3,
		    array_types);
		if (!PQenterPipelineMode(conn))
			errx(1, "%s", PQerrorMessage(conn));
		submitters[i].conn = conn;
	}
	/* A session plans its statements when it first runs them. */
	if (atol(argv[7]) > 1)
		work(submitter_count * 2, 2, 0);
	else
		work(submitter_count, 1, 0);
	puts("ready");
	(void)fflush(stdout);
	if (getchar() == EOF)
		errx(1, "nobody wants to start");
	work((size_t)atol(argv[5]), (size_t)atol(argv[7]), atof(argv[8]));
	report();
	while (getchar() != EOF)
		;
	for (size_t i = 0; i < submitter_count; i++)
		PQfinish(submitters[i].conn);
	PQfinish(reader);
	return 0;
}
