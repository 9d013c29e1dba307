#!/usr/bin/env bash
# The Python package as a user has it: one wheel, installed where no Rust is, its tests, its
# notebooks and the examples that use it.
#
#     python/check.sh [pytest arguments]
set -euo pipefail
cd "$(dirname "$0")/.."

work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/tools"
"$work/tools/bin/pip" install --quiet --disable-pip-version-check maturin==1.16.0 uv==0.13.9
# The profile of the tests, so that nothing is compiled a second time.
"$work/tools/bin/maturin" build --quiet --locked --profile dev \
    --manifest-path python/Cargo.toml --out "$work/wheel"
wheel=("$work"/wheel/*.whl)

# Everything from here on without Rust.
PATH="$(tr : '\n' <<<"$PATH" | grep -v '/\.cargo/' | paste -sd:)"
if command -v cargo >/dev/null; then echo "check: a cargo is still on the path" >&2; exit 1; fi

environment() { # name, requirements
    "$work/tools/bin/uv" venv --quiet --python python3 "$work/$1"
    "$work/tools/bin/uv" pip install --quiet --python "$work/$1/bin/python" \
        "${wheel[0]}" --requirement "$2"
}

for brevitas in 0.12 0.13; do
    environment "brevitas-$brevitas" "python/requirements/brevitas-$brevitas.txt"
    # Of the older one the exports alone are of interest.
    tests=python/tests
    if [ "$brevitas" = 0.12 ]; then tests=python/tests/test_torch.py; fi
    QNNSIM_REQUIRE_TORCH=1 "$work/brevitas-$brevitas/bin/python" -P -m pytest -q "$tests" "$@"
done
"$work/brevitas-0.13/bin/python" -P python/notebooks/run.py

for example in optuna/search.py dask/sweep.py; do
    environment "${example%/*}" "programs/${example%/*}/requirements.txt"
    "$work/${example%/*}/bin/python" "programs/$example"
done
