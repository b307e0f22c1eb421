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

.PHONY: test-race
test-race:
	$(GO) test -race -timeout 8m ./...

.PHONY: test-short
test-short: ## Run the tests without the race detector
	$(GO) test -timeout 5m ./...

.PHONY: lint
lint: ## Check formatting, vet, staticcheck
	@test -z "$$(gofmt -l .)" || { echo 'gofmt would change:'; gofmt -l .; exit 1; }
	$(GO) vet ./...
	$(GO) tool staticcheck ./...

FUZZTIME ?= 20s
.PHONY: fuzz
fuzz: ## Fuzz every decoder, FUZZTIME each (default 20s)
	@set -e; for pkg in $$($(GO) list ./...); do \
		for f in $$($(GO) test -list '^Fuzz' $$pkg | grep ^Fuzz || true); do \
			echo "$$pkg $$f"; $(GO) test -run '^$$' -fuzz "^$$f\$$" -fuzztime $(FUZZTIME) $$pkg; \
		done; done

.PHONY: bench
bench: ## Run the benchmarks, five times each
	$(GO) test -run '^$$' -bench . -benchmem -count 5 ./...

.PHONY: cover
cover: ## Measure what the tests cover, in cover.out
	$(GO) test -timeout 8m -coverpkg ./... -coverprofile cover.out ./...
	$(GO) tool cover -func cover.out | tail -1

.PHONY: clean
clean: ## Remove what was built
	rm -rf bin cover.out
