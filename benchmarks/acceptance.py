"""Run everything that the project has to show, and write down what came out.

    python -m benchmarks.acceptance                    every step that this code has not passed yet
    python -m benchmarks.acceptance --only fuzz sipp   some of them
    python -m benchmarks.acceptance --again            also those that are recorded
    python -m benchmarks.acceptance --list | --page    show the steps | write docs/results.md alone

Each step is a process of its own; its result is `docs/results/<step>.json` with date, commit, seed,
machine, figures, target and verdict. A result counts as long as nothing but documentation changed
since its commit. Stop it whenever you like: the next run goes on. The exit status is 1 when a step
that was asked for has not passed.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.acceptance_steps import JSON, ROOT, STEPS, Step

RESULTS = ROOT / "docs" / "results"
PAGE = ROOT / "docs" / "results.md"
CODE = ("voip", "tests", "benchmarks", "pyproject.toml")
TAIL = 3000
Result = dict[str, Any]


# The state of the code


def git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def commit() -> str:
    """Return what is tested; code that is not committed has no name that could be found again."""
    changed = git("status", "--porcelain", "--", *CODE)
    return git("rev-parse", "HEAD") + ("-changed" if changed else "")


def still_counts(result: Result, now: str) -> bool:
    """Tell whether a result is of the code as it is now."""
    then = str(result.get("commit", ""))
    if then.endswith("-changed") or now.endswith("-changed"):
        return False
    compared = subprocess.run(
        ["git", "diff", "--quiet", then, now, "--", *CODE],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    return compared.returncode == 0


def machine() -> dict[str, object]:
    """Return what the figures depend on, and nothing that tells whose machine it is."""
    model = platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        found = re.search(r"model name\s*:\s*(.+)", info.read_text())
        model = found[1].strip() if found else model
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "kernel": f"{platform.system()} {platform.release().partition('-')[0]}",
        "python": platform.python_version(),
    }


# One step


def recorded(step: Step) -> Result | None:
    path = RESULTS / f"{step.name}.json"
    return json.loads(path.read_text()) if path.exists() else None


def run(step: Step) -> Result:
    """Run a step and return its result; nothing of it is raised."""
    if step.needs and not (ROOT / step.needs).exists():
        return {"verdict": "missing", "seconds": 0.0, "figures": {}}
    with tempfile.TemporaryDirectory() as folder:
        figures = Path(folder) / "figures.json"
        words = [word.replace(JSON, str(figures)) for word in step.command]
        began = time.monotonic()
        status, text = execute([sys.executable, *words], step)
        seconds = round(time.monotonic() - began, 1)
        found = json.loads(figures.read_text()) if figures.exists() else figures_in(text)
    passed = status == 0 and not skipped(text, step)
    result: Result = {
        "verdict": "passed" if passed else "failed",
        "seconds": seconds,
        "figures": found,
    }
    if not passed:
        result["exit_status"] = status
        result["output"] = scrub(text[-TAIL:])
    return result


def execute(command: list[str], step: Step) -> tuple[int, str]:
    """Run a command to its end or its limit; it and all that it started is gone then."""
    environment = {**os.environ, **step.environment, "PYTHONDONTWRITEBYTECODE": "1"}
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    try:
        text, _ = process.communicate(timeout=step.limit)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, 9)
        text, _ = process.communicate()
        return 124, f"{text}\nnot over within {step.limit:g} s"
    except BaseException:
        os.killpg(process.pid, 9)
        process.wait()
        raise
    return process.returncode, text


def figures_in(text: str) -> Result:
    """Return what a program prints as JSON, or its last lines."""
    brace = text.find("{\n")
    if brace >= 0:
        try:
            return json.JSONDecoder().raw_decode(text[brace:])[0]
        except ValueError:
            pass
    counts = re.findall(r"(\d+) (passed|failed|skipped|error)", text.rpartition("\n=")[2] or text)
    if counts:
        return {name: int(count) for count, name in counts}
    lines = [line.strip() for line in scrub(text).splitlines() if line.strip()]
    return {"says": lines[-16:]}


def skipped(text: str, step: Step) -> bool:
    """Tell whether tests that the step is about did not run."""
    return bool(step.environment) and bool(re.search(r"\d+ skipped", text[-400:]))


def scrub(text: str) -> str:
    """Take out what is this machine's own: paths and its name."""
    for path in (str(ROOT), sys.prefix, sys.base_prefix, tempfile.gettempdir(), str(Path.home())):
        if len(path) > 1:
            text = text.replace(path, "…")
    return text.replace(platform.node() or "\0", "…")


def record(step: Step, result: Result, now: str) -> Result:
    whole = {
        "step": step.name,
        "target": step.target,
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": now,
        "command": " ".join(["python", *step.command]),
        "seed": step.seed,
        "machine": machine(),
        **result,
    }
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / f"{step.name}.json"
    path.write_text(json.dumps(whole, indent=2, ensure_ascii=False) + "\n")
    return whole


# Reports


def key_figures(result: Result) -> str:
    """Return the figures of a result in one line."""
    figures = result.get("figures", {})
    bars = list(figures.get("bars", []))
    for part in ("u1", "t1"):
        bars += [
            dict(bar, what=f"{part} {bar['what']}") for bar in figures.get(part, {}).get("bars", [])
        ]
    bars += figures.get("memory_bars", [])
    if bars and isinstance(bars[0], dict):
        return "; ".join(f"{bar['what']}: {bar['ratio']}" for bar in bars)
    if "says" in figures:
        return "; ".join(line for line in figures["says"][-8:])
    plain = {name: value for name, value in figures.items() if isinstance(value, int | float)}
    return "; ".join(f"{name}: {value}" for name, value in plain.items())


def page() -> None:
    """Write docs/results.md from what is recorded."""
    lines = [
        "# Results",
        "",
        "Written by `python -m benchmarks.acceptance`; the files in `docs/results` hold all figures.",
        "",
        "| step | must hold | verdict | figures | date, commit |",
        "| --- | --- | --- | --- | --- |",
    ]
    machines = set()
    for step in STEPS:
        result = recorded(step)
        if result is None:
            lines.append(f"| {step.name} | {step.target} | not run | | |")
            continue
        about = result["machine"]
        machines.add(
            f"{about['cpu']}, {about['cores']} cores, {about['kernel']}, Python {about['python']}"
        )
        figures = key_figures(result).replace("|", "·")
        when = f"{result['date']}, {result['commit'][:10]}"
        lines.append(f"| {step.name} | {step.target} | {result['verdict']} | {figures} | {when} |")
    lines += ["", *(f"Machine: {one}." for one in sorted(machines))]
    PAGE.write_text("\n".join(lines).rstrip() + "\n")


def table(results: dict[str, Result]) -> None:
    print(f"\n{'step':22}{'verdict':>10}{'s':>9}  figures")
    for name, result in results.items():
        figures = key_figures(result)
        shown = figures if len(figures) <= 110 else figures[:109] + "…"
        print(f"{name:22}{result['verdict']:>10}{result['seconds']:>9}  {shown}")


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    names = [step.name for step in STEPS]
    parser.add_argument("--only", nargs="+", choices=names, metavar="NAME", default=names)
    parser.add_argument("--again", action="store_true", help="run also what is recorded")
    parser.add_argument("--list", action="store_true", help="show the steps and stop")
    parser.add_argument("--page", action="store_true", help="write docs/results.md and stop")
    options = parser.parse_args(argv)
    if options.list:
        for step in STEPS:
            print(f"{step.name:22}{step.target}")
        return 0
    if options.page:
        page()
        return 0
    now, results = commit(), {}
    if now.endswith("-changed"):
        print("the code is not committed: results will not count next time", file=sys.stderr)
    for step in (step for step in STEPS if step.name in options.only):
        known = recorded(step)
        if known is not None and not options.again and still_counts(known, now):
            results[step.name] = known
            continue
        print(f"{step.name} …", flush=True)
        results[step.name] = record(step, run(step), now)
        page()
    page()
    table(results)
    return 0 if all(result["verdict"] == "passed" for result in results.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
