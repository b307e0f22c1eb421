.DEFAULT_GOAL := help
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS := -s -w -X main.version=$(VERSION)
GO      ?= go

.PHONY: help
help: ## Show the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-12s %s\n", $$1, $$2}'

.PHONY: build
build: ## Build the static binary bin/walhook
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/walhook ./cmd/walhook

.PHONY: demo
demo: build ## Play a short business day on a private PostgreSQL and watch the webhooks
	./bin/walhook demo

.PHONY: test
test: lint test-race demo ## Run everything: lint, all tests with the race detector, the demo

# These drive the built program as a child process: the race detector would watch the tests only.
DRIVERS := acceptance|bench|fencing|receivers|storm|survival|torture
.PHONY: test-race
test-race: # lint has vetted
	@all=$$($(GO) list ./...); \
	$(GO) test -race -vet=off -p 2 -timeout 9m $$(echo "$$all" | grep -vE '/internal/($(DRIVERS))$$') & inside=$$!; \
	$(GO) test -vet=off -p 2 -timeout 9m $$(echo "$$all" | grep -E '/internal/($(DRIVERS))$$'); outside=$$?; \
	wait $$inside && exit $$outside

.PHONY: test-short
test-short: ## Run the tests without the race detector
	$(GO) test -timeout 5m ./...

PG ?=
.PHONY: test-matrix
test-matrix: ## Run the tests against PostgreSQL 12 to 18, fetched with npm (PG=12,17 chooses, SHORT=1, PKG=./cdc, RUN=TestX)
	$(GO) run ./internal/matrix -pg '$(PG)' $(if $(SHORT),-short) -pkg '$(PKG)' -run '$(RUN)' -race '$(RACE)'

.PHONY: giant
giant: ## Measure memory with transactions of up to ten million rows and a million deliveries waiting (about an hour)
	WALHOOK_LONG=1 $(GO) test -count=1 -timeout 3h -v -run '^(TestGiant|TestBacklog)' ./internal/acceptance

.PHONY: properties
properties: ## Try many more cases of the delivery engine's properties and faults than make test does
	WALHOOK_LONG=1 $(GO) test -race -count=1 -timeout 1h ./delivery

TORTURE ?= 10m
.PHONY: backfill-long
backfill-long: ## A backfill of WALHOOK_ROWS (default 1,000,000) rows while they are written, walhook is killed, and others take over
	WALHOOK_LONG=1 $(GO) test -count=1 -timeout 3h -v -run '^TestBackfillWhileTheTableIsWritten$$' ./internal/acceptance

.PHONY: torture
torture: ## Break everything around walhook, and walhook at every fail point, for TORTURE (default 10m; WALHOOK_TORTURE_JSON=file adds the counts up and draws what is rare, WALHOOK_STORM_SIDES=n storms at a time)
	WALHOOK_TORTURE=$(TORTURE) $(GO) test -count=1 -timeout 24h -parallel 16 -v -run '^(TestTorture|TestStorm)$$' ./internal/torture ./internal/storm

.PHONY: fencing
fencing: ## Stop the reader at every place between two commits and let another take over
	WALHOOK_LONG=1 $(GO) test -race -count=1 -timeout 20m ./internal/fencing

.PHONY: order
order: ## Send 50,000 changes of 1,000 records to a quick and a slow endpoint, and look at the order
	WALHOOK_LONG=1 $(GO) test -count=1 -timeout 20m -v -run '^TestOrderPerRecordWithOneSlowEndpoint$$' ./internal/acceptance

BULK ?= 50000
.PHONY: bulk
bulk: ## Retry and replay BULK deliveries (default 50000) while walhook runs, with interruptions
	WALHOOK_BULK=$(BULK) $(GO) test -count=1 -timeout 1h -v -run '^TestBulk$$' ./internal/acceptance

BLOAT ?= 2m
.PHONY: bloat
bloat: ## Watch the hot tables while they work, also with an idle transaction held open, in phases of BLOAT (default 2m)
	WALHOOK_BLOAT=$(BLOAT) $(GO) test -count=1 -timeout 3h -v -run '^TestBloat$$' ./state

.PHONY: survival
survival: ## Let servers and networks come and go for minutes at a time
	WALHOOK_LONG=1 $(GO) test -count 1 -timeout 30m -v ./internal/survival

.PHONY: biglog
biglog: ## List from a log of a million deliveries, a tenth of them waiting
	WALHOOK_LONG=1 $(GO) test -count=1 -timeout 20m -v -run '^TestListsOfABigLogAreBounded$$' ./state

.PHONY: lint
lint: ## Check formatting, vet, staticcheck
	@test -z "$$(gofmt -l .)" || { echo 'gofmt would change:'; gofmt -l .; exit 1; }
	$(GO) vet ./...
	$(GO) vet -tags failpoint ./internal/failpoint
	$(GO) tool staticcheck ./...

# Up to Go 1.26 a time that ends in the middle of an input may be taken for a failure (go.dev/issue/75804); a failure that is one has written its input down.
FUZZTIME ?= 20s
.PHONY: fuzz
fuzz: ## Fuzz every decoder, FUZZTIME each (default 20s; 100000x for so many inputs)
	@set -e; out=$$(mktemp); trap 'rm -f "$$out"' EXIT; for pkg in $$($(GO) list ./...); do \
		for f in $$($(GO) test -list '^Fuzz' $$pkg | grep ^Fuzz || true); do \
			echo "$$pkg $$f"; \
			$(GO) test -run '^$$' -fuzz "^$$f\$$" -fuzztime $(FUZZTIME) $$pkg >"$$out" 2>&1 && ok=yes || ok=no; cat "$$out"; \
			[ $$ok = yes ] || { grep -q 'context deadline exceeded' "$$out" && ! grep -q 'Failing input written' "$$out"; }; \
		done; done

# Of bytes that others write: WAL and values of rows, the configuration, signatures, Retry-After; so many inputs each. Without the instruments that make fuzz has, which would be compiled into everything, the standard library too.
FUZZSHORT := cdc:FuzzDecode:5000 cdc:FuzzAny:200000 cmd/walhook:FuzzParseConfig:100000 delivery/signature:FuzzVerify:150000 delivery:FuzzRetryAfter:200000
.PHONY: fuzz-short
fuzz-short: ## Fuzz five decoders for some seconds, as every test run does
	@set -e; dir=$$(mktemp -d); trap 'rm -rf "$$dir"' EXIT; \
	for target in $(FUZZSHORT); do \
		n=$${target##*:}; target=$${target%:*}; pkg=$${target%:*}; f=$${target#*:}; bin=$$dir/$$(echo $$pkg | tr / _); \
		[ -x $$bin ] || $(GO) test -c -vet=off -o $$bin ./$$pkg; \
		(cd $$pkg && $$bin -test.run '^$$' -test.fuzz "^$$f\$$" -test.fuzztime $${n}x -test.fuzzcachedir $$dir/cache) >$$dir/out 2>&1 || { cat $$dir/out; echo "$$pkg $$f has failed: its input is in $$pkg/testdata/fuzz/$$f"; exit 1; }; \
		echo "$$pkg $$f: $$(grep '^fuzz: ' $$dir/out | tail -1)"; \
	done

BENCH ?= abcdefghj
.PHONY: bench
bench: ## Measure walhook beside a floor and a queue table (BENCH=ab chooses scenarios, BENCH_ROUNDS, BENCH_JSON=file)
	WALHOOK_BENCH=$(BENCH) $(GO) test -count=1 -timeout 1h -v -run '^TestBench$$' ./internal/bench

PLOTS ?= docs/plots
.PHONY: plots
plots: ## Draw how throughput and memory grow with rules, endpoints, columns and rows in a transaction, into PLOTS (default docs/plots; 4 minutes)
	mkdir -p $(PLOTS)
	WALHOOK_PLOTS=$(abspath $(PLOTS)) $(GO) test -count=1 -timeout 1h -v -run '^TestPlots$$' ./internal/bench

.PHONY: microbench
microbench: ## Run the benchmarks of single functions, five times each
	$(GO) test -run '^$$' -bench . -benchmem -count 5 ./...

.PHONY: cover
cover: ## Measure what the tests cover, in cover.out
	$(GO) test -timeout 8m -coverpkg ./... -coverprofile cover.out ./...
	$(GO) tool cover -func cover.out | tail -1

.PHONY: clean
clean: ## Remove what was built
	rm -rf bin cover.out
