# nettop: `make` lists the targets. `make run` and `make test` install what they need, even on a fresh Debian 12.

SHELL := /bin/bash
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
unexport PYTHONDONTWRITEBYTECODE# or each of thousands of starts compiles nettop's modules anew

PYTHON := /usr/bin/python3# the distribution's, which can import the distribution's bcc
VENV := .venv
BIN := $(VENV)/bin
SUDO := $(if $(filter 0,$(shell id -u)),,sudo)
PREFIX := /opt/nettop
LOCAL := /usr/local# where man and the shells look
LINKS := bin/nettop share/man/man1/nettop.1 share/bash-completion/completions/nettop \
	share/zsh/site-functions/_nettop share/fish/vendor_completions.d/nettop.fish
CACHE := /var/cache/nettop# nettop.kernel.compiled_cache

RUN_PACKAGES := python3 python3-venv python3-pip python3-bpfcc python3-cryptography libcap-ng0 libseccomp2
TEST_PACKAGES := apache2-bin bind9-dnsutils bpftool curl dnsmasq-base fonts-dejavu-core fish gnutls-bin golang-go iproute2 iptables jq mandoc \
	mariadb-client-core mariadb-server-core memcached nftables nghttp2-client nghttp2-proxy nghttp2-server nginx nscd gcc musl-tools nodejs \
	postgresql procps redis-server redis-tools strace tcpdump wget wrk zsh
FLEET_PACKAGES := kcat librdkafka1 libyajl2 prometheus prometheus-node-exporter# unpacked only: 110 MB, and daemons that nobody wants
FLEET := $(VENV)/fleet
MATRIX_PACKAGES := cpio e2fsprogs lz4 zstd qemu-system-arm qemu-system-x86 qemu-user-static
TRUTH_PACKAGES := bpfcc-tools nethogs# the tools that nettop is compared with
DAEMONS := memcached nginx nghttpx nscd postgresql redis-server# units that come with these, of which only the programs are wanted
# Tests with real traffic that run beside the others of them: next to nothing of theirs is on the clock, or on the whole machine,
# as the breakpoints of --decrypt are.
ELSEWHERE := $(addprefix tests/faults/test_,cache.py signals.py) tests/live/truth $(addprefix tests/live/test_,answers.py blocks_pass.py \
	bodies.py cage.py compiled_cache.py cutting.py databases.py http2.py libc_lookups.py metrics.py privileges.py quic.py requests.py \
	resolved.py)
DEB_PACKAGES := debhelper dpkg-dev
ROOT_PACKAGES := buildah crun lintian mmdebstrap qemu-user-static uidmap# what the packages are tried with
BENCH_PACKAGES := $(TRUTH_PACKAGES) bpftrace tcpdump dnsperf dnsmasq-base gcc iperf3 libc6-dev nghttp2-proxy nginx wrk

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: setup
setup: $(VENV)/.run ## Install what nettop needs: Debian packages and .venv

.PHONY: run
run: setup ## Set up and open the live screen
	$(SUDO) $(BIN)/nettop

.PHONY: test
test: lint ## Set up and run every check; without root, skip tests that need it
	@[ "$$(id -u)" = 0 ] || echo "NOT ROOT: skipping every test that reads real traffic through the kernel."
	@nice -n 5 $(BIN)/pytest -m "not live" >$(VENV)/others.log 2>&1 & others=$$!; \
	$(BIN)/pytest -m live $(ELSEWHERE) >$(VENV)/elsewhere.log 2>&1 & elsewhere=$$!; \
	trap "kill $$others $$elsewhere 2>/dev/null" EXIT; \
	$(BIN)/pytest -m live $(addprefix --ignore=,$(ELSEWHERE)); status=$$?; \
	wait $$others || status=$$?; wait $$elsewhere || status=$$?; \
	echo "Those that ran beside:"; cat $(VENV)/others.log $(VENV)/elsewhere.log; exit $$status

.PHONY: matrix
matrix: $(VENV)/.test pyz ## Run nettop on kernels from 5.10 on and on arm64, in virtual machines; CASES="5.10 newest", QUICK=1
	$(call packages,$(MATRIX_PACKAGES))
	$(BIN)/python -m tests.kernels.matrix $(if $(QUICK),--quick) $(if $(GUESTS),--guests $(GUESTS)) $(CASES)

.PHONY: truth
truth: $(VENV)/.test ## Show how accurate nettop is, next to tcplife, nethogs and gethostlatency
	$(call packages,$(TRUTH_PACKAGES))
	@$(SUDO) $(BIN)/python -m tests.live.truth

.PHONY: bench
bench: $(VENV)/.test ## Show how fast and light nettop is, next to others; CASES="start memory", QUICK=1, OUT=rows.json
	$(call packages,$(BENCH_PACKAGES))
	@$(SUDO) unshare --mount $(BIN)/python -m tests.bench $(if $(QUICK),--quick) $(if $(OUT),--out $(OUT)) $(if $(BESIDE),--beside $(BESIDE)) $(CASES)

.PHONY: fleet
fleet: $(VENV)/.test ## Feed Prometheus, node_exporter, kcat, ClickHouse's engine and others, and read back what they have
	$(BIN)/pip install --quiet --editable '.[fleet]'
	mkdir -p $(FLEET) && cd $(FLEET) && apt-get download --quiet $(FLEET_PACKAGES) && for deb in *.deb; do dpkg -x $$deb . || exit 1; done
	$(SUDO) env FLEET_TOOLS=$(CURDIR)/$(FLEET) $(BIN)/pytest tests/fleet

.PHONY: load
load: fleet ## Show what a scrape of 10,000 processes costs a host, and what HOSTS=100 hosts cost their Prometheus
	$(BIN)/python -m tests.fleet.scrape
	$(BIN)/python -m tests.fleet.load $(FLEET) --hosts $(or $(HOSTS),100)

.PHONY: soak
soak: $(VENV)/.test ## Run the screen under load for SECONDS=1800; fail if memory, threads or descriptors grow
	@$(SUDO) $(BIN)/python -m tests.faults.soak $(or $(SECONDS),1800)

.PHONY: soak-powers
soak-powers: $(VENV)/.test ## Kill nettop with all its powers again and again for SECONDS=600; fail if it leaves or harms anything
	@$(SUDO) $(BIN)/python -m tests.faults.probes_soak $(or $(SECONDS),600)

.PHONY: fuzz
fuzz: $(VENV)/.test ## Feed nettop hostile DNS and other protocols: generated, published, coverage-guided; FUZZ="--cases N --seed N"
	$(BIN)/pip install --quiet --editable '.[fuzz]'
	$(BIN)/python -m tests.hostile.fuzz $(FUZZ)

.PHONY: lint
lint: $(VENV)/.test ## Check style, types and the direction of imports
	$(BIN)/ruff check nettop tests screenshots
	$(BIN)/ruff format --check nettop tests screenshots
	$(BIN)/mypy
	$(BIN)/lint-imports

.PHONY: schema
schema: setup ## Regenerate the JSON Schemas from the rows
	$(BIN)/python -m nettop.export.schema

.PHONY: share
share: $(VENV)/.test ## Regenerate the manual and the completions from the program and docs/
	$(BIN)/python -m nettop.share.make

.PHONY: golden
golden: $(VENV)/.test ## Write anew what the tests hold nettop's formats against, when a field has come
	$(BIN)/python -m tests.golden.make

.PHONY: demo
demo: $(VENV)/.test ## Record the demo again, in network namespaces of its own
	$(SUDO) $(BIN)/python -m tests.demo.record

.PHONY: screenshots
screenshots: $(VENV)/.test ## Redraw the pictures in screenshots/ from the demo
	$(BIN)/python -m screenshots.make

.PHONY: install
install: ## Install for all users: a root-owned copy in /opt/nettop, command and manual in /usr/local
	$(call packages,$(RUN_PACKAGES))
	umask 022 && $(SUDO) $(PYTHON) -m venv --clear --system-site-packages $(PREFIX)
	umask 022 && $(SUDO) $(PREFIX)/bin/pip install --quiet .
	umask 022 && for link in $(LINKS); do \
		$(SUDO) mkdir -p "$$(dirname $(LOCAL)/$$link)" && $(SUDO) ln -sfn $(PREFIX)/$$link $(LOCAL)/$$link || exit 1; \
	done

.PHONY: uninstall
uninstall: ## Remove what 'make install' installed, and the cache of compiled programs
	$(SUDO) rm -rf $(PREFIX) $(CACHE)
	$(SUDO) rm -f $(addprefix $(LOCAL)/,$(LINKS))

.PHONY: dist
dist: $(VENV)/.test ## Build a wheel and a source archive into dist/
	rm -rf dist
	$(BIN)/python -m hatchling build --directory dist

.PHONY: deb
deb: $(VENV)/.release ## Build a Debian package for this machine's processor into dist/, with nettop's Python packages inside
	$(call packages,$(DEB_PACKAGES))
	$(BIN)/python -m nettop.packaging.build deb

.PHONY: pyz
pyz: $(VENV)/.release ## Build nettop.pyz into dist/: one file, for Python 3.11 to 3.13 on x86_64 and arm64
	$(BIN)/python -m nettop.packaging.build pyz

.PHONY: release
release: $(VENV)/.release ## Build all that is published into dist/, for x86_64 and arm64, with checksums and a list of what is inside (SBOM)
	$(call packages,$(DEB_PACKAGES))
	$(BIN)/python -m nettop.packaging.build release

.PHONY: packages-test
packages-test: $(VENV)/.test release ## Install, run, upgrade and purge what 'make release' made, in fresh Debian 12 and 13 roots
	$(call packages,$(ROOT_PACKAGES))
	$(SUDO) $(BIN)/pytest -s tests/packaging/fresh_roots.py

.PHONY: clean
clean: ## Remove generated files and .venv
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find nettop tests -name __pycache__ -prune -exec rm -rf {} +

# Installs missing Debian packages through apt; on other distributions, says what is needed. What they bring of daemons
# neither starts now (/usr/sbin/policy-rc.d of invoke-rc.d(8)) nor at the next boot; a machine that had them keeps them.
define packages
	@command -v apt-get >/dev/null || { echo "No apt-get here. Install your distribution's equivalents of: $(1)"; exit 0; }; \
	missing=""; for package in $(1); do \
		dpkg-query -W -f '$${Status}' $$package 2>/dev/null | grep -q 'ok installed' || missing="$$missing $$package"; \
	done; \
	if [ -z "$$missing" ]; then exit 0; fi; \
	echo "Installing:$$missing"; \
	new=""; for unit in $(DAEMONS); do [ -e /lib/systemd/system/$$unit.service ] || new="$$new $$unit.service"; done; \
	policy=/usr/sbin/policy-rc.d; [ -e $$policy ] || { \
		trap "$(SUDO) rm -f $$policy" EXIT; printf '#!/bin/sh\nexit 101\n' | $(SUDO) install -m 755 /dev/stdin $$policy; }; \
	$(SUDO) apt-get update -q && \
	$(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $$missing || exit 1; \
	for unit in $$new; do \
		[ ! -e /lib/systemd/system/$$unit ] || $(SUDO) systemctl disable --quiet $$unit || echo "$$unit is enabled."; \
	done
endef

$(VENV)/.run: pyproject.toml
	$(call packages,$(RUN_PACKAGES))
	$(PYTHON) -m venv --system-site-packages $(VENV)
	$(BIN)/pip install --quiet --editable .
	touch $@

$(VENV)/.release: $(VENV)/.run Makefile
	$(BIN)/pip install --quiet --editable '.[release]'
	touch $@

$(VENV)/.test: $(VENV)/.run Makefile
	$(call packages,$(TEST_PACKAGES))
	$(BIN)/pip install --quiet --editable '.[dev]'
	touch $@
