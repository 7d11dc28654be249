# nettop: `make` lists what there is. `make run` and `make test` do all set-up themselves, on a fresh Debian 12 too.

SHELL := /bin/bash
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON := /usr/bin/python3# the distribution's, which sees the distribution's bcc
VENV := .venv
BIN := $(VENV)/bin
SUDO := $(if $(filter 0,$(shell id -u)),,sudo)
PREFIX := /opt/nettop
LOCAL := /usr/local# where the command, man and the shells look
LINKS := bin/nettop share/man/man1/nettop.1 share/bash-completion/completions/nettop \
	share/zsh/site-functions/_nettop share/fish/vendor_completions.d/nettop.fish
CACHE := /var/cache/nettop# nettop.kernel.image_cache

RUN_PACKAGES := python3 python3-venv python3-pip python3-bpfcc libcap-ng0
TEST_PACKAGES := bind9-dnsutils bpftool curl dnsmasq-base fonts-dejavu-core fish iproute2 iptables jq mandoc procps strace tcpdump \
	zsh
MATRIX_PACKAGES := busybox-static cpio e2fsprogs qemu-system-x86
TRUTH_PACKAGES := bpfcc-tools nethogs# whom nettop is compared with
BENCH_PACKAGES := $(TRUTH_PACKAGES) bpftrace tcpdump dnsperf dnsmasq-base gcc iperf3 libc6-dev nginx wrk

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: setup
setup: $(VENV)/.run ## Install what nettop needs to run: Debian packages and .venv

.PHONY: run
run: setup ## Set up and open the live screen
	$(SUDO) $(BIN)/nettop

.PHONY: test
test: lint ## Set up and run every check; without root, all that needs none
	@[ "$$(id -u)" = 0 ] || echo "NOT ROOT: every test that reads real traffic through the kernel is left out."
	$(BIN)/pytest

.PHONY: matrix
matrix: $(VENV)/.test ## Run nettop on every kernel from 5.10 on, in virtual machines; CASES="5.10 newest" for some
	$(call packages,$(MATRIX_PACKAGES))
	$(BIN)/python -m tests.kernels.matrix $(CASES)

.PHONY: truth
truth: $(VENV)/.test ## Show how right nettop is, scenario by scenario, beside tcplife, nethogs and gethostlatency
	$(call packages,$(TRUTH_PACKAGES))
	@$(SUDO) $(BIN)/python -m tests.live.truth

.PHONY: bench
bench: $(VENV)/.test ## Show how fast and light nettop is, beside others; CASES="start memory", QUICK=1, OUT=rows.json
	$(call packages,$(BENCH_PACKAGES))
	@$(SUDO) unshare --mount $(BIN)/python -m tests.bench $(if $(QUICK),--quick) $(if $(OUT),--out $(OUT)) $(if $(BESIDE),--beside $(BESIDE)) $(CASES)

.PHONY: soak
soak: $(VENV)/.test ## The screen under load for SECONDS=1800: nothing it holds may grow
	@$(SUDO) $(BIN)/python -m tests.faults.soak $(or $(SECONDS),1800)

.PHONY: fuzz
fuzz: $(VENV)/.test ## Give nettop hostile DNS: made, published, found by coverage; FUZZ="--cases N --seed N"
	$(BIN)/pip install --quiet --editable '.[fuzz]'
	$(BIN)/python -m tests.hostile.fuzz $(FUZZ)

.PHONY: lint
lint: $(VENV)/.test ## Style, types and the direction of imports
	$(BIN)/ruff check nettop tests screenshots
	$(BIN)/ruff format --check nettop tests screenshots
	$(BIN)/mypy
	$(BIN)/lint-imports

.PHONY: schema
schema: setup ## Write the JSON Schemas anew from the rows
	$(BIN)/python -m nettop.export.schema

.PHONY: share
share: $(VENV)/.test ## Write the manual and the completions anew from what the program declares
	$(BIN)/python -m nettop.share.make

.PHONY: demo
demo: $(VENV)/.test ## Record anew what 'nettop replay --demo' plays, in network namespaces of its own
	$(SUDO) $(BIN)/python -m tests.demo.record

.PHONY: screenshots
screenshots: $(VENV)/.test ## Draw the pictures in screenshots/ anew from that recording
	$(BIN)/python -m screenshots.make

.PHONY: install
install: ## Install for every user: a root-owned copy in /opt/nettop; command, manual, completions in /usr/local
	$(call packages,$(RUN_PACKAGES))
	umask 022 && $(SUDO) $(PYTHON) -m venv --clear --system-site-packages $(PREFIX)
	umask 022 && $(SUDO) $(PREFIX)/bin/pip install --quiet .
	umask 022 && for link in $(LINKS); do \
		$(SUDO) mkdir -p "$$(dirname $(LOCAL)/$$link)" && $(SUDO) ln -sfn $(PREFIX)/$$link $(LOCAL)/$$link || exit 1; \
	done

.PHONY: uninstall
uninstall: ## Remove what install put there, and the compiled programs
	$(SUDO) rm -rf $(PREFIX) $(CACHE)
	$(SUDO) rm -f $(addprefix $(LOCAL)/,$(LINKS))

.PHONY: dist
dist: $(VENV)/.test ## Build a wheel and a source archive into dist/
	rm -rf dist
	$(BIN)/python -m hatchling build --directory dist

.PHONY: clean
clean: ## Remove everything that is made
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find nettop tests -name __pycache__ -prune -exec rm -rf {} +

# Debian packages that are missing, through apt; elsewhere a sentence that says what is needed.
define packages
	@command -v apt-get >/dev/null || { echo "No apt-get here: this needs what your distribution calls $(1)"; exit 0; }; \
	missing=""; for package in $(1); do \
		dpkg-query -W -f '$${Status}' $$package 2>/dev/null | grep -q 'ok installed' || missing="$$missing $$package"; \
	done; \
	if [ -z "$$missing" ]; then exit 0; fi; \
	echo "Installing:$$missing"; \
	$(SUDO) apt-get update -q && $(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $$missing
endef

$(VENV)/.run: pyproject.toml
	$(call packages,$(RUN_PACKAGES))
	$(PYTHON) -m venv --system-site-packages $(VENV)
	$(BIN)/pip install --quiet --editable .
	touch $@

$(VENV)/.test: $(VENV)/.run
	$(call packages,$(TEST_PACKAGES))
	$(BIN)/pip install --quiet --editable '.[dev]'
	touch $@
