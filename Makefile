# Chancery. `make help` lists the targets.

BUILD   ?= build
PREFIX  ?= /usr/local
DESTDIR ?=
VERSION := 0.1.0

CC      ?= gcc
PKGS_core    := libcrypto libevent yaml-0.1 libseccomp
PKGS_x509    := libcrypto yaml-0.1
PKGS_db      := libpq libevent jansson
PKGS_front   := libevent libevent_openssl libssl libcrypto jansson
PKGS_issuer  := libcrypto
PKGS_publish := libcurl ldap
PKGS_cli     := libcurl jansson libcrypto
PKGS_pkcs11  := libp11 p11-kit-1 libcrypto libevent libgfshare

# SANITIZE: empty, "address,undefined" or "thread".
SANITIZE ?=
HARDEN  := -fstack-protector-strong -fstack-clash-protection -fcf-protection -fPIE \
           -D_FORTIFY_SOURCE=2 -Wformat -Werror=format-security
WARN    := -Wall -Wextra -Werror -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla \
           -Wpointer-arith -Wwrite-strings -Wno-unused-parameter
OPT     ?= -O2 -g
ifneq ($(SANITIZE),)
HARDEN  := -fPIE
OPT     := -O1 -g -fno-omit-frame-pointer -fsanitize=$(SANITIZE) -fno-sanitize-recover=all
endif
CFLAGS  += -std=gnu11 -I. -I$(BUILD)/gen $(OPT) $(WARN) $(HARDEN) -DCHANCERY_VERSION='"$(VERSION)"' -D_GNU_SOURCE \
           -DCHANCERY_LIBEXECDIR='"$(PREFIX)/libexec/chancery"' -DCHANCERY_DATADIR='"$(PREFIX)/share/chancery"'
LDFLAGS += -pie -Wl,-z,relro,-z,now -Wl,-z,noexecstack
ifneq ($(SANITIZE),)
LDFLAGS := -pie -fsanitize=$(SANITIZE)
endif

# One static library for each folder of the tree that holds a subject.
DIRS_core       := daemon/core
DIRS_x509       := daemon/x509
DIRS_db         := db
DIRS_front      := daemon/front
DIRS_issuer     := daemon/issuer
DIRS_publish    := daemon/publish
DIRS_supervisor := daemon/supervisor
DIRS_cli        := daemon/cli
DIRS_pkcs11     := pkcs11
LIBS := core x509 db front issuer publish supervisor cli pkcs11

# main() of each program; never part of a library.
MAIN_chanceryd       := daemon/chanceryd.c
MAIN_chancery        := daemon/chancery.c
MAIN_chancery-signer := pkcs11/main.c

# What each program links, most dependent first.
NEEDS_chanceryd       := supervisor front issuer publish db x509 core
NEEDS_chancery        := cli publish x509 core
NEEDS_chancery-signer := pkcs11 x509 core
PROGRAMS := chanceryd chancery chancery-signer

.PHONY: all
all: $(PROGRAMS:%=$(BUILD)/%)   ## build the programs (without a target, too)

define library
SRCS_$(1) := $$(filter-out $$(foreach p,$(PROGRAMS),$$(MAIN_$$(p))),$$(wildcard $$(DIRS_$(1):%=%/*.c)))
OBJS_$(1) := $$(SRCS_$(1):%.c=$(BUILD)/%.o)
$(BUILD)/lib$(1).a: $$(OBJS_$(1))
	@rm -f $$@
	ar rcs $$@ $$^
endef
$(foreach l,$(LIBS),$(eval $(call library,$(l))))

pkgs = $(sort $(foreach n,$(1),$(PKGS_$(n))))
# Expanded twice, by call and by eval, before the shell sees it.
libs_of = $(if $(call pkgs,$(1)),$$$$(pkg-config --libs $(call pkgs,$(1))),)

define program
$(BUILD)/$(1): $(BUILD)/$$(MAIN_$(1):.c=.o) $$(NEEDS_$(1):%=$(BUILD)/lib%.a)
	$$(CC) $$(LDFLAGS) -o $$@ $$^ $(call libs_of,$(NEEDS_$(1))) -lpthread -ldl
endef
$(foreach p,$(PROGRAMS),$(eval $(call program,$(p))))

ALL_PKGS := $(call pkgs,$(LIBS))
PKG_CFLAGS := $(shell pkg-config --cflags $(ALL_PKGS) 2>/dev/null)
# Other flags than last time (PREFIX, SANITIZE, CFLAGS): everything is compiled anew.
FLAGS := $(CC) $(CFLAGS)
ifneq ($(strip $(file <$(BUILD)/flags)),$(strip $(FLAGS)))
$(shell mkdir -p $(BUILD))
$(file >$(BUILD)/flags,$(FLAGS))
endif
$(BUILD)/%.o: %.c $(BUILD)/flags
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(PKG_CFLAGS) -MMD -MP -c -o $@ $<

# The migrations that the program knows, with their digests.
$(BUILD)/gen/known_migrations.inc: migrations $(wildcard migrations/[0-9]*.sql)
	@mkdir -p $(@D)
	@for f in $(sort $(filter %.sql,$^)); do \
	 printf '{"%s", "%s"},\n' "$${f##*/}" "$$(sha256sum <$$f | cut -c1-64)"; done >$@
$(BUILD)/db/migration_list.o: $(BUILD)/gen/known_migrations.inc
# .incbin, which no dependency file knows of
$(BUILD)/daemon/front/openapi.o: daemon/front/openapi.yaml

# Unit tests: tests/unit/<library>_<subject>_test.c links that library and what
# it needs.
TEST_NEEDS_core       := core
TEST_NEEDS_x509       := x509 core
TEST_NEEDS_db         := db core
TEST_NEEDS_front      := front db x509 core
TEST_NEEDS_issuer     := issuer publish db x509 core
TEST_NEEDS_publish    := publish db x509 core
TEST_NEEDS_supervisor := supervisor core
TEST_NEEDS_cli        := cli publish x509 core
TEST_NEEDS_pkcs11     := pkcs11 x509 core
UNIT_TESTS := $(patsubst tests/unit/%.c,$(BUILD)/unit/%,$(wildcard tests/unit/*_test.c))

define unit_test
$(BUILD)/unit/$(1): $(BUILD)/tests/unit/$(1).o $$(TEST_NEEDS_$(firstword $(subst _, ,$(1))):%=$(BUILD)/lib%.a)
	@mkdir -p $$(@D)
	$$(CC) $$(LDFLAGS) -o $$@ $$^ $(call libs_of,$(TEST_NEEDS_$(firstword $(subst _, ,$(1))))) -lcmocka -lpthread -ldl
endef
$(foreach t,$(UNIT_TESTS:$(BUILD)/unit/%=%),$(eval $(call unit_test,$(t))))
# This one starts the real program, and both need a token that fails on command.
$(BUILD)/unit/pkcs11_signer_test: | $(BUILD)/chancery-signer $(BUILD)/faults/shim.so
$(BUILD)/unit/pkcs11_token_test: | $(BUILD)/faults/shim.so

.PHONY: unit-build unit
unit-build: $(UNIT_TESTS)
unit: unit-build                ## unit tests of this build (BUILD=, SANITIZE=)
	@scripts/run_unit.sh $(UNIT_TESTS)

# ------------------------------------------------------------ the two commands

.PHONY: demo stop
demo:                           ## install what is missing, build, show the main job
	@scripts/bootstrap.sh build demo
	@$(MAKE) --no-print-directory -s -j$(JOBS) all
	@scripts/demo.sh

stop:                           ## stop what `make demo` left running
	@scripts/services.sh stop

# Everything that has to hold before a change is taken. Runs beside a demo.
.PHONY: check
check:                          ## install what is missing, run all tests
	@scripts/bootstrap.sh build demo check
	@$(MAKE) --no-print-directory -s -j$(JOBS) all faults unit-build bench-build
	@$(MAKE) --no-print-directory unit
	@$(MAKE) --no-print-directory asan
	@$(MAKE) --no-print-directory tsan
	@$(MAKE) --no-print-directory e2e
	@$(MAKE) --no-print-directory e2e-asan
	@$(MAKE) --no-print-directory mutate RULES="issuer approval decision-signature crl"
	@if command -v $(CLANG) >/dev/null; then $(MAKE) --no-print-directory fuzz; \
	 else echo "fuzz: no clang here, left out (scripts/bootstrap.sh lint installs it)"; fi
	@echo "check: all passed"

# --------------------------------------------------------------- kinds of tests

JOBS ?= $(shell nproc)
ASAN := BUILD=$(BUILD)/asan SANITIZE=address,undefined
TSAN := BUILD=$(BUILD)/tsan SANITIZE=thread
# Unit tests with threads of our own in them.
TSAN_TESTS := $(filter pkcs11_% publish_% core_channel_% core_log_%,$(notdir $(UNIT_TESTS)))

.PHONY: asan tsan
asan:                           ## unit tests under AddressSanitizer and UBSan
	@$(MAKE) --no-print-directory -s -j$(JOBS) $(ASAN) unit-build
	@$(MAKE) --no-print-directory $(ASAN) unit

tsan:                           ## unit tests with threads under ThreadSanitizer
	@$(MAKE) --no-print-directory -s -j$(JOBS) $(TSAN) $(TSAN_TESTS:%=$(BUILD)/tsan/unit/%)
	@scripts/run_unit.sh $(TSAN_TESTS:%=$(BUILD)/tsan/unit/%)

# Debian's Python: the one on PATH may be another, without the packages.
PYTEST      := /usr/bin/python3 -B -m pytest -q
# More than cores: much of the time a test waits for a lease, a deadline or a restart.
E2E_WORKERS ?= 3
E2E         ?= tests/e2e

# A PKCS#11 module in front of a real one, which writes down what a token is asked
# for, fails on command, and answers as late as a network HSM. It stays loaded, so that
# what is counted is counted for the process.
.PHONY: faults
faults: $(BUILD)/faults/shim.so $(BUILD)/faults/witness.so $(BUILD)/faults/unlimited.so $(BUILD)/faults/shadow.so
$(BUILD)/faults/%.so: tests/faults/%.c pkcs11/functions.h $(BUILD)/flags
	@mkdir -p $(@D)
	$(CC) -std=gnu11 -I. -O2 -g $(WARN) -fPIC -shared -Wl,-z,nodelete $(PKG_CFLAGS) -o $@ $< -lcrypto -lpthread -ldl

.PHONY: e2e e2e-asan
e2e: all faults bench-build     ## end-to-end tests (E2E=tests/e2e/test_x.py for one file)
	@CHANCERY_BUILD=$(BUILD) $(PYTEST) -n $(E2E_WORKERS) --dist loadfile $(E2E)

e2e-asan:                       ## the smoke subset of them under AddressSanitizer and UBSan
	@$(MAKE) --no-print-directory -s -j$(JOBS) $(ASAN) all faults
	@CHANCERY_BUILD=$(BUILD)/asan $(PYTEST) -n $(E2E_WORKERS) --dist loadfile -m smoke $(E2E)

# Fuzz targets: tests/fuzz/fuzz_<name>.c, seeds in tests/fuzz/corpus/<name>.
CLANG       := clang
FUZZ_TIME   ?= 10
FUZZ_TESTS  := $(patsubst tests/fuzz/fuzz_%.c,%,$(wildcard tests/fuzz/fuzz_*.c))
FUZZ_BUILD  := BUILD=$(BUILD)/fuzz CC=$(CLANG) SANITIZE=fuzzer-no-link,address,undefined
FUZZ_NEEDS  := front db pkcs11 x509 core

define fuzz_test
$(BUILD)/fuzz_$(1): $(BUILD)/tests/fuzz/fuzz_$(1).o $$(FUZZ_NEEDS:%=$(BUILD)/lib%.a)
	$$(CC) $$(LDFLAGS) -fsanitize=fuzzer -o $$@ $$^ $(call libs_of,$(FUZZ_NEEDS)) -lpthread -ldl
endef
$(foreach f,$(FUZZ_TESTS),$(eval $(call fuzz_test,$(f))))

.PHONY: fuzz
fuzz:                           ## each fuzz target for FUZZ_TIME seconds (needs clang)
	@$(MAKE) --no-print-directory -s -j$(JOBS) $(FUZZ_BUILD) $(FUZZ_TESTS:%=$(BUILD)/fuzz/fuzz_%)
	@scripts/run_fuzz.sh $(FUZZ_TIME) $(BUILD)/fuzz $(FUZZ_TESTS)

# Takes rules out of the signer's guard, journal and CRL duty and shows which tests notice: RULES="issuer
# approval" for some, all by default (two seconds each).
RULES ?=
.PHONY: mutate
mutate:                         ## take each rule out of the guard: which tests notice?
	@$(MAKE) --no-print-directory -s -j$(JOBS) all $(patsubst %,$(BUILD)/unit/pkcs11_%_test,guard journal_rules duty)
	@/usr/bin/python3 -B tests/faults/mutate.py $(BUILD) $(RULES)

# Measuring. ONLY=issue.p256 takes the series whose names begin so; BENCH_SECONDS,
# BENCH_ROUNDS and BENCH_LARGE=1 make it longer (tests/bench/bench.py --help).
ONLY ?=
BENCH_PROGRAMS := csign load post queue journal crl_stream crl_openssl
$(BUILD)/bench/%: $(BUILD)/tests/bench/%.o
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS) -o $@ $^ $(BENCH_LIBS) -lpthread -ldl
.SECONDARY: $(BENCH_PROGRAMS:%=$(BUILD)/tests/bench/%.o)
$(BUILD)/bench/load: BENCH_LIBS := -lpq
$(BUILD)/bench/crl_openssl: BENCH_LIBS := -lpq -lcrypto
$(BUILD)/bench/queue $(BUILD)/bench/crl_stream: BENCH_LIBS = $(shell pkg-config --libs $(call pkgs,db x509 core))
$(BUILD)/bench/queue $(BUILD)/bench/crl_stream: $(foreach l,db x509 core,$(BUILD)/lib$(l).a)
$(BUILD)/bench/journal: BENCH_LIBS = $(shell pkg-config --libs $(call pkgs,pkcs11 x509 core))
$(BUILD)/bench/journal: $(foreach l,pkcs11 x509 core,$(BUILD)/lib$(l).a)

.PHONY: bench bench-build profile
bench-build: all $(BENCH_PROGRAMS:%=$(BUILD)/bench/%) $(BUILD)/faults/shim.so
bench:                          ## rates beside the token's own rate and beside peers (ONLY=issue.p256)
	@scripts/bootstrap.sh build demo check bench
	@$(MAKE) --no-print-directory -s -j$(JOBS) bench-build
	@CHANCERY_BUILD=$(BUILD) /usr/bin/python3 -B tests/bench/bench.py $(if $(ONLY),--only $(ONLY)) $(BENCH_ARGS)

profile:                        ## where the time of signer, issuer and PostgreSQL goes (perf)
	@scripts/bootstrap.sh build demo check bench
	@$(MAKE) --no-print-directory -s -j$(JOBS) bench-build
	@CHANCERY_BUILD=$(BUILD) /usr/bin/python3 -B tests/bench/profile.py $(if $(ONLY),--only $(ONLY)) $(BENCH_ARGS)

.PHONY: bench-x509
$(BUILD)/bench/bench_x509: $(BUILD)/tests/bench/bench_x509.o $(BUILD)/libx509.a $(BUILD)/libcore.a
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS) -o $@ $^ $$(pkg-config --libs $(call pkgs,x509 core)) -lpthread
bench-x509: $(BUILD)/bench/bench_x509   ## time of parsing, verifying and building alone
	@$<

# ------------------------------------------------------------------ the sources

SOURCES := $(wildcard daemon/*.[ch] daemon/*/*.[ch] db/*.[ch] pkcs11/*.[ch] \
             tests/unit/*.[ch] tests/fuzz/*.[ch] tests/bench/*.[ch] tests/faults/*.[ch])

.PHONY: format format-check lint
format:                         ## clang-format on all sources
	clang-format -i $(SOURCES)

format-check:                   ## fails when clang-format would change something
	clang-format --dry-run -Werror $(SOURCES)

LINTED := $(filter daemon/% db/% pkcs11/%,$(filter %.c,$(SOURCES)))
lint: $(BUILD)/gen/known_migrations.inc  ## clang-tidy and cppcheck
	@scripts/bootstrap.sh build lint
	@printf '%s\n' $(LINTED) | xargs -P $(JOBS) -n 4 scripts/run_tidy.sh -I$(BUILD)/gen $(PKG_CFLAGS)
	cppcheck --quiet --std=c11 --error-exitcode=1 --inline-suppr -j $(JOBS) -I. -I$(BUILD)/gen \
	 --include=/usr/include/$(shell $(CC) -print-multiarch)/sys/queue.h \
	 --enable=warning,portability --suppress=missingIncludeSystem \
	 --suppress=checkersReport -D_GNU_SOURCE $(LINTED)

# ---------------------------------------------------------------------- install

bindir     := $(DESTDIR)$(PREFIX)/bin
sbindir    := $(DESTDIR)$(PREFIX)/sbin
libexecdir := $(DESTDIR)$(PREFIX)/libexec/chancery
datadir    := $(DESTDIR)$(PREFIX)/share/chancery
mandir     := $(DESTDIR)$(PREFIX)/share/man
unitdir    := $(DESTDIR)$(PREFIX)/lib/systemd/system

.PHONY: install
install: all                    ## install below DESTDIR and PREFIX (/usr/local)
	install -d $(bindir) $(sbindir) $(libexecdir) $(datadir)/migrations $(datadir)/templates $(unitdir)
	install -m 755 $(BUILD)/chancery $(bindir)/
	install -m 755 $(BUILD)/chanceryd $(sbindir)/
	install -m 755 $(BUILD)/chancery-signer $(libexecdir)/
	install -m 644 $(wildcard migrations/*.sql) $(datadir)/migrations/
	install -m 644 $(wildcard daemon/templates/*.yaml) $(datadir)/templates/
	for f in daemon/front/openapi.yaml daemon/front/alerts.yaml; do install -m 644 $$f $(datadir)/; done
	for f in $(wildcard daemon/man/*.[1-8]); do \
	 install -d $(mandir)/man$${f##*.} && install -m 644 $$f $(mandir)/man$${f##*.}/; done
	for f in $(wildcard scripts/*.service); do \
	 sed 's|@PREFIX@|$(PREFIX)|g' $$f >$(unitdir)/$${f##*/} && chmod 644 $(unitdir)/$${f##*/}; done

.PHONY: clean help
clean:                          ## remove what was built
	rm -rf $(BUILD)

help:                           ## this list
	@awk -F ':[^#]*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

-include $(shell find $(wildcard $(BUILD)/daemon $(BUILD)/db $(BUILD)/pkcs11 $(BUILD)/tests) -name '*.d' 2>/dev/null)
