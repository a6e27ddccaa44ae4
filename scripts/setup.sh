#!/usr/bin/env bash
# Installs what a part needs: `setup.sh native|python|grpcurl|jdbc|go|node|bench|all`. Does nothing that is already done.
. "$(dirname "$0")/env.sh"

# RocksDB is compiled from its C++ source, and its bindings are made by libclang; those of Substrait by protoc.
APT_PACKAGES=(build-essential clang libclang-dev protobuf-compiler)
GRPCURL_VERSION=v1.9.4

need() { # need COMMAND WHAT-TO-DO
    # Not `command -v`: it would find the function of a part that has its program's name.
    type -P "$1" >/dev/null || fail "setup: $1 is missing: $2"
}

apt_install() {
    if [ "$(id -u)" = 0 ]; then
        apt-get update -qq
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "$@" >/dev/null
    else
        fail "setup: these packages are missing: $*. Install them with: sudo apt-get install $*"
    fi
}

native() {
    need cargo "install Rust 1.94 or newer from https://rustup.rs"
    local missing=()
    for package in "${APT_PACKAGES[@]}"; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
    done
    # A machine without dpkg is no Debian: there the compiler's own message has to do.
    if [ ${#missing[@]} -gt 0 ] && command -v dpkg-query >/dev/null; then
        apt_install "${missing[@]}"
    fi
}

python() {
    need python3 "install Python 3.11 or newer"
    python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || fail "setup: python3 is older than 3.11"
    local stamp="$VENV/.requirements"
    cmp -s tests/python/requirements.txt "$stamp" && return
    python3 -c 'import ensurepip, venv' 2>/dev/null || apt_install python3-venv
    python3 -m venv "$VENV"
    "$PYTHON" -m pip install --quiet --disable-pip-version-check -r tests/python/requirements.txt
    cp tests/python/requirements.txt "$stamp"
}

# What `make bench` compares with: no part of `all`, since nothing else needs it.
bench() {
    local stamp="$VENV/.bench-requirements"
    if ! cmp -s bench/requirements.txt "$stamp"; then
        "$PYTHON" -m pip install --quiet --disable-pip-version-check -r bench/requirements.txt
        cp bench/requirements.txt "$stamp"
    fi
    compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || command -v initdb >/dev/null || apt_install postgresql
}

grpcurl() {
    local stamp="$BUILD_CACHE/bin/.grpcurl-$GRPCURL_VERSION"
    [ -x "$GRPCURL" ] && [ -e "$stamp" ] && return
    need go "install Go 1.24 or newer from https://go.dev/dl"
    mkdir -p "$BUILD_CACHE/bin"
    GOBIN="$BUILD_CACHE/bin" command go install "github.com/fullstorydev/grpcurl/cmd/grpcurl@$GRPCURL_VERSION"
    touch "$stamp"
}

# The drivers of other languages, for their tests and examples. What is fetched is kept, so that later runs ask nobody.
jdbc() {
    local stamp="$BUILD_CACHE/jdbc/.pom"
    # What Maven fetched lies in its own repository, which may be gone while the stamp is not.
    [ -d ~/.m2/repository/org/apache/arrow/flight-sql-jdbc-driver ] && cmp -s tests/jdbc/pom.xml "$stamp" && return
    need java "install a JDK, 17 or newer, as in: apt-get install openjdk-17-jdk-headless"
    need mvn "install Maven 3.8 or newer, as in: apt-get install maven"
    # A run without any test fetches what a run with tests needs.
    mvn -B -q -f tests/jdbc/pom.xml -Doutput="$BUILD_CACHE/jdbc" test -Dtest=None -Dsurefire.failIfNoSpecifiedTests=false
    cp tests/jdbc/pom.xml "$stamp"
}

go() {
    need go "install Go 1.25 or newer from https://go.dev/dl"
    for module in tests/go clients/examples/go; do
        (cd "$module" && command go mod download)
    done
}

node() {
    local home="$BUILD_CACHE/node" manifest=clients/examples/node
    if ! cmp -s "$manifest/package-lock.json" "$home/.lock"; then
        need node "install Node 20 or newer"
        need npm "install npm, which comes with Node"
        mkdir -p "$home"
        cp "$manifest/package.json" "$manifest/package-lock.json" "$home"
        (cd "$home" && npm ci --ignore-scripts --no-audit --no-fund --silent)
        cp "$manifest/package-lock.json" "$home/.lock"
    fi
    for place in clients/examples/node tests/node; do
        ln -sfn "$home/node_modules" "$place/node_modules"
    done
}

case "${1:-all}" in
    native | python | grpcurl | jdbc | go | node) "$1" ;;
    bench) native && python && bench ;;
    all) native && python && grpcurl && jdbc && go && node ;;
    *) fail "setup: unknown part '$1': native, python, grpcurl, jdbc, go, node, bench or all" ;;
esac
