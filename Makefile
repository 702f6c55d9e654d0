SHELL := /bin/bash
.SHELLFLAGS := -o pipefail -c

# io_uring comes through giouring, which links only with these (see CONTRIBUTING.md).
TAGS    := giouring
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LDFLAGS := -checklinkname=0
RELEASE := $(LDFLAGS) -s -w -X main.buildVersion=$(VERSION)

# Where zproxy spends its time, for the compiler: docs/decisions/0018. Not in cmd/zproxy, where each build and test of that
# package would take it, and compile the standard library again.
PROFILE := bench/zproxy.pgo

# As the binary is built: what is compiled serves tests and binaries alike.
export CGO_ENABLED := 0

# Without the vetting that go test does by itself: vet has looked at the same files. SIDE is how much goes side by side.
GOTEST = go test -vet=off $(SIDE)

# Tests that take long, by their names (internal/longtest): make test-long runs them, and make test does not.
LENGTHY := ^TestLengthy
BULK     = $(shell grep -rl --include='*_test.go' --exclude-dir=interop '^func TestLengthy' . | xargs -r -n1 dirname | sort -u)

# The end-to-end tests build the binary they test, so they need to run only once. Those of numa run alone, those of loop
# are a part of their own.
UNIT = $(shell go list ./... | grep -v '/e2e$$\|/loop$$\|/numa$$')
RACE := ./buf/... ./router/... ./upstream/... ./metrics/... ./config/... ./admin/... ./server/... ./proxy/transport/...

# What stands on the ring.
RING := ./proxy ./proxy/transport ./server ./cmd/...

FUZZTIME ?= 10s
SOAK     ?= 1h

.PHONY: all build package run test test-long waits computes setup vet numa unit loops ring sim e2e interop race soak test-numa fuzz bench profile clean

all: build

build:
	go build -trimpath -buildvcs=false -tags $(TAGS) -pgo $(PROFILE) -ldflags "$(RELEASE)" -o bin/zproxy ./cmd/zproxy
	go build -trimpath -buildvcs=false -o bin/origin ./bench/origin

# A package for Debian in bin/. Its version is the tag, or before there is one what CHANGELOG.md begins with.
PACKAGE = $(or $(shell git describe --tags --match 'v*' 2>/dev/null | sed 's/^v//; s/-/+/; s/-/./g'), \
	$(shell sed -n 's/^\#\# \([0-9.]*\)$$/\1/p' CHANGELOG.md | head -n 1)~git$(shell git log -1 --format=%cd.%h --date=format:%Y%m%d))

package: build
	scripts/package/deb bin/zproxy "$(strip $(PACKAGE))" bin

run: build
	bin/zproxy run

# At most 12 minutes on two CPUs that have nothing else to do. Three parts go side by side, each with one package at a time:
# what computes has the CPU that what waits does not need.
test:
	$(MAKE) --no-print-directory setup
	$(MAKE) --no-print-directory vet
	$(MAKE) --no-print-directory numa
	$(MAKE) --no-print-directory -j3 --output-sync=target SIDE='-p 1' e2e waits computes

# The other parts, of which each half takes about as long as the end-to-end tests.
waits:
	$(MAKE) --no-print-directory interop
	$(MAKE) --no-print-directory loops
	$(MAKE) --no-print-directory ring
	$(MAKE) --no-print-directory sim

computes:
	$(MAKE) --no-print-directory unit
	$(MAKE) --no-print-directory race

# The tests that make test leaves out; at most 45 minutes. Kubernetes' API machinery is not vetted: vet wants the
# facts of all 1 500 packages beneath it, which takes longer than all tests.
test-long:
	$(MAKE) --no-print-directory setup SETUP=long
	ZPROXY_LONG=1 go test -count=1 -p 1 -timeout 45m -v -tags $(TAGS) -ldflags=$(LDFLAGS) -run '$(LENGTHY)' $(BULK)
	cd e2e/interop && ZPROXY_LONG=1 go test -count=1 -timeout 20m -v -run '$(LENGTHY)' . | grep -v '^ *--- PASS\|^=== '
	cd e2e/interop/kubernetes && ZPROXY_LONG=1 go test -vet=off -count=1 -timeout 20m -v -run '$(LENGTHY)' . | grep -v '^ *--- PASS\|^=== '

# The programs that the end-to-end tests talk to.
setup:
	scripts/dev/setup $(SETUP)

vet:
	@unformatted=$$(gofmt -l .) && \
		if [ -n "$$unformatted" ]; then echo "run gofmt -w on:" $$unformatted; exit 1; fi
	go vet ./...
	go vet -tags $(TAGS),cpuprofile ./...

# Reserved huge pages are the machine's: who else takes of them gets in the way of these tests.
numa:
	$(GOTEST) ./numa
	CGO_ENABLED=1 $(GOTEST) -race ./numa

# As a plain go test ./... has it, with epoll alone. Simulations have a part of their own, with assertions.
unit:
	$(GOTEST) -skip '$(LENGTHY)|^TestSim' $(UNIT)

# As it is built, where that makes a difference. What went through epoll need not do so twice.
ring:
	ZPROXY_TEST_IO=uring $(GOTEST) -count=1 -skip '^TestSim|$(LENGTHY)' -tags $(TAGS) -ldflags=$(LDFLAGS) $(RING)

# The loop by itself, on either backend.
loops:
	$(GOTEST) ./loop
	ZPROXY_TEST_IO=uring $(GOTEST) -count=1 -tags $(TAGS) -ldflags=$(LDFLAGS) ./loop

# Real workers in a simulated world, with all assertions; see docs/testing.md. It prints what it has gone through.
sim:
	go test $(SIDE) -count=1 -v -tags assert -run '^TestSim' ./proxy $(SIM)

# With -v, because it tells how much was tried and what came of it.
e2e:
	$(GOTEST) -count=1 -timeout 30m -v -skip '$(LENGTHY)' -tags $(TAGS) -ldflags=$(LDFLAGS) ./e2e

# Other people's test suites, h2spec and gRPC's, in a module of their own for what they depend on.
interop:
	cd e2e/interop && go vet . && $(GOTEST) -count=1 -timeout 20m -v -run '^Test' -skip '$(LENGTHY)' . | grep -v '^ *--- PASS\|^=== '

# Packages whose data several threads touch; and the data path in the simulator, whose buffers are ordinary memory:
# those of a real loop are mapped, which the race detector does not see. What is computed in one thread has no races.
race:
	CGO_ENABLED=1 $(GOTEST) -race -skip '$(LENGTHY)|^TestConcurrency(Finds|Follows|Leaves|Bounds)' $(RACE)
	CGO_ENABLED=1 $(GOTEST) -race -count=1 -v -run '^TestSim$$' ./proxy -sim.requests=4000

# Every kind of client and origin for an hour, or SOAK=5m: fails when the proxy does not stay as small as it was.
# make test has 20 seconds of it.
soak:
	go test -count=1 -timeout 0 -v -tags $(TAGS) -ldflags=$(LDFLAGS) -run '^TestSoak$$' ./e2e -soak $(SOAK)

# Machines with several memory nodes, emulated one after the other: about a minute each, and nothing else should run.
test-numa:
	ZPROXY_VM=1 go test -count=1 -timeout 30m -v -run '^TestMachines$$' ./internal/vmtest

# Every fuzz target in turn, FUZZTIME each. Up to Go 1.26 a target may end with "context deadline exceeded" when its time
# is over, without having found anything (golang.org/issue/75804): only an input that was written down is a failure then.
fuzz:
	@log=$$(mktemp) && trap "rm -f $$log" EXIT && \
	for package in $$(go list ./...); do \
		for target in $$(go test -list '^Fuzz' $$package | grep '^Fuzz'); do \
			echo "$$package $$target"; \
			go test -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 1s $$package 2>&1 | tee $$log || \
				{ grep -q '^ *context deadline exceeded' $$log && ! grep -q 'Failing input written' $$log; } || exit 1; \
		done; \
	done

# Compared with nginx, HAProxy and a forwarder that parses nothing; best on a machine that does nothing else.
# BENCH="-scenarios small -rounds 7" and the like: go run ./bench -help
bench:
	go run ./bench $(BENCH)

# The profile that build gives to the compiler, anew: after larger changes of the data path, on a quiet machine; 4 minutes.
profile:
	go run ./bench -profile $(PROFILE) -rounds 2 -idle 1000 -out bench/results/tmp/profile \
		-contenders zproxy-epoll,zproxy-uring,zproxy-epoll-at-once,zproxy-uring-at-once \
		-scenarios small,connect,pipelined,64k,1m,upload,h2-h1,h2-h2c,h1-h2c,h2-1m,ws-echo,ws-h2

clean:
	rm -rf bin
