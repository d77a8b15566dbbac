#!/usr/bin/env bash
# System packages of the strict S3 server of the tests (OpenStack Swift with s3api) and of the benchmarks (nginx).
# Called by .ci/run where it may install; without them the tests that need them are skipped and say so.
set -u
DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=600 -qq install -y --no-install-recommends \
    swift-proxy swift-account swift-container swift-object memcached nginx-light libnginx-mod-http-echo >/dev/null ||
    echo "apt-get failed: the tests against Swift are skipped"
