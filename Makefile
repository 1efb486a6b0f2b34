# Every target installs what it needs and says so. Tools live in .cache/, never in the system, except
# Debian packages (Chromium), which scripts/need asks for by name.
SHELL      := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
GO         ?= go
BIN        := bin
TOOLS      := .cache/tools
PKGS       := ./...
export CGO_ENABLED ?= 0
# What the end to end tests are told of their surroundings.
E2E        := PINFLOW_BIN=$(CURDIR)/$(BIN)/pinflow PINFLOW_PYTHON=$(CURDIR)/.cache/venv/bin/python PINFLOW_KAFKA=$(CURDIR)/.cache/kafka/libs
SPARK      := PINFLOW_SPARK_SUBMIT=$(CURDIR)/.cache/venv-spark/bin/spark-submit PINFLOW_SPARK_JARS=$(CURDIR)/.cache/spark/libs \
              PINFLOW_PYSPARK=$(CURDIR)/.cache/venv-spark/bin/python PINFLOW_ICEBERG=$(CURDIR)/.cache/iceberg/libs
# franz-go's mutexes count as blocked in a synctest bubble only under this tag.
TAGS       := synctests

.PHONY: help build test check web web-check unit race sim e2e soak soak-sim soak-unit soak-e2e soak-oracle bench oracle invariants fmt clean

help: ## list the targets
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

build: ## the binary, without cgo, in bin/
	$(GO) build -trimpath -o $(BIN)/pinflow ./cmd/pinflow

test: check web-check race oracle sim e2e ## everything: static checks, page, units under the race detector, simulation, end to end

check: $(TOOLS)/staticcheck $(TOOLS)/gofumpt ## formatting, vet, staticcheck, layout
	@scripts/budget 300 "static checks" bash -euo pipefail -c '\
	  out=$$($(TOOLS)/gofumpt -l cmd internal bench web/*.go); \
	  if [ -n "$$out" ]; then echo "not formatted (run: make fmt):"; echo "$$out"; exit 1; fi; \
	  $(GO) vet $(PKGS); $(TOOLS)/staticcheck $(PKGS); $(GO) mod verify >/dev/null; $(GO) test ./internal/archtest'

web: ## build the page into web/dist
	@scripts/need node npm
	cd web && npm ci --no-audit --no-fund && npm run build

web-check: ## page: types, unit tests, and that web/dist is what the source gives
	@scripts/need node npm
	@scripts/budget 240 "page" bash -euo pipefail -c 'cd web && npm ci --no-audit --no-fund --silent && npm run check && npm test && npm run build -- --logLevel warn && cd .. && git diff --exit-code --stat -- web/dist'

unit: ## unit tests, quick
	$(GO) test $(shell $(GO) list $(PKGS) | grep -v -e /internal/e2e -e /internal/simtest)

race: ## unit tests under the race detector
	@scripts/with-s3 true
	@scripts/budget 1200 "unit tests" scripts/with-postgres scripts/with-s3 env CGO_ENABLED=1 $(GO) test -race -timeout 15m $(shell $(GO) list $(PKGS) | grep -v -e /internal/e2e -e /internal/simtest)

sim: ## the whole pipeline in virtual time, with faults
	@scripts/budget 1080 "simulation" env CGO_ENABLED=1 $(GO) test -race -tags $(TAGS) -timeout 17m -v ./internal/simtest/... ./internal/kafkalog/...

oracle: ## generated expressions and views: the kernel against DuckDB, which is a module of its own
	@scripts/need gcc g++
	@scripts/budget 420 "DuckDB as an oracle" env CGO_ENABLED=1 GOFLAGS=-mod=mod $(GO) test -C internal/oracle -count=1 -timeout 7m ./...

web/node_modules/.package-lock.json: web/package-lock.json
	@scripts/need node npm
	cd web && npm ci --no-audit --no-fund --silent && touch node_modules/.package-lock.json

e2e: build web/node_modules/.package-lock.json ## the real binary: kill -9, Apache Kafka, independent Iceberg reader, Chromium, wrong surroundings
	@scripts/need node npm python3 chromium java mvn kcat
	@scripts/venv
	@scripts/jars kafka
	@scripts/budget 1320 "end to end" scripts/with-postgres scripts/with-s3 env $(E2E) PINFLOW_SHOTS=$(CURDIR)/.cache/page $(GO) test -count=1 -timeout 22m -v ./internal/e2e/...

soak: soak-sim soak-unit soak-e2e soak-oracle ## slow, three to four hours on two cores: many seeds, many kills, the SQL and back-fills in Spark

soak-sim: ## weeks of virtual time with faults, 20 changes of definitions in a row (an hour)
	PINFLOW_SOAK=1 CGO_ENABLED=1 $(GO) test -race -tags $(TAGS) -count=1 -timeout 3h -v ./internal/simtest/...

soak-unit: ## every call of the protocols killed and faulted, on disk and on servers; every fuzz target (half an hour)
	@scripts/with-s3 true
	scripts/with-postgres scripts/with-s3 env PINFLOW_SOAK=1 CGO_ENABLED=1 $(GO) test -race -count=1 -timeout 2h \
	  ./internal/backfill ./internal/batch ./internal/icelake ./internal/live
	scripts/fuzz 20

soak-e2e: build web/node_modules/.package-lock.json ## the real binary killed for long, under load, on Kafka, S3, PostgreSQL and Spark (two hours)
	@scripts/need node npm python3 chromium java mvn kcat
	@scripts/venv
	@scripts/venv spark
	@scripts/jars kafka
	@scripts/jars spark
	@scripts/jars iceberg
	scripts/with-postgres scripts/with-s3 env PINFLOW_SOAK=1 $(E2E) $(SPARK) $(GO) test -count=1 -timeout 4h -v ./internal/e2e/...

soak-oracle: ## generated expressions and views: the kernel against DuckDB and Spark
	@scripts/need java mvn gcc g++ python3
	@scripts/venv spark
	@scripts/jars spark
	@scripts/jars iceberg
	ORACLE_CASES=2000 ORACLE_SEED=2 $(SPARK) CGO_ENABLED=1 GOFLAGS=-mod=mod $(GO) test -C internal/oracle -count=1 -timeout 60m -v ./...

bench: build ## every figure that the README quotes
	@scripts/need python3 java mvn gcc g++
	$(GO) run ./bench

invariants: build web/node_modules/.package-lock.json ## the matrix of invariants, from what really ran
	@scripts/need node npm python3 chromium java mvn kcat
	@scripts/venv
	@scripts/jars kafka
	@scripts/budget 1200 "invariants" scripts/with-postgres scripts/with-s3 env $(E2E) scripts/invariants

fmt: $(TOOLS)/gofumpt
	$(TOOLS)/gofumpt -w cmd internal bench web/*.go

$(TOOLS)/staticcheck $(TOOLS)/gofumpt: tools/go.mod tools/go.sum
	@echo "building staticcheck and gofumpt into $(TOOLS)"
	@mkdir -p $(TOOLS)
	cd tools && $(GO) build -o ../$(TOOLS)/ honnef.co/go/tools/cmd/staticcheck mvdan.cc/gofumpt
	@touch $(TOOLS)/staticcheck $(TOOLS)/gofumpt

clean:
	rm -rf $(BIN) .cache web/node_modules
