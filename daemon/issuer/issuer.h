#ifndef CHANCERY_ISSUER_ISSUER_H
#define CHANCERY_ISSUER_ISSUER_H

/*
 * The role "issuer": claims what was approved, has it signed, stores it, keeps
 * the CRLs' calendar and works the publication's outbox. It listens on nothing
 * but the database and its signers.
 */

struct config;

/* The process's main; control_fd leads to the supervisor. Returns the exit
 * status. */
int issuer_main(const struct config *config, int control_fd);

#endif
