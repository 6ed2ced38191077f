"""Showing results: the table on the terminal, as Markdown, and the results file."""
import json

HEADER = ["work", "unit", "weft", "spread", "peers, same run", "reach", "limit", "weft/limit",
          "verdict"]
SCALED = ("scaled: limits in ns were written for another machine; the scaled limit is the same "
          "part of Go's figure here as it was there")


def figure(value):
    if value is None:
        return "-"
    if value >= 1000:
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 20 else f"{value:.2f}"


def cells(judged):
    limit = figure(judged["limit"])
    if judged["scaled_limit"] is not None:
        limit += f" (scaled {figure(judged['scaled_limit'])})"
    spread = judged["spread"]
    ratio = judged["ratio"]
    return [
        judged["title"], judged["unit"], figure(judged["weft"]),
        "-" if spread is None else f"{spread * 100:.0f} %",
        ", ".join(f"{name} {figure(value)}" for name, value in judged["others"].items()) or "-",
        "<= " + judged["limit_text"], limit, "-" if ratio is None else f"{ratio:.2f}",
        judged["verdict"],
    ]


def terminal(judged_rows):
    table = [HEADER, *map(cells, judged_rows)]
    widths = [max(len(row[i]) for row in table) for i in range(len(HEADER))]
    return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(row, widths)).rstrip()
                     for row in table)


def remarks(results):
    """What a reader must know to trust the figures: who else used the machine, what is missing."""
    lines = []
    for name, result in results["experiments"].items():
        for contender, why in result["missing"].items():
            lines.append(f"{name}: without {contender}: {why}")
        lines += [f"{name}: {note}" for note in result["notes"]]
        if result["others_cpus"] > 0.2:
            lines.append(f"{name}: other programs kept {result['others_cpus']:.1f} CPUs busy "
                         "meanwhile: repeat it on a quiet machine")
    if any(row["scaled_limit"] for row in results["rows"]):
        lines.append(SCALED)
    return lines


def markdown(results):
    about = results["machine"]
    commit = about["commit"] + (" with changes" if about["dirty"] else "")
    lines = [
        "# weft beside its peers", "",
        f"Commit {commit}, {about['date']}; {about['cpu']}, {about['cpus']} CPUs, kernel "
        f"{about['kernel']}; medians of {results['repetitions']}.", "",
        "Peers: " + "; ".join(about["peers"]) + ".", "",
        "![weft over its limit](plot.svg)", "",
        "| " + " | ".join(HEADER) + " |", "|" + "---|" * len(HEADER),
    ]
    lines += ["| " + " | ".join(cells(row)) + " |" for row in results["rows"]]
    lines += ["", *[f"- {remark}" for remark in remarks(results)]]
    return "\n".join(lines) + "\n"


def write(results, folder, plot):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    (folder / "report.md").write_text(markdown(results), encoding="utf-8")
    (folder / "plot.svg").write_text(plot, encoding="utf-8")
