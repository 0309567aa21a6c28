# Chancery. `make help` lists the targets.

BUILD   ?= build
PREFIX  ?= /usr/local
DESTDIR ?=
VERSION := 0.1.0

CC      ?= gcc
PKGS_core    := libcrypto libevent yaml-0.1
PKGS_x509    := libcrypto yaml-0.1
PKGS_db      := libpq libevent
PKGS_front   := libevent libevent_openssl libssl libcrypto jansson
PKGS_issuer  := libcrypto
PKGS_publish := libcurl ldap
PKGS_cli     := libcurl jansson libcrypto
PKGS_pkcs11  := libp11 p11-kit-1 libcrypto libevent

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
CFLAGS  += -std=gnu11 -I. $(OPT) $(WARN) $(HARDEN) -DCHANCERY_VERSION='"$(VERSION)"' -D_GNU_SOURCE \
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
NEEDS_chancery        := cli x509 core
NEEDS_chancery-signer := pkcs11 x509 core
PROGRAMS := chanceryd chancery chancery-signer

.PHONY: all
all: $(PROGRAMS:%=$(BUILD)/%)

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
PKG_CFLAGS = $(shell pkg-config --cflags $(ALL_PKGS) 2>/dev/null)
$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(PKG_CFLAGS) -MMD -MP -c -o $@ $<

# Unit tests: tests/unit/<library>_<subject>_test.c links that library and what
# it needs.
TEST_NEEDS_core       := core
TEST_NEEDS_x509       := x509 core
TEST_NEEDS_db         := db core
TEST_NEEDS_front      := front db x509 core
TEST_NEEDS_issuer     := issuer publish db x509 core
TEST_NEEDS_publish    := publish db x509 core
TEST_NEEDS_supervisor := supervisor core
TEST_NEEDS_cli        := cli x509 core
TEST_NEEDS_pkcs11     := pkcs11 x509 core
UNIT_TESTS := $(patsubst tests/unit/%.c,$(BUILD)/unit/%,$(wildcard tests/unit/*_test.c))

define unit_test
$(BUILD)/unit/$(1): $(BUILD)/tests/unit/$(1).o $$(TEST_NEEDS_$(firstword $(subst _, ,$(1))):%=$(BUILD)/lib%.a)
	@mkdir -p $$(@D)
	$$(CC) $$(LDFLAGS) -o $$@ $$^ $(call libs_of,$(TEST_NEEDS_$(firstword $(subst _, ,$(1))))) -lcmocka -lpthread -ldl
endef
$(foreach t,$(UNIT_TESTS:$(BUILD)/unit/%=%),$(eval $(call unit_test,$(t))))

.PHONY: unit-build unit
unit-build: $(UNIT_TESTS)
unit: unit-build
	@set -e; for t in $(UNIT_TESTS); do echo "== $$t"; $$t; done

.PHONY: clean
clean:
	rm -rf build

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
