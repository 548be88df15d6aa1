"""Builds an engine, holds it against the reference and keeps it: in a process of its own, so that a crash takes nothing along.

    exported network -> EngineRuntime.build -> plan -> load, answer, compare -> EngineCache

`python -m models.backends.engine_build --forms JSON` reads the exported network from standard input. Exit code 0: the cache holds
the engine or its refusal, which is printed; else the last line of stderr says what failed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
from dataclasses import asdict

from models.backends.acceptance import objection_to, probe
from models.backends.cpu import CpuBackend
from models.backends.engine_cache import EngineCache, EngineKey, Forms, TensorForm, default_folder
from models.backends.engine_runtime import EngineError, EngineRuntime, TensorRtRuntime

LONGEST_BUILD_S = 1800.0
REFUSED = "engine refused:"


def key_of(network: bytes, forms: Forms, runtime: EngineRuntime) -> EngineKey:
    """Under what the engine of a network at these shapes is kept."""
    digest = hashlib.sha256(network).hexdigest()
    return EngineKey(network=digest, forms=forms, settings=runtime.settings, platform=runtime.platform())


def make_engine(network: bytes, forms: Forms, runtime: EngineRuntime, cache: EngineCache, reference: CpuBackend) -> str | None:
    """See to it that the cache holds the engine, or its refusal, which is returned; None where there is none.

    Only one process at a time builds; the others find what it has built. Raises CacheError, or whatever the runtime raises.
    """
    key = key_of(network, forms, runtime)
    with cache.lock(key):
        cached = cache.load(key)
        if cached is not None:
            return cached.refusal
        plan = runtime.build(network, forms)
        inputs = probe(reference.input_names, forms)
        refusal = objection_to(runtime.load(plan).run(inputs), reference.run(inputs))
        if refusal is None:
            cache.store(key, plan)
        else:
            cache.store_refusal(key, refusal)
        return refusal


def build_apart(network: bytes, forms: Forms) -> str | None:
    """`make_engine` with TensorRT and the user's cache, in another process. Raises EngineError."""
    command = [sys.executable, "-P", "-m", "models.backends.engine_build", "--forms", forms_to_json(forms)]
    try:
        done = subprocess.run(command, input=network, capture_output=True, timeout=LONGEST_BUILD_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise EngineError(f"the build did not end ({error})") from error
    if done.returncode != 0:
        lines = done.stderr.decode(errors="replace").strip().splitlines() or ["no message"]
        raise EngineError(f"the build ended with {done.returncode}: {lines[-1]}")
    return done.stdout.decode(errors="replace").partition(REFUSED)[2].strip() or None


def forms_to_json(forms: Forms) -> str:
    return json.dumps([asdict(form) for form in forms])


def forms_from_json(text: str) -> Forms:
    """Raises ValueError, KeyError or TypeError where the text is none of `forms_to_json`."""
    return tuple(TensorForm(dtype=str(row["dtype"]), shape=tuple(int(side) for side in row["shape"])) for row in json.loads(text))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--forms", type=forms_from_json, required=True)
    forms: Forms = parser.parse_args().forms
    network = sys.stdin.buffer.read()
    refusal = make_engine(network, forms, TensorRtRuntime(), EngineCache(default_folder()), CpuBackend(network))
    if refusal is not None:
        print(REFUSED, refusal)


if __name__ == "__main__":
    main()
