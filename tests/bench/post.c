/*
 * Clients of an HTTP service that issues certificates: POST, wait for the answer,
 * POST the next, on connections that stay open.
 *
 *	post PORT PATH BODIES COUNT CONNECTIONS
 *
 * BODIES is a file of JSON bodies, each after its length in 4 octets; it is read
 * round and round. Every answer must have status 200. Prints "ready", waits for a
 * line, works, and prints the seconds it took.
 */

#include <err.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>

#define CONNECTIONS_MAX 64
#define MESSAGE_MAX 65536
#define BODIES_MAX 4096

static struct sockaddr_in address = {.sin_family = AF_INET};
static const char *path;
static const uint8_t *bodies[BODIES_MAX];
static uint32_t body_len[BODIES_MAX];
static unsigned body_count;
static unsigned long count;
static atomic_ulong begun;

static double
now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void
map_bodies(const char *file)
{
	int fd = open(file, O_RDONLY | O_CLOEXEC);
	const uint8_t *p, *end;
	struct stat st;

	if (fd < 0 || fstat(fd, &st) != 0)
		err(1, "%s", file);
	p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (p == MAP_FAILED)
		err(1, "%s", file);
	for (end = p + st.st_size; p < end && body_count < BODIES_MAX; body_count++) {
		memcpy(&body_len[body_count], p, 4);
		body_len[body_count] = ntohl(body_len[body_count]);
		bodies[body_count] = p + 4;
		p += 4 + body_len[body_count];
	}
	if (body_count == 0)
		errx(1, "%s is empty", file);
}

static int
open_connection(void)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;

	if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) != 0 ||
	    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) != 0)
		err(1, "connecting");
	return fd;
}

static void
send_one(int fd, char *buf, unsigned n)
{
	int head = snprintf(buf, MESSAGE_MAX,
	    "POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
	    "Content-Length: %u\r\n\r\n",
	    path, body_len[n]);
	size_t len = (size_t)head + body_len[n];

	if (len > MESSAGE_MAX)
		errx(1, "a body is too long");
	memcpy(buf + head, bodies[n], body_len[n]);
	if (write(fd, buf, len) != (ssize_t)len)
		err(1, "sending");
}

static void
read_answer(int fd, char *buf)
{
	size_t len = 0, whole = MESSAGE_MAX;

	while (len < whole) {
		ssize_t n = read(fd, buf + len, MESSAGE_MAX - 1 - len);
		const char *end, *field;

		if (n <= 0)
			err(1, "the answer ends early");
		len += (size_t)n;
		buf[len] = '\0';
		end = strstr(buf, "\r\n\r\n");
		if (whole != MESSAGE_MAX || end == NULL)
			continue;
		field = strcasestr(buf, "\r\nContent-Length:");
		if (strncmp(buf, "HTTP/1.1 200 ", 13) != 0 || field == NULL || field > end)
			errx(1, "the answer is %.300s", buf);
		whole = (size_t)(end + 4 - buf) + strtoul(field + 17, NULL, 10);
		if (whole >= MESSAGE_MAX)
			errx(1, "the answer is too long");
	}
}

static void *
client(void *arg)
{
	char *buf = malloc(MESSAGE_MAX);
	int fd = open_connection();
	unsigned long n;

	if (buf == NULL)
		err(1, "malloc");
	while ((n = begun++) < count) {
		send_one(fd, buf, (unsigned)(n % body_count));
		read_answer(fd, buf);
	}
	close(fd);
	free(buf);
	return NULL;
}

int
main(int argc, char **argv)
{
	pthread_t threads[CONNECTIONS_MAX];
	double start;
	int n;

	if (argc != 6 || (n = atoi(argv[5])) < 1 || n > CONNECTIONS_MAX)
		errx(2, "usage: post PORT PATH BODIES COUNT CONNECTIONS");
	address.sin_port = htons((uint16_t)atoi(argv[1]));
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	path = argv[2];
	map_bodies(argv[3]);
	count = strtoul(argv[4], NULL, 10);
	puts("ready");
	(void)fflush(stdout);
	if (getchar() == EOF)
		errx(1, "nobody wants to start");
	start = now();
	for (int i = 0; i < n; i++)
		if (pthread_create(&threads[i], NULL, client, NULL) != 0)
			errx(1, "pthread_create");
	for (int i = 0; i < n; i++)
		pthread_join(threads[i], NULL);
	printf("%.6f\n", now() - start);
	return 0;
}
