"""The measurements as Markdown."""

from statistics import median

from load import Run

MIB = 1024 * 1024


def middle(runs: list[Run], figure: str) -> float:
    """The median of one figure over the rounds."""
    return median(getattr(run, figure) for run in runs)


def load_table(results: dict[str, list[Run]], reference: str) -> str:
    """One load: every target, and its ratio to the reference target."""
    base = results.get(reference)
    lines = [
        f"| target | req/s | p50 ms | p99 ms | CPU s per 100,000 | req/s ÷ {reference} |"
        f" CPU ÷ {reference} |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    for name, runs in results.items():
        rate, cpu = middle(runs, "rate"), middle(runs, "cpu")
        against_rate = against_cpu = "–"
        if base:
            against_rate = f"{rate / middle(base, 'rate'):.2f}"
            if cpu:
                against_cpu = f"{cpu / middle(base, 'cpu'):.2f}"
        failed = sum(run.failed for run in runs)
        note = f" ({failed} failed)" if failed else ""
        lines.append(
            f"| {name}{note} | {rate:,.0f} | {middle(runs, 'p50') / 1000:.2f} |"
            f" {middle(runs, 'p99') / 1000:.2f} | {cpu / 10:.2f} | {against_rate} |"
            f" {against_cpu} |"
        )
    return "\n".join(lines)


def memory_table(memory: dict[str, tuple[int, int, int, int]]) -> str:
    """Resident memory: after the start, under load, and with idle connections."""
    lines = [
        "| target | idle MiB | under load MiB | with idle connections MiB | connections |",
        "|---|--:|--:|--:|--:|",
    ]
    for name, (idle, loaded, waiting, count) in memory.items():
        cells = [f"{figure / MIB:.1f}" if figure else "–" for figure in (idle, loaded, waiting)]
        lines.append(f"| {name} | {' | '.join(cells)} | {count or '–'} |")
    return "\n".join(lines)


def bars(results: dict[str, list[Run]], memory: dict[str, tuple[int, int, int, int]]) -> str:
    """What the product promises of 1 KB answers at 32 connections, and whether it keeps it."""

    def of(name: str, figure: str) -> float | None:
        return middle(results[name], figure) if name in results else None

    ours, anonymous = "Vestibule, signed in, 10 groups", "Vestibule, anonymous rule"
    other, envoy, nginx = "oauth2-proxy, signed in", "Envoy, oauth2 filter, signed in", "nginx, plain proxy"
    idle, _, waiting, _ = memory.get("vestibule", (0, 0, 0, 0))
    rows = [
        ("requests per second ÷ oauth2-proxy", of(ours, "rate"), of(other, "rate"), ">=", 10),
        ("CPU ÷ oauth2-proxy", of(ours, "cpu"), of(other, "cpu"), "<=", 1 / 12),
        ("p99 ÷ oauth2-proxy", of(ours, "p99"), of(other, "p99"), "<=", 1 / 4),
        ("CPU ÷ Envoy", of(ours, "cpu"), of(envoy, "cpu"), "<=", 1 / 4),
        ("CPU ÷ nginx as a plain proxy", of(ours, "cpu"), of(nginx, "cpu"), "<=", 1.6),
        ("CPU ÷ the same without a session", of(ours, "cpu"), of(anonymous, "cpu"), "<=", 1.15),
        ("resident MiB idle", idle / MIB or None, 1, "<=", 12),
        ("resident MiB with idle connections", waiting / MIB or None, 1, "<=", 150),
    ]
    lines = ["| figure | measured | bar | |", "|---|--:|--:|---|"]
    for what, figure, base, relation, limit in rows:
        if figure is None or not base:
            lines.append(f"| {what} | – | {relation} {limit:.3g} | not measured |")
            continue
        value = figure / base
        kept = value >= limit if relation == ">=" else value <= limit
        lines.append(
            f"| {what} | {value:.3g} | {relation} {limit:.3g} | {'kept' if kept else '**missed**'} |"
        )
    return "\n".join(lines)
