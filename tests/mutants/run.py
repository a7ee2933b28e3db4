"""Plant every defect, and look at clean models; print what was found.

`make mutants` runs it: detected / planted, and false alarms / clean. Exit 1 if a defect is missed
or a clean model is blamed.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import torch
from clean import clean
from planted import DEFECTS, made, verdict_on

import initpolicy

SEEDS = range(3)


def main() -> int:
    """Run the suite."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--clean", type=int, default=10_000, help="how many clean models")
    many: int = options.parse_args().clean
    torch.set_num_threads(1)  # the matrices are small
    detected = 0
    for defect in DEFECTS:
        seen = [verdict_on(defect, seed) for seed in SEEDS]
        hits = [[f for f in verdict.findings if f.name == defect.tensor] for verdict in seen]
        detected += all(hits)
        codes = ", ".join(dict.fromkeys(f.code for found in hits for f in found))
        print(f"{'found ' if all(hits) else 'MISSED'} {defect.name}: {codes}", flush=True)
    false = 0
    size = sum(parameter.numel() for parameter in made(0)[0].parameters())
    for draws in ("initpolicy", "torch"):
        for seed in SEEDS:
            model, plan = made(seed, draws)
            false += blamed(initpolicy.verify(model, plan, exact=False), f"{draws} {seed}")
    for seed in range(many):
        model, plan = clean(seed)
        false += blamed(initpolicy.verify(model, plan, exact=False), f"clean {seed}")
    total = many + 2 * len(SEEDS)
    print(f"detected {detected} / planted {len(DEFECTS)}, each with {len(SEEDS)} seeds in a model")
    print(f"of {size:,} parameters; false alarms {false} / clean {total}")
    return 0 if detected == len(DEFECTS) and not false else 1


def blamed(verdict: initpolicy.verification.Verdict, name: str) -> bool:
    """Whether anything was found in a clean model; it is printed."""
    for found in verdict.findings:
        print(f"FALSE {name}: {found}", flush=True)
    return not verdict.ok


if __name__ == "__main__":
    sys.exit(main())
