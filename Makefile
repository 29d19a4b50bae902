# Shortcuts. Each is a command that can be typed as well.

.DEFAULT_GOAL := help
MAN := $(or $(MAN_DIR),bin/man)

.PHONY: help man deb docker build test test-flakey race lint fuzz bench benchmarks bench-compare cover soak cluster-soak ci clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /  \1\t/p' Makefile | expand -t 18

build: ## the programs, static, into bin/
	CGO_ENABLED=0 go build -trimpath -o bin/ ./cmd/...

man: ## a manual page for each command, into bin/man/ or MAN_DIR
	mkdir -p $(MAN)
	MAN_DIR=$(abspath $(MAN)) go run -tags man ./cmd/logd
	MAN_DIR=$(abspath $(MAN)) go run -tags man ./cmd/log-cli
	MAN_DIR=$(abspath $(MAN)) go run -tags man ./cmd/log-forwarder

deb: ## a Debian package, into dist/; RELEASE is its version
	packaging/deb/build

docker: build ## an image called logd
	mkdir -p bin/data
	docker build -t logd -f packaging/Dockerfile bin

test: ## the tests
	go test ./...

test-flakey: ## tests on a disk that fails and with power cuts, in an emulated machine
	.ci/flakey

race: ## the tests with the race detector
	go test -race ./...

lint: ## gofmt, vet, staticcheck
	.ci/lint

fuzz: ## every fuzz target for FUZZTIME (20s)
	.ci/fuzz $(or $(FUZZTIME),20s)

bench: ## logd beside other systems, the short form, within ten minutes
	cd bench && go run . -short

benchmarks: ## every Go benchmark for BENCHTIME (1s)
	go test -run '^$$' -bench . -benchmem -benchtime $(or $(BENCHTIME),1s) ./...

bench-compare: ## Go benchmarks of PACKAGE (./...) against revision REV
	.ci/bench-compare $(REV) $(PACKAGE) $(BENCHMARK)

cover: ## coverage of unit and system tests, merged, into cover/
	.ci/cover

soak: ## the random tests for about an hour, or SOAK times that
	.ci/soak

cluster-soak: ## clusters of processes under load to which things happen, for an hour or SOAK seconds
	.ci/cluster-soak $(SOAK)

ci: ## all that must pass before a change lands
	.ci/run

clean: ## what the targets above made
	rm -rf bin cover dist
