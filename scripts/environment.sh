# Sourced by demo.sh and test.sh: makes .venv with tpdeploy in it, from any Python 3.11 or later.

# Every command is a process of its own: without cached bytecode each start takes twice as long.
unset PYTHONDONTWRITEBYTECODE

new_enough() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

find_python() {
    for candidate in python3 python3.13 python3.12 python3.11 python; do
        if new_enough "$candidate"; then
            echo "$candidate"
            return
        fi
    done
    echo "Error: no Python 3.11 or later found; install one and run this again" >&2
    exit 2
}

prepare_environment() {
    if ! new_enough .venv/bin/python; then
        python=$(find_python)
        echo "Making .venv with $("$python" --version)"
        if ! "$python" -m venv --clear .venv; then
            echo "Error: $python cannot make environments; install its venv module" \
                "(on Debian and Ubuntu: apt install python3-venv)" >&2
            exit 2
        fi
    fi
    echo "Installing tpdeploy${1:-} and what it needs (up to 100 MB, quick when it is there)"
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --editable ".${1:-}"
}
