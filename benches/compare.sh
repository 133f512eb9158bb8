#!/bin/bash
# benches/compare.sh [-n ROUNDS] [-s SECONDS] [-b BENCH]… BASE: the benchmarks of the commit BASE and those of this tree, each with
# its own program, in turns (base, this; this, base; …), ROUNDS times (5). `-b`: only these of ring, fanout, encode and program
# (all). `-s`: seconds for each measurement of fanout and program (their own defaults).
#
# Prints for each row the medians, the ratio (the median of the rounds' ratios) and the spread of the base (largest less smallest,
# of its median), and flags rows that are worse by more than 3 % or that spread, whichever is larger; then the exit code is 1.
# Rows are matched by bench, table and place, so that a renamed row is still compared. Quiet machines only.
set -euo pipefail

usage() {
    sed -n '2,/^set /s/^# \{0,1\}//p' "$0"
    exit 2
}
rounds=5
seconds=()
benches=()
while getopts n:s:b: option; do
    case $option in
    n) rounds=$OPTARG ;;
    s) seconds=("$OPTARG") ;;
    b) benches+=("$OPTARG") ;;
    *) usage ;;
    esac
done
shift $((OPTIND - 1))
[ $# = 1 ] || usage
[ ${#benches[@]} != 0 ] || benches=(ring fanout encode program)

cd "$(dirname "${BASH_SOURCE[0]}")/.."
base=$(git rev-parse --verify --short=12 "$1^{commit}")
# What is kept between two runs: the tree of each base, and what was compiled of it.
target=${CARGO_TARGET_DIR:-$PWD/target}
work=$target/compare
tree=$work/tree-$base
mkdir -p "$work"
[ -d "$tree" ] || git worktree add --detach "$tree" "$base"
runs=$(mktemp -d)
trap 'rm -rf "$runs"' EXIT

# compiled WHO DIRECTORY TARGET: compiles the benchmarks there and writes where each one is to $runs/WHO.BENCH.
compiled() {
    local bench asked=()
    for bench in "${benches[@]}"; do asked+=(--bench "$bench"); done
    (cd "$2" && CARGO_TARGET_DIR=$3 cargo bench --locked --no-run "${asked[@]}" --message-format json-render-diagnostics) |
        sed -n 's/.*"target":{"kind":\["bench"\][^}]*"name":"\([^"]*\)".*"executable":"\([^"]*\)".*/\1 \2/p' >"$runs/$1"
}
compiled this "$PWD" "$target"
# The dependencies of both are mostly the same.
if [ ! -d "$work/base" ]; then
    mkdir "$work/base"
    cp -a "$target/release" "$work/base/"
fi
compiled base "$tree" "$work/base"

# The reference of the encoder's rows: the same for both.
python=$PWD/target/examples-python/bin/python3
[ -n "${STAMPCAST_BENCH_PYTHON:-}" ] || [ ! -x "$python" ] || export STAMPCAST_BENCH_PYTHON=$python

# run WHO BENCH ROUND
run() {
    local program arguments=(--bench)
    program=$(sed -n "s/^$2 //p" "$runs/$1")
    case $2 in fanout | program) arguments+=("${seconds[@]}") ;; esac
    "$program" "${arguments[@]}" >"$runs/$1.$2.$3"
}
for bench in "${benches[@]}"; do
    for round in $(seq "$rounds"); do
        order=(base this)
        [ $((round % 2)) = 1 ] || order=(this base)
        for who in "${order[@]}"; do
            echo "$bench, round $round of $rounds: $who" >&2
            run "$who" "$bench" "$round"
        done
    done
done

python3 - "$runs" "$rounds" "$base" "${benches[@]}" <<'END'
import sys
from pathlib import Path
from statistics import median

runs, rounds, base, *benches = sys.argv[1:]


def tables(who, bench, number):
    """Title, and rows of (name, value, whether more is better)."""
    found = []
    title = ""
    for line in Path(runs, f"{who}.{bench}.{number}").read_text().splitlines():
        if not line.startswith("|"):
            title = line or title
            continue
        name, value, _, _, target, *_ = (cell.strip() for cell in line.strip("|").split("|"))
        if name == "what":
            found.append((title, []))
        elif not name.startswith("--"):
            found[-1][1].append((name, float(value), target.startswith(">")))
    return found


print(f"{'':<58}  {base:>10} {'this tree':>10} {'ratio':>7} {'spread':>7}")
flagged = 0
for bench in benches:
    olds, news = ([tables(who, bench, n) for n in range(1, int(rounds) + 1)] for who in ("base", "this"))
    for place, (title, rows) in enumerate(news[0]):
        print(f"\n{bench}: {title}")
        old_rows = olds[0][place][1] if place < len(olds[0]) else []
        for at, (name, _, more_is_better) in enumerate(rows):
            # By place where both tables have as many rows, else by name.
            old_at = at if len(old_rows) == len(rows) else next((i for i, row in enumerate(old_rows) if row[0] == name), None)
            after = [run[place][1][at][1] for run in news]
            if old_at is None:
                print(f"{name:<58}  {'-':>10} {median(after):>10.3f}")
                continue
            before = [run[place][1][old_at][1] for run in olds]
            middle = median(before)
            if not middle:
                print(f"{name:<58}  {middle:>10.3f} {median(after):>10.3f}")
                continue
            ratio = median(a / b for a, b in zip(after, before) if b)
            spread = (max(before) - min(before)) / middle
            worse = 1 - ratio if more_is_better else ratio - 1
            flag = "  WORSE" if worse > max(0.03, spread) else ""
            flagged += bool(flag)
            print(f"{name:<58}  {middle:>10.3f} {median(after):>10.3f} {ratio:>7.3f} {spread:>6.1%}{flag}")
print(f"\n{flagged} rows worse by more than 3 % or the row's own spread")
sys.exit(flagged > 0)
END
