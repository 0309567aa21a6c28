#include "pkcs11/journal_anchor.h"

#include <stdio.h>

#include "daemon/core/log.h"
#include "pkcs11/anchor.h"

#define LABEL_MAX 32

static void
label_of(uint16_t signer_id, char out[LABEL_MAX])
{
	(void)snprintf(out, LABEL_MAX, "chancery journal %u", signer_id);
}

bool
journal_anchor_read(struct session *s, struct journal_options *options, struct error *e)
{
	uint8_t value[ANCHOR_VALUE_MAX];
	struct error why = ERROR_INIT;
	char label[LABEL_MAX];
	size_t len;

	label_of(options->signer_id, label);
	if (anchor_read(s, label, value, &len, &why)) {
		options->anchor = journal_mark_get((struct bytes){value, len}, &options->mark)
				      ? JOURNAL_ANCHOR_MARK
				      : JOURNAL_ANCHOR_DAMAGED;
		return true;
	}
	if (why.code == ERROR_NOT_FOUND)
		options->anchor = JOURNAL_ANCHOR_ABSENT;
	else if (why.code == ERROR_CONFLICT)
		options->anchor = JOURNAL_ANCHOR_DAMAGED;
	else
		return error_set_foreign(e, why.code, why.source, why.foreign, "%s", why.text);
	return true;
}

static bool
write_mark(struct journal *j, struct session *rw, struct error *e)
{
	uint8_t octets[JOURNAL_MARK_LEN];
	struct journal_mark mark;
	char label[LABEL_MAX];

	label_of(journal_signer_id(j), label);
	if (!journal_mark(j, &mark))
		return error_set(e, ERROR_CONFLICT, "a closed journal anchors nothing");
	journal_mark_put(&mark, octets);
	return anchor_write(rw, label, (struct bytes){octets, sizeof octets}, e) &&
	       journal_anchored(j, journal_clock_now(), e);
}

void
journal_anchor_write(struct journal *j, const CK_FUNCTION_LIST *f, CK_SLOT_ID slot)
{
	struct error why = ERROR_INIT;
	struct session rw;

	if (session_open(f, slot, true, &rw, &why)) {
		if (write_mark(j, &rw, &why)) {
			session_close(&rw);
			return;
		}
		session_close(&rw);
	}
	/* The same failure again and again is one line in the log. */
	if (journal_anchor_failed(j, &why))
		log_failure(LOG_LEVEL_WARNING, "journal", &why);
}
