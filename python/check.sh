#!/usr/bin/env bash
# The Python package as a user has it: one wheel, installed where no Rust is; its types, its tests,
# its notebooks, and the examples and the training recipe that use it.
#
#     python/check.sh
#
# Environments are kept in target/python, so that a second run installs only what has changed. What
# cannot be installed is skipped, which the last lines say; QNNSIM_REQUIRE_PYTHON=1 makes it an error.
# torch is its CPU build where uv reaches the index of these; UV_TORCH_BACKEND chooses another.
set -euo pipefail
cd "$(dirname "$0")/.."
root="$PWD"
work="$root/target/python"
mkdir -p "$work"

# No stage takes longer than this many seconds, and no installation than this many.
limit_s=600
install_limit_s=240
skipped=()

stage() { # what it is, command
    local name="$1" started=$SECONDS
    shift
    if ! timeout "$limit_s" "$@"; then
        echo "python/check.sh: $name failed after $((SECONDS - started)) s" >&2
        exit 1
    fi
    echo "python/check.sh: $name, $((SECONDS - started)) s"
}

finish() {
    if [ ${#skipped[@]} = 0 ]; then return; fi
    printf 'python/check.sh: SKIPPED: %s\n' "${skipped[@]}" >&2
    if [ -n "${QNNSIM_REQUIRE_PYTHON:-}" ]; then exit 1; fi
}

tools="$work/tools/bin"
if ! { python3 -m venv "$work/tools" &&
    timeout "$install_limit_s" "$tools/pip" install --quiet --disable-pip-version-check \
        --requirement python/requirements/tools.txt; }; then
    skipped+=("everything: what builds the wheel cannot be installed")
    finish
    exit 0
fi

stage "style" "$tools/ruff" check --quiet python
stage "format" "$tools/ruff" format --quiet --check python

# The profile of the tests, so that nothing is compiled a second time.
rm -rf "$work/wheel"
stage "wheel" "$tools/maturin" build --quiet --locked --profile dev \
    --manifest-path python/Cargo.toml --out "$work/wheel"
wheel=("$work"/wheel/*.whl)
if [ ${#wheel[@]} != 1 ]; then echo "python/check.sh: not one wheel: ${wheel[*]}" >&2; exit 1; fi

# Threads of torch that wait leave the cores to others.
export OMP_WAIT_POLICY=passive

# Everything from here on without Rust, as far as it has folders of its own.
without_rust=()
while IFS= read -r folder; do
    case "$folder" in
    /usr/bin | /bin | /usr/local/bin) without_rust+=("$folder") ;;
    *) if [ ! -x "$folder/cargo" ]; then without_rust+=("$folder"); fi ;;
    esac
done < <(tr : '\n' <<<"$PATH")
PATH="$(IFS=:; echo "${without_rust[*]}")"
if command -v cargo; then echo "python/check.sh: Rust is still on the path" >&2; fi

if [ -z "${UV_TORCH_BACKEND:-}" ]; then
    "$tools/uv" venv --quiet --clear --python python3 "$work/probe"
    if "$tools/uv" pip install --quiet --dry-run --no-deps --torch-backend cpu \
        --python "$work/probe/bin/python" torch 2>/dev/null; then
        export UV_TORCH_BACKEND=cpu
    else
        echo "python/check.sh: no index of torch's CPU builds can be reached; takes the usual build"
    fi
fi

environment() { # name, requirements; the wheel and what it needs
    local started=$SECONDS
    if "$tools/uv" venv --quiet --allow-existing --python python3 "$work/$1" &&
        timeout "$install_limit_s" "$tools/uv" pip install --quiet --python "$work/$1/bin/python" \
            --reinstall-package qnnsim "${wheel[0]}" --requirement "$2"; then
        echo "python/check.sh: environment $1, $((SECONDS - started)) s"
    else
        skipped+=("$1: its environment cannot be installed")
        return 1
    fi
}

# Of the older one the modules alone are of interest, and the recipe that names it.
if environment brevitas-0.12 python/requirements/brevitas-0.12.txt; then
    python="$work/brevitas-0.12/bin/python"
    QNNSIM_REQUIRE_TORCH=1 stage "tests, brevitas 0.12" \
        "$python" -P -m pytest -q python/tests/test_torch.py
    if [ -d "${QNNSIM_SHARED:-}/mnist" ]; then
        stage "training recipe" "$python" programs/train/train.py \
            --data "$QNNSIM_SHARED/mnist" --out "$work/trained.onnx" --epochs 1 --limit 640
    else
        echo "python/check.sh: QNNSIM_SHARED names no folder with MNIST: no recipe, no speed"
    fi
fi

if environment brevitas-0.13 python/requirements/brevitas-0.13.txt; then
    python="$work/brevitas-0.13/bin/python"
    # Sources strictly; the stub against the module; a program of a user against what is installed.
    stage "types" "$python" -P -m mypy --config-file python/pyproject.toml python/qnnsim
    stage "stub" "$python" -P -m mypy.stubtest qnnsim._qnnsim
    (cd python/tests && stage "types of a user" "$python" -P -m mypy --strict types_of_a_user.py)
    QNNSIM_REQUIRE_TORCH=1 stage "tests, brevitas 0.13" "$python" -P -m pytest -q -rs python/tests
    stage "ten lines" "$python" python/tests/ten_lines.py
    if [ -d "${QNNSIM_SHARED:-}/mnist" ]; then
        stage "speed" "$python" -P python/tests/speed.py "$QNNSIM_SHARED/mnist" \
            --runs 5 $([ -x target/debug/qnnsim ] && echo --qnnsim target/debug/qnnsim)
    fi
    for notebook in from_brevitas_to_hardware how_many_bits which_hardware; do
        stage "notebook" "$python" -P python/notebooks/run.py "$notebook"
    done
fi

for example in optuna/search.py dask/sweep.py; do
    name="${example%/*}"
    if environment "$name" "programs/$name/requirements.txt"; then
        stage "$name" "$work/$name/bin/python" -P "programs/$example"
    fi
done
finish
