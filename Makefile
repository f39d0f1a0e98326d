# octet: no configure step. `make help` lists what there is to do.

PREFIX ?= /usr/local
DESTDIR ?=
BUILD ?= build
WERROR ?=
CFLAGS ?= -O2 -g
CLANG ?= clang
AARCH64_CC ?= aarch64-linux-gnu-gcc
HOST := $(shell uname -m)
# ARCH=aarch64: a cross build, into a folder of its own, with the libraries of tools/deps.sh aarch64.
# SLIM=1: without the commands that need libcurl, OpenSSL, SQLite and seccomp, as one static file.
ifneq ($(filter-out $(HOST),$(ARCH)),)
CC := $(if $(filter aarch64,$(ARCH)),$(AARCH64_CC),$(ARCH)-linux-gnu-gcc)
BUILD := build/$(ARCH)
CPPFLAGS += -Ibuild/$(ARCH)/libevent/usr/include
LDFLAGS += -Lbuild/$(ARCH)/libevent/usr/lib/$(ARCH)-linux-gnu
endif
ifdef SLIM
BUILD := $(BUILD)/slim
endif
FUZZ_SECONDS ?= 60
MODEL ?= $(firstword $(wildcard models/*.gguf))

# Short lines; V=1 shows the commands.
say = $(if $(V),,@echo "  $(1) $(2)";)

ifeq ($(MAKELEVEL),0)
MAKEFLAGS += -j$(shell nproc)
endif

VERSION := $(shell sed -n 's/^.define OCTET_VERSION "\(.*\)"/\1/p' include/octet.h)
SO_MAJOR := $(firstword $(subst ., ,$(VERSION)))
ARCH ?= $(shell $(CC) -dumpmachine 2>/dev/null | cut -d- -f1)

# Kernels must keep every operation as written (see src/kernels/kernels.h), so no contraction and no
# fast-math anywhere. The baseline stays the architecture's; each ISA file gets its own flags.
WARNINGS := -Wall -Wextra -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes
BASE_FLAGS := -D_GNU_SOURCE -Iinclude -Isrc -std=c11 -ffp-contract=off -fPIC -pthread $(WARNINGS)
COMPILE = $(CPPFLAGS) $(BASE_FLAGS) $(CFLAGS)
LIB_LIBS := -ljansson -lutf8proc -lm -pthread
CLI_LIBS := -lcurl -lcrypto -ledit
SERVER_LIBS := -levent -levent_pthreads -lz
COMPARE_LIBS := -lcurl -lcrypto -lsqlite3 -lseccomp -lyaml -lz -ltree-sitter

LIB_DIRS := base format quant kernels model text engine
ALL_LIB := $(foreach d,$(LIB_DIRS),$(wildcard src/$(d)/*.c))
OTHER_ISA := $(if $(filter x86_64,$(ARCH)),,src/kernels/avx2.c $(wildcard src/kernels/avx512*.c)) \
             $(if $(filter aarch64,$(ARCH)),,src/kernels/neon.c)
OTHER_ISA += $(if $(filter x86_64,$(ARCH)),,$(wildcard src/base/probe_avx*.c)) \
             $(if $(filter aarch64,$(ARCH)),,src/base/probe_neon.c)
LIB_SRC := $(filter-out $(OTHER_ISA),$(ALL_LIB))
COMPARE_SRC := $(wildcard src/compare/*.c)
SERVER_SRC := $(wildcard src/server/*.c src/lsp/*.c)
CLI_SRC := $(wildcard src/cli/*.c)
ifdef SLIM
# What CLI_LIBS and COMPARE_LIBS bring along and static files can not have: see src/cli/main.c.
CLI_SRC := $(filter-out %/cmd_pull.c %/fetch.c %/http.c %/cmd_compare.c %/cmd_eval.c %/cmd_report.c \
             %/cmd_prices.c %/prices_desk.c %/prices_compare.c %/cmd_box.c %/cmd_fim_eval.c %/cmd_lsp.c,\
             $(CLI_SRC))
CPPFLAGS += -DOCTET_SLIM
LDFLAGS += -static
CLI_LIBS := -ledit -ltinfo -lbsd -lmd
COMPARE_LIBS :=
endif
TEST_SRC := $(wildcard tests/test_*.c)
FUZZ_SRC := $(wildcard fuzz/fuzz_*.c)

# Kernels are long functions without branches: where a debugger finds variables in them would be half
# of the time to compile, so only lines and names of functions are kept.
isa_flags = $(if $(findstring kernels/avx2,$(1)),-O3 -g1 -mavx2 -mfma -mf16c)\
 $(if $(findstring kernels/avx512,$(1)),-O3 -g1 -mavx512f -mavx512bw -mavx512dq -mavx512vl\
 -mavx512vnni -mavx2 -mfma -mf16c)$(if $(findstring gfni,$(1)), -mavx512vbmi -mgfni)\
 $(if $(findstring kernels/neon,$(1)),-O3 -march=armv8.2-a+dotprod)\
 $(if $(findstring base/probe_,$(1)),$(probe_flags))
probe_flags = $(if $(findstring generic,$(1)),-O3)\
 $(if $(findstring avx2,$(1)),-O3 -mavx2 -mfma)\
 $(if $(findstring avxvnni,$(1)),-O3 -mavx2 -mfma -mavxvnni)\
 $(if $(findstring avx512,$(1)),-O3 -mavx512f -mavx512vnni -mfma)\
 $(if $(findstring neon,$(1)),-O3 -march=armv8.2-a+dotprod)

.PHONY: all lib grammars help deps check quick-check style demo check-clients check-clients-all \
        check-aarch64 asan kernels-asan tests tests-asan tests-cov tsan check-threads fuzz fuzz-build \
        fuzz-serve clang-lint clang-syntax neon bench coverage format install uninstall clean
all: $(BUILD)/octet lib ## the program and the library (default)
lib: $(BUILD)/liboctet.a $(BUILD)/liboctet.so

# ---- One object tree per flavour -----------------------------------------------------------------
# $(1) folder, $(2) compiler, $(3) variable with extra flags, $(4) the same for instruction set
# files: sanitizers make the compiler work minutes on those, so they get less optimisation under
# test, and no sanitizers in fuzz targets, which never get that far.
lib_obj = $(patsubst src/%.c,$(1)/%.o,$(LIB_SRC))
compare_obj = $(patsubst src/%.c,$(1)/%.o,$(COMPARE_SRC))
server_obj = $(patsubst src/%.c,$(1)/%.o,$(SERVER_SRC))
cli_obj = $(patsubst src/%.c,$(1)/%.o,$(CLI_SRC))
test_bin = $(patsubst tests/%.c,$(1)/tests/%,$(TEST_SRC))

# What src/compare/embed.c takes into the program; each built-in task set as one file of several
# documents.
TASK_SETS := $(notdir $(patsubst %/,%,$(wildcard tasks/*/)))
EMBEDDED := $(wildcard prices/* report/* src/compare/harness/*) \
            $(TASK_SETS:%=$(BUILD)/embed/%.yaml)
.SECONDEXPANSION:
$(BUILD)/embed/%.yaml: $$(sort $$(wildcard tasks/%/*.yaml))
	@mkdir -p $(@D)
	@for file in $^; do echo "---"; cat $$file; done > $@

define flavour
$(1)/compare/embed.o: $$(EMBEDDED)
$(1)/server/page.o: $$(wildcard web/*)
$(1)/compare/embed.o: EMBED_FLAGS = -Wa,-I$(BUILD)/embed
$(1)/%.o: src/%.c Makefile
	@mkdir -p $$(@D)
	$$(call say,CC,$$@)$(2) $$(COMPILE) $$(call isa_flags,$$<) \
	    $$(if $$(strip $$(call isa_flags,$$<)),$$($(4)),$$($(3))) $$(EMBED_FLAGS) \
	    -MMD -MP -c $$< -o $$@
$(1)/liboctet.a: $$(call lib_obj,$(1))
	@rm -f $$@
	$$(call say,AR,$$@)ar rcs $$@ $$^
$(1)/libcompare.a: $$(call compare_obj,$(1))
	@rm -f $$@
	$$(call say,AR,$$@)ar rcs $$@ $$^
$(1)/libserver.a: $$(call server_obj,$(1))
	@rm -f $$@
	$$(call say,AR,$$@)ar rcs $$@ $$^
$(1)/octet: $$(call cli_obj,$(1)) $(1)/libserver.a $(1)/libcompare.a $(1)/liboctet.a
	$$(call say,LD,$$@)$(2) $$(CFLAGS) $$($(3)) -o $$@ $$^ $$(LDFLAGS) $$(CLI_LIBS) \
	    $$(SERVER_LIBS) $$(COMPARE_LIBS) $$(LIB_LIBS)
$(1)/tests/%: tests/%.c $(1)/libserver.a $(1)/libcompare.a $(1)/liboctet.a
	@mkdir -p $$(@D)
	$$(call say,LD,$$@)$(2) $$(COMPILE) $$($(3)) -Itests -MMD -MP -MF $$@.d -MT $$@ \
	    $$< $$(filter %.o,$$^) -o $$@ \
	    $(1)/libserver.a $(1)/libcompare.a $(1)/liboctet.a $$(LDFLAGS) -lcmocka \
	    $$(SERVER_LIBS) $$(COMPARE_LIBS) $$(LIB_LIBS)
-include $$(wildcard $(1)/*/*.d)
endef

SANITIZE := -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
ASAN := $(SANITIZE) -Werror
# What these three would find in kernels, others find as well. The option of gcc alone makes code that
# is no slower; both together, two thirds of the time to compile.
ASAN_ISA := $(ASAN) -g1 -fno-sanitize=null,object-size,pointer-overflow \
            $(if $(findstring clang,$(CC)),,-fira-region=one)
TSAN := -O1 -g -fsanitize=thread -fno-omit-frame-pointer -Werror
TSAN_ISA := -O1 -Werror
COV := -O0 -g --coverage
FUZZ := $(SANITIZE) -fsanitize=fuzzer-no-link -Werror
FUZZ_ISA := -O1 -Werror
NEON := -ffunction-sections -Werror
# Kernels of instruction sets are tested as they are released, since sanitizers would take minutes, and
# with them in the two programs that try every format. Not avx512_gfni.c, which is the same code as
# avx512.c, nor what this machine can only compile, not run.
ISA_KERNELS := $(patsubst src/%.c,%.o,$(filter-out %/pick.c %/scalar.c,$(wildcard src/kernels/*.c)))
$(ISA_KERNELS:%=$(BUILD)/asan/%): $(BUILD)/asan/%: $(BUILD)/%
	@mkdir -p $(@D)
	@cp $< $@
RUNS_AVX512 := $(shell grep -s -m1 -o -w avx512_vnni /proc/cpuinfo)
CHECKED := $(if $(filter x86_64,$(ARCH)),avx2 $(if $(RUNS_AVX512),avx512)) \
           $(if $(filter aarch64,$(ARCH)),neon)
CHECKED := $(CHECKED:%=$(BUILD)/checked/kernels/%.o)
$(BUILD)/asan/tests/test_kernels $(BUILD)/asan/tests/test_bits: $(CHECKED)
$(eval $(call flavour,$(BUILD),$(CC),WERROR,WERROR))
$(eval $(call flavour,$(BUILD)/asan,$(CC),ASAN,ASAN_ISA))
$(eval $(call flavour,$(BUILD)/checked,$(CC),ASAN,ASAN_ISA))
$(eval $(call flavour,$(BUILD)/tsan,$(CC),TSAN,TSAN_ISA))
$(eval $(call flavour,$(BUILD)/cov,$(CC),COV,COV))
$(eval $(call flavour,$(BUILD)/fuzz,$(CLANG),FUZZ,FUZZ_ISA))
$(eval $(call flavour,$(BUILD)/neon,$(AARCH64_CC),NEON,NEON))

$(BUILD)/liboctet.so: $(call lib_obj,$(BUILD)) src/liboctet.map
	$(call say,LD,$@)$(CC) -shared -Wl,-soname,liboctet.so.$(SO_MAJOR) \
	    -Wl,--version-script=src/liboctet.map $(CFLAGS) -o $@ $(call lib_obj,$(BUILD)) \
	    $(LDFLAGS) $(LIB_LIBS)

# Parsers of programming languages, for compare's look at the structure of answers: from npm, so not
# part of a plain build. A shared object of its own, since they are larger than the program.
GRAMMARS := $(BUILD)/liboctet-grammars.so
grammars: $(GRAMMARS) ## parsers of eight languages for octet compare (needs npm and a network)
$(GRAMMARS): tools/grammars.sh tools/grammars.lock
	$(call say,GET,$@)CC="$(CC)" tools/grammars.sh $@

# ---- Checks --------------------------------------------------------------------------------------
check: ## everything a change must pass; ends with "N passed, N failed"
	@tools/deps.sh check
	@tools/deps.sh more || echo "check: goes on without what is missing, and says what it skips"
	+@tools/run_tests.sh asan
quick-check: ## unit and program tests with sanitizers, and the style
	+@tools/run_tests.sh asan style build unit cli
style: ## line, function and file lengths, module arrows, leftovers
	@tools/check_style.sh
coverage: ## line coverage of src/ by unit and program tests
	@tools/deps.sh coverage
	+@tools/coverage.sh
check-clients: $(BUILD)/octet ## real SDKs against octet serve (npm, PyPI): MODEL=file.gguf
check-clients-all: $(BUILD)/octet ## the large clients too: Copilot CLI, Continue, aider
check-clients check-clients-all:
	@test -n "$(MODEL)" || { echo "no model in models/: make $@ MODEL=..." >&2; exit 1; }
	@tests/clients/run.sh $(BUILD)/octet $(MODEL) $(if $(filter %-all,$@),--all)
asan: kernels-asan $(BUILD)/asan/octet tests-asan ## the program and its unit tests with sanitizers
kernels-asan: $(CHECKED) # they take longest: a goal to begin with
tests-asan: $(call test_bin,$(BUILD)/asan)
# What shares memory between threads: the pool, sessions, the cache's writer, lanes and HTTP.
THREAD_TESTS := threads session cache fim
tsan: $(BUILD)/tsan/octet $(THREAD_TESTS:%=$(BUILD)/tsan/tests/test_%) ## with the thread sanitizer
check-threads: tsan ## races between threads: unit tests and octet serve under load
	@tools/check_threads.sh $(BUILD) $(THREAD_TESTS)
tests-cov: $(BUILD)/cov/octet $(call test_bin,$(BUILD)/cov)
tests: $(BUILD)/octet $(call test_bin,$(BUILD)) ## the same without, to run them by hand or emulated
check-aarch64: $(BUILD)/octet ## unit and program tests of the whole program, emulated; takes long
	@tools/deps.sh aarch64
	+@tools/run_tests.sh aarch64 build unit cli hashes slim

# clang compiles the library for fuzzing; the rest it only has to accept.
clang-lint: clang-syntax $(BUILD)/fuzz/liboctet.a $(BUILD)/fuzz/libcompare.a \
            $(BUILD)/fuzz/libserver.a
clang-syntax:
	$(call say,CHECK,with $(CLANG))$(CLANG) $(COMPILE) -Werror -Itests -fsyntax-only \
	    $(CLI_SRC) $(TEST_SRC)

FUZZ_BINS := $(patsubst fuzz/fuzz_%.c,$(BUILD)/fuzz/run/%,$(FUZZ_SRC))
fuzz-build: $(FUZZ_BINS)
$(BUILD)/fuzz/run/%: fuzz/fuzz_%.c $(BUILD)/fuzz/libserver.a $(BUILD)/fuzz/libcompare.a \
                      $(BUILD)/fuzz/liboctet.a
	@mkdir -p $(@D)
	$(call say,LD,$@)$(CLANG) $(COMPILE) $(SANITIZE) -fsanitize=fuzzer -Werror -Itests \
	    -o $@ $^ $(LDFLAGS) $(SERVER_LIBS) $(COMPARE_LIBS) $(LIB_LIBS)
fuzz-serve: $(BUILD)/asan/octet $(BUILD)/octet ## mutated requests to octet serve for FUZZ_SECONDS (60)
	@$(BUILD)/octet synth --arch llama-tiny --type q8_0 $(BUILD)/fuzz-serve.gguf
	@python3 tests/serve/fuzz_http.py $(BUILD)/asan/octet $(BUILD)/fuzz-serve.gguf $(FUZZ_SECONDS) \
	    $(FUZZ_SEED)
fuzz: fuzz-build ## every fuzz target for FUZZ_SECONDS (60)
	@tools/deps.sh check
	@tools/deps.sh more
	@FUZZ_SECONDS=$(FUZZ_SECONDS) tools/run_tests.sh asan fuzz

# Emulated: the NEON kernels against the scalar ones, and whole models against this machine's. All of
# the library but text, which needs utf8proc (see tests/neon/no_text.c).
NEON_OBJ := $(patsubst src/%.c,$(BUILD)/neon/%.o,\
            $(filter-out src/text/% src/kernels/avx% src/base/probe_avx%,$(ALL_LIB)))
NEON_BINS := $(BUILD)/neon/check_neon $(BUILD)/neon/model_hash
neon: $(NEON_BINS) $(BUILD)/tests/neon/model_hash
$(BUILD)/neon/model_hash: tests/neon/no_text.c tests/pure_type.h
$(NEON_BINS): $(BUILD)/neon/%: tests/neon/%.c $(NEON_OBJ)
	$(call say,LD,$@)$(AARCH64_CC) $(COMPILE) $(NEON) -Itests -static -Wl,--gc-sections -o $@ \
	    $(filter-out %.h,$^) -lm

# ---- Use -----------------------------------------------------------------------------------------
deps: ## install the Debian packages the build needs
	@tools/deps.sh
demo: ## fetch a small model and let it write a program
	+@tools/demo.sh
bench: $(BUILD)/octet ## prefill and decode speed: make bench MODEL=file.gguf
	@test -n "$(MODEL)" || { echo "no model in models/: make bench MODEL=file.gguf" >&2; exit 1; }
	$(BUILD)/octet bench -m $(MODEL)
format: ## clang-format every C file in place
	clang-format -i $(wildcard include/*.h src/*/*.c src/*/*.h tests/*.c fuzz/*.c docs/*.c)
clean: ## remove what was built
	rm -rf $(BUILD)

# ---- Install -------------------------------------------------------------------------------------
TO := $(DESTDIR)$(PREFIX)
SO := liboctet.so.$(VERSION)
DOCS := $(wildcard README.md DESIGN.md MODEL.md CONTRIBUTING.md LICENSE docs/example.c)
install: all ## into PREFIX (/usr/local), staged under DESTDIR
	@sed -e 's|@PREFIX@|$(PREFIX)|' -e 's|@VERSION@|$(VERSION)|' octet.pc.in > $(BUILD)/octet.pc
	install -d $(TO)/bin $(TO)/include $(TO)/lib/pkgconfig $(TO)/share/doc/octet
	install -m 755 $(BUILD)/octet $(TO)/bin/octet
	[ ! -e $(GRAMMARS) ] || install -D -m 755 $(GRAMMARS) $(TO)/libexec/octet/$(notdir $(GRAMMARS))
	install -m 644 include/octet.h $(TO)/include/octet.h
	install -m 644 $(BUILD)/liboctet.a $(TO)/lib/liboctet.a
	install -m 755 $(BUILD)/liboctet.so $(TO)/lib/$(SO)
	ln -sf $(SO) $(TO)/lib/liboctet.so.$(SO_MAJOR)
	ln -sf liboctet.so.$(SO_MAJOR) $(TO)/lib/liboctet.so
	install -m 644 $(BUILD)/octet.pc $(TO)/lib/pkgconfig/octet.pc
	install -m 644 $(DOCS) $(TO)/share/doc/octet
uninstall: ## remove what install put there
	rm -f $(TO)/bin/octet $(TO)/include/octet.h $(TO)/lib/liboctet.a $(TO)/lib/$(SO) \
	    $(TO)/lib/liboctet.so.$(SO_MAJOR) $(TO)/lib/liboctet.so $(TO)/lib/pkgconfig/octet.pc
	rm -rf $(TO)/share/doc/octet $(TO)/libexec/octet

help: ## this list
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 22
	@echo "  variables: V=1 CC CFLAGS BUILD PREFIX DESTDIR MODEL FUZZ_SECONDS"
