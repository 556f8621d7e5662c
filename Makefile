# Every target sets up what it needs in .venv; only Python 3.11+ with venv is asked for.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO_HOME ?= demo-home
JOBS ?= 2
IB_CLIENTS := BFT_IB_CLIENTS_PYTHON=$(CURDIR)/$(VENV)/ib_clients/bin/python

.PHONY: help demo test check bench prove lock clean

help:
	@echo "make demo   install and replay 120 sessions of real prices through the whole chain (no keys needed)"
	@echo "make test   format, lint, types, import contracts, then every test"
	@echo "make check  format, lint, types, import contracts"
	@echo "make bench  print every figure beside its peer or bound"
	@echo "make prove  the long proofs"
	@echo "make lock   write requirements/*.txt anew from pyproject.toml"

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, this is %s" % sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)

# A lock is complete, so pip resolves nothing; it would only complain of what the sample prices' package asks for.
$(VENV)/.demo: $(BIN)/python requirements/demo.txt requirements/data.txt requirements/torch.txt pyproject.toml
	@echo "Installing into $(VENV): about 60 MB of packages, 13 MB of sample prices, and PyTorch (200 MB, or more where its build carries GPU support)."
	$(BIN)/python -m pip install -q --no-deps --require-hashes -r requirements/demo.txt
	$(BIN)/python -m pip install -q --no-deps --require-hashes -r requirements/data.txt
	$(BIN)/python -m pip install -q -r requirements/torch.txt
	$(BIN)/python -m pip install -q --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.dev: $(VENV)/.demo requirements/dev.txt
	$(BIN)/python -m pip install -q --no-deps --require-hashes -r requirements/dev.txt
	@touch $@

# IB's other clients drive the simulated Gateway in a process of their own: two of them want modules of one name.
$(VENV)/.ib_clients: $(BIN)/python requirements/ib_clients.txt
	$(PYTHON) -m venv $(VENV)/ib_clients
	$(VENV)/ib_clients/bin/python -m pip install -q --no-deps --require-hashes -r requirements/ib_clients.txt
	@touch $@

demo: $(VENV)/.demo
	$(BIN)/bft demo --home $(DEMO_HOME)

check: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: check $(VENV)/.ib_clients
	scripts/install_test_packages.sh
	$(IB_CLIENTS) $(BIN)/python -m pytest -n $(JOBS) --dist loadfile

bench: $(VENV)/.dev
	@for bench in benchmarks/*.py; do echo "== $$bench"; $(BIN)/python $$bench || exit 1; done

prove: $(VENV)/.dev $(VENV)/.ib_clients
	scripts/install_test_packages.sh
	$(BIN)/python -m proof
	BFT_PROVE=1 $(IB_CLIENTS) $(BIN)/python -m pytest -n $(JOBS) --dist loadfile --timeout 3600

# torch is pinned apart, and the sample prices are installed without their package's own dependencies.
lock: $(VENV)/.dev
	$(BIN)/uv pip compile -q --universal --generate-hashes --no-emit-index-url --no-header --extra ml --extra dev pyproject.toml requirements/build.in -o requirements/dev.txt
	$(BIN)/uv pip compile -q --universal --generate-hashes --no-emit-index-url --no-header --extra ml --extra demo pyproject.toml requirements/build.in -c requirements/dev.txt -o requirements/demo.txt
	$(BIN)/uv pip compile -q --universal --generate-hashes --no-emit-index-url --no-header --no-deps requirements/data.in -o requirements/data.txt
	$(BIN)/uv pip compile -q --universal --generate-hashes --no-emit-index-url --no-header requirements/ib_clients.in -o requirements/ib_clients.txt

clean:
	rm -rf $(VENV) $(DEMO_HOME)
