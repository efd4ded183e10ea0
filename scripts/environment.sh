# Sourced by the scripts beside it: makes .venv and installs ganstyle in it, once for each state of pyproject.toml.
# usage: environment EXTRAS   (such as "[dev]", or nothing)

find_python() {
    local candidate
    for candidate in "${PYTHON:-}" python3.11 python3.12 python3.13 python3; do
        if [ -n "$candidate" ] && "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    echo "error: no Python 3.11, 3.12 or 3.13 was found; install one, or name it: PYTHON=/path/to/python $0" >&2
    exit 2
}

environment() {
    local extras=$1 stamp wanted
    stamp=".venv/installed${extras//[^a-z]/-}"
    wanted=$(cksum <pyproject.toml)
    if [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ]; then
        return
    fi
    if [ ! -x .venv/bin/python ]; then
        "$(find_python)" -m venv .venv
    fi
    echo "installing ganstyle and what it needs into .venv (PyTorch with CUDA is several GB; a few minutes, once)" >&2
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --editable ".$extras"
    echo "$wanted" >"$stamp"
}
