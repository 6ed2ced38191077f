"""Running experiments: interleaved repetitions, medians, and what failed."""
import statistics
import subprocess
import sys

from harness import machine
from harness import process


def say(text):
    print(text, file=sys.stderr, flush=True)


def run_experiment(name, experiment, plan, repetitions):
    """Takes every sample of one experiment; returns it as the results file keeps it."""
    samples = {contender: {} for contender in experiment.contenders}
    missing = {k: v.missing() for k, v in experiment.contenders.items() if v.missing()}
    with machine.OthersWatch() as others:
        for repetition in range(repetitions):
            for contender, program in experiment.contenders.items():
                if contender in missing:
                    continue
                try:
                    got = experiment.sample(contender, program, plan)
                except (process.Failed, OSError, ValueError, subprocess.SubprocessError) as e:
                    missing[contender] = str(e)
                    say(f"  {name}: {contender} failed: {e}")
                    continue
                for metric, value in got.items():
                    samples[contender].setdefault(metric, []).append(value)
                shown = ", ".join(f"{metric} {value:g}" for metric, value in got.items())
                say(f"  {name} {repetition + 1}/{repetitions} {contender}: {shown}")
    return {
        "samples": samples,
        "medians": {contender: {m: statistics.median(v) for m, v in metrics.items()}
                    for contender, metrics in samples.items()},
        "missing": missing,
        "notes": experiment.notes,
        # CPUs that were busy with other people's programs meanwhile.
        "others_cpus": round(others.cpus, 2),
    }


def judge(row, result):
    """Compares a row's median with its limits. The tightest limit counts."""
    def median(contender):
        return result["medians"].get(contender, {}).get(row.metric)

    measured = median(row.subject)
    limits = []
    for limit in row.limits:
        if limit.of is None:
            limits.append((limit.value, limit.text()))
        elif median(limit.of) is not None:
            limits.append((limit.factor * median(limit.of), limit.text()))
    judged = {
        "name": row.name, "title": row.title, "unit": row.unit, "weft": measured,
        "others": {o: median(o) for o in row.others if median(o) is not None},
        "spread": _spread(result["samples"].get(row.subject, {}).get(row.metric)),
        "limit": None, "limit_text": " and ".join(limit.text() for limit in row.limits),
        "ratio": None, "scaled_limit": None, "verdict": "not judged",
    }
    if limits:
        judged["limit"] = min(limits)[0]
    if row.go_reference and median("go") is not None:
        judged["scaled_limit"] = judged["limit"] * median("go") / row.go_reference
    if measured is None:
        judged["verdict"] = "no weft"
    elif len(limits) == len(row.limits):
        limit, scaled = judged["limit"], judged["scaled_limit"]
        judged["ratio"] = measured / limit if limit else (1.0 if measured == 0 else None)
        if measured <= limit:
            judged["verdict"] = "pass"
        else:
            judged["verdict"] = "miss (scaled: pass)" if scaled and measured <= scaled else "miss"
    return judged


def _spread(values):
    if not values or not statistics.median(values):
        return None
    return (max(values) - min(values)) / statistics.median(values)
